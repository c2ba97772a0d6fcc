"""What geocloud uses of others that is not public, each in one place: these fail first when it goes.

`torch.ops.mkldnn._convolution_pointwise` (geocloud/model/fuse.py): without it masks on a CPU are right, but slower.
`torch.ops.onednn.qconv2d_pointwise` (geocloud/model/int8.py): without it models compute in bfloat16 or float32, slower.
`rasterio._err.CPLE_BaseError` (geocloud/io/gdal.py): without it a damaged file may end in a traceback.
"""

import re

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from geocloud.io import gdal
from geocloud.model.fuse import ConvolutionReLU, fuse

PRIVATE = {
    r"torch\.ops\.mkldnn": "geocloud/model/fuse.py",
    r"torch\.ops\.onednn": "geocloud/model/int8.py",
    r"rasterio\._err": "geocloud/io/gdal.py",
}


@pytest.mark.parametrize(("pattern", "home"), PRIVATE.items())
def test_private_names_have_one_home(pattern, home):
    sources = [path for folder in ("geocloud", "cli") for path in (ROOT / folder).rglob("*.py")]
    users = {path.relative_to(ROOT).as_posix() for path in sources if re.search(pattern, path.read_text("utf-8"))}
    assert users == {home}


def test_convolution_and_relu_in_one_are_convolution_and_relu():
    block = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()).eval()
    fused = fuse(block, torch.device("cpu"))
    assert isinstance(fused[0], ConvolutionReLU), "this torch has no such operation: masks on a CPU become slower"
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, 33, 20)).astype("float32"))
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), block(x), atol=1e-5, rtol=1e-5)


def test_convolutions_of_integers_are_there():
    assert hasattr(torch.ops.onednn, "qconv2d_pointwise"), "this torch has no such operation: masks become slower"


def test_errors_of_gdal_that_rasterio_lets_through_are_caught():
    from rasterio import _err

    assert all(issubclass(error, gdal.TROUBLE) for error in (_err.CPLE_AppDefinedError, _err.CPLE_OpenFailedError))
