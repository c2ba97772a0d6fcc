"""Listings of the files in a folder, an archive or a bucket.

A `Listing` holds file names, reads text files, and gives paths that GDAL opens in place.
"""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from geocloud.errors import SceneError, SceneReadError, without_secrets
from geocloud.io.remote import gdal_name, is_remote, list_files, open_file, read_bytes

PACKED = re.compile(r"\.(zip|tar|tar\.gz|tgz)$", re.IGNORECASE)  # suffix of an archive
ARCHIVE = re.compile(rf".*{PACKED.pattern}|s2.*\.safe", re.IGNORECASE)
"""Name of a tar or zip archive, including a Sentinel-2 ``.SAFE`` that is a file."""
DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""Exceptions raised by Python's archive readers for damaged, encrypted or unknown contents."""
PLAIN_NAME = 100  # maximum length in bytes of a name in a plain tar header
MAX_TEXT = 4 * 1024 * 1024  # maximum size of a metadata file in bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """Sorted relative paths of files in a folder, archive or bucket, with slashes; on a disk also subfolders.

    ``source`` is the location as the user named it, ``stem`` its name without folders and suffix. ``path_of`` gives the
    path or URL that GDAL opens for a file, ``read_bytes`` its content, at most `MAX_TEXT` + 1 bytes.
    """

    source: str
    stem: str
    names: tuple[str, ...] = ()
    path_of: Callable[[str], str] = str
    read_bytes: Callable[[str], bytes] = str.encode
    folders: tuple[str, ...] = ()

    def label(self, name: str) -> str:
        """Name of a file for messages."""
        return f"{self.source}/{name}"

    def without(self, names: Collection[str]) -> Listing:
        """This listing without the given files."""
        return replace(self, names=tuple(name for name in self.names if name not in names)) if names else self

    def below(self, folder: str) -> Listing:
        """Files below a folder, with paths relative to it; ``""`` gives the listing itself."""
        if not folder:
            return self
        start = f"{folder}/"
        names = tuple(name.removeprefix(start) for name in self.names if name.startswith(start))
        path_of, read = (lambda name: self.path_of(start + name)), (lambda name: self.read_bytes(start + name))
        return Listing(self.label(folder), PurePosixPath(folder).name, names, path_of, read)

    def read_text(self, name: str) -> str:
        """Content of a text file. Raises SceneReadError."""
        try:
            data = self.read_bytes(name)
        except DAMAGE as error:
            raise SceneReadError(f"{self.label(name)}: cannot be read ({error})") from error
        if len(data) > MAX_TEXT:
            raise SceneReadError(f"{self.label(name)}: over {MAX_TEXT} bytes long, too large for a metadata file")
        return decode(data)


def decode(data: bytes) -> str:
    """Decodes UTF-8, with or without a byte order mark, or else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def list_folder(path: Path, below: bool = False) -> Listing:
    """Files in a folder, with ``below`` also in subfolders; links to folders are skipped. Raises SceneReadError."""

    def refuse(error: OSError) -> None:
        raise SceneReadError(f"{path}: cannot be listed ({error.strerror})") from error

    names: list[str] = []
    for folder, folders, files in os.walk(path, onerror=refuse):
        if not below:
            return on_disk(path, tuple(sorted(files)), tuple(sorted(folders)))
        names += [(Path(folder).relative_to(path) / file).as_posix() for file in files]
    return on_disk(path, tuple(sorted(names)))


def on_disk(path: Path, names: tuple[str, ...], folders: tuple[str, ...] = ()) -> Listing:
    """Listing of a folder whose files are known."""

    def read(name: str) -> bytes:
        with (path / name).open("rb") as file:
            return file.read(MAX_TEXT + 1)

    return Listing(str(path), path.resolve().name, names, lambda name: f"{path}{os.sep}{name}", read, folders)


def list_bucket(url: str, below: bool = False) -> Listing:
    """Files in a bucket folder, with ``below`` also in subfolders. Raises SceneReadError, DependencyError."""
    root = f"{url.rstrip('/')}/"
    names = sorted(address.removeprefix(root) for address in list_files(root))
    return in_bucket(url, tuple(name for name in names if below or "/" not in name))


def in_bucket(url: str, names: tuple[str, ...]) -> Listing:
    """Listing of a bucket folder whose files are known."""
    root = url.rstrip("/")
    stem = root.rpartition("/")[2]
    return Listing(url, stem, names, lambda name: f"{root}/{name}", lambda name: read_bytes(f"{root}/{name}"))


def list_archive(place: str) -> Listing:
    """Files in a tar or zip archive. The format is identified by the first bytes or, at a URL, by name.

    Raises SceneReadError for a damaged archive, and SceneError for bzip2, for xz, and for gzip at a URL.
    """
    source, remote, members = without_secrets(place), is_remote(place), dict[str, Any]()
    name = PurePosixPath(source).name if remote else Path(place).name
    packed = gdal_name(place) if remote else Path(place).resolve().as_posix()
    named_gzip = is_gzip = name.lower().endswith((".tar.gz", ".tgz"))
    is_zip = name.lower().endswith((".zip", ".safe"))

    def opened() -> IO[bytes]:
        return open_file(place) if remote else Path(place).open("rb")

    def read(name: str) -> bytes:
        with opened() as file:
            if is_zip:
                with zipfile.ZipFile(file) as archive, archive.open(members[name]) as content:
                    return content.read(MAX_TEXT + 1)
            with tarfile.open(fileobj=file) as tar:
                member = tar.extractfile(members[name])  # by offset, without listing the archive again
                return member.read(MAX_TEXT + 1) if member else b""

    def path_of(name: str) -> str:
        if is_zip:
            return f"/vsizip/{{{packed}}}/{name}"  # in braces, GDAL accepts any archive name
        # /vsitar/ relies on the suffix, fetches all headers again, and supports long names in GNU's format, not in pax.
        if not remote and is_gzip == named_gzip and len(name.encode("utf-8", "surrogateescape")) <= PLAIN_NAME:
            return f"/vsitar/{{{packed}}}/{name}"
        gzip, member = "/vsigzip/" if is_gzip else "", members[name]
        return f"/vsisubfile/{member.offset_data}_{member.size},{gzip}{packed}"

    if remote and is_gzip:
        whole = "compressed as a whole, so that reading each band would fetch all of it; fetch it and name your copy"
        raise SceneError(f"{place}: {whole}")
    try:
        with opened() as file:
            start = b"" if remote else file.read(6)
            if start.startswith((b"BZh", b"\xfd7zXZ")):
                raise SceneError(f"{place}: compressed by bzip2 or xz, which is not read in place; unpack it")
            if start:
                is_gzip, is_zip = start.startswith(b"\x1f\x8b"), start.startswith(b"PK")
            file.seek(0)
            if is_zip:
                with zipfile.ZipFile(file) as archive:
                    members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
            else:
                with tarfile.open(fileobj=file) as tar:
                    members = {member.name: member for member in tar if member.isreg()}  # no links or devices
    except SceneError:
        raise
    except DAMAGE as error:
        raise SceneReadError(f"{place}: damaged or cut off, cannot be read as an archive ({error})") from error
    members = {name.removeprefix("./"): member for name, member in members.items()}
    safe = sorted(name for name in members if ".." not in PurePosixPath(name).parts and not name.startswith("/"))
    return Listing(source, PACKED.sub("", name), tuple(safe), path_of, read)
