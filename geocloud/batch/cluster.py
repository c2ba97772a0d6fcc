"""Jobs on an existing dask.distributed cluster, whose workers may come and go."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

from geocloud.batch.job import LATER, PASSING, Job, failed, run_job
from geocloud.batch.options import BatchOptions
from geocloud.batch.state import Entry
from geocloud.batch.workers import load_worker
from geocloud.errors import DependencyError, GeocloudError
from geocloud.pipeline import ComputeOptions

GPU = "GPU"
TIMEOUT = 30
"""Seconds that a scheduler may take to respond."""
AHEAD = 3
"""Scenes submitted per thread of the cluster: enough that no worker waits, however many scenes there are in all."""


class ClusterExecutor:
    """The workers of a scheduler such as ``tcp://host:8786``: see `geocloud.batch.workers.Executor`.

    Every worker loads the model once; workers that join later get work, too. Workers must see the sources and the
    output folder under the same paths. If workers declare the resource GPU, or the device is CUDA, each scene takes one
    GPU; ``note`` is called with a message for each worker left out for lack of it. Raises GeocloudError,
    DependencyError.
    """

    begun: Callable[[str], object]

    def __init__(self, scheduler: str, model: str, options: BatchOptions, note: Callable[[str], object]) -> None:
        try:
            from distributed import Client
            from distributed.utils import silence_logging_cmgr
        except ImportError as error:
            raise DependencyError("--scheduler needs dask.distributed; run pip install 'geocloud[batch]'") from error
        self._scheduler, self._futures = scheduler, set[Any]()
        self._client: Any = None
        self._silence = silence_logging_cmgr(logging.CRITICAL)  # what dask logs, with tracebacks, is told in entries
        self._silence.__enter__()
        try:
            try:
                self._client = Client(scheduler, timeout=TIMEOUT, set_as_default=False)
            except Exception as error:
                raise GeocloudError(f"{scheduler}: no dask scheduler responds there ({error})") from error
            self._link, self._topic = self._client.scheduler_comm, f"geocloud-{uuid4().hex}"
            self._resources = _resources(scheduler, self._workers(), options.compute, note)
            text = f"{model} {options.compute} {options.fingerprint()}"
            self._mark = hashlib.sha256(text.encode()).hexdigest()[:16]
            self._client.register_plugin(_plugin(model, options.compute, self._mark), name=f"geocloud-{self._mark}")
            self._client.subscribe_topic(self._topic, lambda event: self.begun(event[1]))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See `Executor`."""
        if self._client:
            self._client.close()
        self._silence.__exit__(None, None, None)

    def room(self) -> int:
        """See `Executor`. Where there is no worker now, scenes wait for new ones."""
        lost = self._client.status != "running" or self._client.scheduler_comm is not self._link
        if lost or any(future.status == "cancelled" for future in self._futures):
            raise GeocloudError(f"{self._scheduler}: lost, or it cancelled this run; start the run again to continue")
        return AHEAD * max(1, sum(worker["nthreads"] for worker in self._workers().values()))

    def submit(self, job: Job) -> Future[Entry]:
        """See `Executor`. dask itself tries a job again whose worker has died."""
        key, result = f"{self._topic}-{job.name}-{uuid4().hex}", Future[Entry]()
        try:
            options = {"key": key, "pure": False, "resources": self._resources}
            future = self._client.submit(_run, job, self._mark, self._topic, **options)
        except Exception:
            self.room()  # dask has several errors for a scheduler that is gone
            raise
        self._futures.add(future)
        future.add_done_callback(lambda _: self._settle(job, future, result))
        return result

    def _settle(self, job: Job, future: Any, result: Future[Entry]) -> None:
        """Hands over what came of a finished job. A cancelled one stays open: `room` raises the error."""
        from distributed import KilledWorker

        try:
            error = future.exception(timeout=TIMEOUT) if future.status == "error" else None
            if isinstance(error, KilledWorker):
                entry = failed(job, f"{job.source}: it killed every worker that tried it; out of memory?", LATER)
            else:
                entry = failed(job, error, PASSING) if error else future.result(timeout=TIMEOUT)
        except Exception:  # its worker died before this was fetched, another does it again; or the cluster is lost
            if future.status not in ("cancelled", "lost"):
                future.add_done_callback(lambda _: self._settle(job, future, result))
            return
        self._futures.discard(future)
        result.set_result(entry)

    def _workers(self) -> dict[str, Any]:
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers


def _resources(
    scheduler: str, workers: dict[str, Any], compute: ComputeOptions, note: Callable[[str], object]
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


def _plugin(model: str, compute: ComputeOptions, mark: str) -> Any:
    from distributed import WorkerPlugin

    class ModelPlugin(WorkerPlugin):  # type: ignore[misc]
        """Loads the model when a worker starts. The workers of a host share its cores."""

        idempotent = False

        async def setup(self, worker: Any) -> None:
            about = await worker.scheduler.identity(n_workers=-1)
            host = worker.address.rpartition(":")[0]
            beside = sorted({a for a in about["workers"] if a.rpartition(":")[0] == host} | {worker.address})
            share = beside.index(worker.address), len(beside)
            models = worker.__dict__.setdefault("geocloud_models", {})
            # In a thread, so that the worker stays in touch with its scheduler.
            models[mark] = await asyncio.to_thread(load_worker, model, compute, *share)

    return ModelPlugin()


def _run(job: Job, mark: str, topic: str) -> Entry:
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(topic, job.name)
    return run_job(job, worker.geocloud_models[mark])
