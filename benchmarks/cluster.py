"""Stress test of batch runners: ``python benchmarks/cluster.py --scenes 5000 --runner cluster --disturb``.

Masks many tiny scenes with the local runner, or on a dask cluster on this machine. With --disturb, a worker is killed
after a fifth of the scenes and another joins; after half of them the whole cluster is killed, and the failed command is
repeated on a new cluster. Prints JSON: seconds, milliseconds per scene, the peak memory of all processes,
scenes masked more than once, and the median time for which a scene was marked as running beyond its own duration.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.transform import from_origin

from geocloud.batch import BatchOptions, Status, read_entries, run_batch
from geocloud.errors import GeocloudError
from geocloud.simulate import simulate_scene

SIZE = 64


def write_scenes(folder: Path, count: int) -> None:
    """Writes GeoTIFFs of 64×64 pixels, copies of seven simulated scenes."""
    seen = [simulate_scene(seed, (SIZE, SIZE), ("forest", "water"), ("cumulus",), 0.4).reflectance for seed in range(7)]
    folder.mkdir()
    for number in range(count):
        values = np.rint(seen[number % len(seen)] * 1e4).astype("uint16")
        place = from_origin(499_980 + 30 * SIZE * (number % 500), 5_400_040 - 30 * SIZE * (number // 500), 30, 30)
        about = {"driver": "GTiff", "count": 4, "dtype": "uint16", "crs": CRS.from_epsg(32633), "transform": place}
        with rasterio.open(folder / f"tiny_{number:06}.tif", "w", height=SIZE, width=SIZE, **about) as dataset:
            dataset.descriptions = ("red", "green", "blue", "nir")
            dataset.write(values)


class Cluster:
    """A dask scheduler and its workers, each in a process."""

    def __init__(self, work: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._work = work
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", ":0")

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Starts a worker."""
        own = ("--no-dashboard", "--no-nanny", "--death-timeout", "60", "--local-directory", str(self._work / "dask"))
        return self._start("worker", self.address, "--nthreads", "1", *own, *options)

    def wait_for(self, workers: int) -> None:
        """Waits until the cluster has this number of workers."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=60) as client:
            client.wait_for_workers(workers, timeout=120)

    def kill(self) -> None:
        """Kills all processes of the cluster."""
        for process in self.processes:
            process.kill()
            process.wait()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        line = [str(Path(sys.executable).with_name("dask")), *arguments]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen(line, **quiet))
        return self.processes[-1]


def run_disturbed(scenes: Path, folder: Path, work: Path, count: int) -> None:
    """A run on a cluster that loses a worker, gains one, is killed, and is replaced by a new cluster."""
    first = Cluster(work)
    victim, _ = first.add_worker(), first.add_worker()
    first.wait_for(2)

    def disturb(status: Status) -> None:
        if status.done == count // 5:
            victim.send_signal(signal.SIGKILL)
            first.add_worker()
        if status.done == count // 2:
            first.kill()

    try:
        run_batch([str(scenes)], folder, BatchOptions(scheduler=first.address), disturb)
    except GeocloudError as error:
        print(error, file=sys.stderr)
    else:
        sys.exit("the run succeeded although its cluster was killed")
    second = Cluster(work)
    try:
        second.add_worker(), second.add_worker()
        second.wait_for(2)
        run_batch([str(scenes)], folder, BatchOptions(scheduler=second.address))
    finally:
        second.kill()


def run_plain(scenes: Path, folder: Path, work: Path, runner: str, workers: int) -> float:
    """An undisturbed run. Returns its seconds from the first finished scene to the last."""
    at: list[float] = []

    def report(status: Status) -> None:
        if status.done:
            at.append(time.monotonic())

    if runner == "local":
        run_batch([str(scenes)], folder, BatchOptions(workers=workers), report)
        return at[-1] - at[0]
    cluster = Cluster(work)
    try:
        for _ in range(workers):
            cluster.add_worker()
        cluster.wait_for(workers)
        run_batch([str(scenes)], folder, BatchOptions(scheduler=cluster.address), report)
    finally:
        cluster.kill()
    return at[-1] - at[0]


@contextmanager
def measured_memory() -> Iterator[list[float]]:
    """Measures the peak memory in MB of this process and its children; the yielded list holds it at the end."""
    peak, over = [0.0], threading.Event()

    def sample() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], _memory_of_all())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _memory_of_all() -> float:
    import psutil  # a dependency of distributed

    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=5000)
    parser.add_argument("--runner", choices=["local", "cluster"], default="cluster")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--disturb", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, measured_memory() as peak:
        work = Path(place)
        write_scenes(work / "scenes", given.scenes)
        started = time.monotonic()
        if given.disturb:
            run_disturbed(work / "scenes", work / "out", work, given.scenes)
            steady = None
        else:
            steady = run_plain(work / "scenes", work / "out", work, given.runner, given.workers)
        seconds = time.monotonic() - started
        entries = list(read_entries(work / "out"))
    done = [entry for entry in entries if entry.state == "done"]
    if len(done) < given.scenes:
        sys.exit(f"{len(done)} of {given.scenes} scenes are done")
    marked = [
        (datetime.fromisoformat(e.finished) - datetime.fromisoformat(e.started)).total_seconds() - (e.seconds or 0)
        for e in done
        if e.finished and e.started
    ]
    results = {
        "scenes": len(done),
        "seconds": round(seconds, 1),
        "milliseconds per scene, once started": steady and round(1e3 * steady / (given.scenes - 1), 1),
        "peak memory of all processes, MB": round(peak[0]),
        "masked more than once": sum(entry.tries > 1 for entry in done),
        "seconds marked as running beyond its own time, median": round(statistics.median(marked), 3),
    }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
