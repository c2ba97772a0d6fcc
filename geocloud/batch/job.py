"""One scene's work: a job goes out, an outcome comes back; both travel between processes and machines."""

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
    BandError,
    GeocloudError,
    GridError,
    OutputError,
    SceneError,
    SceneNotFoundError,
    UnitsError,
    without_secrets,
)
from geocloud.io.remote import upload
from geocloud.model import find_model
from geocloud.pipeline import ComputeOptions, MaskOptions, mask_scene
from geocloud.scene import ReadOptions

if TYPE_CHECKING:
    from geocloud.tiling.blend import Predict

log = logging.getLogger("geocloud")

QUICKLOOK = 1024
"""The longer side of a quick-look's pictures, pixels."""

BAD_INPUT, LATER, PASSING = "bad input", "later", "passing"
"""Kinds of failure: what only another source cures, what a later run may, and what another try may."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files a scene becomes, besides the mask and its STAC item."""

    polygons: bool = False
    probability: bool = False
    quicklook: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What every job of a run is done with.

    ``upload``: an ``s3://`` address that results are copied to; ``keep`` says whether they stay here as well.
    """

    model: str = "fast"
    read: ReadOptions = field(default_factory=ReadOptions)
    mask: MaskOptions = field(default_factory=MaskOptions)
    wanted: Wanted = field(default_factory=Wanted)
    upload: str | None = None
    keep: bool = True
    compute: ComputeOptions = field(default_factory=ComputeOptions)

    def fingerprint(self) -> str:
        """A hash of all that changes results: the model's weights and the options, but not where they are computed."""
        options = asdict(self.mask)
        del options["overwrite"]
        model = hashlib.sha256(find_model(self.model).read_bytes()).hexdigest()
        text = json.dumps(
            [model, options, self.compute.precision, asdict(self.read), asdict(self.wanted)],
            sort_keys=True,
            default=str,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Job:
    """A scene to be masked into ``folder``, as ``name``."""

    name: str
    source: str
    folder: Path
    settings: Settings

    def files(self) -> dict[str, Path]:
        """What it will write: kind → path. The mask is the last to appear but for the item that describes it."""
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
    """What came of a job: results, or an ``error`` with its kind, see `BAD_INPUT`.

    ``footprint`` is GeoJSON in WGS 84 of where the scene holds data, ``transform`` the first six numbers of the affine
    transform, ``scene_picture`` (JPEG) and ``mask_picture`` (PNG) are thumbnails, ``files`` names by kind, ``notes``
    what was doubtful, a line each.
    """

    name: str
    worker: str
    seconds: float = 0.0
    error: str | None = None
    failure: str | None = None
    height: int | None = None
    width: int | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    footprint: str | None = None
    acquired: str | None = None
    model: str | None = None
    threshold: float | None = None
    cloud_percent: float | None = None
    shadow_percent: float | None = None
    valid_percent: float | None = None
    files: dict[str, str] = field(default_factory=dict)
    scene_picture: bytes | None = None
    mask_picture: bytes | None = None
    notes: str | None = None

    @property
    def megapixels(self) -> float:
        """Pixels of the scene, in millions."""
        return (self.height or 0) * (self.width or 0) / 1e6


def worker_name() -> str:
    """This process, as manifests tell of it."""
    return f"{platform.node()}:{os.getpid()}"


def run_job(job: Job, predict: Predict) -> Outcome:
    """Masks the scene and describes it. Whatever goes wrong comes back as an outcome."""
    with _Notes() as notes:
        outcome = _attempt(job, predict, time.monotonic())
    return replace(outcome, notes="\n".join(notes.lines) or None)


class _Notes(logging.Handler):
    """Gathers the library's notes of one thread, which else would go to stderr without saying whose they are."""

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
        if "://" in str(error) and not isinstance(error, (BandError, UnitsError, GridError)):
            kind = PASSING  # it is elsewhere
        elif isinstance(error, SceneNotFoundError):
            kind = LATER
        return failed(job, error, kind, time.monotonic() - started)
    except OutputError as error:
        return failed(job, error, LATER, time.monotonic() - started)
    except Exception as error:
        kind = LATER if isinstance(error, GeocloudError) else PASSING
        return failed(job, error, kind, time.monotonic() - started)


def failed(job: Job, error: BaseException | str, kind: str, seconds: float = 0.0) -> Outcome:
    """A failure in one line."""
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
    """Uploads a scene's files, sidecars first and its item last, and deletes them here where they are not to stay."""
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
    """A time as outcomes hold it."""
    return datetime.fromisoformat(text) if text else None


Started = Callable[[Job], None]
"""Called when a job is handed to a worker."""
