"""A batch from start to end: find, plan, run, describe."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from geocloud.batch.find import Found, find_scenes
from geocloud.batch.fingerprint import fingerprint
from geocloud.batch.job import BAD_INPUT, Job, Outcome, Settings
from geocloud.batch.local import Compute, run_local
from geocloud.batch.manifest import DONE, FAILED, Entry, Manifest, read_entries, taken_names
from geocloud.batch.options import BatchOptions, Shard
from geocloud.batch.report import write_report
from geocloud.errors import OutputError, SceneNotFoundError, without_secrets
from geocloud.io.gdal import is_gdal_name
from geocloud.io.remote import is_remote, upload
from geocloud.model import bundled_models, find_model
from geocloud.outputs.staging import sweep

log = logging.getLogger(__name__)

RESERVED = ("collection", "footprints", "manifest", "report")
"""Base names of the files that describe the folder, which no scene may take."""


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do."""

    jobs: list[tuple[Found, str, str]]
    """Scenes to be masked, with their names and fingerprints."""
    before: list[Entry]
    """Scenes finished in earlier runs."""
    refused: list[Entry]
    """Scenes that failed for bad input, and are not tried again."""

    @property
    def total(self) -> int:
        """Number of scenes of the run."""
        return len(self.jobs) + len(self.before) + len(self.refused)


def plan_batch(sources: Sequence[str], folder: Path, options: BatchOptions) -> Plan:
    """Plans what `run_batch` would do, and writes nothing. Raises SceneError, ModelError."""
    found = _find(sources, folder)
    known = {e.key: e for e in read_entries(folder)} if any(folder.glob(options.shard.manifest)) else {}
    return _plan(found, folder, options, known)


