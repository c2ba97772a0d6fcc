"""Batches on a dask cluster with a scheduler and workers that are killed, join late or are lost."""

import signal

import pytest
from archive import make_archive
from servers import free_port
from torture import masks, states

from benchmarks.cluster import Cluster
from geocloud.batch import BatchOptions, run_batch
from geocloud.errors import GeocloudError
from geocloud.pipeline import ComputeOptions

pytestmark = pytest.mark.slow

pytest.importorskip("distributed", reason="needs dask.distributed: pip install 'geocloud[batch]'")

COUNT = 16


@pytest.fixture
def cluster(tmp_path):
    found = Cluster(tmp_path)
    yield found
    found.kill()


def test_workers_that_come_and_go_and_a_cluster_that_is_lost(cluster, tmp_path, monkeypatch):
    """After three scenes a worker joins and the first is killed; after ten, the cluster is replaced by a new one."""
    monkeypatch.setattr("geocloud.batch.workers.TIMEOUT", 2)
    monkeypatch.setattr("geocloud.batch.workers.ClusterExecutor.room", 4)
    archive, out = make_archive(tmp_path / "archive", COUNT + 10), tmp_path / "cluster"
    alone = run_batch([str(archive)], tmp_path / "alone", BatchOptions())
    victim, running = cluster.add_worker(), []
    cluster.wait_for(1)

    def watch(status):
        running.append(sum(state == "running" for state, _ in states(out).values()))
        if status.done == 3:
            cluster.add_worker()
            cluster.wait_for(2)
            victim.send_signal(signal.SIGKILL)
        if status.done == 10:
            cluster.kill()

    with pytest.raises(GeocloudError, match="start the run again to continue"):
        run_batch([str(archive)], out, BatchOptions(scheduler=cluster.address), watch)
    assert max(running) <= 3, "one a thread, and the victim's: those that wait are waiting"
    before = {name: finished for name, (state, finished) in states(out).items() if state == "done"}
    assert 10 <= len(before) < COUNT and "running" not in {state for state, _ in states(out).values()}
    again = Cluster(tmp_path)
    try:
        again.add_worker()
        again.wait_for(1)
        seen = list(run_batch([str(archive)], out, BatchOptions(scheduler=again.address)))
    finally:
        again.kill()
    assert {e.name: (e.state, e.error) for e in seen} == {e.name: (e.state, e.error) for e in alone}
    assert masks(out) == masks(tmp_path / "alone") and len(masks(out)) == COUNT
    assert {e.name: e.finished for e in seen if e.name in before} == before, "what is done is not done again"
    assert len({e.worker for e in seen if e.state == "done"}) == 3, "the late worker got work as well"


def test_workers_without_the_resource_are_told_of(cluster, tmp_path, caplog):
    address, worker = cluster.address, cluster.add_worker
    archive = make_archive(tmp_path / "archive", 2, broken=False)
    options = BatchOptions(compute=ComputeOptions("cuda"), scheduler=address)
    with pytest.raises(GeocloudError, match="no workers"):
        run_batch([str(archive)], tmp_path / "out", options)
    worker()
    cluster.wait_for(1)
    with pytest.raises(GeocloudError, match="none of 1 workers has the resource GPU"):
        run_batch([str(archive)], tmp_path / "out", options)
    worker("--resources", "GPU=1")
    cluster.wait_for(2)
    logger = __import__("logging").getLogger("geocloud")
    logger.propagate = True
    entries = run_batch([str(archive)], tmp_path / "out", BatchOptions(scheduler=address))
    assert {e.state for e in entries} == {"done"}
    assert len({e.worker for e in entries}) == 1 and "is not used: it has no resource GPU" in caplog.text


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("geocloud.batch.workers.TIMEOUT", 1)
    archive = make_archive(tmp_path / "archive", 1, broken=False)
    with pytest.raises(GeocloudError, match="no dask scheduler"):
        run_batch([str(archive)], tmp_path / "out", BatchOptions(scheduler=f"tcp://127.0.0.1:{free_port()}"))
