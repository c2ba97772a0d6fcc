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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from geocloud.batch.job import PASSING, Job, failed, run_job
from geocloud.batch.state import Entry
from geocloud.errors import GeocloudError
from geocloud.pipeline import ComputeOptions

LANES = 2
"""Scenes at a time in a process: while one is opened or written, the other keeps the processor busy."""
MAX_TRIES = 3
"""Most tries of a scene in a run, if its worker dies or the failure may be temporary."""
TICK = 2
"""Seconds after which an executor is looked at again: is it there, and how many workers has it?"""
START = multiprocessing.get_context("spawn")  # torch and OpenVINO hang in a forked process


class WorkerDiedError(Exception):
    """A worker died with a job."""


class Executor(Protocol):
    """Runs jobs on workers, by the interface of `concurrent.futures`."""

    begun: Callable[[str], object]
    """Is called with a job's name when a worker begins with it, in any thread."""

    def submit(self, job: Job) -> Future[Entry]:
        """Hands a job over. The future raises WorkerDiedError if that kills its worker."""

    def room(self) -> int:
        """Number of jobs to be submitted at a time. Raises GeocloudError if the executor is lost."""

    def close(self) -> None:
        """Ends all work, at once."""


def run_jobs(jobs: Sequence[Job], executor: Executor, started: Callable[[Job], object]) -> Iterator[Entry]:
    """Runs jobs; yields their entries as they finish. ``started`` is called when a worker begins with a job.

    Jobs that may succeed on another try are tried again, and those that were lost with a worker one at a time, so that
    only the one that kills workers fails. Raises GeocloudError if the executor is lost.
    """
    waiting, suspects, tries, alone = deque(jobs), deque[Job](), Counter[str](), False
    running: dict[Future[Entry], Job] = {}
    news: SimpleQueue[str | Future[Entry]] = SimpleQueue()  # names of jobs begun, and finished futures
    executor.begun = news.put
    room, looked = executor.room(), time.monotonic()
    while waiting or suspects or running:
        while not running or not (alone or suspects or len(running) >= room):
            alone = bool(suspects)
            if not (queue := suspects or waiting):
                break
            job = queue.popleft()
            tries[job.name] += 1
            future = executor.submit(job)
            running[future] = job
            future.add_done_callback(news.put)
        with suppress(Empty):
            told = news.get(timeout=TICK)
            if isinstance(told, str):
                for job in [job for job in running.values() if job.name == told]:
                    started(job)
            else:
                job, death = running.pop(told), told.exception()
                if death and not isinstance(death, WorkerDiedError):
                    raise death
                entry = failed(job, f"{job.source}: {death}", PASSING) if death else told.result()
                if entry.failure == PASSING and tries[job.name] < MAX_TRIES:
                    (suspects if death else waiting).append(job)
                else:
                    yield entry
        if time.monotonic() > looked + TICK:
            room, looked = executor.room(), time.monotonic()


def load_worker(model: str, compute: ComputeOptions, place: int = 0, of: int = 1) -> Any:
    """The predictor of a worker. Raises ModelError, DeviceError.

    Args:
        model: A bundled model's name or a file's path.
        compute: Where and how it computes.
        place: Index of this worker on its machine, from 0; it selects the CUDA device.
        of: Number of workers on the machine, which share its cores.
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
    """Processes on this machine, one or one per CUDA device, with two scenes at a time in each.

    A process that dies is replaced. Raises GeocloudError if one cannot start.
    """

    begun: Callable[[str], object]

    def __init__(self, model: str, compute: ComputeOptions, workers: int | None, load: Any = load_worker) -> None:
        count = workers or max(1, count_devices(compute))
        self._workers: list[_Worker] = []
        self._pool = ThreadPoolExecutor(LANES * count)
        self._lanes: SimpleQueue[tuple[_Worker, int]] = SimpleQueue()  # those that are free
        try:
            self._workers += [_Worker(load, model, compute, place, workers or 1) for place in range(count)]
            for worker in self._workers:
                worker.wait()
        except BaseException:
            self.close()
            raise
        for lane in range(LANES):
            for worker in self._workers:
                self._lanes.put((worker, lane))

    def close(self) -> None:
        """Ends the processes, at once if they are still working."""
        for worker in self._workers:
            worker.stop()
        self._pool.shutdown(cancel_futures=True)

    def room(self) -> int:
        """See `Executor`."""
        return LANES * len(self._workers)

    def submit(self, job: Job) -> Future[Entry]:
        """See `Executor`."""
        return self._pool.submit(self._ask, job)

    def _ask(self, job: Job) -> Entry:
        worker, lane = self._lanes.get()
        try:
            self.begun(job.name)
            return worker.ask(lane, job)
        finally:
            self._lanes.put((worker, lane))


class _Worker:
    """A process, with a pipe for each of its lanes. If it dies, another one takes its place."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._lock, self._stopped = threading.Lock(), False
        self._start()

    def _start(self) -> None:
        pairs = [START.Pipe() for _ in range(LANES)]
        self._pipes = [ours for ours, _ in pairs]
        self._process = START.Process(target=_serve, args=([t for _, t in pairs], *self._arguments), daemon=True)
        self._process.start()
        for _, theirs in pairs:
            theirs.close()

    def wait(self) -> None:
        """Waits until the model is loaded. Raises GeocloudError."""
        for deaths in range(1, MAX_TRIES + 1):
            with suppress(EOFError, OSError):
                if (problem := self._pipes[0].recv()) is None:
                    return
                raise GeocloudError(problem)
            self._process.join()
            if deaths < MAX_TRIES and not self._stopped:
                self._start()
        how = f"(exit code {self._process.exitcode}); is there enough memory for the model?"
        raise GeocloudError(f"a worker died {MAX_TRIES} times while starting {how}")

    def ask(self, lane: int, job: Job) -> Entry:
        """Has a job done. Raises WorkerDiedError, with another process in the place of the one that died."""
        process, pipe = self._process, self._pipes[lane]
        try:
            pipe.send(job)
            entry: Entry = pipe.recv()
            return entry
        except (EOFError, OSError) as error:
            with self._lock:
                if self._process is process and not self._stopped:
                    process.join()
                    self._start()
                    self.wait()
            raise WorkerDiedError(f"its worker died {MAX_TRIES} times; out of memory?") from error

    def stop(self) -> None:
        """Ends the process."""
        self._stopped = True
        self._process.terminate()
        self._process.join(10)
        self._process.kill()
        self._process.join()
        for pipe in self._pipes:
            pipe.close()


def _serve(pipes: list[Connection], load: Any, *arguments: Any) -> None:
    """The main function of a worker: loads the model, then masks scenes until the pipes close."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("geocloud").propagate = False  # warnings are part of entries
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # GDAL's errors are raised as ours
    from geocloud.io.allocator import keep_freed_memory

    keep_freed_memory()
    try:
        predict = load(*arguments)
        pipes[0].send(None)
    except Exception as error:
        pipes[0].send(" ".join(str(error).split()))
        return

    def lane(pipe: Connection) -> None:
        with suppress(EOFError, OSError):
            while True:
                pipe.send(run_job(pipe.recv(), predict))

    with ThreadPoolExecutor(len(pipes)) as lanes:
        lanes.map(lane, pipes)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the parent was killed: nobody waits for the results
