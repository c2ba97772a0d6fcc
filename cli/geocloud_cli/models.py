"""``geocloud models``: the bundled models."""

from __future__ import annotations

import json
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command

ADVICE = {
    "fast": "for all scenes, the default",
    "unet": "the network that the project began with, for comparison",
    "attention-unet": "the same with attention gates, for comparison",
}
"""Use of each bundled model."""


@click.command(cls=Command, short_help="List the bundled models.")
@options.as_json
def models(as_json: bool) -> None:
    """List the bundled models, with their Jaccard indices on held-out scenes; 'geocloud mask --model' takes
    their names.

    Example: geocloud models
    """
    from geocloud.models import DEFAULT, bundled_models, read_metadata

    found: list[dict[str, Any]] = []
    for name, path in bundled_models().items():
        metadata = read_metadata(path)
        scores = {data: scores["jaccard"] for data, scores in metadata.training.get("scores", {}).items()}
        found.append(
            {
                "name": name,
                "default": name == DEFAULT,
                "architecture": metadata.architecture,
                "bytes": path.stat().st_size,
                "threshold": metadata.threshold,
                "jaccard": scores,
                "path": str(path),
            }
        )
        if not as_json:
            shown = ", ".join(f"{data} {jaccard:.3f}" for data, jaccard in scores.items())
            click.echo(f"{name}: {ADVICE[name]}; {path.stat().st_size / 1e6:.1f} MB; Jaccard {shown}")
    if as_json:
        click.echo(json.dumps(found))
