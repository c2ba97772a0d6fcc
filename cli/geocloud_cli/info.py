"""``geocloud info``: how geocloud reads a source."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from geocloud.errors import on_command_line
from geocloud_cli import options
from geocloud_cli.command import Command


@click.command(cls=Command, short_help="Show how geocloud reads a scene.")
@click.argument("scene")
@options.reading
@options.as_json
def info(scene: str, as_json: bool, **given: Any) -> None:
    """Show how geocloud reads SCENE, without masking it: bands, units, grid, date and value ranges.

    Ranges (0.1 to 99.9 percentile) and the share of valid pixels are estimated from small samples spread over the
    scene. A mask counts every pixel, so its share may differ.

    Example: geocloud info LC08_L1TP_190026_20200803_20200807_02_T1.tar
    """
    from geocloud.errors import BandError, UnitsError
    from geocloud.readers import RasterScene, find_recipe

    read = options.read_options(given)
    try:
        with RasterScene(find_recipe(scene, read), read, need_units=False) as opened:
            facts = _facts(opened)
            lines = _lines(facts)
    except (BandError, UnitsError) as error:
        raster = _raster_facts(scene)
        if raster is None:
            raise
        facts = {**raster, "problem": on_command_line(str(error))}
        size = f"{facts['height']} rows, {facts['width']} columns, {facts['crs'] or 'no CRS'}"
        lines = [("size", size), *((f"band {band['index']}", _seen(band)) for band in facts["bands"])]
        lines.append(("problem", facts["problem"]))
    click.echo(json.dumps(facts) if as_json else "\n".join(f"{name:<14} {text}" for name, text in lines))


def _seen(band: dict[str, Any]) -> str:
    low, middle, high = band["observed"]
    return f"{band['name'] or 'no name'}: {low:g} to {high:g}, median {middle:g}"


def _raster_facts(source: str) -> dict[str, Any] | None:
    """Size, CRS and bands of a raster that cannot be read as a scene; None for other sources."""
    import numpy as np

    from geocloud.errors import SceneReadError
    from geocloud.readers import open_raster

    try:
        with open_raster(source, source) as dataset:
            share = min(1, 256 / max(dataset.shape))
            shape = [max(1, round(n * share)) for n in dataset.shape]
            values = dataset.read(out_shape=(dataset.count, *shape), masked=True)
            seen = [np.percentile(band.compressed(), (0.1, 50, 99.9)) if band.count() else [0, 0, 0] for band in values]
            bands = [
                {"index": index, "name": name, "observed": [float(v) for v in of_band]}
                for index, (name, of_band) in enumerate(zip(dataset.descriptions, seen, strict=True), 1)
            ]
            crs = dataset.crs.to_string() if dataset.crs else None
            return {"height": dataset.height, "width": dataset.width, "crs": crs, "bands": bands}
    except SceneReadError:
        return None


def _facts(scene: Any) -> dict[str, Any]:
    from geocloud.bands import BANDS

    grid, recipe, percentiles = scene.grid, scene.recipe, scene.sample.percentiles.tolist()
    return {
        "name": scene.name,
        "kind": recipe.kind,
        "height": grid.height,
        "width": grid.width,
        "crs": grid.crs.to_string() if grid.crs else None,
        "pixel_size_m": grid.pixel_size,
        "transform": list(grid.transform)[:6],
        "acquired": scene.acquired.isoformat() if scene.acquired else None,
        "sun_elevation": scene.sun_elevation,
        "units": None if scene.problem else str(scene.units),
        "problem": scene.problem and on_command_line(scene.problem),
        "data_type": scene.dtype,
        "sampled_valid_percent": 100 * scene.sample.valid_share,
        "observed_percentiles": [0.1, 99.9],
        "bands": [
            {
                "name": name,
                "file": source.label,
                "index": source.index,
                "observed": [None if math.isnan(v) else v for v in (low, high)],
                "scale": scale,
                "offset": offset,
            }
            for name, source, (low, _, high), scale, offset in zip(
                BANDS, recipe.bands, percentiles, scene.conversion.scale, scene.conversion.offset, strict=False
            )
        ],
    }


def _rounded(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines of the text output, as name and text."""
    size, (left, top) = facts["pixel_size_m"], facts["transform"][2::3]
    lines = [
        ("name", facts["name"]),
        ("kind", facts["kind"]),
        ("size", f"{facts['height']} rows, {facts['width']} columns"),
        ("crs", facts["crs"] or "none"),
        ("pixel", f"{size[0]:g} m high, {size[1]:g} m wide" if size else "unknown"),
        ("upper left", f"{left:.10g}, {top:.10g}"),
        ("acquired", facts["acquired"] or "unknown"),
        ("sun elevation", "unknown" if facts["sun_elevation"] is None else f"{facts['sun_elevation']:g}°"),
        ("units", facts["units"] or f"unknown: {facts['problem']}"),
        ("data type", facts["data_type"]),
        ("valid", f"about {facts['sampled_valid_percent']:.0f} %, of a sample"),
    ]
    for band in facts["bands"]:
        low, high = band["observed"]
        text = "no valid pixel"
        if low is not None:
            text = f"{_rounded(low)} to {_rounded(high)} (0.1 to 99.9 percentile of a sample)"
        if not facts["problem"]:
            offset = f" {band['offset']:+.6g}" if band["offset"] else ""
            text += f"; reflectance = {band['scale']:.6g} · value{offset}"
        lines += [(band["name"], text), ("", f"{band['file']}, band {band['index']}")]
    return lines
