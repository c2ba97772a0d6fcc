"""Result of masking a scene: a summary, and the mask as picture, plot, xarray object and table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling

from geocloud.errors import DependencyError, GeocloudError
from geocloud.grid import GeoBox
from geocloud.io.gdal import open_quietly
from geocloud.raster import coordinates_of, data_array
from geocloud.readers import ReadOptions, open_scene
from geocloud.writers.styles import CLASSES, name_flags

if TYPE_CHECKING:
    import geopandas
    import xarray
    from matplotlib.axes import Axes

PLOT_SIDE = 1200
"""Longest side in pixels of a plotted picture."""


@dataclass(frozen=True, slots=True)
class MaskResult:
    """The files written for a scene, and a summary of the scene and its cloud cover."""

    source: str
    """The source, as given."""
    scene: str
    """Name of the scene."""
    mask: Path
    """Path of the mask."""
    polygons: Path | None
    """Path of the polygons; None: not requested."""
    probability: Path | None
    """Path of the probability raster; None: not requested."""
    cloud_percent: float | None
    """Per cent of the valid pixels that are cloud; None if there are no valid pixels."""
    valid_percent: float
    """Per cent of all pixels that have data."""
    height: int
    """Pixel rows of the mask."""
    width: int
    """Pixel columns of the mask."""
    crs: CRS | None
    """The coordinate reference system; None: unknown."""
    acquired: datetime | None
    """Time of acquisition, UTC; None: unknown."""
    model: str
    """Name of the model."""
    threshold: float
    """Threshold of cloud probability that was applied."""
    seconds: float = 0
    """Wall-clock time in seconds."""
    polygon_count: int | None = None
    """Number of polygons; None: not requested."""
    masked: Path | None = None
    """Path of the scene with its clouds set to nodata; None: not requested."""
    shadow_percent: float | None = None
    """Per cent of the valid pixels that are cloud shadow; None if not requested, or if there are no valid pixels."""
    shadow_threshold: float | None = None
    """Threshold of shadow probability that was applied; None: shadow was not requested."""
    snow_percent: float | None = None
    """Per cent of the valid pixels that are snow or ice; None if not requested, or if there are no valid pixels."""
    cirrus_percent: float | None = None
    """Per cent of the valid pixels that are thin cirrus; None if not requested, or if there are no valid pixels."""
    codes: tuple[int, ...] = field(default=(0, 1), repr=False)
    """Values that the mask may hold besides no data."""
    read: ReadOptions = field(default_factory=ReadOptions, repr=False)
    """Options for reading the source, for reopening it to draw pictures."""

    @property
    def shares(self) -> dict[str, float | None]:
        """Per cent of the valid pixels by requested class; None if there are no valid pixels."""
        return {CLASSES[code]: getattr(self, f"{CLASSES[code]}_percent") for code in self.codes[1:]}

    def to_json(self) -> str:
        """One line of JSON: paths and CRS as text, the time as ISO 8601."""
        return json.dumps(self.facts())

    def facts(self) -> dict[str, Any]:
        """The fields as JSON-serialisable values."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("read", "codes")}
        values |= {"crs": self.crs and self.crs.to_string(), "acquired": self.acquired and self.acquired.isoformat()}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def to_xarray(self) -> xarray.DataArray:
        """The mask ``(y, x)``, uint8: 0 clear, 1 cloud, 2 cloud shadow if requested, 255 no data.

        Coordinates are the centres of pixels (none for a rotated grid), ``spatial_ref`` with the CRS, as in
        rioxarray, and ``time``, UTC, if it is known.

        Raises:
            DependencyError: xarray is not installed.
        """
        with open_quietly(self.mask) as dataset:
            values = dataset.read(1)
        attributes = {**name_flags(self.codes), "model": self.model}
        return data_array(values, coordinates_of(_grid(self.mask), self.acquired), ("y", "x"), "cloud_mask", attributes)

    def to_geodataframe(self) -> geopandas.GeoDataFrame:
        """The polygons of the mask: read from the file or, without one, traced with no minimum area.

        Columns are those of `geocloud.writers.polygons.trace_clouds`; without a file there is no ``mean_probability``.
        """
        from geocloud.writers import polygons, vector  # importing geopandas takes a second

        if self.polygons:
            return vector.read_layer(self.polygons, polygons.LAYER)
        return polygons.trace_clouds(self.mask, None, scene=self.scene, acquired=self.acquired, codes=self.codes)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Plots the scene with its clouds outlined, in coordinates of its CRS; the mask alone if the scene is gone.

        Args:
            axes: Axes to draw into; None: a new figure.

        Raises:
            DependencyError: matplotlib is not installed.
        """
        from geocloud.preview.render import SHOWN

        try:
            from matplotlib import pyplot
            from matplotlib.patches import Patch
        except ImportError as error:
            raise DependencyError("plot needs matplotlib; run pip install 'geocloud[notebook]'") from error
        if axes is None:
            axes = pyplot.subplots(layout="constrained")[1]
        grid, t = _grid(self.mask), _grid(self.mask).transform
        edges = (t.c, t.c + grid.width * t.a, t.f + grid.height * t.e, t.f)
        axes.imshow(_picture(self, PLOT_SIDE), extent=edges if t.b == t.d == 0 else None)
        share = "" if self.cloud_percent is None else f": {self.cloud_percent:.1f} % cloud"
        axes.set_title(f"{self.scene}{share}")
        shown = self.codes[1:]
        colours = {CLASSES[value]: "#{:02x}{:02x}{:02x}".format(*SHOWN[value]) for value in shown}
        axes.legend(handles=[Patch(color=colour, label=name) for name, colour in colours.items()])
        return axes

    def _repr_html_(self) -> str:
        """The scene with its clouds outlined, beside a table of facts, for a notebook."""
        from geocloud._picture import SIDE, as_html

        shares = {k: "no valid pixels" if v is None else f"{v:.1f} % of valid pixels" for k, v in self.shares.items()}
        facts = shares | {
            "valid": f"{self.valid_percent:.1f} % of all pixels",
            "size": f"{self.height} rows, {self.width} columns",
            "CRS": self.crs.to_string() if self.crs else "none",
            "acquired": self.acquired.isoformat() if self.acquired else "unknown",
            "model": f"{self.model}, threshold {self.threshold:g}",
            "mask": str(self.mask),
            "polygons": self.polygons and f"{self.polygon_count} in {self.polygons}",
            "scene without clouds": self.masked,
            "probability": self.probability,
            "time": f"{self.seconds:.1f} s",
        }
        shown = {name: str(fact) for name, fact in facts.items() if fact}
        return as_html(self.scene, shown, _picture(self, SIDE))


def _picture(result: MaskResult, side: int) -> NDArray[np.uint8]:
    """The scene with its clouds outlined ``(h, w, 4)``; the mask in its colours if the scene cannot be read again."""
    from geocloud.preview.draw import draw_picture
    from geocloud.preview.render import colour_mask

    try:
        with open_scene(result.source, result.read) as scene:
            return draw_picture(scene, result.mask, size=side, caption=False)
    except GeocloudError:
        with open_quietly(result.mask) as dataset:
            share = min(1, side / max(dataset.shape))
            shape = tuple(max(1, round(n * share)) for n in dataset.shape)
            return colour_mask(dataset.read(1, out_shape=shape, resampling=Resampling.nearest))


def _grid(mask: Path) -> GeoBox:
    with open_quietly(mask) as dataset:
        return GeoBox.of(dataset)
