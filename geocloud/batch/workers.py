"""Jobs on an executor: what runs next, what is tried again, and the executor of processes on this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

from geocloud.batch.job import LATER, PASSING, Job, failed, run_job
from geocloud.batch.state import Entry
from geocloud.errors import GeocloudError
from geocloud.pipeline import ComputeOptions

PROCESSES = 2
"""Processes of a machine or CUDA device: while one reads or writes a scene, the other computes."""
MAX_TRIES = 3
"""Most tries of a scene in a run, if its worker dies or the failure may be temporary."""
TICK = 2
"""Seconds after which an executor is looked at again: is it there, and how many workers has it?"""
START = multiprocessing.get_context("spawn")  # torch and OpenVINO hang in a forked process
LOST = "lost, or it cancelled this run; start the run again to continue"


class Executor(Protocol):
    """Runs jobs on workers, as `concurrent.futures.Executor` does."""

    def submit(self, job: Job) -> futures.Future[Entry]:
        """Hands a job over. The future raises BrokenExecutor if that kills its worker."""

    def room(self) -> int:
        """Number of jobs to be submitted at a time. Raises GeocloudError if the executor is lost."""

    def close(self) -> None:
        """Ends all work, at once."""


def run_jobs(jobs: Sequence[Job], executor: Executor) -> Iterator[Entry]:
    """Runs jobs; yields their entries as they finish.

    Jobs that may succeed on another try are tried again, and those that were lost with a worker after all others, one
    at a time: they may need all memory. Raises GeocloudError if the executor is lost.
    """
    waiting, lost, tries = deque(jobs), deque[Job](), Counter[str]()
    running: dict[futures.Future[Entry], Job] = {}
    room, looked = executor.room(), time.monotonic()
    while waiting or lost or running:
        if not (waiting or running):
            waiting.append(lost.popleft())
        while waiting and len(running) < max(room, 1):
            job = waiting.popleft()
            tries[job.name] += 1
            running[executor.submit(job)] = job
        for future in futures.wait(running, TICK, futures.FIRST_COMPLETED).done:
            job, again = running.pop(future), waiting
            try:
                entry = future.result()
            except futures.BrokenExecutor:
                died = f"{job.source}: its worker died {MAX_TRIES} times; out of memory?"
                entry, again = failed(job, died, PASSING), lost
            except futures.CancelledError as error:
                raise GeocloudError(f"the cluster is {LOST}") from error
            except Exception as error:  # of the executor: jobs raise nothing
                entry = failed(job, f"{job.source}: its worker failed, out of memory? ({error})", LATER)
            if entry.failure == PASSING and tries[job.name] < MAX_TRIES:
                again.append(job)
            else:
                yield entry
        if time.monotonic() > looked + TICK:
            room, looked = executor.room(), time.monotonic()


def load_worker(model: str, compute: ComputeOptions, place: int = 0, of: int = 1) -> Any:
    """The predictor of worker number ``place``, from 0, ``of`` so many on its machine. Raises ModelError, DeviceError.

    They share its cores, and take its CUDA devices in turn.
    """
    from geocloud.models.devices import cores
    from geocloud.models.predictor import load_model

    devices = count_devices(compute)
    device = f"cuda:{place % devices}" if devices else compute.device
    return load_model(model, device, compute.precision, compute.batch, threads=max(1, cores() // of))


def count_devices(compute: ComputeOptions) -> int:
    """Number of CUDA devices to choose from; 0 if a device was named."""
    from geocloud.models.devices import cuda_devices

    return cuda_devices() if compute.device in ("auto", "cuda") else 0


class LocalExecutor:
    """Processes on this machine, with a scene at a time in each; one that dies is replaced.

    ``begun`` is called with the name of each job that starts. Raises GeocloudError if a process cannot start.
    """

    def __init__(
        self, model: str, compute: ComputeOptions, count: int, begun: Callable[[str], object], load: Any = load_worker
    ) -> None:
        self._arguments, self._begun = (load, model, compute), begun
        self._pools = dict[int, futures.ProcessPoolExecutor]()
        self._pids = dict[int, futures.Future[int]]()
        self._idle: SimpleQueue[int] = SimpleQueue()
        try:
            for place in range(count):
                self._start(place, count)
                self._idle.put(place)
            for pid in self._pids.values():
                pid.result()
        except BaseException as error:
            self.close()
            if isinstance(error, futures.BrokenExecutor):
                raise GeocloudError("a worker died while starting; is there enough memory for the model?") from error
            raise

    def _start(self, place: int, of: int) -> None:
        self._pools[place] = futures.ProcessPoolExecutor(1, START, _settle, (self._arguments, place, of))
        self._pids[place] = self._pools[place].submit(_load)

    def close(self) -> None:
        """Ends the processes, at once if they are still working."""
        for place, pool in self._pools.items():
            with suppress(Exception):  # it has died, or could not start
                os.kill(self._pids[place].result(), signal.SIGTERM)
            pool.shutdown(cancel_futures=True)

    def room(self) -> int:
        """See `Executor`."""
        return len(self._pools)

    def submit(self, job: Job) -> futures.Future[Entry]:
        """See `Executor`."""
        place = self._idle.get()
        try:
            future = self._pools[place].submit(_run, job)
        except futures.BrokenExecutor:  # it died, with its last job or since
            self._start(place, len(self._pools))
            future = self._pools[place].submit(_run, job)
        self._begun(job.name)
        future.add_done_callback(lambda _: self._idle.put(place))
        return future


_worker: dict[str, Any] = {}
"""What a worker process was started with, and its predictor."""


def _settle(arguments: tuple[Any, ...], place: int, of: int) -> None:
    """Prepares a worker process. Its first call loads the model, so that errors reach the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("geocloud").propagate = False  # warnings are part of entries
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # GDAL's errors are raised as ours
    from geocloud.io.allocator import keep_freed_memory

    keep_freed_memory()
    _worker["arguments"] = *arguments, place, of


def _load() -> int:
    """Loads the model. Returns the ID of the process."""
    load, *arguments = _worker["arguments"]
    _worker["predict"] = load(*arguments)
    return os.getpid()


def _run(job: Job) -> Entry:
    return run_job(job, _worker["predict"])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the parent was killed: nobody waits for the results
