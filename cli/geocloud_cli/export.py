"""``geocloud export``: models for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from geocloud_cli import options
from geocloud_cli.command import Command, output


@click.command(cls=Command, short_help="Write a model for other programs (ONNX).")
@click.argument("model", metavar="MODEL")
@output("FILE.onnx", "File to write.", type=click.Path(path_type=Path), required=True)
@options.overwrite
@options.as_json
def export(model: str, output: Path, overwrite: bool, as_json: bool) -> None:
    """Write MODEL, a bundled model or a .safetensors file, as an ONNX file in floating point, with its metadata.
    The input is reflectance, the output probability. The file is kept only if its probabilities are those of torch.

    'geocloud mask --model FILE.onnx' runs it. ONNX files of other programs need a FILE.toml beside them.

    Example: geocloud export fast -o fast.onnx
    """
    from geocloud.pipeline.export import export_model

    size = export_model(model, output, overwrite)
    text = f"{output}: {size / 1e6:.1f} MB, gives the same probabilities as {model}"
    click.echo(json.dumps({"file": str(output), "bytes": size}) if as_json else text)
