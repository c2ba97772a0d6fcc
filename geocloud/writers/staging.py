"""Atomic results: files are written to a hidden folder beside their destination, then moved into place.

A process locks the staging folders that it creates. The system releases the locks when the process ends, even if it is
killed, so `sweep` can tell abandoned folders from those in use.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from geocloud.errors import OptionError, OutputError, OutputExistsError

GEOPACKAGE = ".gpkg"
VECTORS = (GEOPACKAGE, ".geojson", ".fgb", ".parquet")
SIDECARS = (".aux.xml", ".ovr", ".msk")
"""Suffixes of files that GDAL may have left beside an earlier result; they are deleted. QGIS's NAME.qml is replaced."""

STAGING_PREFIX = ".geocloud-"
LOCK = "lock"
LONGEST_NAME = 255 - 2 * len(".aux.xml")
"""Maximum length of a file name in bytes: 255, minus the suffix of a sidecar and of its own sidecar."""

ORPHAN_AGE = 24 * 3600
"""Age in seconds from which a folder of another machine counts as abandoned."""


def sweep(folder: Path) -> None:
    """Deletes the staging folders that killed runs have left in a folder; those of live runs stay."""
    folders = []
    with suppress(OSError), os.scandir(folder) as files:  # Path.glob would list a million masks
        folders = [Path(file) for file in files if file.name.startswith(STAGING_PREFIX) and file.is_dir()]
    for left in folders:
        with suppress(OSError, Timeout, NotImplementedError):
            if left.name.startswith(_prefix()):
                with FileLock(left / LOCK, timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
                shutil.rmtree(left, ignore_errors=True)  # Windows cannot delete the lock while it is open
            elif time.time() - left.stat().st_mtime > ORPHAN_AGE:
                shutil.rmtree(left, ignore_errors=True)


def _prefix() -> str:
    """Prefix of this machine's staging folders: on a shared disk, locks of other machines may be invisible."""
    return f"{STAGING_PREFIX}{re.sub(r'[^A-Za-z0-9]', '', platform.node())[:40]}-"


def check_suffix(path: Path) -> None:
    """Raises OptionError if the suffix of a path is not one of `VECTORS`."""
    if path.suffix.lower() not in VECTORS:
        raise OptionError(f"{path}: wanted a name that ends in {', '.join(VECTORS)}")


class Staging:
    """Staging area that holds results until all are complete. Use it in a ``with`` block that ends with `publish`.

    Raises OutputExistsError if a destination exists and ``overwrite`` is False, and OutputError if one cannot be
    written.
    """

    def __init__(self, destinations: list[Path], overwrite: bool = False) -> None:
        if len({os.path.realpath(path) for path in destinations}) < len(destinations):
            raise OutputError(f"two outputs are the same file: {', '.join(str(p) for p in destinations)}")
        for path in destinations:
            if (length := len(os.fsencode(path.name))) > LONGEST_NAME:
                raise OutputError(
                    f"{path.name[:40]}…: a name of {length} bytes, too long; wanted at most {LONGEST_NAME}, with room "
                    "for its sidecars: give a shorter one"
                )
            if path.is_dir():
                raise OutputError(f"{path}: is a folder, wanted the name of a file to write")
            if path.exists() and not overwrite:
                raise OutputExistsError(f"{path}: exists already; give overwrite=True to replace it, or another name")
            if not path.parent.is_dir():
                raise OutputError(f"{path}: the folder {path.parent} does not exist")
        self._staged: dict[Path, Path] = {}  # staged path → destination
        self._folders: dict[Path, Path] = {}
        self._locks: list[FileLock] = []
        try:
            for path in destinations:
                self._folder(path.parent)
        except OutputError:
            self.close()
            raise

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def place(self, destination: Path) -> Path:
        """Path of a file to write, which `publish` moves to ``destination`` or, for a symbolic link, to its target."""
        if destination.is_symlink():
            destination = Path(os.path.realpath(destination))
        staged = self._folder(destination.parent) / destination.name
        self._staged[staged] = destination
        return staged

    def write(self, destination: Path, content: str | bytes) -> None:
        """Writes a file, which `publish` moves to ``destination``. Raises OutputError."""
        staged = self.place(destination)
        try:
            staged.write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise OutputError(f"{destination}: cannot be written ({error.strerror})") from error

    def scratch(self, near: Path, name: str) -> Path:
        """Path of a temporary file on the same disk as ``near``; the file is deleted at the end."""
        return self._folder(near.parent) / f"{name}.scratch"

    def publish(self) -> None:
        """Moves the files into place, in the order of the `place` calls, so once the last file exists, all do."""
        try:
            for staged, destination in self._staged.items():
                with staged.open("r+b") as file:  # Windows syncs only files open for writing
                    os.fsync(file.fileno())
                for suffix in SIDECARS:
                    stale = destination.with_name(destination.name + suffix)
                    if stale not in self._staged.values():
                        stale.unlink(missing_ok=True)
                staged.replace(destination)
        except OSError as error:
            busy = "; is it open in another program?" if os.name == "nt" and isinstance(error, PermissionError) else ""
            raise OutputError(f"{destination}: cannot be written ({error.strerror}){busy}") from error

    def close(self) -> None:
        """Deletes everything that was not published."""
        for lock in self._locks:
            lock.release()
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, parent: Path) -> Path:
        while parent not in self._folders:
            try:
                made = Path(tempfile.mkdtemp(prefix=_prefix(), dir=parent))
            except OSError as error:
                raise OutputError(f"{parent}: cannot be written to ({error.strerror})") from error
            lock = FileLock(made / LOCK, thread_local=False)
            with suppress(FileNotFoundError):  # `sweep` of another process has deleted the folder before it was locked
                with suppress(NotImplementedError):  # the file system has no locks
                    lock.acquire()
                    self._locks.append(lock)
                self._folders[parent] = made
        return self._folders[parent]


