"""Selection of PROJ's database of coordinate reference systems: the one in rasterio's package."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

VARIABLES = ("PROJ_DATA", "PROJ_LIB")
"""Environment variables that name the folder of PROJ's database."""


def use_own_database() -> None:
    """Unsets `VARIABLES` if rasterio's package has a database of its own, as wheels from PyPI have.

    PostGIS, QGIS and conda set them for their own PROJ. With a database of another version, no CRS can be read.
    """
    package = find_spec("rasterio")
    folder = package and package.origin and Path(package.origin).with_name("proj_data")
    if folder and (folder / "proj.db").is_file():
        for name in VARIABLES:
            os.environ.pop(name, None)
