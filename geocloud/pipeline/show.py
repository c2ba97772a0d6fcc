"""A result in a notebook: a picture with facts, a plot, an xarray, a table of polygons."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geocloud import picture
from geocloud.errors import DependencyError, GeocloudError
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.outputs.mask import CLOUD, SHADOW
from geocloud.outputs.styles import CLASSES
from geocloud.pipeline.draw import STRIP
from geocloud.pipeline.xarrays import name_flags
from geocloud.preview.draw import PreviewOptions, draw_picture
from geocloud.preview.render import SHOWN, colour_mask
from geocloud.scene import open_scene

if TYPE_CHECKING:
    import geopandas
    import xarray
    from matplotlib.axes import Axes

    from geocloud.pipeline.results import MaskResult

PLOT_SIDE = 1200
"""Longest side in pixels of a plotted picture."""


def html(result: MaskResult) -> str:
    """The scene with its clouds outlined, beside a table of facts, for a notebook."""
    cloud = "no valid pixels" if result.cloud_percent is None else f"{result.cloud_percent:.1f} % of valid pixels"
    facts = {"cloud": cloud}
    if result.shadow_percent is not None:
        facts["shadow"] = f"{result.shadow_percent:.1f} % of valid pixels"
    facts |= {
        "valid": f"{result.valid_percent:.1f} % of all pixels",
        "size": f"{result.height} rows, {result.width} columns",
        "CRS": result.crs or "none",
        "acquired": result.acquired or "unknown",
        "model": f"{result.model}, threshold {result.threshold:g}",
        "mask": str(result.mask),
    }
    if result.polygons:
        facts["polygons"] = f"{result.polygon_count} in {result.polygons}"
    if result.probability:
        facts["probability"] = str(result.probability)
    facts["time"] = f"{result.seconds:.1f} s"
    return picture.as_html(result.scene, facts, _picture(result, picture.SIDE))


def plot(result: MaskResult, axes: Axes | None = None) -> Axes:
    """Draws the scene with its clouds outlined, in coordinates of its CRS.

    Args:
        result: The result; its scene is read again. If that is gone, the mask is drawn alone.
        axes: Where to draw; None: a new figure.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
        from matplotlib.patches import Patch
    except ImportError as error:
        raise DependencyError("plot needs matplotlib; run pip install 'geocloud[notebook]'") from error
    if axes is None:
        axes = pyplot.subplots(layout="constrained")[1]
    grid, t = _grid(result), _grid(result).transform
    edges = (t.c, t.c + grid.width * t.a, t.f + grid.height * t.e, t.f)
    axes.imshow(_picture(result, PLOT_SIDE), extent=edges if _is_upright(grid) else None)
    share = "" if result.cloud_percent is None else f": {result.cloud_percent:.1f} % cloud"
    axes.set_title(f"{result.scene}{share}")
    shown = (CLOUD, SHADOW) if result.shadow_threshold else (CLOUD,)
    colours = {CLASSES[value]: "#{:02x}{:02x}{:02x}".format(*SHOWN[value]) for value in shown}
    axes.legend(handles=[Patch(color=colour, label=name) for name, colour in colours.items()])
    return axes


def to_xarray(result: MaskResult) -> xarray.DataArray:
    """The mask ``(y, x)``, uint8: 0 clear, 1 cloud, 2 cloud shadow if requested, 255 no data.

    Coordinates are the centres of pixels (none for a rotated grid), ``spatial_ref`` with the CRS as rioxarray has it,
    and ``time``, UTC, where that is known.

    Raises:
        DependencyError: xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        raise DependencyError("to_xarray needs xarray; run pip install 'geocloud[xarray]'") from error
    grid, t = _grid(result), _grid(result).transform
    place: dict[str, str] = {"GeoTransform": " ".join(f"{value!r}" for value in t.to_gdal())}
    if grid.crs:
        wkt = grid.crs.to_wkt()
        place |= {"crs_wkt": wkt, "spatial_ref": wkt}
    coordinates: dict[str, object] = {"spatial_ref": ((), 0, place)}
    if _is_upright(grid):
        coordinates["y"] = t.f + t.e * (np.arange(grid.height) + 0.5)
        coordinates["x"] = t.c + t.a * (np.arange(grid.width) + 0.5)
    if result.acquired:
        when = datetime.fromisoformat(result.acquired).astimezone(UTC).replace(tzinfo=None)
        coordinates["time"] = np.datetime64(when, "ns")
    with open_quietly(result.mask) as dataset:
        values = dataset.read(1)
    attributes = {
        **name_flags(result.shadow_threshold is not None),
        "grid_mapping": "spatial_ref",
        "model": result.model,
    }
    return xarray.DataArray(values, coordinates, ("y", "x"), "cloud_mask", attributes)


def to_geodataframe(result: MaskResult) -> geopandas.GeoDataFrame:
    """The polygons of the mask: those written or, if none were, every one however small, without ``mean_probability``.

    Columns are those of `geocloud.outputs.polygons.trace_clouds`.
    """
    from geocloud.outputs import polygons, vector  # importing geopandas takes a second

    if result.polygons:
        return vector.read_layer(result.polygons, polygons.LAYER)
    acquired = datetime.fromisoformat(result.acquired) if result.acquired else None
    shadows = result.shadow_threshold is not None
    return polygons.trace_clouds(result.mask, None, scene=result.scene, acquired=acquired, strip=STRIP, shadows=shadows)


def _picture(result: MaskResult, side: int) -> NDArray[np.uint8]:
    """The scene with its clouds outlined ``(h, w, 4)``; the mask in its colours if the scene cannot be read again."""
    try:
        with open_scene(result.source, result.read) as scene:
            return draw_picture(scene, result.mask, PreviewOptions(size=side, caption=False))[0]
    except GeocloudError:
        with open_quietly(result.mask) as dataset:
            share = min(1, side / max(dataset.shape))
            shape = tuple(max(1, round(n * share)) for n in dataset.shape)
            return colour_mask(dataset.read(1, out_shape=shape, resampling=Resampling.nearest))


def _grid(result: MaskResult) -> GeoBox:
    with open_quietly(result.mask) as dataset:
        return GeoBox(dataset.height, dataset.width, dataset.transform, dataset.crs)


def _is_upright(grid: GeoBox) -> bool:
    """Whether rows run along x, and columns along y."""
    return grid.transform.b == grid.transform.d == 0