class OutputPlan:
    """The output files of one scene: mask, polygons, probability and the scene without its clouds, with their styles.

    Raises OutputError for rasters whose names do not end in .tif, OptionError for polygons in an unknown format.
    """

    def __init__(self, mask: str | Path, *others: str | Path | None) -> None:
        self.mask = Path(mask)
        self.polygons, self.probability, self.masked = (
            None if path is None else Path(path) for path in [*others, None, None, None][:3]
        )
        self.results = [path for path in (self.mask, self.polygons, self.probability, self.masked) if path]
        for path in self.results:
            if path != self.polygons and path.suffix.lower() not in (".tif", ".tiff"):
                raise OutputError(
                    f"{path}: rasters are written as GeoTIFFs; wanted a name that ends in .tif, or, for a folder, in /"
                )
        self.styles = {path: path.with_suffix(".qml") for path in (self.mask, self.probability) if path}
        if self.polygons:
            check_suffix(self.polygons)
            own = self.polygons.with_suffix(".qml")
            # A GeoPackage holds its style, and the style of a raster of the same name takes precedence.
            if self.polygons.suffix.lower() != GEOPACKAGE and own not in self.styles.values():
                self.styles[self.polygons] = own

    @property
    def outdated(self) -> list[Path]:
        """Polygons of an earlier mask of this name that would not be overwritten."""
        base = self.mask.with_suffix("")
        bases = {base, base.with_name(base.name.removesuffix("_cloudmask") + "_clouds")}
        paths = (base.with_name(base.name + suffix) for base in bases for suffix in VECTORS)
        return [path for path in paths if path != self.polygons and path.exists()]

    def refuse(self, sources: Iterable[str | Path]) -> None:
        """Raises OutputError if a result would overwrite one of the scene's own files."""
        taken = {os.path.realpath(source) for source in sources}
        for path in self.results:
            if os.path.realpath(path) in taken:
                raise OutputError(f"{path}: is the scene itself; give the result another name")
