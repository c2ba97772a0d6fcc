"""The work on one scene: a job, which is passed to processes and machines, and the entry that comes back."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geocloud.batch.state import DONE, FAILED, Entry
from geocloud.errors import (
    GeocloudError,
    SceneError,
    SceneNotFoundError,
    SceneReadError,
    on_command_line,
    without_secrets,
)
from geocloud.io.remote import upload
from geocloud.models import model_files
from geocloud.pipeline import ComputeOptions, MaskOptions, mask_scene
from geocloud.readers import ReadOptions

if TYPE_CHECKING:
    from geocloud.tiling.blend import Predict

log = logging.getLogger("geocloud")

QUICKLOOK = 1024
"""Longest side of a quick-look's pictures in pixels."""

PERCENTS = ("cloud_percent", "shadow_percent", "valid_percent")
MEASURED = ("height", "width", "crs", "acquired", "model", "threshold", *PERCENTS)
"""Fields that a `MaskResult` and an `Entry` have in common."""

BAD_INPUT, LATER, PASSING = "bad input", "later", "passing"
"""Kinds of failure: the source must change, a later run may succeed, another try may succeed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files to write for each scene, besides the mask and its STAC item."""

    polygons: bool = False
    """Cloud polygons, GeoPackage."""
    probability: bool = False
    """Probability of cloud, and of shadow if requested."""
    quicklook: bool = False
    """A picture of the scene beside its mask."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings shared by all jobs of a run."""

    model: str = "fast"
    """A bundled model's name or a checkpoint's path."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """Options for reading scenes."""
    mask: MaskOptions = field(default_factory=MaskOptions)
    """Options of the masks."""
    wanted: Wanted = field(default_factory=Wanted)
    """Files to write for each scene."""
    upload: str | None = None
    """The URL in an object store that results are uploaded to; None: no upload."""
    keep: bool = True
    """True keeps uploaded results in the output folder, too."""
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    """Device and precision of the model."""

    def fingerprint(self) -> str:
        """A hash of everything that affects results: the model's weights and the options, but not the device."""
        options = asdict(self.mask)
        del options["overwrite"]
        model = hashlib.sha256(b"".join(file.read_bytes() for file in model_files(self.model))).hexdigest()
        text = json.dumps(
            [model, options, self.compute.precision, asdict(self.read), asdict(self.wanted)],
            sort_keys=True,
            default=str,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Job:
    """A scene to be masked."""

    name: str
    """Base name of the scene's files."""
    source: str
    """Path or URL of the scene."""
    folder: Path
    """Folder of the results."""
    settings: Settings
    """Settings of the run."""

    def files(self) -> dict[str, Path]:
        """The files to be written: kind → path. The STAC item, which describes the others, appears last."""
        wanted = self.settings.wanted
        kinds = {
            "mask": "_cloudmask.tif",
            "polygons": "_clouds.gpkg" if wanted.polygons else None,
            "probability": "_probability.tif" if wanted.probability else None,
            "quicklook": "_quicklook.jpg" if wanted.quicklook else None,
            "item": ".json",
        }
        return {kind: self.folder / f"{self.name}{ending}" for kind, ending in kinds.items() if ending}

    def entry(self, state: str, **results: Any) -> Entry:
        """The outcome of the job, for `geocloud.batch.state.Manifest.finish`."""
        return Entry("", self.name, without_secrets(self.source), state, worker=worker_name(), **results)


def worker_name() -> str:
    """Host and process ID of this process, for the manifest."""
    return f"{platform.node()}:{os.getpid()}"


def run_job(job: Job, predict: Predict) -> Entry:
    """Masks a scene and writes its STAC item and pictures. Errors are returned as a failed entry."""
    with _Notes() as notes:
        entry = _attempt(job, predict, time.monotonic())
    return replace(entry, notes="\n".join(notes.lines) or None)


class _Notes(logging.Handler):
    """Collects the library's warnings from this thread: on stderr they would not name their scene."""

    def __enter__(self) -> _Notes:
        self.lines: list[str] = []
        self._thread = threading.get_ident()
        log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and record.levelno >= logging.WARNING:
            self.lines.append(without_secrets(" ".join(record.getMessage().split())))


def _attempt(job: Job, predict: Predict, started: float) -> Entry:
    try:
        return _run(job, predict, started)
    except Exception as error:
        kind = LATER if isinstance(error, GeocloudError) else PASSING
        if isinstance(error, SceneReadError) and "://" in str(error):
            kind = PASSING  # a remote file
        elif isinstance(error, SceneError) and not isinstance(error, SceneNotFoundError):
            kind = BAD_INPUT
        return failed(job, error, kind, time.monotonic() - started)


def failed(job: Job, error: BaseException | str, kind: str, seconds: float = 0.0) -> Entry:
    """The entry of a failed job, with the error in one line."""
    text = on_command_line(without_secrets(" ".join(str(error).split())))
    if isinstance(error, BaseException) and not isinstance(error, GeocloudError):
        text = f"{type(error).__name__}: {text}"
    return job.entry(FAILED, error=text, failure=kind, seconds=round(seconds, 3))


def _run(job: Job, predict: Predict, started: float) -> Entry:
    from geocloud.batch.describe import describe
    from geocloud.preview.render import Overview

    files, settings = job.files(), job.settings
    overview = Overview(QUICKLOOK if settings.wanted.quicklook else QUICKLOOK // 4)
    result = mask_scene(
        job.source,
        files["mask"],
        polygons=files.get("polygons"),
        probability=files.get("probability"),
        model=predict,
        read=settings.read,
        options=replace(settings.mask, overwrite=True),
        watch=overview.take,
    )
    description = describe(result, overview, files, job.name)
    if settings.upload:
        _send(files, settings.upload, settings.keep)
    return job.entry(
        DONE,
        seconds=round(time.monotonic() - started, 3),
        megapixels=result.height * result.width / 1e6,
        files={kind: path.name for kind, path in files.items()},
        uploaded=settings.upload,
        **{name: value for name, value in result.facts().items() if name in MEASURED},
        **description,
    )


def _send(files: dict[str, Path], to: str, keep: bool) -> None:
    """Uploads a scene's files, each after its sidecars and the item last; deletes the local ones unless ``keep``."""
    sent = []
    for path in files.values():
        sidecars = (path.with_suffix(".qml"), path.with_name(path.name + ".aux.xml"))
        for file in (*(s for s in sidecars if s.exists()), path):
            upload(file, f"{to.rstrip('/')}/{file.name}")
            sent.append(file)
    for file in () if keep else sent:
        file.unlink()
