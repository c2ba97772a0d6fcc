"""A batch from start to end: find, plan, run, describe."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from geocloud.batch.find import Found, Rasters, find_scenes
from geocloud.batch.job import Job
from geocloud.batch.options import BatchOptions, Shard
from geocloud.batch.plan import Plan, make_plan
from geocloud.batch.report import PARTS, REPORT, write_report
from geocloud.batch.state import Entries, Entry, Manifest, manifests_in, read_entries
from geocloud.batch.thumbnails import THUMBNAILS, unpack
from geocloud.batch.workers import LocalExecutor, run_jobs
from geocloud.errors import OutputError, SceneNotFoundError, without_secrets
from geocloud.io.gdal import is_gdal_name
from geocloud.io.remote import is_remote, upload
from geocloud.models import bundled_models, find_model
from geocloud.writers.staging import sweep

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Status:
    """Progress of a run."""

    total: int
    """Number of scenes."""
    done: int
    """Scenes finished in this run."""
    before: int
    """Scenes finished in earlier runs."""
    failed: int
    """Scenes that failed, including those that failed before and are not tried again."""
    megapixels: float
    """Pixels masked in this run, in millions."""
    seconds: float
    """Wall-clock time of this run."""
    scene: str | None = None
    """Name of the scene just finished or failed."""
    error: str | None = None
    """Why that scene failed; None: it did not."""

    @property
    def rate(self) -> float:
        """Megapixels per second."""
        return self.megapixels / self.seconds if self.seconds else 0.0

    @property
    def eta(self) -> float | None:
        """Estimated seconds left, from the mean time per scene so far; None: no scene has finished yet."""
        tried = self.done + self.failed
        return self.seconds / tried * (self.total - self.before - tried) if tried else None


def plan_batch(sources: Sequence[str], folder: Path, options: BatchOptions) -> Plan:
    """Plans what `run_batch` would do, and writes nothing. Raises SceneError, ModelError, OutputError."""
    return make_plan(_find(sources, folder, Rasters(folder)), folder, options)


def run_batch(
    sources: Sequence[str], folder: Path, options: BatchOptions, report: Callable[[Status], None] = lambda status: None
) -> Entries:
    """Masks every scene in some sources into a folder.

    Results of earlier runs for the same input, model and options are kept. ``manifest.sqlite``, ``collection.json``,
    ``footprints.gpkg`` and ``report.html`` describe the folder, also when the run is interrupted; a run with nothing to
    do leaves them as they are where they tell all. Those of shards are written by `describe_folder`, once all are done.

    Args:
        sources: See `find_scenes`.
        folder: Folder of the results.
        options: How the batch runs.
        report: Called with the progress after each scene.

    Returns:
        The scenes of this run with their states, read from the manifest when they are asked for.

    Raises:
        GeocloudError: SceneError for a source that cannot be searched, ModelError, OptionError, or OutputError, for
            example if another run is using the folder. A scene that fails raises nothing.
    """
    rasters = Rasters(folder)
    found = _find(sources, folder, rasters)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    with _alone(folder, options.shard), Manifest(folder / options.shard.manifest) as manifest:
        sweep(folder)
        manifest.stop()
        manifest.pass_over(rasters.others)
        plan = make_plan(found, folder, options)
        settings = options.settings
        rows = ((job.key, name, without_secrets(job.source), print_) for job, name, print_ in plan.jobs)
        manifest.plan(rows, settings.fingerprint())
        jobs = [Job(name, job.source, folder.resolve(), settings) for job, name, _ in plan.jobs]
        needed = options.shard.count == 1 and (bool(plan.jobs) or not _is_described(folder, options))
        try:
            _work(jobs, plan, options, manifest, report)
        except BaseException:
            try:
                _tidy(folder, manifest, options if needed else None)
            except Exception as error:  # does not hide why the run ended
                log.warning("%s: cannot be described (%s)", folder, error)
            raise
        _tidy(folder, manifest, options if needed else None)
        return plan.entries(manifest.path)


def _work(
    jobs: list[Job], plan: Plan, options: BatchOptions, manifest: Manifest, report: Callable[[Status], None]
) -> None:
    """Runs the jobs, and records and reports what comes of each."""
    began, done, failures, seen = time.monotonic(), 0, plan.refused, 0.0

    def tell(entry: Entry | None = None) -> None:
        seconds, (name, error) = time.monotonic() - began, (entry.name, entry.error) if entry else (None, None)
        report(Status(plan.total, done, plan.before, failures, seen, seconds, name, error))

    tell()
    with closing(_run(jobs, options, manifest)) as running:  # an interrupt here ends the workers before we tidy up
        for entry in running:
            manifest.finish(entry)
            done, failures = done + (entry.error is None), failures + (entry.error is not None)
            seen += entry.megapixels or 0
            tell(entry)


def _tidy(folder: Path, manifest: Manifest, options: BatchOptions | None) -> None:
    """Leaves no scene running and nothing half-written, and describes the folder."""
    manifest.stop()
    sweep(folder)
    if options:
        describe_folder(folder, options.footprints, options.settings.upload)


def _is_described(folder: Path, options: BatchOptions) -> bool:
    """True if all that describes a folder is there and later than its only manifest.

    Other manifests may be written to at the same time, and an upload may have failed.
    """
    manifests, names = manifests_in(folder), (REPORT, PARTS, "collection.json", f"footprints.{options.footprints}")
    if options.settings.upload or len(manifests) > 1 or not all((folder / name).exists() for name in names):
        return False
    return all((folder / name).stat().st_mtime_ns > manifests[0].stat().st_mtime_ns for name in (REPORT, *names[2:]))


def describe_folder(folder: Path, footprints: str = "gpkg", to: str | None = None) -> None:
    """Writes the files that describe a folder, from its manifests; uploads them to ``to``. Raises OutputError."""
    # This imports geopandas: only after workers have started.
    from geocloud.batch.folder import write_collection, write_footprints

    unpack(folder)
    entries = read_entries(folder)
    made = [write_report(entries, folder), write_collection(entries, folder)]
    made.append(write_footprints(entries, folder, footprints))
    if to:
        parts = chain.from_iterable((folder / name).rglob("*") for name in (PARTS, THUMBNAILS))
        paths = chain((path for path in parts if path.is_file()), made)
        with ThreadPoolExecutor(16) as pool:  # a report has many small files
            while some := list(islice(paths, 1000)):
                places = [f"{to.rstrip('/')}/{path.relative_to(folder).as_posix()}" for path in some]
                list(pool.map(upload, some, places))


def _find(sources: Sequence[str], folder: Path, rasters: Rasters) -> list[Found]:
    found = find_scenes(sources, folder, rasters)
    if not found:
        raise SceneNotFoundError(
            f"{', '.join(sources)}: no scenes; wanted Landsat, HLS or .SAFE folders, archives, rasters of several bands"
        )
    return found


def _run(jobs: list[Job], options: BatchOptions, manifest: Manifest) -> Generator[Entry]:
    settings, model = options.settings, options.settings.model
    if not jobs:
        return
    executor: Any
    if options.scheduler:
        from geocloud.batch.cluster import ClusterExecutor

        jobs = [replace(job, source=_absolute(job.source)) for job in jobs]  # workers have another working directory
        model = model if model in bundled_models() else str(find_model(model).resolve())
        executor = ClusterExecutor(options.scheduler, model, settings, log.warning)
    else:
        executor = LocalExecutor(model, settings.compute, min(options.workers, len(jobs)) if options.workers else None)
    with executor:
        yield from run_jobs(jobs, executor, lambda job: manifest.start(job.name))


def _absolute(source: str) -> str:
    place, mark, item = source.partition("#") if not Path(source).exists() else (source, "", "")
    return source if is_remote(source) or is_gdal_name(source) else f"{Path(place).absolute()}{mark}{item}"


@contextmanager
def _alone(folder: Path, shard: Shard) -> Iterator[None]:
    """Allows one run at a time per folder and shard. The lock ends with its process; its file is removed at the end.

    It is removed while it is locked. A run that had opened it before then gets a lock on a file that is no longer
    there, which filelock notices and tries again until the timeout.
    """
    lock = FileLock(folder / f".{shard.manifest}.lock", timeout=1)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"{folder}: another 'geocloud batch' is using this folder; wait for it, or take another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise OutputError(f"{folder}: cannot be locked ({error})") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; filelock does there, on release
            Path(lock.lock_file).unlink()
        lock.release(force=True)
