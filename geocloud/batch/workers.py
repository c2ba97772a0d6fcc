"""Execution of jobs, with retries, on executors: local processes or a dask cluster."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import ExitStack, suppress
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, Protocol
from uuid import uuid4

from geocloud.batch.job import LATER, PASSING, Job, failed, run_job
from geocloud.batch.options import BatchOptions
from geocloud.batch.state import Entry
from geocloud.errors import DependencyError, GeocloudError
from geocloud.io.allocator import keep_freed_memory
from geocloud.io.gdal import is_gdal_name
from geocloud.io.remote import is_remote
from geocloud.pipeline import ComputeOptions

log = logging.getLogger(__name__)

PROCESSES = 2
"""Processes per machine or CUDA device: while one reads or writes a scene, the other computes."""
MAX_TRIES = 3
"""Maximum tries of a scene in a run, if its worker dies or the failure may be temporary."""
START = multiprocessing.get_context("spawn")  # torch and OpenVINO hang in a forked process
LOST = "the cluster is lost, or it cancelled this run; start the run again to continue"
TIMEOUT, GPU = 30, "GPU"
"""Timeout of the scheduler in seconds, and the resource declared by workers with a GPU."""
AHEAD = 1000
"""Scenes submitted to a cluster at a time: enough to keep all workers busy."""


class Executor(Protocol):
    """Runs jobs on workers, as `concurrent.futures.Executor` does."""

    room: int
    """Maximum number of unfinished jobs that are submitted at a time."""

    def submit(self, job: Job) -> futures.Future[Entry]:
        """Submits a job. Its future raises BrokenExecutor if the worker dies, CancelledError if the cluster is lost."""

    def close(self) -> None:
        """Stops all work immediately."""


def run_jobs(jobs: Sequence[Job], executor: Executor) -> Iterator[Entry]:
    """Runs jobs, and yields their entries as they finish.

    Temporary failures are retried. Jobs whose worker died are retried after all others, one at a time, because they may
    need all memory. Raises GeocloudError if the executor is lost.
    """
    waiting, lost, tries = deque(jobs), deque[Job](), Counter[str]()
    running: dict[futures.Future[Entry], Job] = {}
    while waiting or lost or running:
        if not (waiting or running):
            waiting.append(lost.popleft())
        while waiting and len(running) < executor.room:
            job = waiting.popleft()
            tries[job.name] += 1
            running[executor.submit(job)] = job
        for future in futures.wait(running, 2, futures.FIRST_COMPLETED).done:  # 2 s: Windows ignores Ctrl-C meanwhile
            job, again = running.pop(future), waiting
            try:
                entry = future.result()
            except futures.BrokenExecutor:
                died = f"{job.source}: its worker died {MAX_TRIES} times; out of memory?"
                entry, again = failed(job, died, PASSING), lost
            except futures.CancelledError as error:
                raise GeocloudError(LOST) from error
            except Exception as error:  # raised by the executor; jobs raise nothing
                entry = failed(job, f"{job.source}: its worker failed, out of memory? ({error})", LATER)
            if entry.failure == PASSING and tries[job.name] < MAX_TRIES:
                again.append(job)
            else:
                yield entry


def load_worker(model: str, compute: ComputeOptions, place: int = 0, of: int = 1) -> Any:
    """Predictor of worker number ``place`` (from 0) among ``of`` workers of a machine. Raises ModelError, DeviceError.

    Workers share the cores equally, and are assigned to CUDA devices in turn.
    """
    from geocloud.models.devices import cores
    from geocloud.models.predictor import load_model

    devices = count_devices(compute)
    device = f"cuda:{place % devices}" if devices else compute.device
    return load_model(model, device, compute.precision, compute.batch, threads=max(1, cores() // of))


def count_devices(compute: ComputeOptions) -> int:
    """Number of CUDA devices to distribute workers over; 0 if ``compute`` names a specific device."""
    from geocloud.models.devices import cuda_devices

    return cuda_devices() if compute.device in ("auto", "cuda") else 0


class LocalExecutor:
    """Executor of processes on this machine, each with one job at a time. A process that dies is replaced.

    ``begun`` is called with the name of each job that starts. Raises GeocloudError if a process cannot start.
    """

    def __init__(
        self, model: str, compute: ComputeOptions, count: int, begun: Callable[[str], object], load: Any = load_worker
    ) -> None:
        self.room, self._arguments, self._begun = count, (load, model, compute), begun
        self._pools = dict[int, futures.ProcessPoolExecutor]()
        self._pids, self._loads = dict[int, futures.Future[int]](), list[futures.Future[None]]()
        self._idle: SimpleQueue[int] = SimpleQueue()
        try:
            for place in range(count):
                self._start(place)
                self._idle.put(place)
            for load in self._loads:
                load.result()
        except BaseException as error:
            self.close()
            if isinstance(error, futures.BrokenExecutor):
                raise GeocloudError("a worker died while starting; is there enough memory for the model?") from error
            raise

    def _start(self, place: int) -> None:
        self._pools[place] = futures.ProcessPoolExecutor(1, START, _settle, (self._arguments, place, self.room))
        self._pids[place] = self._pools[place].submit(os.getpid)
        self._loads.append(self._pools[place].submit(_load))

    def close(self) -> None:
        """Terminates the processes, even while they are working."""
        for place, pool in self._pools.items():
            with suppress(Exception):  # the process has died, or could not start
                os.kill(self._pids[place].result(), signal.SIGTERM)
            pool.shutdown(cancel_futures=True)

    def submit(self, job: Job) -> futures.Future[Entry]:
        """See `Executor`."""
        place = self._idle.get()
        try:
            future = self._pools[place].submit(_run, job)
        except futures.BrokenExecutor:  # the process died during its last job, or later
            self._start(place)
            future = self._pools[place].submit(_run, job)
        self._begun(job.name)
        future.add_done_callback(lambda _: self._idle.put(place))
        return future


_worker: dict[str, Any] = {}
"""Arguments and predictor of this worker process."""


def _settle(arguments: tuple[Any, ...], place: int, of: int) -> None:
    """Prepares a worker process. The model is loaded later, by `_load`, so that its errors reach the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole process group; the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("geocloud").propagate = False  # entries contain the warnings
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # GDAL's errors are raised as GeocloudError
    keep_freed_memory()
    _worker["arguments"] = *arguments, place, of


