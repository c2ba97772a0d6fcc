"""``report.html`` and the folders ``report`` and ``thumbnails``: a table of all scenes that a browser shows offline.

A page that is opened from a disk may not fetch files, but it may load scripts and pictures. So the data are scripts:
what search, filters and order need of all scenes, and details in portions, each loaded with the first scene chosen of
it. All of it is written as the manifest is read; thumbnails are the files that masking has written.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import Counter
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from geocloud.batch.overview import overview
from geocloud.batch.state import DONE, NAMES, PERCENTS, Entries
from geocloud.errors import OutputError
from geocloud.writers.staging import Staging

REPORT, PARTS, THUMBNAILS = "report.html", "report", "thumbnails"
PORTION = 1000
"""Scenes that are in memory at a time, and in each script."""
NUMBERS = {name.removesuffix("_percent"): name for name in (*PERCENTS, "seconds")}
"""Column of the page → of the manifest, shown with one decimal."""
DETAILS = ("source", "acquired", "notes", "model", "height", "width", "crs", "uploaded")
"""Columns of the manifest that are shown of a single scene besides."""
EPOCH = date(1970, 1, 1).toordinal()


def shelf(name: str) -> str:
    """The folder of a scene's thumbnails, one of a thousand: a folder of a million files is slow."""
    return f"{zlib.crc32(name.encode()) % 1000:03}"


def write_thumbnail(folder: Path, name: str, picture: bytes, overwrite: bool = True) -> None:
    """Writes a scene's thumbnail, NAME.jpg, or its mask's, NAME.png, in an output folder. Raises OutputError."""
    path = folder / THUMBNAILS / shelf(name.rpartition(".")[0]) / name
    try:
        if overwrite or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def write_report(entries: Entries, folder: Path) -> Path:
    """Writes the page and its folder in place of earlier ones. Returns the path of the page. Raises OutputError."""
    path, parts = folder / REPORT, folder / PARTS
    page = files("geocloud.batch").joinpath("page")
    with Staging([path], overwrite=True) as staging:
        made, old = staging.scratch(path, PARTS), staging.scratch(path, f"{PARTS}-old")
        try:
            for kind in ("scenes", "details"):
                (made / kind).mkdir(parents=True)
            for name in ("report.css", "report.js"):
                (made / name).write_bytes(page.joinpath(name).read_bytes())
            totals = _write_portions(entries, made)
            if picture := overview(entries):
                (made / "overview.svg").write_text(picture, encoding="utf-8")
            about = {"title": folder.resolve().name, "version": version("geocloud"), "portion": PORTION}
            _script(made / "about.js", "about", about | totals | {"overview": bool(picture)})
            staging.place(path).write_bytes(page.joinpath(REPORT).read_bytes())
            with suppress(FileNotFoundError):
                parts.rename(old)
            made.rename(parts)
        except OSError as error:
            raise OutputError(f"{parts}: cannot be written ({error})") from error
        staging.publish()
    return path


def _write_portions(entries: Entries, made: Path) -> dict[str, Any]:
    """Writes the scripts of all scenes. Returns totals."""
    states: Counter[str] = Counter()
    megapixels, clouds, known, portion = 0.0, 0.0, 0, 0
    rows = entries.rows(NAMES)
    while some := list(islice(rows, PORTION)):
        _script(made / "scenes" / f"{portion}.js", "scenes", {"portion": portion} | _columns(some))
        details = [{name: row[name] for name in DETAILS} | {"files": json.loads(row["files"] or "{}")} for row in some]
        _script(made / "details" / f"{portion}.js", "details", {"portion": portion, "scenes": details})
        covers = [row["cloud_percent"] for row in some if row["state"] == DONE and row["cloud_percent"] is not None]
        states.update(row["state"] for row in some)
        megapixels += sum(row["megapixels"] or 0 for row in some if row["state"] == DONE)
        known, clouds, portion = known + len(covers), clouds + sum(covers), portion + 1
    cloud = clouds / known if known else None
    return {"scenes": states.total(), "states": states, "megapixels": megapixels, "cloud": cloud}


def _columns(rows: list[sqlite3.Row]) -> dict[str, list[Any]]:
    """Columns of all scenes that the open page holds in memory, in short form; numbers only where there are any."""
    numbers = {k: [None if row[n] is None else round(row[n], 1) for row in rows] for k, n in NUMBERS.items()}
    numbers["day"] = [row["acquired"] and date.fromisoformat(row["acquired"][:10]).toordinal() - EPOCH for row in rows]
    return {
        "name": [row["name"] for row in rows],
        "state": [row["state"] for row in rows],
        "error": [row["error"] and row["error"].removeprefix(f"{row['source']}: ") for row in rows],
        "shelf": [shelf(row["name"]) if row["state"] == DONE else None for row in rows],
        **{key: values for key, values in numbers.items() if any(value is not None for value in values)},
    }


def _script(path: Path, call: str, value: Any) -> None:
    """Writes a script that hands a value to ``report.js``, as JSON in a string: browsers read it faster than code."""
    path.write_text(f"report.{call}({json.dumps(json.dumps(value, separators=(',', ':')))});\n")
