"""The work on one scene: a job and its outcome, which are passed between processes and machines."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from geocloud.errors import (
    GeocloudError,
    OutputError,
    SceneError,
    SceneNotFoundError,
    SceneReadError,
    without_secrets,
)
from geocloud.io.remote import upload
from geocloud.models import model_files
from geocloud.pipeline import ComputeOptions, MaskOptions, mask_scene
from geocloud.readers import ReadOptions

if TYPE_CHECKING:
    from geocloud.tiling.model import Predict

log = logging.getLogger("geocloud")

QUICKLOOK = 1024
"""Longest side of a quick-look's pictures in pixels."""

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
    """How scenes are read."""
    mask: MaskOptions = field(default_factory=MaskOptions)
    """How masks are made."""
    wanted: Wanted = field(default_factory=Wanted)
    """Files to write for each scene."""
    upload: str | None = None
    """The URL in an object store that results are uploaded to; None: no upload."""
    keep: bool = True
    """Whether uploaded results stay in the output folder too."""
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    """Where and how the model computes."""

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job: its results, or an error. Results are None if it failed."""

    name: str
    """Base name of the scene's files."""
    worker: str
    """Host and process ID."""
    seconds: float = 0.0
    """Wall-clock time."""
    error: str | None = None
    """Why it failed, in one line; None: it did not."""
    failure: str | None = None
    """Kind of failure, see `BAD_INPUT`."""
    height: int | None = None
    """Pixel rows of the scene."""
    width: int | None = None
    """Pixel columns of the scene."""
    crs: str | None = None
    """Such as EPSG:32633; None: unknown."""
    transform: tuple[float, ...] | None = None
    """First six numbers of the affine transform."""
    footprint: str | None = None
    """GeoJSON in WGS 84 of the area with data; None: unknown."""
    acquired: str | None = None
    """Time of acquisition, ISO 8601; None: unknown."""
    model: str | None = None
    """Name of the model."""
    threshold: float | None = None
    """Threshold of cloud that was applied."""
    cloud_percent: float | None = None
    """Per cent of the valid pixels that are cloud; None if there are no valid pixels."""
    shadow_percent: float | None = None
    """Per cent of the valid pixels that are cloud shadow; None if not requested."""
    valid_percent: float | None = None
    """Per cent of all pixels that hold data."""
    files: dict[str, str] = field(default_factory=dict)
    """File names by kind."""
    scene_picture: bytes | None = None
    """Thumbnail of the scene, JPEG."""
    mask_picture: bytes | None = None
    """Thumbnail of the mask, PNG."""
    notes: str | None = None
    """Warnings, a line each."""

    @property
    def megapixels(self) -> float:
        """Pixels of the scene, in millions."""
        return (self.height or 0) * (self.width or 0) / 1e6


def worker_name() -> str:
    """Host and process ID of this process, for the manifest."""
    return f"{platform.node()}:{os.getpid()}"


def run_job(job: Job, predict: Predict) -> Outcome:
    """Masks a scene and writes its STAC item and quick-look. Errors are returned as an outcome."""
    with _Notes() as notes:
        outcome = _attempt(job, predict, time.monotonic())
    return replace(outcome, notes="\n".join(notes.lines) or None)


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


def _attempt(job: Job, predict: Predict, started: float) -> Outcome:
    try:
        return _run(job, predict, started)
    except SceneError as error:
        kind = BAD_INPUT
        if isinstance(error, SceneNotFoundError):
            kind = LATER
        elif isinstance(error, SceneReadError) and "://" in str(error):
            kind = PASSING  # a remote file
        return failed(job, error, kind, time.monotonic() - started)
    except OutputError as error:
        return failed(job, error, LATER, time.monotonic() - started)
    except Exception as error:
        kind = LATER if isinstance(error, GeocloudError) else PASSING
        return failed(job, error, kind, time.monotonic() - started)


def failed(job: Job, error: BaseException | str, kind: str, seconds: float = 0.0) -> Outcome:
    """The outcome of a failed job, with the error in one line."""
    text = without_secrets(" ".join(str(error).split()))
    if isinstance(error, BaseException) and not isinstance(error, GeocloudError):
        text = f"{type(error).__name__}: {text}"
    return Outcome(job.name, worker_name(), round(seconds, 3), text, kind)


def _run(job: Job, predict: Predict, started: float) -> Outcome:
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
    described = describe(result, overview, files, job.name)
    if settings.upload:
        _send(files, settings)
    return Outcome(
        name=job.name,
        worker=worker_name(),
        seconds=round(time.monotonic() - started, 3),
        height=result.height,
        width=result.width,
        crs=result.crs,
        acquired=result.acquired,
        model=result.model,
        threshold=result.threshold,
        cloud_percent=result.cloud_percent,
        shadow_percent=result.shadow_percent,
        valid_percent=result.valid_percent,
        files={kind: path.name for kind, path in files.items()},
        **described,
    )


def _send(files: dict[str, Path], settings: Settings) -> None:
    """Uploads a scene's files, each after its sidecars and the item last; deletes the local ones unless ``keep``."""
    assert settings.upload is not None
    sent = []
    for path in files.values():
        sidecars = (path.with_suffix(".qml"), path.with_name(path.name + ".aux.xml"))
        for file in (*(s for s in sidecars if s.exists()), path):
            upload(file, f"{settings.upload.rstrip('/')}/{file.name}")
            sent.append(file)
    if not settings.keep:
        for file in sent:
            file.unlink()


def when(text: str | None) -> datetime | None:
    """The time in a field of `Outcome`."""
    return datetime.fromisoformat(text) if text else None


Started = Callable[[Job], None]
"""Called when a job is handed to a worker."""
