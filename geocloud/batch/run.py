"""A batch from start to end: find, plan, run, describe."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout

from geocloud.batch.find import Found, find_candidates
from geocloud.batch.job import Job
from geocloud.batch.options import BatchOptions
from geocloud.batch.plan import Plan, make_plan
from geocloud.batch.report import describe_folder, is_described
from geocloud.batch.state import OTHER, Entries, Manifest, manifests_in
from geocloud.batch.workers import PROCESSES, Executor, LocalExecutor, count_devices, run_jobs
from geocloud.errors import OutputError, SceneNotFoundError, without_secrets
from geocloud.models import bundled_models, find_model
from geocloud.writers.staging import sweep

log = logging.getLogger(__name__)


@dataclass
class Status:
    """Progress of a run."""

    total: int  # number of scenes
    before: int  # scenes finished in earlier runs
    failed: int  # scenes that failed, including those that failed before and are not tried again
    done: int = 0  # scenes finished in this run
    megapixels: float = 0.0  # pixels masked in this run, in millions
    seconds: float = 0.0  # wall-clock time of this run
    scene: str | None = None  # name of the scene just finished or failed
    error: str | None = None  # why that scene failed; None: it did not

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
    return _plan(sources, _search(sources, folder, options), folder, options)


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
    candidates = _search(sources, folder, options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    path, settings = folder / options.shard.manifest, options.fingerprint()
    with _alone(path), Manifest(path) as manifest:
        sweep(folder)
        manifest.stop()
        plan = _plan(sources, candidates, folder, options)
        rows = [(found.key, name, without_secrets(found.source), print_) for found, name, print_ in plan.jobs]
        manifest.plan(rows, settings)
        others = [(found.key, found.key, without_secrets(found.source), print_) for found, print_ in plan.others]
        manifest.plan(others, settings, OTHER)
        jobs = [Job(name, found.source, folder.resolve(), options) for found, name, _ in plan.jobs]
        try:
            _run(jobs, manifest, options, Status(len(plan.scenes), plan.before, plan.refused), report)
        except BaseException:
            try:
                _tidy(manifest, folder, options)
            except Exception as error:  # does not hide why the run ended
                log.warning("%s: cannot be described (%s)", folder, error)
            raise
        _tidy(manifest, folder, options, is_needed=bool(jobs))
    every = Entries([path])
    return every if len(every) == len(plan.scenes) else Entries([path], frozenset(found.key for found in plan.scenes))


def _search(sources: Sequence[str], folder: Path, options: BatchOptions) -> list[Found]:
    divided = options.shard.manifest.rpartition("-of-")[2]
    if other := next((path.name for path in manifests_in(folder) if not path.name.endswith(divided)), None):
        how = "go on with as many shards (--shard I/N), or take another folder"
        raise OutputError(f"{folder}: was divided otherwise, as {other} tells; {how}")
    return find_candidates(sources, folder) or _refuse(sources)


def _plan(sources: Sequence[str], candidates: list[Found], folder: Path, options: BatchOptions) -> Plan:
    plan = make_plan(candidates, folder, options)
    if options.shard.count == 1 and not plan.scenes:  # or they may be in others
        _refuse(sources)
    return plan


def _refuse(sources: Sequence[str]) -> NoReturn:
    wanted = "wanted Landsat, HLS or .SAFE folders, archives, rasters of several bands"
    raise SceneNotFoundError(f"{', '.join(sources)}: no scenes; {wanted}")


def _run(
    jobs: list[Job], manifest: Manifest, options: BatchOptions, status: Status, report: Callable[[Status], None]
) -> None:
    began = time.monotonic()
    report(status)
    if not jobs:
        return
    with closing(_executor(len(jobs), options, manifest)) as executor:
        for entry in run_jobs(jobs, executor):
            manifest.finish(entry)
            status.done += entry.error is None
            status.failed += entry.error is not None
            status.megapixels += entry.megapixels or 0
            status.seconds, status.scene, status.error = time.monotonic() - began, entry.name, entry.error
            report(status)


def _executor(jobs: int, options: BatchOptions, manifest: Manifest) -> Executor:
    if not options.scheduler:
        workers = options.workers or PROCESSES * max(1, count_devices(options.compute))
        return LocalExecutor(options.model, options.compute, min(workers, jobs), manifest.start)
    from geocloud.batch.cluster import ClusterExecutor

    is_bundled = options.model in bundled_models()
    model = options.model if is_bundled else str(find_model(options.model).resolve())
    return ClusterExecutor(model, options, manifest.start)


def _tidy(manifest: Manifest, folder: Path, options: BatchOptions, is_needed: bool = True) -> None:
    """Leaves no scene running and nothing half-written, and describes the folder, unless it is one of several parts."""
    manifest.stop()
    sweep(folder)
    if options.shard.count == 1 and (is_needed or not is_described(folder, options)):
        describe_folder(folder, options.footprints, options.upload)


@contextmanager
def _alone(manifest: Path) -> Iterator[None]:
    """Allows one run at a time per manifest. The lock ends with its process.

    Its file is removed while it is locked. A run that had opened it before then gets a lock on a file that is no longer
    there, which filelock notices and tries again until the timeout.
    """
    folder, lock = manifest.parent, FileLock(manifest.with_name(f".{manifest.name}.lock"), timeout=1)
    try:
        lock.acquire()
    except Timeout as error:
        hint = "wait for it, or take another folder"
        raise OutputError(f"{folder}: another 'geocloud batch' is using this folder; {hint}") from error
    except (OSError, NotImplementedError) as error:
        raise OutputError(f"{folder}: cannot be locked ({error})") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; filelock does there, on release
            Path(lock.lock_file).unlink()
        lock.release(force=True)