def _load() -> None:
    load, *arguments = _worker["arguments"]
    _worker["predict"] = load(*arguments)


def _run(job: Job) -> Entry:
    return run_job(job, _worker["predict"])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the parent was killed, so nothing waits for the results


class ClusterExecutor:
    """Executor of a dask cluster. The scheduler's address is ``options.scheduler``, such as ``tcp://host:8786``.

    Each worker loads the model once. Workers may join later. Sources and output folder must have the same paths on all
    workers. If workers declare the resource GPU, or the device is CUDA, each scene takes one GPU; workers without GPU
    are logged and not used. ``begun`` is called with the name of each job that starts, from any thread. Raises
    GeocloudError, DependencyError.
    """

    room = AHEAD

    def __init__(self, model: str, options: BatchOptions, begun: Callable[[str], object]) -> None:
        try:
            from distributed import Client
            from distributed.utils import silence_logging_cmgr
        except ImportError as error:
            raise DependencyError("--scheduler needs dask.distributed; run pip install 'geocloud[batch]'") from error
        self._topic = f"geocloud-{uuid4().hex}"
        with ExitStack() as stack:
            stack.enter_context(silence_logging_cmgr(logging.CRITICAL))  # entries contain its errors
            try:
                self._client: Any = Client(options.scheduler, timeout=TIMEOUT, set_as_default=False)
            except Exception as error:
                raise GeocloudError(f"{options.scheduler}: no dask scheduler responds there ({error})") from error
            stack.callback(self._client.close)
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
            resources = _resources(str(options.scheduler), workers, options.compute)
            self._mark = f"geocloud {model} {options.compute} {options.fingerprint()}"
            self._client.register_plugin(_plugin(model, options.compute, self._mark), name=self._mark)
            self._client.subscribe_topic(self._topic, lambda event: begun(event[1]))
            self._executor = self._client.get_executor(pure=False, resources=resources)
            self.close = stack.pop_all().close

    def submit(self, job: Job) -> futures.Future[Entry]:
        """See `Executor`. Dask itself retries jobs whose worker died. Raises GeocloudError if the cluster is lost."""
        if self._client.status != "running":
            raise GeocloudError(LOST)
        if not (is_remote(job.source) or is_gdal_name(job.source)):  # workers have other working directories
            job = replace(job, source=os.path.abspath(job.source))  # noqa: PTH100 - may end in #ITEM
        future: futures.Future[Entry] = self._executor.submit(_run_there, job, self._mark, self._topic)
        return future


def _resources(scheduler: str, workers: dict[str, Any], compute: ComputeOptions) -> dict[str, float] | None:
    """Resources that each job needs, or None. Raises GeocloudError if no worker has them."""
    if not workers:
        raise GeocloudError(f"{scheduler}: has no workers; start some with: dask worker {scheduler}")
    with_gpu = [address for address, info in workers.items() if info.get("resources", {}).get(GPU)]
    if not with_gpu and not compute.device.startswith("cuda"):
        return None
    if not with_gpu:
        raise GeocloudError(
            f"{scheduler}: none of {len(workers)} workers has the resource {GPU}, which --device {compute.device} "
            f"needs; start them with: dask worker {scheduler} --resources {GPU}=1"
        )
    for address in sorted(set(workers) - set(with_gpu)):
        log.warning("%s is not used: it has no resource %s", address, GPU)
    return {GPU: 1}


def _plugin(model: str, compute: ComputeOptions, mark: str) -> Any:
    from distributed import WorkerPlugin

    class ModelPlugin(WorkerPlugin):  # type: ignore[misc]
        """Loads the model when a worker starts. The workers of a host share its cores."""

        idempotent = False

        async def setup(self, worker: Any) -> None:
            cluster = await worker.scheduler.identity(n_workers=-1)
            host = worker.address.rpartition(":")[0]
            peers = sorted({a for a in cluster["workers"] if a.rpartition(":")[0] == host} | {worker.address})
            share = peers.index(worker.address), len(peers)
            models = worker.__dict__.setdefault("geocloud_models", {})
            # In a thread, so that the worker still sends heartbeats to the scheduler.
            models[mark] = await asyncio.to_thread(load_worker, model, compute, *share)

    return ModelPlugin()


def _run_there(job: Job, mark: str, topic: str) -> Entry:
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(topic, job.name)
    return run_job(job, worker.geocloud_models[mark])
