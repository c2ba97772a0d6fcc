"""The work on one scene: a job, which is passed to processes and machines, and the entry that comes back."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geocloud.batch.options import BatchOptions
from geocloud.batch.state import DONE, FAILED, PERCENTS, Entry
from geocloud.errors import (
    GeocloudError,
    SceneError,
    SceneNotFoundError,
    SceneReadError,
    on_command_line,
    without_secrets,
)
from geocloud.io.remote import upload
from geocloud.pipeline import mask_scene

if TYPE_CHECKING:
    from geocloud.tiling.tiles import Predict

log = logging.getLogger("geocloud")

QUICKLOOK = 1024
"""Longest side of a quick-look's pictures in pixels."""
SHARED = ("height", "width", "crs", "acquired", "model", "threshold", *PERCENTS)
"""Fields that a `MaskResult` and an `Entry` have in common."""
BAD_INPUT, LATER, PASSING = "bad input", "later", "passing"
"""Kinds of failure: the source must change, a later run may succeed, another try may succeed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A scene to be masked."""

    name: str
    """Base name of the scene's files."""
    source: str
    """Path or URL of the scene."""
    folder: Path
    """Folder of the results."""
    options: BatchOptions
    """Options of the run."""

    def files(self) -> dict[str, Path]:
        """The files to be written: kind → path. The STAC item, which describes the others, appears last."""
        endings = {
            "mask": "_cloudmask.tif",
            "polygons": self.options.polygons and "_clouds.gpkg",
            "probability": self.options.probability and "_probability.tif",
            "quicklook": self.options.quicklook and "_quicklook.jpg",
            "item": ".json",
        }
        return {kind: self.folder / f"{self.name}{ending}" for kind, ending in endings.items() if ending}

    def entry(self, state: str, **results: Any) -> Entry:
        """The outcome of the job, for `geocloud.batch.state.Manifest.finish`."""
        worker = f"{platform.node()}:{os.getpid()}"
        return Entry("", self.name, without_secrets(self.source), state, worker=worker, **results)


class _Notes(logging.Handler):
    """Collects the library's warnings from this thread: on stderr they would not name their scene."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(without_secrets(" ".join(record.getMessage().split())))


def run_job(job: Job, predict: Predict) -> Entry:
    """Masks a scene and writes its STAC item and pictures. Errors are returned as a failed entry."""
    notes, started = _Notes(), time.monotonic()
    log.addHandler(notes)
    try:
        entry = _mask(job, predict)
    except Exception as error:
        is_remote = isinstance(error, SceneReadError) and "://" in str(error)
        is_bad = isinstance(error, SceneError) and not isinstance(error, SceneNotFoundError)
        known = BAD_INPUT if is_bad else LATER
        entry = failed(job, error, PASSING if is_remote or not isinstance(error, GeocloudError) else known)
    finally:
        log.removeHandler(notes)
    return replace(entry, seconds=round(time.monotonic() - started, 3), notes="\n".join(notes.lines) or None)


def failed(job: Job, error: BaseException | str, kind: str) -> Entry:
    """The entry of a failed job, with the error in one line."""
    text = on_command_line(without_secrets(" ".join(str(error).split())))
    if isinstance(error, BaseException) and not isinstance(error, GeocloudError):
        text = f"{type(error).__name__}: {text}"
    return job.entry(FAILED, error=text, failure=kind)


def _mask(job: Job, predict: Predict) -> Entry:
    from geocloud.batch.describe import describe
    from geocloud.preview.render import Overview

    files, options = job.files(), job.options
    overview = Overview(QUICKLOOK if options.quicklook else QUICKLOOK // 4)
    result = mask_scene(
        job.source,
        files["mask"],
        polygons=files.get("polygons"),
        probability=files.get("probability"),
        model=predict,
        read=options.read,
        options=replace(options.mask, overwrite=True),
        watch=overview.take,
    )
    place = describe(result, overview, files, job.name)
    if options.upload:
        _upload(files, options.upload, options.keep)
    facts = {name: value for name, value in result.facts().items() if name in SHARED}
    size, names = result.height * result.width / 1e6, {kind: path.name for kind, path in files.items()}
    return job.entry(DONE, megapixels=size, files=names, uploaded=options.upload, **facts, **place)


def _upload(files: dict[str, Path], to: str, keep: bool) -> None:
    """Uploads a scene's files, each after its sidecars and the item last; deletes the local ones unless ``keep``."""
    beside = [(path.with_suffix(".qml"), path.with_name(path.name + ".aux.xml"), path) for path in files.values()]
    sent = [file for group in beside for file in group if file.exists()]
    for file in sent:
        upload(file, f"{to.rstrip('/')}/{file.name}")
    for file in () if keep else sent:
        file.unlink()
