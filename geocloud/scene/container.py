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

from geocloud.errors import SceneReadError
from geocloud.io.remote import list_files, read_bytes

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


def open_container(path: Path) -> Container:
    """A folder or an archive. Raises SceneReadError for a damaged archive."""
    if path.is_dir():
        return _folder(path)
    try:
        return _zip(path) if path.name.lower().endswith(ZIP_SUFFIXES) else _tar(path)
    except DAMAGE as error:
        raise SceneReadError(f"{path}: damaged or cut off, cannot be read as an archive ({error})") from error


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
    """The files directly in ``s3://bucket/folder/``, or all ``below`` it. Raises SceneReadError, DependencyError."""
    root = url.rstrip("/")
    names = (address.removeprefix(f"{root}/") for address in list_files(f"{root}/"))
    return Container(
        url,
        root.rpartition("/")[2],
        tuple(sorted(name for name in names if below or "/" not in name)),
        lambda name: f"{root}/{name}",
        lambda name: read_bytes(f"{root}/{name}"),
    )


def _tar(path: Path) -> Container:
    with tarfile.open(path) as archive:
        # By position, so that a text is read without listing the archive again.
        members = {_clean(m.name): m for m in archive if m.isreg()}  # no links, no devices

    def read(name: str) -> bytes:
        with tarfile.open(path) as archive:
            file = archive.extractfile(members[name])
            return file.read(MAX_TEXT + 1) if file else b""

    def place(name: str) -> str | None:
        # GDAL's vsitar knows long names of GNU's form only, not those that Python's and other tars write (pax).
        if len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
            return None
        about = members[name]
        zipped = "" if path.name.lower().endswith(".tar") else "/vsigzip/"
        return f"/vsisubfile/{about.offset_data}_{about.size},{zipped}{path.resolve().as_posix()}"

    return _archive(path, "vsitar", tuple(members), read, place)


def _zip(path: Path) -> Container:
    with zipfile.ZipFile(path) as archive:
        members = {_clean(info.filename): info for info in archive.infolist() if not info.is_dir()}

    def read(name: str) -> bytes:
        with zipfile.ZipFile(path) as archive, archive.open(members[name]) as file:
            return file.read(MAX_TEXT + 1)

    return _archive(path, "vsizip", tuple(members), read)


def _archive(
    path: Path,
    filesystem: str,
    names: tuple[str, ...],
    read: Callable[[str], bytes],
    place: Callable[[str], str | None] = lambda name: None,
) -> Container:
    root = f"/{filesystem}/{{{path.resolve().as_posix()}}}"  # braces: GDAL then takes any name for the archive
    safe = tuple(sorted(n for n in names if ".." not in PurePosixPath(n).parts and not n.startswith("/")))
    stem = path.name
    for suffix in (*TAR_SUFFIXES, *ZIP_SUFFIXES):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    return Container(str(path), stem, safe, lambda name: place(name) or f"{root}/{name}", read)


def _clean(name: str) -> str:
    return name.removeprefix("./")
