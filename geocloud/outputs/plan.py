"""Which files are asked for of a scene, and what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geocloud.errors import OutputError


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """The results of one scene.

    Raises OutputError for rasters that are not named as GeoTIFFs, OptionError for polygons in a form that does not
    exist.
    """

    mask: Path
    """Always; the last to appear."""
    polygons: Path | None = None
    """GeoPackage, GeoJSON, FlatGeobuf or GeoParquet, by its ending."""
    probability: Path | None = None

    def __post_init__(self) -> None:
        for path in (self.mask, self.probability):
            if path is not None and path.suffix.lower() not in (".tif", ".tiff"):
                raise OutputError(
                    f"{path}: masks and probabilities are GeoTIFFs; wanted a name that ends in .tif, or, for a folder, "
                    "in /"
                )
        if self.polygons is not None:
            from geocloud.outputs.vector import check_suffix

            check_suffix(self.polygons)

    @classmethod
    def of(
        cls, mask: str | Path, polygons: str | Path | None = None, probability: str | Path | None = None
    ) -> OutputPlan:
        """The same from names."""
        return cls(Path(mask), *(None if path is None else Path(path) for path in (polygons, probability)))

    @property
    def results(self) -> list[Path]:
        """The files that were asked for."""
        return [path for path in (self.mask, self.polygons, self.probability) if path is not None]

    @property
    def styles(self) -> dict[Path, Path]:
        """Each result's QGIS style, NAME.qml, but for a GeoPackage, which holds its own.

        Polygons that would share theirs with a raster go without.
        """
        rasters = {path: path.with_suffix(".qml") for path in (self.mask, self.probability) if path is not None}
        if self.polygons is None or self.polygons.suffix.lower() == ".gpkg":
            return rasters
        own = self.polygons.with_suffix(".qml")
        return rasters if own in rasters.values() else rasters | {self.polygons: own}

    @property
    def files(self) -> list[Path]:
        """Results and styles."""
        return [*self.results, *self.styles.values()]

    def refuse(self, sources: Iterable[str | Path]) -> None:
        """Raises OutputError where a result would replace the scene itself."""
        taken = {Path(source).resolve() for source in sources}
        for path in self.results:
            if path.resolve() in taken:
                raise OutputError(f"{path}: is the scene itself; give the result another name")
