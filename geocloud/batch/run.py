"""A batch from start to end: find, plan, run, describe."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from geocloud.batch.find import Found, find_candidates
from geocloud.batch.folder import describe_folder, is_described
from geocloud.batch.job import Job
from geocloud.batch.options import BatchOptions, Shard
from geocloud.batch.plan import Plan, make_plan
from geocloud.batch.state import Entries, Entry, Manifest
from geocloud.batch.workers import Executor, LocalExecutor, run_jobs
from geocloud.errors import OutputError, SceneNotFoundError, without_secrets
from geocloud.io.gdal import is_gdal_name
from geocloud.io.remote import is_remote
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

    def after(self, entry: Entry, seconds: float) -> Status:
        """The progress after another scene."""
        done, seen = self.done + (entry.error is None), self.megapixels + (entry.megapixels or 0)
        failed = self.failed + (entry.error is not None)
        return Status(self.total, done, self.before, failed, seen, seconds, entry.name, entry.error)

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
    return _plan(sources, _wanted(sources, find_candidates(sources, folder)), folder, options)


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
    candidates = _wanted(sources, find_candidates(sources, folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    with _alone(folder, options.shard), Manifest(folder / options.shard.manifest) as manifest:
        sweep(folder)
        manifest.stop()
        plan = _plan(sources, candidates, folder, options)
        manifest.pass_over(plan.others)
        rows = ((found.key, name, without_secrets(found.source), print_) for found, name, print_ in plan.jobs)
        manifest.plan(rows, options.fingerprint())
        jobs = [Job(name, found.source, folder.resolve(), options) for found, name, _ in plan.jobs]
        is_needed = options.shard.count == 1 and (bool(jobs) or not is_described(folder, options))

        def tidy() -> None:
            """Leaves no scene running and nothing half-written, and describes the folder."""
            manifest.stop()
            sweep(folder)
            if is_needed:
                describe_folder(folder, options.footprints, options.upload)

        try:
            status, began = Status(len(plan.scenes), 0, plan.before, plan.refused, 0.0, 0.0), time.monotonic()
            report(status)
            with closing(_run(jobs, options, manifest)) as running:  # an interrupt ends the workers before we tidy up
                for entry in running:
                    manifest.finish(entry)
                    status = status.after(entry, time.monotonic() - began)
                    report(status)
        except BaseException:
            try:
                tidy()
            except Exception as error:  # does not hide why the run ended
                log.warning("%s: cannot be described (%s)", folder, error)
            raise
        tidy()
        every = Entries([manifest.path])
        keys = None if len(every) == len(plan.scenes) else frozenset(found.key for found in plan.scenes)
        return Entries([manifest.path], keys)


def _wanted(sources: Sequence[str], scenes: list[Found]) -> list[Found]:
    if not scenes:
        wanted = "wanted Landsat, HLS or .SAFE folders, archives, rasters of several bands"
        raise SceneNotFoundError(f"{', '.join(sources)}: no scenes; {wanted}")
    return scenes


def _plan(sources: Sequence[str], candidates: list[Found], folder: Path, options: BatchOptions) -> Plan:
    plan = make_plan(candidates, folder, options)
    if options.shard.count == 1:  # or the scenes may be in others
        _wanted(sources, plan.scenes)
    return plan


def _run(jobs: list[Job], options: BatchOptions, manifest: Manifest) -> Generator[Entry]:
    if not jobs:
        return
    executor: Executor
    if options.scheduler:
        from geocloud.batch.cluster import ClusterExecutor

        jobs = [replace(job, source=_absolute(job.source)) for job in jobs]  # workers have another working directory
        is_file = options.model not in bundled_models()
        model = str(find_model(options.model).resolve()) if is_file else options.model
        executor = ClusterExecutor(options.scheduler, model, options, log.warning)
    else:
        workers = min(options.workers, len(jobs)) if options.workers else None
        executor = LocalExecutor(options.model, options.compute, workers)
    with closing(executor):
        yield from run_jobs(jobs, executor, lambda job: manifest.start(job.name))


def _absolute(source: str) -> str:
    if is_remote(source) or is_gdal_name(source):
        return source
    place, mark, item = source.partition("#") if not Path(source).exists() else (source, "", "")
    return f"{Path(place).absolute()}{mark}{item}"


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
