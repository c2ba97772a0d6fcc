"""Scores the snow rule on SPARCS, which has a band at 1.6 µm: python benchmarks/snow.py DATA [--model fast].

The limits in `geocloud.masks.codes` were chosen on every other scene ("chosen on"); scores of the rest are published.
SPARCS values are not corrected for sun elevation, near-infrared is imputed, and the model was trained on four fifths of
the scenes. Scores of cloud therefore show the change by the rule, not the quality of the model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

import geocloud
from geocloud import MaskOptions, Raster
from geocloud.masks.codes import CLOUD, NO_DATA, SNOW
from recipes.material import SOURCES, sparcs

SNOW_LABEL, CLOUD_LABEL = 3, 5


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", default="fast", show_default=True)
def main(data: Path, model: str) -> None:
    """Prints the Jaccard indices of cloud and snow, and the percentage of labelled snow called cloud."""
    predictor = geocloud.load_model(model, device="cpu")
    counts: dict[tuple[str, str], np.ndarray] = {}
    for number, path in enumerate(SOURCES["sparcs"].paths(data)):
        chip = sparcs(path)
        codes = np.array(Image.open(path.parent.parent / "masks" / f"{path.stem}.png"))
        values = (
            np.array(Image.open(path.parent.parent / "swir1" / path.name)).astype("float32") + 0.5
        ) * 256 * 2e-5 - 0.1
        plain = Raster.from_array(chip.pixels(), pixel_size=chip.metres)
        raster = Raster(plain.data, plain.valid, plain.geobox, further={"swir1": values})
        for name, options in {"without": MaskOptions(), "with": MaskOptions(snow=True)}.items():
            mask = geocloud.mask_raster(raster, model=predictor, options=options)
            key = "chosen on" if number % 2 == 0 else "published", name
            counts[key] = counts.get(key, np.zeros(6, "int64")) + _count(mask, codes)
    click.echo("half       rule     cloud J  snow J  snow called cloud")
    for (half, name), (both, cloud, snow_both, snow, missed, labelled) in sorted(counts.items()):
        jaccard = snow_both / max(snow, 1)
        click.echo(f"{half:<10} {name:<8} {both / cloud:>7.3f} {jaccard:>7.3f} {100 * missed / labelled:>16.1f} %")


def _count(mask: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Counts: intersection and union of cloud, intersection and union of snow, labelled snow called cloud, labelled
    snow."""
    valid = mask != NO_DATA
    cloud, snow = (mask == CLOUD) & valid, (mask == SNOW) & valid
    true, white = (codes == CLOUD_LABEL) & valid, (codes == SNOW_LABEL) & valid
    pairs = (cloud & true, cloud | true, snow & white, snow | white, cloud & white, white)
    return np.array([int(pair.sum()) for pair in pairs])


if __name__ == "__main__":
    main()
