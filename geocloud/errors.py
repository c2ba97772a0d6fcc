"""Every error that geocloud raises on purpose.

    GeocloudError
    ├── SceneError                     a source cannot be used as a scene
    │   ├── SceneNotFoundError         (FileNotFoundError) no such file or folder
    │   ├── BandError                  a band is missing, or cannot be identified
    │   ├── UnitsError                 the units of the pixel values are unknown, or make no sense
    │   ├── GridError                  bands differ in size, CRS or position
    │   └── SceneReadError             (OSError) damaged, or not a raster
    ├── DatasetError                   training or test data are missing, incomplete or invalid
    ├── ModelError
    │   ├── ModelNotFoundError         no model or file of that name
    │   └── CheckpointError            not a geocloud checkpoint, or damaged
    ├── DeviceError                    this machine lacks the requested device or precision
    ├── DependencyError                (ImportError) an optional dependency is not installed
    ├── OptionError                    (ValueError) an option has an invalid value
    └── OutputError                    (OSError) a result cannot be written
        └── OutputExistsError          (FileExistsError) the file exists already

A message is one line: the file, what was found, what was wanted, what to do next. URLs in it are stripped of user
names, passwords and queries, which may hold secrets.
"""

from __future__ import annotations

import re

_SECRET = re.compile(r"([a-z][a-z0-9+.\-]*://)(?:[^\s/@?#]*@)?([^\s?#'\"<>]*)(?:\?[^\s#'\"<>]*)?", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with its URLs stripped of user names, passwords and queries (which may hold signatures)."""
    return _SECRET.sub(r"\1\2", text) if "://" in text else text


OPTIONS = {
    "ReadOptions": "units scale offset bands sun_elevation scene_id extent",
    "MaskOptions": "threshold shadows snow cirrus reject_snow shadow_threshold min_area buffer shadow_buffer "
    "polygon_min_area tile_size overlap working_resolution",
    "ComputeOptions": "device precision batch",
    "": "pixel_size overwrite kind",  # arguments of most functions
}
"""Options of the command line that have the same name in Python, but for hyphens, by class."""

_OWNERS = {name: owner for owner, names in OPTIONS.items() for name in names.split()}
_SWITCHES = ("shadows", "snow", "cirrus", "reject_snow", "overwrite")
_WORD = r"(?:landsat|sentinel|scaled)[\w-]+|native|auto|cpu|cuda|mps|int8|b?float\d+|reflectance|[rgbnx]{4,5}"
_FLAG = (  # compiled on first use, which takes milliseconds
    rf"--(as|{'|'.join(_OWNERS).replace('_', '-')})\b(?!-)(?: (\d[\d,.]*\d|\d|[A-Z]{{2,}}\b|(?:{_WORD})\b(?![:-])))?"
)
_ARGUMENT = (
    rf"(?:(\w+Options\()|\b(?={'=|'.join(OPTIONS[''].split())}=))({'|'.join(_OWNERS)})="
    r"(?:(…|True|[A-Z]+)|'([\w-]+)'|\(([\d, ]+)\)|([\d.]+))(?(1)\))"
)


def in_python(text: str) -> str:
    """The text with options of the command line, such as ``--bands 4,3,2``, as arguments: ``ReadOptions(bands=…)``."""

    def argument(found: re.Match[str]) -> str:
        name, value = "kind" if found[1] == "as" else found[1].replace("-", "_"), found[2]
        if value is None:
            value = "True" if name in _SWITCHES else "…"
        elif "," in value:
            value = f"({value.replace(',', ', ')})"
        elif not (value.isupper() or value[0].isdigit()):
            value = repr(value)
        owner = _OWNERS[name]
        return f"{owner}({name}={value})" if owner else f"{name}={value}"

    if "--" not in text or "geocloud mask" in text:  # a command is shown as it is
        return text
    return re.sub(_FLAG, argument, text)


def on_command_line(text: str) -> str:
    """The reverse of `in_python`, for messages on the command line."""

    def flag(found: re.Match[str]) -> str:
        _, name, bare, word, numbers, number = found.groups()
        value = word or number or (numbers or "").replace(" ", "") or (bare if bare not in ("…", "True") else "")
        return f"--{'as' if name == 'kind' else name.replace('_', '-')} {value}".rstrip()

    return re.sub(_ARGUMENT, flag, text)


class GeocloudError(Exception):
    """Root of the tree: catch it to catch every error of geocloud. Line breaks in its message become spaces.

    Options in the message are named as on the command line, and shown as in Python, see `in_python`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(in_python(without_secrets(re.sub(r"\s*[\r\n]\s*", " ", str(message)))))


class SceneError(GeocloudError):
    """A source cannot be used as a scene."""


class SceneNotFoundError(SceneError, FileNotFoundError):
    """The source does not exist."""


class BandError(SceneError):
    """One of red, green, blue and nir is missing, or cannot be identified."""


class UnitsError(SceneError):
    """The units of the pixel values are unknown, or those given make no sense."""


class GridError(SceneError):
    """The bands differ in size, CRS or position."""


class SceneReadError(SceneError, OSError):
    """The source is damaged, or not a raster."""


class DatasetError(GeocloudError):
    """Training or test data are missing, incomplete or invalid."""


class ModelError(GeocloudError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is no bundled model and no file of that name."""


class CheckpointError(ModelError):
    """The file is not a geocloud checkpoint, or is damaged."""


class DeviceError(GeocloudError):
    """This machine lacks the requested device or precision."""


class DependencyError(GeocloudError, ImportError):
    """An optional dependency is not installed."""


class OptionError(GeocloudError, ValueError):
    """An option has an invalid value."""


class OutputError(GeocloudError, OSError):
    """A result cannot be written."""


class OutputExistsError(OutputError, FileExistsError):
    """The result exists already, and overwriting it was not requested."""
