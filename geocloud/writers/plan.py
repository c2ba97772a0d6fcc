"""The output files of a scene, with their style files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geocloud.errors import OutputError


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """The output files of one scene.

    Raises OutputError for rasters whose names do not end in .tif, OptionError for polygons in an unknown format.
    """

    mask: Path
    """Cloud Optimized GeoTIFF, always written, and published last."""
    polygons: Path | None = None
    """GeoPackage, GeoJSON, FlatGeobuf or GeoParquet, by its suffix; None: not requested."""
    probability: Path | None = None
    """Cloud Optimized GeoTIFF; None: not requested."""
    masked: Path | None = None
    """Cloud Optimized GeoTIFF; None: not requested."""

    def __post_init__(self) -> None:
        for path in (self.mask, self.probability, self.masked):
            if path is not None and path.suffix.lower() not in (".tif", ".tiff"):
                raise OutputError(
                    f"{path}: rasters are written as GeoTIFFs; wanted a name that ends in .tif, or, for a folder, in /"
                )
        if self.polygons is not None:
            from geocloud.writers.vector import check_suffix

            check_suffix(self.polygons)

    @classmethod
    def of(
        cls,
        mask: str | Path,
        polygons: str | Path | None = None,
        probability: str | Path | None = None,
        masked: str | Path | None = None,
    ) -> OutputPlan:
        """The plan for paths given as text."""
        return cls(Path(mask), *(None if path is None else Path(path) for path in (polygons, probability, masked)))

    @property
    def results(self) -> list[Path]:
        """The requested files, without styles."""
        return [path for path in (self.mask, self.polygons, self.probability, self.masked) if path is not None]

    @property
    def styles(self) -> dict[Path, Path]:
        """The QGIS style of each result, NAME.qml; a GeoPackage holds its own.

        Polygons get none where a raster's style has the same name.
        """
        rasters = {path: path.with_suffix(".qml") for path in (self.mask, self.probability) if path is not None}
        if self.polygons is None or self.polygons.suffix.lower() == ".gpkg":
            return rasters
        own = self.polygons.with_suffix(".qml")
        return rasters if own in rasters.values() else rasters | {self.polygons: own}

    @property
    def files(self) -> list[Path]:
        """Requested files and their styles."""
        return [*self.results, *self.styles.values()]

    def refuse(self, sources: Iterable[str | Path]) -> None:
        """Raises OutputError if a result would overwrite one of the scene's own files."""
        taken = {Path(source).resolve() for source in sources}
        for path in self.results:
            if path.resolve() in taken:
                raise OutputError(f"{path}: is the scene itself; give the result another name")
