"""Jobs on an existing dask.distributed cluster, whose workers may come and go."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from geocloud.batch.job import PASSING, Job, Outcome, Started, failed, run_job
from geocloud.batch.local import MOST_TRIES, Compute
from geocloud.errors import DependencyError, GeocloudError

GPU = "GPU"
TIMEOUT = 30
"""Seconds that a scheduler may take to respond."""
AHEAD = 3
"""Scenes submitted per thread of the cluster: enough that no worker waits, however many scenes there are in all."""
TICK = 2
"""Seconds after which the cluster is looked at again: is it there, and how many workers has it?"""


def run_on_cluster(
    jobs: Sequence[Job], scheduler: str, compute: Compute, started: Started, note: Callable[[str], object]
) -> Iterator[Outcome]:
    """Runs jobs on the workers of a scheduler such as ``tcp://host:8786``; yields outcomes as they finish.

    Every worker loads the model once; workers that join later get work, too. Workers must see the sources and the
    output folder under the same paths. If workers declare the resource GPU, or the device is CUDA, each scene takes one
    GPU; ``note`` is called with a message for each worker left out for lack of it. ``started`` is called when a worker
    starts with a job, again if it was lost with its worker. Raises GeocloudError, also if the cluster is lost, and
    DependencyError.
    """
    try:
        from distributed import Client
        from distributed.utils import silence_logging_cmgr
    except ImportError as error:
        raise DependencyError("--scheduler needs dask.distributed; run pip install 'geocloud[batch]'") from error
    try:
        client = Client(scheduler, timeout=TIMEOUT, set_as_default=False)
    except Exception as error:
        raise GeocloudError(f"{scheduler}: no dask scheduler responds there ({error})") from error
    with silence_logging_cmgr(logging.CRITICAL), client:  # what dask logs, with tracebacks, is told in outcomes
        resources = _resources(scheduler, _workers(client), compute, note)
        mark = hashlib.sha256(f"{compute} {jobs[0].settings.fingerprint()}".encode()).hexdigest()[:16]
        client.register_plugin(_plugin(compute, mark), name=f"geocloud-{mark}")
        run = _Run(client, scheduler, mark, resources)
        try:
            yield from run.outcomes(jobs, started)
        except GeocloudError:
            raise
        except Exception:
            run.check()  # dask has several errors for a scheduler that is gone
            raise


class _Run:
    """Jobs on their way through a cluster."""

    def __init__(self, client: Any, scheduler: str, mark: str, resources: dict[str, float] | None) -> None:
        self._client, self._scheduler, self._mark, self._resources = client, scheduler, mark, resources
        self._key = f"geocloud-{uuid4().hex}"
        self._news: SimpleQueue[Any] = SimpleQueue()  # names of jobs that a worker has begun, and finished futures
        self._submitted: dict[str, tuple[Job, Any]] = {}
        self._tries = Counter[str]()
        self._link = client.scheduler_comm
        client.subscribe_topic(self._key, lambda event: self._news.put(event[1]))

    def outcomes(self, jobs: Sequence[Job], started: Started) -> Iterator[Outcome]:
        """See `run_on_cluster`."""
        waiting, room, looked = deque(jobs), AHEAD * _threads(self._client), time.monotonic()
        while waiting or self._submitted:
            while waiting and len(self._submitted) < room:
                self._submit(waiting.popleft())
            with suppress(Empty):
                told = self._news.get(timeout=TICK)
                if not isinstance(told, str):
                    outcome = self._finish(told)
                    if isinstance(outcome, Job):
                        waiting.append(outcome)
                    elif outcome:
                        yield outcome
                elif told in self._submitted:
                    started(self._submitted[told][0])
            if time.monotonic() > looked + TICK:
                self.check()
                room, looked = AHEAD * _threads(self._client), time.monotonic()

    def check(self) -> None:
        """Raises GeocloudError if the scheduler is lost, or is there again but knows nothing of this run."""
        broken = self._client.status != "running" or self._client.scheduler_comm is not self._link
        if broken or any(future.status == "cancelled" for _, future in self._submitted.values()):
            raise GeocloudError(f"{self._scheduler}: lost, or it cancelled this run; start the run again to continue")

    def _submit(self, job: Job) -> None:
        self._tries[job.name] += 1
        key = f"{self._key}-{job.name}-{self._tries[job.name]}"
        about = {"key": key, "pure": False, "resources": self._resources}
        future = self._client.submit(_run, job, self._mark, self._key, **about)
        self._submitted[job.name] = job, future
        future.add_done_callback(self._news.put)

    def _finish(self, future: Any) -> Outcome | Job | None:
        """The outcome of a finished job; the job if it is to be tried again; None if it is not finished after all."""
        name = future.key.removeprefix(f"{self._key}-").rpartition("-")[0]
        job = self._submitted[name][0]
        try:
            outcome = _outcome(job, future)
        except Exception:
            self.check()
            future.add_done_callback(self._news.put)  # its worker died before this was fetched, another does it again
            return None
        del self._submitted[name]
        again = outcome.failure == PASSING and self._tries[name] < MOST_TRIES and not _is_killer(future)
        return job if again else outcome


def _outcome(job: Job, future: Any) -> Outcome:
    """The outcome of a finished job. Raises what dask raises if it cannot be fetched."""
    if _is_killer(future):
        return failed(job, f"{job.source}: it killed every worker that tried it; out of memory?", PASSING)
    if future.status == "error":
        return failed(job, future.exception(), PASSING)
    outcome: Outcome = future.result(timeout=TIMEOUT)
    return outcome


def _is_killer(future: Any) -> bool:
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _workers(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found


def _threads(client: Any) -> int:
    """Threads of all workers now; 1 if there are none, whose scenes wait for new ones."""
    return max(1, sum(worker["nthreads"] for worker in _workers(client).values()))


def _resources(
    scheduler: str, workers: dict[str, Any], compute: Compute, note: Callable[[str], object]
) -> dict[str, float] | None:
    """The resources that each job needs of a worker. Raises GeocloudError if no worker has them."""
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
        note(f"{address} is left out: it has no resource {GPU}")
    return {GPU: 1}


def _plugin(compute: Compute, mark: str) -> Any:
    from distributed import WorkerPlugin

    class ModelPlugin(WorkerPlugin):  # type: ignore[misc]
        """Loads the model when a worker starts. The workers of a host share its cores."""

        idempotent = False

        async def setup(self, worker: Any) -> None:
            about = await worker.scheduler.identity(n_workers=-1)
            host = worker.address.rpartition(":")[0]
            beside = sorted({a for a in about["workers"] if a.rpartition(":")[0] == host} | {worker.address})
            share = replace(compute, place=beside.index(worker.address), of=len(beside))
            models = worker.__dict__.setdefault("geocloud_models", {})
            models[mark] = await asyncio.to_thread(share.load)  # the worker stays in touch with its scheduler

    return ModelPlugin()


def _run(job: Job, mark: str, topic: str) -> Outcome:
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(topic, job.name)
    return run_job(job, worker.geocloud_models[mark])
