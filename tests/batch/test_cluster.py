"""A dask cluster as a user starts it: one scheduler, two workers, one of which is killed while it works."""

import os
import signal
import subprocess
import sys
import time

import pytest
from archive import make_archive
from test_remote import free_port, serve
from torture import masks

from geocloud.batch import BatchOptions, Settings, run_batch
from geocloud.errors import GeocloudError
from geocloud.pipeline import ComputeOptions

pytest.importorskip("distributed", reason="needs dask.distributed: pip install 'geocloud[batch]'")

COUNT = 16


@pytest.fixture
def cluster(tmp_path):
    """The scheduler's address, and a function that starts a worker."""
    port = free_port()
    tool = os.path.join(os.path.dirname(sys.executable), "dask")  # noqa: PTH118, PTH120
    scheduler = serve(
        [tool, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", ":0"], port
    )
    processes = []

    def worker(*options):
        line = [tool, "worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        line += ["--local-directory", str(tmp_path / "dask"), "--death-timeout", "30", *options]
        processes.append(subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return processes[-1]

    yield f"tcp://127.0.0.1:{port}", worker
    for process in (*processes, scheduler):
        process.kill()
        process.wait()


def wait_for(address, count):
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)
    time.sleep(0.5)


def test_a_worker_that_is_killed_loses_nothing(cluster, tmp_path):
    address, worker = cluster
    archive = make_archive(tmp_path / "archive", COUNT + 10)
    entries = run_batch([str(archive)], tmp_path / "alone", BatchOptions())
    victim, _ = worker(), worker()
    wait_for(address, 2)

    def watch(status):
        if status.done == 3:
            victim.send_signal(signal.SIGKILL)

    seen = run_batch([str(archive)], tmp_path / "cluster", BatchOptions(scheduler=address), watch)
    assert {e.name: (e.state, e.error) for e in seen} == {e.name: (e.state, e.error) for e in entries}
    assert sum(e.state == "done" for e in seen) == COUNT
    assert masks(tmp_path / "cluster") == masks(tmp_path / "alone")


def test_workers_without_the_resource_are_told_of(cluster, tmp_path, caplog):
    address, worker = cluster
    archive = make_archive(tmp_path / "archive", 2, broken=False)
    options = BatchOptions(Settings(compute=ComputeOptions("cuda")), scheduler=address)
    with pytest.raises(GeocloudError, match="no workers"):
        run_batch([str(archive)], tmp_path / "out", options)
    worker()
    wait_for(address, 1)
    with pytest.raises(GeocloudError, match="none of 1 workers has the resource GPU"):
        run_batch([str(archive)], tmp_path / "out", options)
    worker("--resources", "GPU=1")
    wait_for(address, 2)
    logger = __import__("logging").getLogger("geocloud")
    logger.propagate = True
    entries = run_batch([str(archive)], tmp_path / "out", BatchOptions(scheduler=address))
    assert {e.state for e in entries} == {"done"}
    assert len({e.worker for e in entries}) == 1 and "is left out: it has no resource GPU" in caplog.text


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("geocloud.batch.cluster.TIMEOUT", 1)
    archive = make_archive(tmp_path / "archive", 1, broken=False)
    with pytest.raises(GeocloudError, match="no dask scheduler"):
        run_batch([str(archive)], tmp_path / "out", BatchOptions(scheduler=f"tcp://127.0.0.1:{free_port()}"))
