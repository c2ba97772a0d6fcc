"""``geocloud models``: the bundled models."""

from __future__ import annotations

import json

import click

from geocloud_cli import options
from geocloud_cli.command import Command


@click.command(cls=Command, short_help="List the bundled models.")
@options.as_json
def models(as_json: bool) -> None:
    """List the bundled models; 'geocloud mask --model' takes their names.

    Example: geocloud models
    """
    from geocloud.model import DEFAULT, bundled_models
    from geocloud.model.about import read_about

    found = []
    for name, path in bundled_models().items():
        about = read_about(path)
        scores = about["training"].get("scores", {})
        found.append(
            {
                "name": name,
                "default": name == DEFAULT,
                "architecture": about["architecture"],
                "bytes": path.stat().st_size,
                "threshold": about["threshold"],
                "jaccard": {name: found["jaccard"] for name, found in scores.items()},
                "path": str(path),
            }
        )
    if as_json:
        click.echo(json.dumps(found))
        return
    for model in found:
        listed = "; ".join(f"{name} {score:.3f}" for name, score in model["jaccard"].items())
        scores = f"\n  Jaccard on held-out scenes: {listed}" if listed else ""
        default = " (default)" if model["default"] else ""
        size = f"{model['bytes'] / 1e6:.1f} MB"
        click.echo(
            f"{model['name']}{default}: {model['architecture']}, {size}, threshold {model['threshold']:g}{scores}"
        )
