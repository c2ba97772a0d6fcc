"""Figures of runs, data sets and evaluations, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.training import require_extras
from geocloud.training.data.chips import Chip
from geocloud.training.metrics import Confusion

require_extras()
from matplotlib.figure import Figure  # noqa: E402 - require_extras explains what is missing

Mask = NDArray[np.bool_]

HIT, MISS, FALSE_ALARM = (255, 255, 255), (214, 39, 40), (255, 191, 0)
"""Colours of error maps: detected cloud, missed cloud, clear pixels predicted as cloud."""


def natural(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Red, green and blue ``(h, w, 3)`` in [0, 1], stretched for display; black where there is no data."""
    shown = np.nan_to_num(reflectance[:3]).transpose(1, 2, 0)
    bright = float(np.quantile(shown, 0.99)) if shown.size else 0.0
    return np.clip(shown / max(bright, 0.15), 0, 1) ** np.float32(0.7)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100, bbox_inches="tight")


def curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plots loss and validation scores against steps."""
    figure = Figure((8, 4))
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    axes.plot(steps, [row["loss"] for row in rows], "0.5", label="loss")
    for score in ("jaccard", "accuracy"):
        if score in rows[-1]:
            axes.plot(steps, [row[score] for row in rows], label=f"validation {score}")
    axes.set(xlabel="step", ylim=(0, max(1.0, *(row["loss"] for row in rows))))
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def samples(found: Sequence[tuple[Chip, NDArray[np.float32]]], threshold: float, path: Path) -> None:
    """Plots chips, their labels and error maps of a model, a column each."""
    figure = Figure((2 * len(found), 6.4))
    axes = figure.subplots(3, len(found), squeeze=False)
    for column, (chip, probability) in zip(axes.T, found, strict=True):
        column[0].imshow(natural(chip.reflectance))
        column[0].set_title(fill(chip.name, 24), fontsize=6)
        column[1].imshow(np.where(chip.known, chip.cloud, 0.5), cmap="gray", vmin=0, vmax=1)
        column[2].imshow(error_map(probability > threshold, chip.cloud, chip.known))
        for axis in column:
            axis.set_axis_off()
    _save(figure, path)


def chips(shown: Sequence[Chip], path: Path, columns: int = 6) -> None:
    """Plots chips with their labels, to see at a glance whether they match."""
    rows = -(-len(shown) // columns)
    figure = Figure((2 * columns, 4.4 * rows))
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, chip in enumerate(shown):
        row, column = divmod(index, columns)
        axes[2 * row, column].imshow(natural(chip.reflectance))
        axes[2 * row, column].set_title(fill(chip.name, 24), fontsize=6)
        label = np.where(chip.known, chip.cloud, 0.5)
        axes[2 * row + 1, column].imshow(label, cmap="gray", vmin=0, vmax=1)
    _save(figure, path)


def error_map(found: Mask, truth: Mask, known: Mask | None = None) -> NDArray[np.uint8]:
    """``(h, w, 3)``: white hits, red misses, yellow false alarms, black clear, grey unknown."""
    picture = np.zeros((*truth.shape, 3), "uint8")
    picture[found & truth], picture[~found & truth], picture[found & ~truth] = HIT, MISS, FALSE_ALARM
    if known is not None:
        picture[~known] = 96
    return picture


def write_picture(picture: NDArray[np.uint8], path: Path, largest: int = 2000) -> None:
    """Writes ``(h, w, 3)`` as PNG, decimated to at most ``largest`` pixels a side."""
    from matplotlib.image import imsave

    step = -(-max(picture.shape[:2]) // largest)
    imsave(path, picture[::step, ::step])


def sweep(found: dict[float, Confusion], path: Path) -> None:
    """Plots scores against the threshold, and precision against recall."""
    figure = Figure((10, 4))
    left, right = figure.subplots(1, 2)
    for score in ("jaccard", "accuracy", "precision", "recall"):
        left.plot(list(found), [getattr(c, score) for c in found.values()], label=score)
    left.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
    left.legend()
    right.plot([c.recall for c in found.values()], [c.precision for c in found.values()], ".-")
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    _save(figure, path)


def calibration(
    predicted: NDArray[np.float64], observed: NDArray[np.float64], pixels: NDArray[np.int64], path: Path
) -> None:
    """Plots the observed share of cloud against the predicted probability; a calibrated model is on the diagonal."""
    figure = Figure((5, 5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "0.7")
    axes.plot(predicted, observed, ".-")
    weight = pixels / max(pixels.max(initial=1), 1)
    axes.bar(predicted, 0.2 * weight, width=0.04, color="0.85", label="share of pixels (not to scale)")
    axes.set(xlabel="predicted probability", ylabel="share that is cloud", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)
