"""``geocloud models``: the bundled models."""

from __future__ import annotations

import json
from typing import Any

import click

from geocloud_cli import options
from geocloud_cli.command import Command, option

ADVICE = {
    "fast": "for all scenes, the default",
    "unet": "the project's first network, for comparison",
    "attention-unet": "unet with attention gates, for comparison",
}
"""Use of each bundled model."""


@click.command(cls=Command, short_help="List the bundled models.")
@option(
    "Output", "--all", "everything", is_flag=True, help="Also list models that are not recommended, and all scores."
)
@options.as_json
def models(everything: bool, as_json: bool) -> None:
    """List the bundled models; 'geocloud mask --model' takes their names.

    Example: geocloud models
    """
    from geocloud.models import DEFAULT, bundled_models, read_metadata

    found: list[dict[str, Any]] = []
    for name, path in bundled_models().items():
        metadata = read_metadata(path)
        scores = metadata.training.get("scores", {})
        found.append(
            {
                "name": name,
                "default": name == DEFAULT,
                "architecture": metadata.architecture,
                "bytes": path.stat().st_size,
                "threshold": metadata.threshold,
                "jaccard": {name: found["jaccard"] for name, found in scores.items()},
                "path": str(path),
            }
        )
    if as_json:
        click.echo(json.dumps(found))
        return
    if not everything:
        best = next(model for model in found if model["default"])
        click.echo(f"{best['name']}: {ADVICE[best['name']]} ({best['bytes'] / 1e6:.1f} MB); --all shows the others")
        return
    click.echo("\n".join(f"{model['name']}: {ADVICE[model['name']]}" for model in found) + "\n")
    sets = sorted({name for model in found for name in model["jaccard"]})
    rows = [
        ["", *(model["name"] + " (default)" * model["default"] for model in found)],
        ["size", *(f"{model['bytes'] / 1e6:.1f} MB" for model in found)],
        ["threshold", *(f"{model['threshold']:g}" for model in found)],
        ["Jaccard on held-out scenes"],
        *([f"  {name}", *(_score(model["jaccard"].get(name)) for model in found)] for name in sets),
    ]
    wide = max(len(row[0]) for row in rows)
    for title, *values in rows:
        click.echo("  ".join([title.ljust(wide), *(value.rjust(16) for value in values)]).rstrip())


def _score(jaccard: float | None) -> str:
    return "–" if jaccard is None else f"{jaccard:.3f}"
