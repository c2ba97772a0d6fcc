"""``geocloud export``: a model for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from geocloud_cli import options
from geocloud_cli.command import Command, output


@click.command(cls=Command, short_help="Write a model for other programs (ONNX).")
@click.argument("model", metavar="MODEL")
@output("FILE.onnx", "The file to write.", type=click.Path(path_type=Path), required=True)
@options.overwrite
@options.as_json
def export(model: str, output: Path, overwrite: bool, as_json: bool) -> None:
    """Write MODEL, a bundled one or a .safetensors file, as ONNX in floating point, with its metadata inside. Its
    input is reflectance, its output probability. It is kept only if it gives the same probabilities as torch.

    'geocloud mask --model FILE.onnx' takes it, and other programs' files too, with a FILE.toml beside them.

    Example: geocloud export fast -o fast.onnx
    """
    from geocloud.pipeline.export import export_model

    size = export_model(model, output, overwrite)
    text = f"{output}: {size / 1e6:.1f} MB, gives the same probabilities as {model}"
    click.echo(json.dumps({"file": str(output), "bytes": size}) if as_json else text)
