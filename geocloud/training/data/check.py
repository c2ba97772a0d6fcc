"""Checks of a data set before training: counts, missing files, class balance, band statistics, pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from geocloud.bands import BANDS
from geocloud.errors import SceneError
from geocloud.training.data.chips import Chip, ChipSource
from geocloud.training.data.layout import DataSet

PICTURES = 24


def check(
    dataset: DataSet,
    limit: int | None = None,
    pictures: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Reads the training chips and returns a report on the data set.

    ``limit`` reads only that many chips, evenly spread. ``pictures`` is a PNG to draw some chips and their labels in.
    ``report`` is called with the number of chips done and the total. Unreadable chips are listed in ``problems``. The
    counts ``looked_at``, ``empty`` (no data), ``cloudless`` and ``overcast``, ``cloud_share`` (of known pixels),
    ``known_share`` (of all pixels) and ``statistics`` of reflectance cover the chips read; NaN if undefined.
    """
    sources = _spread(dataset.training, limit)
    wanted = {source.name for source in _spread(sources, PICTURES)} if pictures else set()
    problems, shown = list(dataset.problems), list[Chip]()
    counts, moments = list[tuple[int, ...]](), list[Any]()
    for number, source in enumerate(sources, 1):
        report(number, len(sources))
        try:
            chip = source.read()
        except SceneError as error:
            problems.append(str(error))
            continue
        if chip.name in wanted:
            shown.append(chip)
        values = chip.reflectance[:, np.isfinite(chip.reflectance).all(0)].astype("float64")  # (4, pixels)
        counts.append((chip.known.size, int(chip.known.sum()), int(chip.cloud.sum()), values.shape[1]))
        if values.size:
            moments.append((values.sum(1), (values**2).sum(1), values.min(1), values.max(1)))
    if pictures is not None and shown:
        from geocloud.training import figures

        figures.draw_chips(shown, [], pictures)
    pixels, known, cloud, data = np.array(counts, "int64").reshape(-1, 4).T  # each (chips,)
    sums, squares, lowest, highest = np.array(moments or np.full((1, 4, 4), np.nan)).transpose(1, 0, 2)
    mean = sums.sum(0) / max(data.sum(), 1)
    deviation = np.sqrt(np.maximum(squares.sum(0) / max(data.sum(), 1) - mean**2, 0))
    rows = zip(BANDS, mean, deviation, lowest.min(0), highest.max(0), strict=True)
    return {
        "root": str(dataset.root),
        "kind": dataset.kind,
        "chips": len(dataset.training),
        "scenes": len({source.scene for source in dataset.training}),
        "test_patches": sum(len(scene.patches) for scene in dataset.testing),
        "test_scenes": len(dataset.testing),
        "informative": None if dataset.informative is None else len(dataset.worth_training()),
        "looked_at": len(counts),
        "empty": int((data == 0).sum()),
        "cloudless": int(((known > 0) & (cloud == 0)).sum()),
        "overcast": int(((known > 0) & (cloud == known)).sum()),
        "cloud_share": float(cloud.sum() / known.sum()) if known.any() else np.nan,
        "known_share": float(known.sum() / pixels.sum()) if pixels.any() else np.nan,
        "statistics": {
            band: dict(zip(("mean", "std", "min", "max"), map(float, numbers), strict=True)) for band, *numbers in rows
        },
        "problems": problems,
    }


def _spread(sources: tuple[ChipSource, ...], count: int | None) -> tuple[ChipSource, ...]:
    count = len(sources) if count is None else min(count, len(sources))
    return tuple(sources[int(i)] for i in np.linspace(0, len(sources) - 1, count))
