"""``report.html``: a single page that shows an output folder in a browser, offline."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from geocloud.batch.manifest import Entry
from geocloud.outputs.staging import Staging

REPORT = "report.html"
MARK = "/*DATA*/null"


def write_report(entries: Sequence[Entry], folder: Path) -> Path:
    """Writes the page. Returns its path."""
    data = {
        "title": folder.resolve().name,
        "version": version("geocloud"),
        "scenes": [_scene(entry) for entry in entries],
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # a name could otherwise end the script
    page = files("geocloud.batch").joinpath("report_template.html").read_text(encoding="utf-8")
    path = folder / REPORT
    with Staging([path], overwrite=True) as staging:
        staging.place(path).write_text(page.replace(MARK, text, 1), encoding="utf-8")
        staging.publish()
    return path


def _scene(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "source": entry.source,
        "state": entry.state,
        "error": entry.error,
        "notes": entry.notes,
        "date": entry.acquired and entry.acquired[:10],
        "cloud": None if entry.cloud_percent is None else round(entry.cloud_percent, 2),
        "shadow": None if entry.shadow_percent is None else round(entry.shadow_percent, 2),
        "valid": None if entry.valid_percent is None else round(entry.valid_percent, 2),
        "seconds": entry.seconds,
        "megapixels": entry.megapixels,
        "mask": entry.files.get("mask")
        and (f"{entry.uploaded.rstrip('/')}/" if entry.uploaded else "") + entry.files["mask"],
        "footprint": entry.footprint and _rings(json.loads(entry.footprint)),
        "scene": _address(entry.scene_picture, "jpeg"),
        "cloudmask": _address(entry.mask_picture, "png"),
    }


def _address(picture: bytes | None, form: str) -> str | None:
    return f"data:image/{form};base64,{base64.b64encode(picture).decode()}" if picture else None


def _rings(geometry: dict[str, Any]) -> list[list[list[float]]]:
    """The outer rings of a Polygon or MultiPolygon."""
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry.get("coordinates", [])
    return [[[round(x, 4), round(y, 4)] for x, y, *_ in polygon[0]] for polygon in polygons]
