"""Landsat's metadata file, as text (ODL) or JSON.

Groups are never flattened: Collection 2 Level 2 holds the same key in a Level-1 and in a Level-2 group.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geocloud.bands import Conversion
from geocloud.errors import SceneReadError
from geocloud.grid import GeoBox

ROOTS = ("LANDSAT_METADATA_FILE", "L1_METADATA_FILE")

LEVEL1_GROUPS = ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
LEVEL2_GROUPS = ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS",)


@dataclass(frozen=True, slots=True)
class Mtl:
    """The groups of one file: group name → key → value, all as text. Of two equal groups or keys the first counts."""

    label: str
    groups: dict[str, dict[str, str]]

    def text(self, key: str, *groups: str) -> str | None:
        """A value from the first of the groups that has it."""
        for group in groups:
            value = self.groups.get(group, {}).get(key)
            if value is not None:
                return value
        return None

    def number(self, key: str, *groups: str) -> float | None:
        """A finite number, None where it is missing or NaN. Raises SceneReadError for what is no number."""
        value = self.text(key, *groups)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError as error:
            raise SceneReadError(f"{self.label}: {key} is {value!r}, wanted a number") from error
        return number if math.isfinite(number) else None

    @property
    def satellite(self) -> int | None:
        """8 for Landsat 8."""
        found = re.fullmatch(r"LANDSAT_?(\d)", self.text("SPACECRAFT_ID", "IMAGE_ATTRIBUTES", "PRODUCT_METADATA") or "")
        return int(found[1]) if found else None

    @property
    def sensor(self) -> str | None:
        """OLI_TIRS, ETM, TM or MSS, for example."""
        return self.text("SENSOR_ID", "IMAGE_ATTRIBUTES", "PRODUCT_METADATA")

    @property
    def sun_elevation(self) -> float | None:
        """Degrees."""
        return self.number("SUN_ELEVATION", "IMAGE_ATTRIBUTES")

    @property
    def sun_azimuth(self) -> float | None:
        """Degrees clockwise from north."""
        azimuth = self.number("SUN_AZIMUTH", "IMAGE_ATTRIBUTES")
        return None if azimuth is None else azimuth % 360

    @property
    def acquired(self) -> datetime | None:
        """The time of the scene's centre, UTC."""
        places = ("IMAGE_ATTRIBUTES", "PRODUCT_METADATA")
        day, clock = self.text("DATE_ACQUIRED", *places), self.text("SCENE_CENTER_TIME", *places) or "00:00:00"
        try:
            return datetime.fromisoformat(f"{day}T{clock.rstrip('Z')[:15]}").replace(tzinfo=UTC)
        except ValueError:
            return None

    def conversion(self, numbers: tuple[int, ...], groups: tuple[str, ...]) -> Conversion | None:
        """Reflectance scale and offset of the numbered bands, without the sun; None where the groups lack one."""
        scales = [self.number(f"REFLECTANCE_MULT_BAND_{n}", *groups) for n in numbers]
        offsets = [self.number(f"REFLECTANCE_ADD_BAND_{n}", *groups) for n in numbers]
        if None in scales or None in offsets:
            return None
        fill = range(4 - len(numbers))  # without near-infrared
        return Conversion((*scales, *(1 for _ in fill)), (*offsets, *(0 for _ in fill)))  # type: ignore[arg-type]

    @property
    def grid(self) -> GeoBox | None:
        """The grid of the reflective bands, where the file gives a UTM zone and corners that fit the size."""
        places = ("PROJECTION_ATTRIBUTES", "PROJECTION_PARAMETERS", "PRODUCT_METADATA", "LEVEL1_PROJECTION_PARAMETERS")
        zone, cell = self.number("UTM_ZONE", *places), self.number("GRID_CELL_SIZE_REFLECTIVE", *places)
        lines, samples = self.number("REFLECTIVE_LINES", *places), self.number("REFLECTIVE_SAMPLES", *places)
        corners = [self.number(f"CORNER_{c}_PROJECTION_{a}_PRODUCT", *places) for c in ("UL", "LR") for a in "XY"]
        if self.text("MAP_PROJECTION", *places) != "UTM" or zone is None or not 1 <= zone <= 60:
            return None
        if cell is None or cell <= 0 or lines is None or samples is None or None in corners:
            return None
        left, top, right, bottom = (float(c) for c in corners if c is not None)
        # Corners are pixel centres, so both ends count. Landsat gives southern scenes negative northings of a
        # northern zone.
        if (round((right - left) / cell) + 1, round((top - bottom) / cell) + 1) != (samples, lines):
            return None
        transform = Affine(cell, 0, left - cell / 2, 0, -cell, top + cell / 2)
        return GeoBox(int(lines), int(samples), transform, CRS.from_epsg(32600 + int(zone)))


def parse_mtl(text: str, label: str) -> Mtl:
    """Parses an MTL.txt or MTL.json. Raises SceneReadError where it is neither, or is cut off."""
    tree = _parse_json(text, label) if text.lstrip().startswith("{") else _parse_odl(text, label)
    root = next((tree[name] for name in ROOTS if isinstance(tree.get(name), dict)), None)
    if root is None:
        raise SceneReadError(f"{label}: no Landsat metadata, wanted a group {' or '.join(ROOTS)}")
    groups = {
        name: {key: str(value) for key, value in group.items() if not isinstance(value, dict)}
        for name, group in root.items()
        if isinstance(group, dict)
    }
    return Mtl(label, groups)


def _parse_json(text: str, label: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SceneReadError(f"{label}: damaged or cut off, no valid JSON ({error})") from error
    return tree if isinstance(tree, dict) else {}


def _parse_odl(text: str, label: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    open_groups: list[tuple[str, dict[str, Any]]] = [("", tree)]
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            continue
        value = value.strip('"')
        if key == "GROUP":
            group: dict[str, Any] = {}
            open_groups[-1][1].setdefault(value, group)
            open_groups.append((value, group))
        elif key == "END_GROUP":
            if open_groups[-1][0] != value or len(open_groups) == 1:
                raise SceneReadError(f"{label}: damaged, END_GROUP = {value} closes no open group")
            open_groups.pop()
        else:
            open_groups[-1][1].setdefault(key, value)
    if len(open_groups) > 1:
        raise SceneReadError(f"{label}: cut off, group {open_groups[-1][0]} has no end; fetch the file again")
    return tree
