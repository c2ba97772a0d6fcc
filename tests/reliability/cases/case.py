"""Cases of invalid and unusual input, and functions that write their files.

A case is a function that writes files to a folder and returns the scene, or the arguments of ``geocloud mask``. Its
name, or ``what``, is listed in the matrix of docs/reliability.md, grouped by module. ``each`` defines a case per entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conftest import geobox, ramp, write_tif

from geocloud.bands import BANDS
from geocloud.grid import GeoBox
from geocloud.simulate import SimulatedScene, write_level1

NAME = "LC08_L1TP_190026_20240701_20240708_02_T1"
NEIGHBOUR = NAME.replace("190026", "190027")

Expect = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Case:
    """A case. ``says`` is part of the error, or of the notes of a masked scene; ``expect`` checks the mask."""

    group: str
    what: str
    make: Callable[[Path], Any]
    refused: bool
    says: str
    expect: Expect

    def words(self, folder: Path) -> list[str]:
        """Writes the files; returns the arguments of ``geocloud mask``."""
        made = self.make(folder)
        return [str(word) for word in (made if isinstance(made, list) else [made])]


CASES: list[Case] = []


def keep(refused: bool, says: str, what: str, each: dict[str, Any] | None, expect: Expect) -> Callable[[Any], Any]:
    def register(make: Callable[..., Any]) -> Callable[..., Any]:
        group, words = make.__module__.rpartition(".")[2], what or make.__name__.replace("_", " ")
        if each is None:
            CASES.append(Case(group, words, make, refused, says, expect))
        for name, value in (each or {}).items():
            one = lambda folder, value=value: make(folder, value)  # noqa: E731
            CASES.append(Case(group, f"{words} {name}", one, refused, says, expect))
        return make

    return register


def refused(says: str, what: str = "", each: dict[str, Any] | None = None) -> Callable[[Any], Any]:
    """A case that ends with one line on stderr containing ``says`` and with exit code 1."""
    return keep(True, says, what, each, lambda mask: False)


def masked(
    note: str = "",
    what: str = "",
    each: dict[str, Any] | None = None,
    expect: Expect = lambda mask: (mask != 255).all(),
) -> Callable[[Any], Any]:
    """A case that is masked, with a note containing ``note`` unless it is empty."""
    return keep(False, note, what, each, expect)


def stack(
    folder: Path, values: Any = None, name: str = "scene.tif", grid: GeoBox | None = None, **options: Any
) -> Path:
    """A GeoTIFF with several bands, described by their names or by ``descriptions``."""
    return write_tif(folder / name, ramp() if values is None else values, grid, **options)


def scaled(values: Any) -> np.ndarray:
    """Reflectance × 10 000 as integers."""
    return np.rint(values * 1e4).astype("uint16")


def product(folder: Path, name: str = NAME, **options: Any) -> Path:
    """A folder of Landsat 8 Level-1 bands with their MTL."""
    scene = SimulatedScene(ramp(), np.zeros((90, 110), bool))
    write_level1(scene, folder / name, name, grid=geobox(), **{"sun_elevation": 50.0, **options})
    return folder / name


def bands(folder: Path, pattern: str, names: tuple[str, ...] = BANDS, dtype: str = "uint16") -> Path:
    """A folder with one GeoTIFF per band, reflectance × 10 000."""
    (folder / "bands").mkdir()
    for name, image in zip(names, scaled(ramp()[: len(names)]).astype(dtype), strict=True):
        write_tif(folder / "bands" / pattern.format(name), image[None])
    return folder / "bands"
