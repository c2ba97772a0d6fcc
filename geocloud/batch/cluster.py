"""Jobs on an existing dask.distributed cluster, whose workers may come and go."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from uuid import uuid4

from geocloud.batch.job import Job, run_job
from geocloud.batch.options import BatchOptions
from geocloud.batch.state import Entry
from geocloud.batch.workers import LOST, load_worker
from geocloud.errors import DependencyError, GeocloudError
from geocloud.io.gdal import is_gdal_name
from geocloud.io.remote import is_remote
from geocloud.pipeline import ComputeOptions

log = logging.getLogger(__name__)

GPU = "GPU"
TIMEOUT = 30
"""Seconds that a scheduler may take to respond."""
AHEAD = 3
"""Scenes submitted per thread of the cluster: enough that no worker waits, however many scenes there are in all."""


class ClusterExecutor:
    """The workers of a scheduler such as ``tcp://host:8786``: see `geocloud.batch.workers.Executor`.

    Every worker loads the model once; workers that join later get work, too. Workers must see the sources and the
    output folder under the same paths. If workers declare the resource GPU, or the device is CUDA, each scene takes one
    GPU; workers left out for lack of it are logged. ``begun`` is called with the name of each job that a worker begins
    with, in any thread. Raises GeocloudError, DependencyError.
    """

    def __init__(self, model: str, options: BatchOptions, begun: Callable[[str], object]) -> None:
        try:
            from distributed import Client
            from distributed.utils import silence_logging_cmgr
        except ImportError as error:
            raise DependencyError("--scheduler needs dask.distributed; run pip install 'geocloud[batch]'") from error
        self._scheduler, self._topic = str(options.scheduler), f"geocloud-{uuid4().hex}"
        with ExitStack() as stack:
            stack.enter_context(silence_logging_cmgr(logging.CRITICAL))  # its tracebacks are told in entries
            try:
                self._client: Any = Client(self._scheduler, timeout=TIMEOUT, set_as_default=False)
            except Exception as error:
                raise GeocloudError(f"{self._scheduler}: no dask scheduler responds there ({error})") from error
            stack.callback(self._client.close)
            resources = _resources(self._scheduler, self._workers(), options.compute)
            text = f"{model} {options.compute} {options.fingerprint()}"
            self._mark = hashlib.sha256(text.encode()).hexdigest()[:16]
            self._client.register_plugin(_plugin(model, options.compute, self._mark), name=f"geocloud-{self._mark}")
            self._client.subscribe_topic(self._topic, lambda event: begun(event[1]))
            self._executor = self._client.get_executor(pure=False, resources=resources)
            self.close = stack.pop_all().close

    def room(self) -> int:
        """See `Executor`. Where there is no worker now, scenes wait for new ones."""
        if self._client.status != "running":
            raise GeocloudError(f"{self._scheduler}: {LOST}")
        return AHEAD * sum(worker["nthreads"] for worker in self._workers().values())

    def submit(self, job: Job) -> Future[Entry]:
        """See `Executor`. dask itself tries a job again whose worker has died."""
        own = is_remote(job.source) or is_gdal_name(job.source)
        source = job.source if own else os.path.abspath(job.source)  # noqa: PTH100 - workers have other working folders
        future: Future[Entry] = self._executor.submit(_run, replace(job, source=source), self._mark, self._topic)
        return future

    def _workers(self) -> dict[str, Any]:
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers


def _resources(scheduler: str, workers: dict[str, Any], compute: ComputeOptions) -> dict[str, float] | None:
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
        log.warning("%s is left out: it has no resource %s", address, GPU)
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
