"""Exceptions that geocloud raises.

    GeocloudError
    ├── SceneError                     a source cannot be used as a scene
    │   ├── SceneNotFoundError         (FileNotFoundError) no such file or folder
    │   ├── BandError                  a band is missing, or cannot be identified
    │   ├── UnitsError                 the units of the pixel values are unknown or invalid
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

A message is one line: the file, what was found, what was wanted, what to do next. Options are named as in
Python; `on_command_line` names them as the command line does. URLs are stripped of user names, passwords and queries,
which may hold secrets.
"""

from __future__ import annotations

import re

_SECRET = re.compile(r"([a-z][a-z0-9+.\-]*://)(?:[^\s/@?#]*@)?([^\s?#'\"<>]*)(?:\?[^\s#'\"<>]*)?", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with its URLs stripped of user names, passwords and queries (which may hold signatures)."""
    return _SECRET.sub(r"\1\2", text) if "://" in text else text


_ARGUMENT = re.compile(r"(?<![^\s(])(?:\w+Options\(((?:\([^()]*\)|[^()])*)\)|((?:pixel_size|overwrite|kind)=[\w…]+))")


def on_command_line(text: str) -> str:
    """The text with arguments such as ``ReadOptions(bands=(4, 3, 2))`` written as options: ``--bands 4,3,2``."""

    def flags(match: re.Match[str]) -> str:
        pairs = re.findall(r"(\w+)=(\([^)]*\)|[^,]*)", match[1] or match[2])
        values = ("" if value == "True" else value.strip("()'…").replace(" ", "") for _, value in pairs)
        names = ("--as" if name == "kind" else f"--{name.replace('_', '-')}" for name, _ in pairs)
        return " and ".join(f"{name} {value}".rstrip() for name, value in zip(names, values, strict=True))

    return _ARGUMENT.sub(flags, text)


class GeocloudError(Exception):
    """Base class of all exceptions of geocloud. Line breaks in messages become spaces."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(re.sub(r"\s*[\r\n]\s*", " ", str(message))))


class SceneError(GeocloudError):
    """A source cannot be used as a scene."""


class SceneNotFoundError(SceneError, FileNotFoundError):
    """The source does not exist."""


class BandError(SceneError):
    """One of red, green, blue and nir is missing, or cannot be identified."""


class UnitsError(SceneError):
    """The units of the pixel values are unknown or invalid."""


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
