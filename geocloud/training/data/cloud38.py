"""How 38-Cloud is laid out on disk: names, windows, numbers and lists, for whatever writes it."""

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
from geocloud.scene.cloud38 import SIDE

INFORMATIVE = 0.8
"""A patch is informative where more than this share of its pixels holds data (the authors' own limit)."""

PATCH_COLUMN, SCENE_COLUMN = "name", "Landsat 8 Collection 1 Level 1 Product SceneID"
"""Columns of the lists."""


def patch_path(folder: Path, part: str, kind: str, patch: str) -> Path:
    """The file of a patch: ``part`` train or test, ``kind`` a band, or gt for its truth."""
    return folder / f"{part}_{kind}" / f"{kind}_{patch}.TIF"


def truth_path(folder: Path, scene: str) -> Path:
    """The file of a whole scene's truth."""
    return folder / "Entire_scene_gts" / f"edited_corrected_gts_{scene}.TIF"


def to_numbers(reflectance: NDArray[np.float32], known: NDArray[np.bool_], light: float) -> NDArray[np.uint16]:
    """Level-1 numbers as on disk, without the sun's elevation, whose sine is ``light``; 0 where nothing is known."""
    numbers = LANDSAT_L1.invert(np.where(known, reflectance, 0) * light)
    return np.where(known, np.clip(np.rint(numbers), 1, 65_535), 0).astype("uint16")


def windows(name: str, shape: tuple[int, int], side: int = SIDE) -> list[tuple[str, Window]]:
    """The patches of a scene as 38-Cloud's authors cut it, padded around the centre: names and windows, row by row."""
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
    """The lists (CSV) of a folder, grown by a scene: path → text. ``part``: training or test.

    Raises OutputExistsError for a file of such a name that is no such list.
    """
    lists = {
        folder / f"{part}_patches_38-Cloud.csv": (PATCH_COLUMN, patches),
        folder / f"{part}_sceneids_38-Cloud.csv": (SCENE_COLUMN, [scene]),
    }
    if informative is not None:
        lists[folder / f"{part}_patches_38-cloud_nonempty.csv"] = (PATCH_COLUMN, informative)
    return {path: _grown(path, column, names) for path, (column, names) in lists.items()}


def _grown(path: Path, column: str, names: Iterable[str]) -> str:
    """The text of a one-column CSV with further names, each once."""
    known: list[str] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if column not in (rows.fieldnames or []):
                raise OutputExistsError(
                    f"{path}: has no column {column!r}; it is no list of 38-Cloud's, choose another folder"
                )
            known = [row[column] for row in rows]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column])
    writer.writerows([name] for name in dict.fromkeys([*known, *names]))
    return text.getvalue()
