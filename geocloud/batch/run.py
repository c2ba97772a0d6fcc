"""A batch from start to end: find scenes, plan the run, mask the scenes, describe the folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, NoReturn

from filelock import FileLock, Timeout

from geocloud.batch.find import Found, find_candidates, fingerprint
from geocloud.batch.job import BAD_INPUT, COLLECTION, ENDINGS, THUMBNAILS, Job
from geocloud.batch.options import BatchOptions
from geocloud.batch.report import FOOTPRINTS, PARTS, REPORT, describe_folder, is_described
from geocloud.batch.state import DONE, FAILED, OTHER, WAITING, Entries, Manifest, manifests_in
from geocloud.batch.workers import PROCESSES, ClusterExecutor, Executor, LocalExecutor, count_devices, run_jobs
from geocloud.errors import OutputError, SceneNotFoundError, without_secrets
from geocloud.io.remote import is_remote
from geocloud.models import bundled_models, find_model
from geocloud.readers.registry import RASTER
from geocloud.writers.staging import sweep

log = logging.getLogger(__name__)

RESERVED = ("collection", "footprints", "manifest", "report")
"""Base names reserved for the files that describe the folder."""
REMOTE, LOCAL = 16, 4
"""Threads that check remote or local sources: many for servers, which respond slowly; on disks, more are no faster."""
PART = 512
"""Scenes per query of the manifest: SQLite accepts up to 999 values in a query."""
COLUMNS = ("key", "name", "state", "failure", "fingerprint", "settings", "files", "uploaded")


@dataclass
class Status:
    """Progress of a run."""

    total: int  # number of scenes
    before: int  # scenes finished in earlier runs
    failed: int  # scenes that failed in this run, or in earlier runs if they are not retried
    done: int = 0  # scenes finished in this run
    megapixels: float = 0.0  # pixels masked in this run, in millions
    seconds: float = 0.0  # wall-clock time of this run
    scene: str | None = None  # name of the last scene that finished or failed
    error: str | None = None  # error of that scene; None if it finished

    @property
    def rate(self) -> float:
        """Megapixels per second."""
        return self.megapixels / self.seconds if self.seconds else 0.0

    @property
    def eta(self) -> float | None:
        """Estimated remaining time in seconds, from the mean time per scene; None before the first scene ends."""
        tried = self.done + self.failed
        return self.seconds / tried * (self.total - self.before - tried) if tried else None


class Plan(NamedTuple):
    """Plan of a run."""

    jobs: list[tuple[Found, str, str]]  # scenes to be masked, with their names and fingerprints
    scenes: list[Found]  # all scenes of the run
    others: list[tuple[Found, str]]  # rasters that are not scenes, with their fingerprints
    before: int = 0  # scenes finished in earlier runs
    refused: int = 0  # scenes that failed for bad input in earlier runs and are not retried
    outdated: int = 0  # scenes in ``jobs`` that were finished earlier with another model or other options


def plan_batch(sources: Sequence[str], folder: Path, options: BatchOptions) -> Plan:
    """Plan of `run_batch` with the same arguments. Writes nothing. Raises SceneError, ModelError, OutputError."""
    return _plan(sources, _search(sources, folder, options), folder, options)


def run_batch(
    sources: Sequence[str], folder: Path, options: BatchOptions, report: Callable[[Status], None] = lambda status: None
) -> Entries:
    """Masks all scenes in ``sources`` and writes the results to ``folder``.

    Scenes finished in earlier runs with the same input, model and options are skipped. The state of each scene is in
    ``manifest.sqlite``. ``collection.json``, ``footprints.gpkg`` and ``report.html`` are updated at the end, even if
    the run is interrupted. Shards do not write them; call `describe_folder` when all shards are done.

    Args:
        sources: See `find_scenes`.
        folder: Folder of the results.
        options: Options of the batch.
        report: Called with the progress at the start and after each scene.

    Returns:
        The scenes of this run with their states, read from the manifest on demand.

    Raises:
        GeocloudError: SceneError for a source that cannot be searched, ModelError, OptionError, or OutputError, for
            example if another run is using the folder. Scenes that fail are recorded, and raise nothing.
    """
    candidates = _search(sources, folder, options)
    path, settings = folder / options.shard.manifest, options.fingerprint()
    with _alone(path):
        plan = _plan(sources, candidates, folder, options)  # may refuse the folder, so the manifest is made later
        with Manifest(path) as manifest:
            sweep(folder)
            manifest.stop()
            others = ((found, found.key, print_) for found, print_ in plan.others)
            for state, rows in ((WAITING, plan.jobs), (OTHER, others)):
                records = ((found.key, name, without_secrets(found.source), print_) for found, name, print_ in rows)
                manifest.plan(records, settings, state)
            jobs = [Job(name, found.source, folder.resolve(), options) for found, name, _ in plan.jobs]
            try:
                _run(jobs, manifest, options, Status(len(plan.scenes), plan.before, plan.refused), report)
            except BaseException:
                try:
                    _tidy(manifest, folder, options)
                except Exception as error:  # only logged, so that the error that ended the run is raised
                    log.warning("%s: the report, collection or footprints cannot be written (%s)", folder, error)
                raise
            _tidy(manifest, folder, options, is_needed=bool(jobs))
    every = Entries([path])
    return every if len(every) == len(plan.scenes) else Entries([path], frozenset(found.key for found in plan.scenes))


def _search(sources: Sequence[str], folder: Path, options: BatchOptions) -> list[Found]:
    divided = options.shard.manifest.rpartition("-of-")[2]
    if other := next((path.name for path in manifests_in(folder) if not path.name.endswith(divided)), None):
        hint = "use that number (--shard I/N), or another folder"
        raise OutputError(f"{folder}: {other} is of a run with another number of shards; {hint}")
    return find_candidates(sources, folder) or _refuse(sources)


def _plan(sources: Sequence[str], candidates: list[Found], folder: Path, options: BatchOptions) -> Plan:
    plan = make_plan(candidates, folder, options)
    if options.shard.count == 1 and not plan.scenes:  # with several shards, all scenes may be in others
        _refuse(sources)
    _check_free(sources, plan, folder, options)
    return plan


def _check_free(sources: Sequence[str], plan: Plan, folder: Path, options: BatchOptions) -> None:
    """Raises OutputError if a file of the batch would replace a source or, in a new batch, any other file."""
    every = (source.partition("#")[0] for source in chain(sources, (found.source for found in plan.scenes)))
    kept = {os.path.realpath(source) for source in every if source.endswith(tuple(ENDINGS.values()))}
    present = {file.name for file in folder.iterdir()} if folder.is_dir() and not manifests_in(folder) else set()
    jobs = (Job(name, found.source, folder, options) for found, name, _ in plan.jobs)
    shared = (COLLECTION, f"{FOOTPRINTS}.{options.footprints}", REPORT, PARTS, THUMBNAILS)
    paths = chain((folder / name for name in shared), (path for job in jobs for path in job.files().values()))
    for path in paths if present or kept else ():
        if path.name in present or os.path.realpath(path) in kept:
            raise OutputError(f"{path}: exists, and no batch wrote it; name another output folder")


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
    is_bundled = options.model in bundled_models()
    model = options.model if is_bundled else str(find_model(options.model).resolve())
    return ClusterExecutor(model, options, manifest.start)


def _tidy(manifest: Manifest, folder: Path, options: BatchOptions, is_needed: bool = True) -> None:
    """Resets running scenes, removes incomplete files and, unless the run is a shard, describes the folder."""
    manifest.stop()
    sweep(folder)
    if options.shard.count == 1 and (is_needed or not is_described(folder, options)):
        describe_folder(folder, options.footprints, options.upload)


@contextmanager
def _alone(manifest: Path) -> Iterator[None]:
    """Creates the folder, and allows one run at a time per manifest. The lock is released when its process ends.

    The lock file is removed while it is still locked. A run that has already opened it then locks a deleted file;
    filelock detects this and retries until the timeout.
    """
    folder, lock = manifest.parent, FileLock(manifest.with_name(f".{manifest.name}.lock"), timeout=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        hint = "wait for it, or use another folder"
        raise OutputError(f"{folder}: another 'geocloud batch' is using this folder; {hint}") from error
    except (OSError, NotImplementedError) as error:
        raise OutputError(f"{folder}: cannot create this folder or lock a file in it ({error})") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows cannot remove open files; there, filelock removes it on release
            Path(lock.lock_file).unlink()
        lock.release(force=True)


def make_plan(candidates: list[Found], folder: Path, options: BatchOptions) -> Plan:
    """Plan for one shard from the candidates of all shards. Reads the folder's manifests. Raises OutputError."""
    shard, settings = options.shard, options.fingerprint()
    mine = candidates if shard.count == 1 else [found for found in candidates if shard.holds(found.key)]
    plan, counts = Plan([], [], []), Counter[str]()
    threads = REMOTE if any(is_remote(found.source) for found in mine) else LOCAL
    with ThreadPoolExecutor(threads) as pool:
        for part in _parts(mine, PART):
            rows = _known(folder / shard.manifest, [found.key for found in part])
            check = partial(_check, rows=rows, settings=settings, folder=folder, options=options)
            checks = chain.from_iterable(pool.map(check, _parts(part, PART // threads)))
            for found, (print_, answer) in zip(part, checks, strict=True):
                counts[answer] += 1
                if answer == "other":
                    plan.others.append((found, print_))
                elif answer != "ignored":
                    plan.scenes.append(found)
                if answer in ("new", "outdated"):
                    row = rows.get(found.key)
                    plan.jobs.append((found, row["name"] if row and row["state"] != OTHER else "", print_))
    new = [found for found, name, _ in plan.jobs if not name]
    names = make_names(new, plan.scenes if shard.count == 1 else candidates, _taken(folder, new)) if new else {}
    plan.jobs[:] = [(found, name or names[found.key], print_) for found, name, print_ in plan.jobs]
    return plan._replace(before=counts["before"], refused=counts["refused"], outdated=counts["outdated"])


def _parts(items: list[Found], size: int) -> Iterator[list[Found]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _known(path: Path, keys: list[str]) -> dict[str, sqlite3.Row]:
    """Rows of a manifest with the given keys: key → row."""
    if not path.exists():
        return {}
    with Manifest(path, "rw") as manifest:
        rows = manifest.select(COLUMNS, f"WHERE key IN ({', '.join('?' * len(keys))})", keys)
    return {row["key"]: row for row in rows}


def _check(
    part: list[Found], rows: Mapping[str, sqlite3.Row], settings: str, folder: Path, options: BatchOptions
) -> list[tuple[str, str]]:
    """Fingerprint and planning state of each candidate. Unchanged rasters of earlier runs are not opened.

    States: new (to be masked), before (finished), outdated (finished with other options), refused (bad input), other
    (not a scene), ignored (not a scene, as in earlier runs).
    """
    checks = []
    for found in part:
        row = rows.get(found.key)
        known = row["fingerprint"] if row and row["state"] in (DONE, OTHER) else None
        is_quick = known is not None and not is_remote(found.source)
        print_ = fingerprint(found.source, RASTER if is_quick else found.reader)
        if is_quick and found.reader is None and print_ != known:  # a source of several files, or changed
            print_ = fingerprint(found.source)
        if row and print_ == known and row["state"] == OTHER:
            answer = "ignored"
        elif print_ != known and not found.is_scene:
            answer = "other"
        elif row is None or not options.resume or row["fingerprint"] != print_:
            answer = "new"
        elif row["settings"] != settings:
            answer = "outdated" if row["state"] == DONE else "new"
        elif row["state"] == FAILED and row["failure"] == BAD_INPUT and not options.retry_failed:
            answer = "refused"
        else:
            answer = "before" if row["state"] == DONE and _is_there(row, folder, options) else "new"
        checks.append((print_, answer))
    return checks


def _is_there(row: sqlite3.Row, folder: Path, options: BatchOptions) -> bool:
    """True if the local results of a finished scene still exist and its upload destination is unchanged."""
    if row["uploaded"] != options.upload:
        return False
    start = f"{folder}{os.sep}"  # creating a Path for each of a million files is three times slower
    files = json.loads(row["files"]).values() if row["uploaded"] is None or options.keep else ()
    return all(os.path.exists(start + name) for name in files)  # noqa: PTH110


def plain_name(found: Found) -> str:
    """Name of a scene's product or file, with special characters replaced, at most 150 characters long."""
    return re.sub(r"[^\w.\-+ ]", "_", found.name)[:150].strip() or "scene"


def make_names(new: Iterable[Found], every: Iterable[Found], taken: Mapping[str, str]) -> dict[str, str]:
    """Base names of the files of new scenes, by key: the plain name, plus a hash if it is not unique.

    ``every`` holds the scenes of all shards; ``taken`` maps the names in use, in lower case, to their keys.
    """
    count = Counter(hash(plain_name(found).lower()) for found in every)  # hashes save memory; collisions are harmless
    names = {}
    for found in new:
        name = plain_name(found)
        lower = name.lower()
        if count[hash(lower)] > 1 or taken.get(lower, found.key) != found.key or lower in RESERVED:
            name += "-" + hashlib.sha256(found.key.encode()).hexdigest()[:8]
        names[found.key] = name
    return names


def _taken(folder: Path, new: list[Found]) -> dict[str, str]:
    """Plain names of new scenes that are in use in any manifest of a folder: name in lower case → key."""
    wanted = {plain_name(found).lower() for found in new}
    rows = ((row["name"].lower(), row["key"]) for row in Entries(manifests_in(folder)).rows(("key", "name")))
    return {name: key for name, key in rows if name in wanted}