def run_batch(
    sources: Sequence[str], folder: Path, options: BatchOptions, report: Callable[[Status], None] = lambda status: None
) -> list[Entry]:
    """Masks every scene in some sources into a folder.

    Results of earlier runs for the same input, model and options are kept. ``manifest.sqlite``, ``collection.json``,
    ``footprints.gpkg`` and ``report.html`` describe the folder, also when the run is interrupted.

    Args:
        sources: See `find_scenes`.
        folder: Folder of the results.
        options: How the batch runs.
        report: Called with the progress after each scene.

    Returns:
        The scenes of this run with their states.

    Raises:
        GeocloudError: SceneError for a source that cannot be searched, ModelError, OptionError, or OutputError, for
            example if another run is using the folder. A scene that fails raises nothing.
    """
    found = _find(sources, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    with _alone(folder, options.shard), Manifest(folder / options.shard.manifest) as manifest:
        sweep(folder)
        manifest.stop()
        known = manifest.entries()
        plan = _plan(found, folder, options, known)
        settings = options.settings
        rows = [(job.key, name, without_secrets(job.source), print_) for job, name, print_ in plan.jobs]
        manifest.plan(rows, settings.fingerprint())
        jobs = [Job(name, job.source, folder.resolve(), settings) for job, name, _ in plan.jobs]
        started, outcomes, seen = time.monotonic(), Counter[bool](), 0.0
        before = len(plan.before)

        def status(outcome: Outcome | None) -> Status:
            return Status(
                plan.total,
                outcomes[True],
                before,
                outcomes[False] + len(plan.refused),
                seen,
                time.monotonic() - started,
                outcome.name if outcome else None,
                outcome.error if outcome else None,
            )

        try:
            report(status(None))
            for outcome in _run(jobs, options, manifest):
                manifest.finish(outcome, settings.upload)
                outcomes[outcome.error is None] += 1
                seen += outcome.megapixels
                report(status(outcome))
        finally:
            manifest.stop()
            sweep(folder)
            describe_folder(folder, options.footprints, settings.upload)
        names = {job.key for job, _, _ in plan.jobs} | {e.key for e in (*plan.before, *plan.refused)}
        return [entry for key, entry in manifest.entries().items() if key in names]


def describe_folder(folder: Path, footprints: str = "gpkg", to: str | None = None) -> None:
    """Writes the files that describe a folder, from its manifests; uploads them to ``to``. Raises OutputError."""
    # This imports geopandas: only after workers have started.
    from geocloud.batch.folder import write_collection
    from geocloud.batch.footprints import write_footprints

    entries = read_entries(folder)
    made = [
        write_report(entries, folder),
        write_collection(entries, folder),
        write_footprints(entries, folder, footprints),
    ]
    for path in made if to else []:
        upload(path, f"{str(to).rstrip('/')}/{path.name}")


def _find(sources: Sequence[str], folder: Path) -> list[Found]:
    found = find_scenes(sources, folder)
    if not found:
        raise SceneNotFoundError(
            f"{', '.join(sources)}: no scenes; wanted Landsat, HLS or .SAFE folders, archives, rasters of several bands"
        )
    return found


def _plan(everything: list[Found], folder: Path, options: BatchOptions, known: dict[str, Entry]) -> Plan:
    names = _names(everything, known, taken_names(folder))
    mine = [found for found in everything if options.shard.holds(found.key)]
    with ThreadPoolExecutor(16) as pool:  # mostly waits for servers or disks
        prints = list(pool.map(lambda found: fingerprint(found.source), mine))
    settings = options.settings.fingerprint()
    jobs, before, refused = [], [], []
    for found, print_ in zip(mine, prints, strict=True):
        entry = known.get(found.key)
        same = entry is not None and options.resume and (entry.fingerprint, entry.settings) == (print_, settings)
        if entry and same and entry.state == DONE and _is_there(entry, folder, options.settings):
            before.append(entry)
        elif entry and same and entry.state == FAILED and entry.failure == BAD_INPUT and not options.retry_failed:
            refused.append(entry)
        else:
            jobs.append((found, names[found.key], print_))
    return Plan(jobs, before, refused)


def _names(everything: list[Found], known: dict[str, Entry], taken: dict[str, str]) -> dict[str, str]:
    """The base name of each scene's files, by key: that of its product or file, with a hash if several share it.

    ``taken``: the names in use by all shards, in lower case → their keys.
    """
    names = {found.key: known[found.key].name for found in everything if found.key in known}
    plain = {found.key: re.sub(r"[^\w.\-+ ]", "_", found.name)[:150].strip() or "scene" for found in everything}
    shared = Counter(name.lower() for name in plain.values())
    for found in everything:
        if found.key not in names:
            name = plain[found.key]
            if shared[name.lower()] > 1 or taken.get(name.lower(), found.key) != found.key or name.lower() in RESERVED:
                name += "-" + hashlib.sha256(found.key.encode()).hexdigest()[:8]
            names[found.key] = name
    return names


def _is_there(entry: Entry, folder: Path, settings: Settings) -> bool:
    """Whether the results of a finished scene still exist."""
    if entry.uploaded != settings.upload:
        return False
    return (settings.upload is not None and not settings.keep) or all(
        (folder / n).exists() for n in entry.files.values()
    )


def _run(jobs: list[Job], options: BatchOptions, manifest: Manifest) -> Iterator[Outcome]:
    where = options.settings.compute
    compute = Compute(
        options.settings.model,
        where.device,
        where.precision,
        where.batch,
        shadows=options.settings.mask.shadows,
    )
    if not jobs:
        return
    if options.scheduler:
        from geocloud.batch.cluster import run_on_cluster

        jobs = [replace(job, source=_absolute(job.source)) for job in jobs]  # workers have another working directory
        if compute.model not in bundled_models():
            compute = replace(compute, model=str(find_model(compute.model).resolve()))
        yield from run_on_cluster(jobs, options.scheduler, compute, lambda job: manifest.start(job.name), log.warning)
    else:
        yield from run_local(jobs, compute, options.workers, lambda job: manifest.start(job.name))


def _absolute(source: str) -> str:
    place, mark, item = source.partition("#") if not Path(source).exists() else (source, "", "")
    return source if is_remote(source) or is_gdal_name(source) else f"{Path(place).absolute()}{mark}{item}"


@contextmanager
def _alone(folder: Path, shard: Shard) -> Iterator[None]:
    """Allows one run at a time per folder and shard. The lock ends with its process."""
    lock = FileLock(folder / f".{shard.manifest}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"{folder}: another 'geocloud batch' is using this folder; wait for it, or take another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise OutputError(f"{folder}: cannot be locked ({error})") from error
    with lock:
        try:
            yield
        finally:
            lock.release(force=True)
