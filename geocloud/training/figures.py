"""PNG figures of runs, data sets and evaluations, and tables of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from geocloud._picture import render
from geocloud.errors import OutputError
from geocloud.training import require_extras
from geocloud.training.data.chips import Chip

require_extras()
from matplotlib.figure import Figure  # noqa: E402 - require_extras names missing packages first

if TYPE_CHECKING:
    from geocloud.training.evaluate import Evaluation, Picture

Mask = NDArray[np.bool_]

HIT, MISS, FALSE_ALARM, UNKNOWN = (255, 255, 255), (214, 39, 40), (255, 191, 0), (96, 96, 96)
"""Colours of error maps: detected cloud, missed cloud, clear pixels predicted as cloud, unknown truth."""

LARGEST = 2000
"""Maximum side of an error map in pixels; larger maps are decimated."""


def error_map(predicted: Mask, truth: Mask, known: Mask) -> NDArray[np.uint8]:
    """Error map ``(h, w, 3)``: white hits, red misses, yellow false alarms, black clear, grey unknown."""
    picture = np.zeros((*truth.shape, 3), "uint8")
    picture[predicted & truth], picture[~predicted & truth] = HIT, MISS
    picture[predicted & ~truth] = FALSE_ALARM
    picture[~known] = UNKNOWN
    return picture


def draw_chips(chips: Sequence[Chip], masks: Sequence[Mask], path: Path, columns: int = 8) -> None:
    """Plots each chip in a column above its labels and, if predicted ``masks`` are given, its error map."""
    height = 3 if masks else 2
    columns = min(columns, len(chips))
    rows = height * -(-len(chips) // columns)
    figure = Figure((2 * columns, 2.2 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, chip in enumerate(chips):
        row, column = divmod(index, columns)
        cells = axes[row * height : (row + 1) * height, column]
        cells[0].imshow(render(chip.pixels()))
        cells[0].set_title(fill(chip.name, 24), fontsize=6)
        cells[1].imshow(np.where(chip.known, chip.cloud, 0.5), cmap="gray", vmin=0, vmax=1)
        if masks:
            cells[2].imshow(error_map(masks[index], chip.cloud, chip.known))
    _save(figure, path)


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plots loss and validation scores against steps."""
    table = pd.DataFrame(rows).set_index("step")
    figure = Figure((8, 4))
    axes = figure.subplots()
    for name, label in (("loss", "loss"), ("jaccard", "validation jaccard"), ("accuracy", "validation accuracy")):
        if name in table:
            axes.plot(table.index, table[name], label=label)
    axes.set(xlabel="step", ylim=(0, max(1.0, table["loss"].max())))
    axes.legend()
    _save(figure, path)


def write_map(picture: Picture, threshold: float, out: Path) -> None:
    """Writes an `error_map` to ``errors_NAME.png``; the folder is created. Raises OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the folder cannot be created ({error.strerror})") from error
    errors = error_map(picture.probability > threshold, picture.truth, picture.known)
    step = -(-max(errors.shape) // LARGEST)
    Image.fromarray(errors[::step, ::step]).save(out / f"errors_{picture.name}.png")


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Writes ``thresholds.png`` (scores by threshold, precision-recall), ``calibration.png`` and ``scores.csv``."""
    write_csv(evaluation, out / "scores.csv")
    sweep = pd.DataFrame({threshold: counts.scores() for threshold, counts in evaluation.sweep().items()}).T
    figure = Figure((10, 4))
    left, right = figure.subplots(1, 2)
    for score in ("jaccard", "accuracy", "precision", "recall"):
        left.plot(sweep.index, sweep[score], label=score)
    left.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
    left.legend()
    right.plot(sweep["recall"], sweep["precision"], ".-")
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    _save(figure, out / "thresholds.png")

    predicted, observed, pixels = evaluation.calibration()  # a calibrated model is on the diagonal
    figure = Figure((5, 5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "0.7")
    axes.plot(predicted, observed, ".-")
    weight = pixels / max(pixels.max(initial=1), 1)
    axes.bar(predicted, 0.2 * weight, width=0.04, color="0.85", label="share of pixels (not to scale)")
    axes.set(xlabel="predicted probability", ylabel="share that is cloud", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()
    _save(figure, out / "calibration.png")


def write_csv(evaluation: Evaluation, path: Path) -> None:
    """Writes the table of scores in [0, 1] as CSV, with empty cells where undefined. Raises OutputError."""
    try:
        evaluation.table().to_csv(path, index_label="view")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        if axes.axison:
            axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100, bbox_inches="tight")
