"""``report.html`` and the folder ``report``: pages that show an output folder in a browser, offline.

A page that is opened from a disk may not fetch files, but it may load scripts and pictures. So the data are scripts:
what search, filters, order and map need of all scenes, and details in portions, each loaded with the first scene chosen
of it. Thumbnails are files. All of it is written as the manifest is read.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geocloud.batch.entries import Entries
from geocloud.batch.manifest import DONE, Entry
from geocloud.errors import OutputError
from geocloud.writers.staging import Staging

REPORT, PARTS = "report.html", "report"
ASSETS = ("coast.js", "map.js", "report.css", "report.js")

PORTION = 1000
"""Scenes that are in memory at a time, and in each script and folder of thumbnails."""

SIMPLER = 0.02
"""How far a footprint on the map may be off, as a share of its size."""

NUMBERS = {
    "cloud": "cloud_percent",
    "shadow": "shadow_percent",
    "valid": "valid_percent",
    "seconds": "seconds",
}
"""Column of the page → field of an entry, shown with one decimal."""


def write_report(entries: Entries, folder: Path) -> Path:
    """Writes the pages in place of earlier ones. Returns the path of the first. Raises OutputError."""
    path, parts = folder / REPORT, folder / PARTS
    page = files("geocloud.batch").joinpath("page")
    with Staging([path], overwrite=True) as staging:
        made, old = staging.scratch(path, PARTS), staging.scratch(path, f"{PARTS}-old")
        try:
            for name in ASSETS:
                _place(made / name).write_bytes(page.joinpath(name).read_bytes())
            about = {"title": folder.resolve().name, "version": version("geocloud"), "portion": PORTION}
            _script(made / "about.js", "about", about | _write_portions(entries, made))
            staging.place(path).write_bytes(page.joinpath(REPORT).read_bytes())
            with suppress(FileNotFoundError):
                parts.rename(old)
            made.rename(parts)
        except OSError as error:
            raise OutputError(f"{parts}: cannot be written ({error})") from error
        staging.publish()
    return path


def _write_portions(entries: Entries, made: Path) -> dict[str, Any]:
    """Writes the scripts and thumbnails of all scenes. Returns totals."""
    states: Counter[str] = Counter()
    megapixels = cloud = 0.0
    known = portion = 0
    scenes = entries.illustrated()
    while some := list(islice(scenes, PORTION)):
        name = f"{portion:05}"
        for place, (_, *pictures) in enumerate(some):
            for picture, form in zip(pictures, ("jpg", "png"), strict=True):
                if picture:
                    _place(made / "thumbnails" / name / f"{place:03}.{form}").write_bytes(picture)
        mine = [entry for entry, *_ in some]
        columns = _columns(mine) | {"picture": [int(picture is not None) for _, picture, _ in some]}
        _script(made / "scenes" / f"{name}.js", "scenes", {"portion": portion} | columns)
        details = {"portion": portion, "scenes": [_details(entry) for entry in mine]}
        _script(made / "details" / f"{name}.js", "details", details)
        done = [entry for entry in mine if entry.state == DONE]
        clouds = [entry.cloud_percent for entry in done if entry.cloud_percent is not None]
        states.update(entry.state for entry in mine)
        megapixels += sum(entry.megapixels or 0 for entry in done)
        known, cloud = known + len(clouds), cloud + sum(clouds)
        portion += 1
    return {
        "scenes": states.total(),
        "states": states,
        "megapixels": megapixels,
        "cloud": cloud / known if known else None,
    }


def _columns(entries: list[Entry]) -> dict[str, Any]:
    """What is in memory of all scenes when the page is open: as short as it can be."""
    numbers = {
        column: [None if (value := getattr(e, field)) is None else round(value, 1) for e in entries]
        for column, field in NUMBERS.items()
    }
    return {
        "name": [e.name for e in entries],
        "state": [e.state for e in entries],
        "error": [e.error and e.error.removeprefix(f"{e.source}: ") for e in entries],  # the details tell the source
        "day": [_day(e.acquired) for e in entries],
        **{column: values for column, values in numbers.items() if any(v is not None for v in values)},
        "rings": [_rings(e.footprint) for e in entries],
    }


def _details(entry: Entry) -> dict[str, Any]:
    """What is shown of a single scene besides."""
    return {
        "source": entry.source,
        "acquired": entry.acquired,
        "notes": entry.notes,
        "model": entry.model,
        "height": entry.height,
        "width": entry.width,
        "crs": entry.crs,
        "files": {kind: name for kind, name in entry.files.items() if kind != "item"} | _item(entry),
        "uploaded": entry.uploaded,
    }


def _item(entry: Entry) -> dict[str, str]:
    return {"STAC item": entry.files["item"]} if "item" in entry.files else {}


def _day(acquired: str | None) -> int | None:
    """Days since 1970."""
    return (date.fromisoformat(acquired[:10]) - date(1970, 1, 1)).days if acquired else None


def _rings(footprint: str | None) -> list[list[int]] | None:
    """The outer rings of a footprint, with few corners: longitude and latitude by turns, in thousandths of a degree."""
    if not footprint:
        return None
    rings = []
    for part in shapely.get_parts(shapely.from_geojson(footprint)):
        if part.geom_type == "Polygon":
            left, bottom, right, top = part.bounds
            simple = shapely.Polygon(part.exterior).simplify(SIMPLER * max(right - left, top - bottom))
            rings.append(np.rint(shapely.get_coordinates(simple)[:-1] * 1000).astype(int).ravel().tolist())
    return rings or None


def _script(path: Path, call: str, value: Any) -> None:
    """Writes a script that hands a value to ``report.js``, as JSON in a string: browsers read it faster than code."""
    _place(path).write_text(f"report.{call}({json.dumps(json.dumps(value, separators=(',', ':')))});\n")


def _place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
