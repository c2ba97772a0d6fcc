"""Every error that geocloud raises on purpose.

GeocloudError
├── SceneError                     a source cannot be used
│   ├── SceneNotFoundError         (FileNotFoundError) nothing is there
│   ├── BandError                  a band is missing, or cannot be told from another
│   ├── UnitsError                 what the numbers mean cannot be told, or makes no sense
│   ├── GridError                  bands differ in size, CRS or position
│   └── SceneReadError             (OSError) damaged or not a raster
├── DatasetError                   training or test data are missing, incomplete or not what they should be
├── ModelError
│   ├── ModelNotFoundError         no model or file of that name
│   └── CheckpointError            not a geocloud checkpoint, or damaged
├── DeviceError                    a device or precision that this machine does not have
├── DependencyError                (ImportError) an optional part of geocloud is not installed
├── OptionError                    (ValueError) an option that makes no sense
└── OutputError                    (OSError) a result cannot be written
    └── OutputExistsError          (FileExistsError) it is there already

The message is one line: the file, what was found, what was wanted, what to do next. Addresses in it are without what
may be secret.
"""

from __future__ import annotations

import re

_SECRET = re.compile(r"([a-z][a-z0-9+.\-]*://)(?:[^\s/@?#]*@)?([^\s?#'\"<>]*)(?:\?[^\s#'\"<>]*)?", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """A text whose addresses have lost their queries, where signatures are, and their user names and passwords."""
    return _SECRET.sub(r"\1\2", text) if "://" in text else text


class GeocloudError(Exception):
    """Root of the tree: catch it to catch them all. Its message is one line, whatever was put into it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(re.sub(r"\s*[\r\n]\s*", " ", str(message))))


class SceneError(GeocloudError):
    """A source cannot be used as a scene."""


class SceneNotFoundError(SceneError, FileNotFoundError):
    """Nothing is at the path that was named."""


class BandError(SceneError):
    """One of red, green, blue and nir is missing, or cannot be told from another."""


class UnitsError(SceneError):
    """What the pixel values mean cannot be told, or what was said of them makes no sense."""


class GridError(SceneError):
    """The bands differ in size, CRS or position."""


class SceneReadError(SceneError, OSError):
    """The source is damaged, or is no raster."""


class DatasetError(GeocloudError):
    """Training or test data are missing, incomplete, or not what they should be."""


class ModelError(GeocloudError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No bundled model and no file has that name."""


class CheckpointError(ModelError):
    """The file is no geocloud checkpoint, or is damaged."""


class DeviceError(GeocloudError):
    """This machine does not have the device or precision that was asked for."""


class DependencyError(GeocloudError, ImportError):
    """An optional part of geocloud is not installed."""


class OptionError(GeocloudError, ValueError):
    """An option's value makes no sense."""


class OutputError(GeocloudError, OSError):
    """A result cannot be written."""


class OutputExistsError(OutputError, FileExistsError):
    """The result is there already, and nobody said to overwrite it."""
