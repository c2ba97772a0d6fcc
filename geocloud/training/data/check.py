"""Checks of a data set before a long training run: counts, gaps, class balance, statistics, pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.bands import BANDS
from geocloud.errors import SceneError
from geocloud.training.data.chips import Chip, ChipSource
from geocloud.training.data.layout import DataSet

PICTURES = 24


@dataclass(frozen=True, slots=True)
class Report:
    """Contents of a data set. Balance and statistics are of the chips that were read."""

    root: Path
    """Folder of the data set."""
    kind: str
    """38-Cloud, 95-Cloud or images with masks."""
    chips: int
    """Number of training chips."""
    scenes: int
    """Number of scenes that the training chips come from."""
    test_patches: int
    """Number of test patches."""
    test_scenes: int
    """Number of test scenes."""
    informative: int | None
    """Number of training chips on the authors' list of informative ones; None: there is no such list."""
    looked_at: int
    """Number of chips that were read."""
    empty: int
    """Number of chips without any data."""
    cloudless: int
    """Number of chips in which no known pixel is cloud."""
    overcast: int
    """Number of chips in which every known pixel is cloud."""
    cloud_share: float
    """Share of the known pixels that are cloud, in [0, 1]; NaN if none is known."""
    known_share: float
    """Share of all pixels that are known, in [0, 1]; NaN if no chip could be read."""
    statistics: dict[str, dict[str, float]]
    """mean, std, min and max of reflectance by band; mean and std are NaN without any data."""
    problems: tuple[str, ...]
    """Faults of the data set, a line each."""

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {name: getattr(self, name) for name in self.__slots__} | {"root": str(self.root)}


def check(
    dataset: DataSet,
    limit: int | None = None,
    pictures: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Reads training chips and reports what the data set holds. A chip that cannot be read is reported as a problem.

    Args:
        dataset: The data set.
        limit: Number of chips to read, evenly spread over the data set; None: all.
        pictures: PNG to write, with some chips beside their labels; None: none.
        report: Called with the number of chips done, and their total.
    """
    sources = _spread(dataset.training, limit)
    problems = list(dataset.problems)
    shown: list[Chip] = []
    wanted = {source.name for source in _spread(sources, PICTURES)}
    sums, squares, lowest, highest = np.zeros(4), np.zeros(4), np.full(4, np.inf), np.full(4, -np.inf)
    pixels = known = cloud = data = empty = cloudless = overcast = looked_at = 0
    for number, source in enumerate(sources, 1):
        report(number, len(sources))
        try:
            chip = source.read()
        except SceneError as error:
            problems.append(str(error))
            continue
        looked_at += 1
        if pictures is not None and chip.name in wanted:
            shown.append(chip)
        labelled, found = int(chip.known.sum()), int(chip.cloud.sum())
        pixels, known, cloud = pixels + chip.known.size, known + labelled, cloud + found
        values = _values(chip)
        empty += not values.size
        cloudless += bool(labelled) and not found
        overcast += bool(labelled) and found == labelled
        if values.size:
            data += values.shape[1]
            sums, squares = sums + values.sum(1), squares + (values**2).sum(1)
            lowest, highest = np.minimum(lowest, values.min(1)), np.maximum(highest, values.max(1))
    if pictures is not None and shown:
        from geocloud.training import figures

        figures.chips(shown, pictures)
    mean = sums / data if data else np.full(4, np.nan)
    deviation = np.sqrt(np.maximum(squares / data - mean**2, 0)) if data else np.full(4, np.nan)
    rows = zip(BANDS, mean, deviation, lowest, highest, strict=True)
    return Report(
        root=dataset.root,
        kind=dataset.kind,
        chips=len(dataset.training),
        scenes=len({source.scene for source in dataset.training}),
        test_patches=sum(len(scene.patches) for scene in dataset.testing),
        test_scenes=len(dataset.testing),
        informative=None if dataset.informative is None else len(dataset.worth_training()),
        looked_at=looked_at,
        empty=empty,
        cloudless=cloudless,
        overcast=overcast,
        cloud_share=cloud / known if known else np.nan,
        known_share=known / pixels if pixels else np.nan,
        statistics={
            band: {"mean": float(m), "std": float(s), "min": float(low), "max": float(high)}
            for band, m, s, low, high in rows
        },
        problems=tuple(problems),
    )


def _values(chip: Chip) -> NDArray[np.float64]:
    """Reflectance of the n pixels with data, ``(4, n)``."""
    return chip.reflectance[:, np.isfinite(chip.reflectance).all(0)].astype("float64")


def _spread(sources: tuple[ChipSource, ...], count: int | None) -> tuple[ChipSource, ...]:
    if count is None or len(sources) <= count:
        return sources
    return tuple(sources[int(i)] for i in np.linspace(0, len(sources) - 1, count))
