"""PlanetScope scenes: what their file names tell, and the two files beside them, coefficients and the usable data mask.

PlanetScope Product Specifications, https://docs.planet.com/data/imagery/planetscope/: AnalyticMS is radiance, of which
``reflectanceCoefficient`` makes top-of-atmosphere reflectance; AnalyticMS_SR is surface reflectance × 10 000; in both 0
is no data. Band 8 of UDM2 is the older unusable data mask, whose lowest bit is set where there is no image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from geocloud.bands import Conversion
from geocloud.errors import SceneReadError, UnitsError
from geocloud.readers.archive import MAX_TEXT
from geocloud.readers.base import MaskSource
from geocloud.readers.xml import parse_xml

NAME = re.compile(
    r"(?P<scene>(?P<date>\d{8})_(?P<time>\d{6})?.*?)_(?:AnalyticMS|analytic_(?=[48]b))(?P<rest>(?:_SR|_?8b|_?4b)*)"
    r"(?P<more>_.*)?",
    re.IGNORECASE,
)
BANDS = {4: (3, 2, 1, 4), 8: (6, 4, 2, 8)}
"""Numbers of red, green, blue and nir: blue, green, red, nir; or coastal blue, blue, green I, green, yellow, red, red
edge, nir."""

SURFACE = Conversion.uniform(1e-4)
UNUSABLE, NO_IMAGE = 8, 1
"""The band of UDM2 that is the unusable data mask, and its bit for no image; its other bits tell of doubt, not loss."""


@dataclass(frozen=True, slots=True)
class PlanetName:
    """What the name of an analytic product tells."""

    scene: str
    """All that its files begin with."""
    count: int
    """4 or 8 bands."""
    surface: bool
    """Surface reflectance; else radiance."""
    acquired: datetime | None

    @classmethod
    def parse(cls, stem: str) -> PlanetName | None:
        """None for other names."""
        found = NAME.fullmatch(stem)
        if not found:
            return None
        rest = f"{found['rest']}{found['more'] or ''}".lower()
        try:
            text = f"{found['date']}{found['time'] or '000000'}"
            acquired = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            acquired = None
        words = rest.split("_")
        return cls(found["scene"], 8 if "8b" in words else 4, "sr" in words, acquired)


def is_beside(name: str) -> bool:
    """True for the masks that come with a scene, which are rasters of several bands, but no scenes."""
    return bool(re.search(r"_udm2?(_.*)?\.tiff?$", name, re.IGNORECASE))


def files_beside(path: Path) -> tuple[Path, ...]:
    """The coefficients and the usable data mask of a scene, where they are."""
    name = PlanetName.parse(path.stem)
    if name is None:
        return ()
    return tuple(file for file in (_metadata(path, name), _udm2(path, name)) if file is not None)


def planet_mask(path: Path, name: PlanetName) -> MaskSource | None:
    """Where there is no image, by the usable data mask; None without one."""
    file = _udm2(path, name)
    return None if file is None else MaskSource(str(file), UNUSABLE, NO_IMAGE)


def planet_conversion(path: Path, name: PlanetName, numbers: tuple[int, ...]) -> Conversion:
    """The way to reflectance of the bands with these numbers: red, green, blue and, where it is read, nir.

    Raises UnitsError where their coefficients are not there, SceneReadError.
    """
    if name.surface:
        return SURFACE
    file = _metadata(path, name)
    if file is None:
        raise UnitsError(
            f"{path}: radiance, and no {name.scene}_…_metadata.xml with its reflectance coefficients beside it; "
            "put it there, or say --scale and --offset"
        )
    found = read_coefficients(file)
    lacking = [number for number in numbers if number not in found]
    if lacking:
        raise UnitsError(f"{file}: no reflectanceCoefficient of band {lacking[0]}; fetch the file again")
    red, green, blue, nir = [*(found[number] for number in numbers), found[numbers[0]]][:4]
    return Conversion((red, green, blue, nir), (0.0,) * 4)


def read_coefficients(path: Path) -> dict[int, float]:
    """Band number → reflectance coefficient. Raises SceneReadError for what is no such file, or has a DOCTYPE."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise SceneReadError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_TEXT:
        raise SceneReadError(f"{path}: over {MAX_TEXT} bytes long, that is no metadata file")
    reader = _Reader()
    parse_xml(data, str(path), "PlanetScope", reader.start, reader.end, reader.take)
    try:
        return {int(number): float(value) for number, value in reader.found}
    except ValueError as error:
        raise SceneReadError(f"{path}: cannot be read as PlanetScope metadata ({error})") from error


class _Reader:
    """Keeps (band number, coefficient) of each ``ps:bandSpecificMetadata``."""

    def __init__(self) -> None:
        self._text = ""
        self._number = ""
        self.found: list[tuple[str, str]] = []

    def start(self, name: str, _: dict[str, str]) -> None:
        self._text = ""

    def take(self, text: str) -> None:
        self._text += text

    def end(self, name: str) -> None:
        match name:
            case "bandNumber":
                self._number = self._text.strip()
            case "reflectanceCoefficient":
                self.found.append((self._number, self._text.strip()))


def _metadata(path: Path, name: PlanetName) -> Path | None:
    """The coefficients' file: of this product's own number of bands, though both kinds may be beside."""
    found = [
        file
        for file in _named(path, name, "metadata", ".xml")
        if (other := PlanetName.parse(re.sub(r"_metadata", "", file.stem, flags=re.IGNORECASE)))
        and (other.count, other.surface) == (name.count, False)
    ]
    return found[0] if found else None


def _udm2(path: Path, name: PlanetName) -> Path | None:
    """The mask: clipped where the scene is."""
    found = [file for ending in (".tif", ".tiff") for file in _named(path, name, "udm2", ending)]
    clipped = "clip" in path.stem.lower()
    return next((file for file in found if ("clip" in file.stem.lower()) == clipped), None)


def _named(path: Path, name: PlanetName, word: str, ending: str) -> list[Path]:
    """Files of the same scene beside it, of which the name holds a word, in order."""
    return sorted(
        file
        for file in path.parent.iterdir()
        if file.name.lower().startswith(f"{name.scene.lower()}_")
        and word in file.stem.lower()[len(name.scene) :]
        and file.suffix.lower() == ending
    )
