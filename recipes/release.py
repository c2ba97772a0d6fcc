"""Bundles a trained model: python recipes/release.py MODEL.safetensors DATA [--out geocloud/weights].

Writes the weights, NAME.safetensors, and NAME.onnx, which is quantised to 8 bits if its masks of the validation scenes
agree with those in floating point. Run it on a CPU without VNNI, where sums of 8-bit products may saturate.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.models.devices import cores
from geocloud.models.export import to_onnx
from geocloud.models.network import Network
from geocloud.models.predictor import Predictor
from geocloud.models.runtime import open_onnx
from geocloud.training.data.augment import Augment
from geocloud.training.data.samples import Group, Samples
from recipes.material import AUGMENT, SHARES, SOURCES, Fold, training_groups, validation_chips
from recipes.quantise import quantise

SAMPLES = 100
"""Number of training samples for calibrating 8-bit ranges."""

SCENES = 12
"""Maximum number of validation scenes per set on which 8 bits and floating point are compared."""

SETS = ("biome", "sparcs", "catalogue", "taught")

AGREEMENT = 0.999
"""Minimum share of pixels of the same class for accepting the quantised model."""

FLOATS = (2, 3, 4)
"""Numbers of initial convolutions kept in floating point, tried in order until the masks agree."""

LICENCE = "MIT"


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), default=Path("geocloud/weights"), show_default=True)
def main(model: Path, data: Path, out: Path) -> None:
    """Bundles a trained model."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    release(Network.load(model), training_groups(data, SHARES), AUGMENT, data, out)


def release(
    network: Network, groups: Sequence[Group], augment: Augment, data: Path, out: Path, fold: Fold | None = None
) -> None:
    """Writes NAME.safetensors and NAME.onnx into a folder."""
    network = Network(replace(network.metadata, licence=LICENCE), network.body)
    path = out / f"{network.metadata.name}.safetensors"
    network.save(path)
    network = Network.load(path)  # so that the metadata have the SHA-256 of the weights
    samples = Samples(groups, augment, seed=0)
    exact = to_onnx(network)
    images = [samples[i][0].numpy() for i in range(SAMPLES)]
    path.with_suffix(".onnx").write_bytes(exact)
    for floats in FLOATS:
        quantised = quantise(exact, images, floats)
        same = agreement(exact, quantised, data, fold)
        click.echo(
            f"{network.metadata.name}: 8-bit integers after {floats} convolutions in floating point "
            f"agree with floating point alone in {100 * same:.2f} % of pixels"
        )
        if same >= AGREEMENT:
            path.with_suffix(".onnx").write_bytes(quantised)
            break


def agreement(one: bytes, other: bytes, data: Path, fold: Fold | None = None) -> float:
    """Share of pixels in the validation scenes for which two ONNX files give the same class."""
    masks = [_clouds(open_onnx(file, threads=cores()), data, fold) for file in (one, other)]
    return float(np.mean(np.concatenate([a == b for a, b in zip(*masks, strict=True)])))


def _clouds(predictor: Predictor, data: Path, fold: Fold | None) -> Iterator[NDArray[np.bool_]]:
    for name in SETS:
        for chip in validation_chips(SOURCES[name], data, fold=fold)[:SCENES]:
            probability = predictor.predict_array(chip.pixels(), pixel_size=chip.metres)[0]
            yield probability[np.isfinite(probability)] > predictor.threshold


if __name__ == "__main__":
    torch.set_num_threads(cores())
    main()
