"""A look at a data set before a night is spent on it: counts, gaps, balance, statistics, pictures."""

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
    """What a data set holds. Shares are in [0, 1], statistics in reflectance, by band; NaN without any pixel.

    ``empty``: chips without any data. ``cloudless`` and ``overcast``: no known pixel is cloud, or every one is.
    ``looked_at``: how many chips balance and statistics come from.
    """

    root: Path
    kind: str
    chips: int
    scenes: int
    test_patches: int
    test_scenes: int
    informative: int | None
    looked_at: int
    empty: int
    cloudless: int
    overcast: int
    cloud_share: float
    known_share: float
    statistics: dict[str, dict[str, float]]
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"root": str(self.root)}


def check(
    dataset: DataSet,
    limit: int | None = None,
    pictures: Path | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Reads the training chips (``limit`` of them, evenly spread; all when None) and says what they are like.

    A chip that cannot be read becomes a problem, a line. ``pictures``: a PNG of some chips beside their labels.
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
    """Reflectance where there is data, ``(4, n)``."""
    return chip.reflectance[:, np.isfinite(chip.reflectance).all(0)].astype("float64")


def _spread(sources: tuple[ChipSource, ...], count: int | None) -> tuple[ChipSource, ...]:
    if count is None or len(sources) <= count:
        return sources
    return tuple(sources[int(i)] for i in np.linspace(0, len(sources) - 1, count))
