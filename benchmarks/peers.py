"""Other programs on the same scene: ``python benchmarks/peers.py omnicloudmask|ukis-csmask SCENE MASK.tif``.

Each program is used as documented, to make a mask GeoTIFF from four band files in a folder. The programs must be
installed separately. OmniCloudMask downloads its weights; here its two networks of version 4 have random weights, which
cost the same to run, so its mask is meaningless.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio

SCALE, OFFSET = 2e-5, -0.1
OMNICLOUDMASK = ("tu-regnety_004", "tu-edgenext_small")


def main(peer: str, scene: Path, output: Path) -> None:
    bands = {}
    for path in sorted(scene.glob("*_B[2345].TIF")):
        with rasterio.open(path) as dataset:
            bands[path.stem[-1]], profile = dataset.read(1), dataset.profile
    if peer == "omnicloudmask":
        from omnicloudmask import predict_from_array
        from segmentation_models_pytorch import Unet

        networks = [Unet(encoder, encoder_weights=None, classes=4).eval() for encoder in OMNICLOUDMASK]
        mask = predict_from_array(np.stack([bands["4"], bands["3"], bands["5"]]), custom_models=networks)[0]
    else:
        from ukis_csmask.mask import CSmask

        image = np.stack([bands[number] for number in "2345"], -1).astype("float32") * SCALE + OFFSET
        mask = CSmask(img=image, band_order=["blue", "green", "red", "nir"], nodata_value=OFFSET).csm[..., 0]
    profile.update(dtype="uint8", count=1, driver="GTiff")
    with rasterio.open(output, "w", **profile) as out:
        out.write(mask.astype("uint8"), 1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
