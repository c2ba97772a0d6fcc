"""Jobs on this machine: one process per device, two scenes at a time in each. A process that dies is replaced."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from geocloud.batch.job import PASSING, Job, Outcome, Started, failed, run_job
from geocloud.errors import GeocloudError

LANES = 2
"""Scenes at a time in a process: while one is opened or written, the other keeps the processor busy."""

MOST_TRIES = 3
"""Most tries of a scene in a run, if its worker dies or the failure may be temporary."""

START = multiprocessing.get_context("spawn")  # torch and OpenVINO hang in a forked process


@dataclass(frozen=True, slots=True)
class Compute:
    """A model, and the arguments that a worker loads it with: see `geocloud.load_model`."""

    model: str
    """A bundled model's name or a checkpoint's path."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto, float32, bfloat16, float16 or int8."""
    batch: int | None = None
    """Tiles per batch; None: by device."""
    place: int = 0
    """Index of this worker on its machine, from 0; it selects the CUDA device."""
    of: int = 1
    """Number of workers on the machine, which share its cores."""

    def load(self) -> Any:
        """The predictor. Raises ModelError, DeviceError."""
        from geocloud.models.devices import cores
        from geocloud.models.predictor import load_model

        devices = self.devices()
        device = f"cuda:{self.place % devices}" if devices else self.device
        share = max(1, cores() // self.of)
        return load_model(self.model, device, self.precision, self.batch, threads=share)

    def devices(self) -> int:
        """Number of CUDA devices to choose from; 0 if a device was named."""
        from geocloud.models.devices import cuda_devices

        return cuda_devices() if self.device in ("auto", "cuda") else 0


def run_local(jobs: Sequence[Job], compute: Compute, workers: int | None, started: Started) -> Iterator[Outcome]:
    """Runs jobs in ``workers`` processes (None: one, or one per CUDA device); yields outcomes as they finish.

    A worker that dies is replaced. Its scenes are tried again one at a time, so that only the scene that kills workers
    fails. Raises GeocloudError if a worker cannot start.
    """
    waiting, suspects = deque(jobs), deque[Job]()
    tries: Counter[str] = Counter()
    count = min(workers or 1, len(jobs))
    crew = [_Worker(replace(compute, place=place, of=count)) for place in range(count)]
    try:
        while waiting or suspects or any(worker.jobs for worker in crew):
            for worker in crew:
                while job := _next(worker, waiting, suspects):
                    tries[job.name] += 1
                    started(job)
                    worker.send(job, alone=tries[job.name] > 1)
            ready = wait([worker.pipe for worker in crew])
            for worker in [w for w in crew if w.pipe in ready]:
                try:
                    outcome = worker.receive()
                except (EOFError, OSError):
                    for job in worker.replace():
                        if tries[job.name] < MOST_TRIES:
                            suspects.append(job)
                        else:
                            reason = f"its worker died {tries[job.name]} times; out of memory?"
                            yield failed(job, f"{job.source}: {reason}", PASSING)
                    continue
                if isinstance(outcome, int):
                    if workers is None and len(crew) == 1:  # now the number of devices is known
                        crew += [_Worker(replace(compute, place=place)) for place in range(1, outcome)]
                    continue
                job = worker.jobs.pop(outcome.name)
                if outcome.failure == PASSING and tries[job.name] < MOST_TRIES:
                    suspects.append(job)
                else:
                    yield outcome
    finally:
        for worker in crew:
            worker.stop()


def _next(worker: _Worker, waiting: deque[Job], suspects: deque[Job]) -> Job | None:
    """The next job of a worker, if any: suspects run alone, others side by side."""
    if suspects:
        return suspects.popleft() if not worker.jobs else None
    if (worker.jobs and worker.alone) or len(worker.jobs) >= LANES or not waiting:
        return None
    return waiting.popleft()


@dataclass
class _Worker:
    """A process, its current jobs, and the pipe to it."""

    compute: Compute
    jobs: dict[str, Job] = field(default_factory=dict)
    alone: bool = False
    ready: bool = False
    deaths: int = 0

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = START.Pipe()
        self.process = START.Process(target=_serve, args=(theirs, self.compute), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, job: Job, alone: bool) -> None:
        """Sends a job to the process; with ``alone`` no other may run beside it."""
        self.jobs[job.name], self.alone = job, alone
        with suppress(OSError):  # the process has died: `receive` will raise
            self.pipe.send(job)

    def receive(self) -> Outcome | int:
        """An outcome, or the number of CUDA devices when the worker is ready. Raises EOFError if the process died."""
        message = self.pipe.recv()
        if isinstance(message, BaseException):
            raise GeocloudError(str(message)) from message
        self.ready = True
        found: Outcome | int = message
        return found

    def replace(self) -> list[Job]:
        """Starts a new process in place of one that died, and returns the jobs that were lost."""
        self.process.join()
        if not self.ready:
            self.deaths += 1
            if self.deaths >= MOST_TRIES:
                raise GeocloudError(
                    f"a worker died {self.deaths} times while starting (exit code {self.process.exitcode}); "
                    "is there enough memory for the model?"
                )
        self.pipe.close()
        lost, self.jobs, self.ready = list(self.jobs.values()), {}, False
        self._start()
        return lost

    def stop(self) -> None:
        """Ends the process, at once if it is still working."""
        if self.jobs:
            self.process.terminate()
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, compute: Compute) -> None:
    """The main function of a worker: loads the model, then masks scenes until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("geocloud").propagate = False  # warnings are part of outcomes
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # GDAL's errors are raised as ours
    from geocloud.io.allocator import keep_freed_memory

    keep_freed_memory()
    try:
        predict = compute.load()
    except Exception as error:
        pipe.send(GeocloudError(" ".join(str(error).split())))
        return
    lock = threading.Lock()

    def answer(future: Future[Outcome]) -> None:
        with lock, suppress(OSError):
            pipe.send(future.result())

    pipe.send(compute.devices())
    with ThreadPoolExecutor(LANES) as lanes, suppress(EOFError, OSError):
        while True:
            lanes.submit(partial(run_job, pipe.recv(), predict)).add_done_callback(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the parent was killed: nobody waits for the results
