"""``geocloud info``: what the program sees in a source."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from geocloud_cli import options


@click.command(short_help="Show what geocloud sees in a scene.")
@click.argument("scene")
@options.reading
@options.as_json
def info(scene: str, as_json: bool, **given: Any) -> None:
    """Show what geocloud sees in SCENE: bands, units, grid, dates, and the values in it, without masking it.

    Ranges and the valid share come from small samples all over the scene.

    Example: geocloud info LC08_L1TP_190026_20200803_20200807_02_T1.tar
    """
    from geocloud.scene import open_scene

    with open_scene(scene, options.read_options(given)) as opened:
        facts = _facts(opened)
    if as_json:
        click.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        if key == "bands":
            for band in value:
                low, high = band["observed"]
                seen = "no valid pixel" if low is None else f"{low:g} to {high:g}"
                click.echo(
                    f"{band['name']:<14} {seen}; reflectance = {band['scale']:.6g} · value {band['offset']:+.6g}"
                )
                click.echo(f"{'':<14} {band['file']}, band {band['index']}")
        else:
            click.echo(f"{key.replace('_', ' '):<14} {'unknown' if value is None else value}")


def _facts(scene: Any) -> dict[str, Any]:
    from geocloud.bands import BANDS

    grid, recipe = scene.grid, scene.recipe
    size = grid.pixel_size
    return {
        "name": scene.name,
        "kind": recipe.kind,
        "size": f"{grid.height} rows, {grid.width} columns",
        "crs": grid.crs.to_string() if grid.crs else None,
        "pixel": f"{size[0]:g} m high, {size[1]:g} m wide" if size else None,
        "transform": list(grid.transform)[:6],
        "acquired": scene.acquired.isoformat() if scene.acquired else None,
        "sun_elevation": scene.sun_elevation,
        "units": str(scene.units),
        "data_type": scene.dtype,
        "valid_share": f"about {100 * scene.sample.valid_share:.0f} %",
        "bands": [
            {
                "name": name,
                "file": source.label,
                "index": source.index,
                "observed": [None if math.isnan(v) else v for v in (seen.low, seen.high)],
                "scale": scale,
                "offset": offset,
            }
            for name, source, seen, scale, offset in zip(
                BANDS, recipe.bands, scene.sample.bands, scene.conversion.scale, scene.conversion.offset, strict=True
            )
        ],
    }
