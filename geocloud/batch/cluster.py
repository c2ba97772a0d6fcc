"""Jobs on an existing dask.distributed cluster."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any
from uuid import uuid4

from geocloud.batch.job import PASSING, Job, Outcome, Started, failed, run_job
from geocloud.batch.local import MOST_TRIES, Compute
from geocloud.errors import DependencyError, GeocloudError

GPU = "GPU"
TIMEOUT = 30
"""Seconds that a scheduler may take to respond."""

AHEAD = 4
"""Scenes per thread that a scheduler is given at a time: it would hold half a million in memory."""


def run_on_cluster(
    jobs: Sequence[Job], scheduler: str, compute: Compute, started: Started, note: Any
) -> Iterator[Outcome]:
    """Runs jobs on the workers of a scheduler such as ``tcp://host:8786``; yields outcomes as they finish.

    Every worker loads the model once. Workers must see the sources and the output folder under the same paths. If
    workers declare the resource GPU, or the device is CUDA, each scene takes one GPU; ``note`` is called with a message
    for each worker left out for lack of it. Raises GeocloudError, DependencyError.
    """
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        raise DependencyError("--scheduler needs dask.distributed; run pip install 'geocloud[batch]'") from error
    try:
        client = Client(scheduler, timeout=TIMEOUT, set_as_default=False)
    except Exception as error:
        raise GeocloudError(f"{scheduler}: no dask scheduler responds there ({error})") from error
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        resources = _resources(scheduler, workers, compute, note)
        mark = hashlib.sha256(f"{compute} {jobs[0].settings.fingerprint()}".encode()).hexdigest()[:16]
        client.register_plugin(_plugin(compute, mark, sorted(workers)), name=f"geocloud-{mark}")
        run = uuid4().hex
        by_name, tries = {job.name: job for job in jobs}, Counter[str]()

        def submit(job: Job) -> Any:
            tries[job.name] += 1
            started(job)
            how = {"pure": False, "resources": resources or None}
            return client.submit(_run, job, mark, key=f"geocloud-{job.name}-{run}-{tries[job.name]}", **how)

        left = iter(jobs)
        room = AHEAD * sum(max(1, info["nthreads"]) for info in workers.values())
        first = [submit(job) for job in islice(left, max(room, 1))]
        waiting = as_completed(first, loop=client.loop, raise_errors=False, with_results=True)
        for future, result in waiting:
            job = by_name["-".join(future.key.split("-")[1:-2])]
            if future.status == "finished":
                outcome = result
            elif future.status != "error":
                raise GeocloudError(f"{scheduler}: lost, or it cancelled this run; start the run again to continue")
            else:
                reason = result[1] if isinstance(result, tuple) else result
                text = "it killed every worker that tried it; out of memory?"
                outcome = failed(job, f"{job.source}: {text}" if isinstance(reason, KilledWorker) else reason, PASSING)
                if isinstance(reason, KilledWorker):
                    tries[job.name] = MOST_TRIES
            future.release()
            if outcome.failure == PASSING and tries[job.name] < MOST_TRIES:
                waiting.add(submit(job))
            else:
                waiting.update([submit(job) for job in islice(left, 1)])
                yield outcome


def _resources(scheduler: str, workers: dict[str, Any], compute: Compute, note: Any) -> dict[str, float]:
    """The resources that each job needs of a worker. Raises GeocloudError if no worker has them."""
    if not workers:
        raise GeocloudError(f"{scheduler}: has no workers; start some with: dask worker {scheduler}")
    with_gpu = [address for address, info in workers.items() if info.get("resources", {}).get(GPU)]
    if not with_gpu and not compute.device.startswith("cuda"):
        return {}
    if not with_gpu:
        raise GeocloudError(
            f"{scheduler}: none of {len(workers)} workers has the resource {GPU}, which --device {compute.device} "
            f"needs; start them with: dask worker {scheduler} --resources {GPU}=1"
        )
    for address in sorted(set(workers) - set(with_gpu)):
        note(f"{address} is left out: it has no resource {GPU}")
    return {GPU: 1}


def _plugin(compute: Compute, mark: str, workers: list[str]) -> Any:
    from distributed import WorkerPlugin

    class ModelPlugin(WorkerPlugin):  # type: ignore[misc]
        """Loads the model when a worker starts. The workers of a host share its cores."""

        idempotent = False

        def setup(self, worker: Any) -> None:
            host = worker.address.rpartition(":")[0]
            beside = [address for address in workers if address.rpartition(":")[0] == host]
            place = beside.index(worker.address) if worker.address in beside else 0
            models = worker.__dict__.setdefault("geocloud_models", {})
            models[mark] = replace(compute, place=place, of=max(1, len(beside))).load()

    return ModelPlugin()


def _run(job: Job, mark: str) -> Outcome:
    from distributed import get_worker

    return run_job(job, get_worker().geocloud_models[mark])
