"""Files side by side, in a folder, archive or bucket: their names, their texts, and paths that GDAL opens in place."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

from geocloud.errors import SceneError, SceneReadError, without_secrets
from geocloud.io.remote import gdal_name, is_remote, list_files, open_file, read_bytes

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
ZIP_SUFFIXES = (".zip",)
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What Python's readers of archives raise for damaged, encrypted and unknown contents."""
LONGEST_NAME = 100  # bytes of a name that a tar holds in its plain header
MAX_TEXT = 4 * 1024 * 1024  # no metadata file is near this long


@dataclass(frozen=True, slots=True)
class Container:
    """``names`` are files by their path inside, with slashes; ``source`` is what the user named."""

    source: str
    stem: str
    names: tuple[str, ...]
    path_of: Callable[[str], str]
    read_bytes: Callable[[str], bytes]

    def label(self, name: str) -> str:
        """A file's name for people."""
        return f"{self.source}/{name}"

    def below(self, folder: str) -> Container:
        """What lies below a folder of it, by paths from there; ``""`` is all of it."""
        if not folder:
            return self
        start = f"{folder}/"
        return Container(
            f"{self.source}/{folder}",
            PurePosixPath(folder).name,
            tuple(name.removeprefix(start) for name in self.names if name.startswith(start)),
            lambda name: self.path_of(start + name),
            lambda name: self.read_bytes(start + name),
        )

    def read_text(self, name: str) -> str:
        """A text file; what is not UTF-8 is read as Latin-1. Raises SceneReadError."""
        try:
            data = self.read_bytes(name)
        except DAMAGE as error:
            raise SceneReadError(f"{self.label(name)}: cannot be read ({error})") from error
        if len(data) > MAX_TEXT:
            raise SceneReadError(f"{self.label(name)}: over {MAX_TEXT} bytes long, that is no metadata file")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("latin-1")


def is_archive(path: PurePath) -> bool:
    """True for a name that ends like a tar or zip archive."""
    return path.name.lower().endswith((*TAR_SUFFIXES, *ZIP_SUFFIXES))


def open_container(place: str | Path) -> Container:
    """A folder, or an archive on a disk or at a URL.

    Raises SceneReadError for a damaged archive, SceneError for one at a URL that is compressed as a whole.
    """
    if not is_remote(place) and Path(place).is_dir():
        return _folder(Path(place))
    archive = _Archive(place)
    if archive.remote and archive.compressed:
        raise SceneError(
            f"{place}: compressed as a whole, so that each band would fetch all of it; fetch it and name your copy"
        )
    try:
        return _zip(archive) if archive.name.lower().endswith(ZIP_SUFFIXES) else _tar(archive)
    except SceneReadError:
        raise
    except DAMAGE as error:
        raise SceneReadError(f"{place}: damaged or cut off, cannot be read as an archive ({error})") from error


def _folder(path: Path) -> Container:
    try:
        names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_file()))
    except OSError as error:
        raise SceneReadError(f"{path}: cannot be listed ({error.strerror})") from error
    return _on_disk(path, names)


def open_tree(path: Path) -> Container:
    """A folder with all that is below it; links to folders are not followed. Raises SceneReadError."""

    def refuse(error: OSError) -> None:
        raise SceneReadError(f"{path}: cannot be listed ({error.strerror})") from error

    names = []
    for folder, _, files in os.walk(path, onerror=refuse):
        below = Path(folder).relative_to(path)
        names += [(below / file).as_posix() for file in files]
    return _on_disk(path, tuple(sorted(names)))


def _on_disk(path: Path, names: tuple[str, ...]) -> Container:
    def read(name: str) -> bytes:
        with (path / name).open("rb") as file:
            return file.read(MAX_TEXT + 1)

    return Container(str(path), path.resolve().name, names, lambda name: str(path / name), read)


def open_bucket(url: str, below: bool = False) -> Container:
    """The files directly in a store's folder, or all ``below`` it. Raises SceneReadError, DependencyError."""
    root = url.rstrip("/")
    names = (address.removeprefix(f"{root}/") for address in list_files(f"{root}/"))
    return Container(
        url,
        root.rpartition("/")[2],
        tuple(sorted(name for name in names if below or "/" not in name)),
        lambda name: f"{root}/{name}",
        lambda name: read_bytes(f"{root}/{name}"),
    )


class _Archive:
    """Where an archive is, on a disk or at a URL."""

    def __init__(self, place: str | Path) -> None:
        self.remote = is_remote(place)
        self._place = place
        self.source = without_secrets(str(place))
        self.name = PurePosixPath(self.source).name if self.remote else Path(place).name
        self.gdal_name = gdal_name(str(place)) if self.remote else Path(place).resolve().as_posix()
        self.compressed = self.name.lower().endswith(TAR_SUFFIXES[1:])

    def open(self) -> IO[bytes]:
        """The file's bytes, from any place in it."""
        return open_file(str(self._place)) if self.remote else Path(self._place).open("rb")


def _tar(archive: _Archive) -> Container:
    with archive.open() as file, tarfile.open(fileobj=file) as tar:
        # By position, so that a text is read without listing the archive again.
        members = {_clean(m.name): m for m in tar if m.isreg()}  # no links, no devices

    def read(name: str) -> bytes:
        with archive.open() as file, tarfile.open(fileobj=file) as tar:
            member = tar.extractfile(members[name])
            return member.read(MAX_TEXT + 1) if member else b""

    def place(name: str) -> str | None:
        # GDAL's vsitar knows long names of GNU's form only, not those that Python's and other tars write (pax), and it
        # would fetch the headers of all members anew.
        if not archive.remote and len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
            return None
        about = members[name]
        zipped = "/vsigzip/" if archive.compressed else ""
        return f"/vsisubfile/{about.offset_data}_{about.size},{zipped}{archive.gdal_name}"

    return _archive(archive, "vsitar", tuple(members), read, place)


def _zip(archive: _Archive) -> Container:
    with archive.open() as file, zipfile.ZipFile(file) as packed:
        members = {_clean(info.filename): info for info in packed.infolist() if not info.is_dir()}

    def read(name: str) -> bytes:
        with archive.open() as file, zipfile.ZipFile(file) as packed, packed.open(members[name]) as member:
            return member.read(MAX_TEXT + 1)

    return _archive(archive, "vsizip", tuple(members), read)


def _archive(
    archive: _Archive,
    filesystem: str,
    names: tuple[str, ...],
    read: Callable[[str], bytes],
    place: Callable[[str], str | None] = lambda name: None,
) -> Container:
    root = f"/{filesystem}/{{{archive.gdal_name}}}"  # braces: GDAL then takes any name for the archive
    safe = tuple(sorted(n for n in names if ".." not in PurePosixPath(n).parts and not n.startswith("/")))
    stem = archive.name
    for suffix in (*TAR_SUFFIXES, *ZIP_SUFFIXES):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    return Container(archive.source, stem, safe, lambda name: place(name) or f"{root}/{name}", read)


def _clean(name: str) -> str:
    return name.removeprefix("./")
