"""38-Cloud's layout on disk, for writing it: names, windows, pixel values and lists."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geocloud.bands import LANDSAT_L1
from geocloud.errors import OutputExistsError
from geocloud.readers.cloud38 import SIDE

INFORMATIVE = 0.8
"""A patch is informative if more than this share of its pixels holds data (the authors' own limit)."""

PATCH_COLUMN, SCENE_COLUMN = "name", "Landsat 8 Collection 1 Level 1 Product SceneID"
"""Column names of the lists."""


def patch_path(folder: Path, part: str, kind: str, patch: str) -> Path:
    """The file of a patch. ``part``: train or test; ``kind``: a band, or gt for its truth mask."""
    return folder / f"{part}_{kind}" / f"{kind}_{patch}.TIF"


def truth_path(folder: Path, scene: str) -> Path:
    """The file of a whole scene's truth mask."""
    return folder / "Entire_scene_gts" / f"edited_corrected_gts_{scene}.TIF"


def to_numbers(reflectance: NDArray[np.float32], known: NDArray[np.bool_], light: float) -> NDArray[np.uint16]:
    """Level-1 digital numbers, given ``light``, the sine of the sun's elevation; 0 where there is no data."""
    numbers = LANDSAT_L1.invert(np.where(known, reflectance, 0) * light)
    return np.where(known, np.clip(np.rint(numbers), 1, 65_535), 0).astype("uint16")


def windows(name: str, shape: tuple[int, int], side: int = SIDE) -> list[tuple[str, Window]]:
    """The patches of a scene, centred and padded as in 38-Cloud: names and windows, row by row."""
    rows, cols = (math.ceil(n / side) for n in shape)
    top, left = ((n * side - length) // 2 for n, length in zip((rows, cols), shape, strict=True))
    return [
        (
            f"patch_{row * cols + col + 1}_{row + 1}_by_{col + 1}_{name}",
            Window(col * side - left, row * side - top, side, side),
        )
        for row in range(rows)
        for col in range(cols)
    ]


def grown_lists(
    folder: Path, part: str, scene: str, patches: Iterable[str], informative: Iterable[str] | None = None
) -> dict[Path, str]:
    """The lists (CSV) of a folder with a scene added: path → text. ``part``: training or test.

    Raises OutputExistsError if a file of such a name is not such a list.
    """
    lists = {
        folder / f"{part}_patches_38-Cloud.csv": (PATCH_COLUMN, patches),
        folder / f"{part}_sceneids_38-Cloud.csv": (SCENE_COLUMN, [scene]),
    }
    if informative is not None:
        lists[folder / f"{part}_patches_38-cloud_nonempty.csv"] = (PATCH_COLUMN, informative)
    return {path: _grown(path, column, names) for path, (column, names) in lists.items()}


def _grown(path: Path, column: str, names: Iterable[str]) -> str:
    """The text of a one-column CSV with names added, without duplicates."""
    known: list[str] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if column not in (rows.fieldnames or []):
                raise OutputExistsError(
                    f"{path}: has no column {column!r}; it is not a 38-Cloud list, choose another folder"
                )
            known = [row[column] for row in rows]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column])
    writer.writerows([name] for name in dict.fromkeys([*known, *names]))
    return text.getvalue()
