"""Interrupted batch over an archive of small scenes: ``python benchmarks/resume.py WORK``.

Simulates scenes in WORK and masks them with ``geocloud batch``, which is killed with all its processes at even
intervals and restarted each time. Prints time, memory and sizes as JSON. The exit code is 1 if a scene is missing or
was masked twice. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geocloud.simulate import simulate_scene

GROUNDS = ("forest", "water", "crops", "sand", "soil")


def make(folder: Path, scenes: int, size: int) -> None:
    """Writes adjacent GeoTIFFs of four bands, cut from a few simulated scenes. Existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    wholes = [
        np.rint(simulate_scene(seed, (2 * size, 2 * size), (ground,), ("cumulus",), 0.4).reflectance * 1e4)
        for seed, ground in enumerate(GROUNDS)
    ]
    for number in range(scenes):
        path = folder / f"scene_{number:06}.tif"
        if path.exists():
            continue
        row, col = number * 7 % size, number * 13 % size
        part = wholes[number % len(wholes)][:, row : row + size, col : col + size].astype("uint16")
        place = Affine(30, 0, 400_000 + number % 150 * 30 * size, 0, -30, 6_000_000 - number // 150 * 30 * size)
        profile = {"driver": "GTiff", "count": 4, "dtype": "uint16", "height": size, "width": size}
        with rasterio.open(path, "w", crs=CRS.from_epsg(32633), transform=place, compress="deflate", **profile) as out:
            out.write(part)
            out.descriptions = ("red", "green", "blue", "nir")
            out.scales = (1e-4,) * 4


def done(output: Path) -> dict[str, str]:
    """Finishing time of each scene, by name."""
    if not (output / "manifest.sqlite").exists():
        return {}
    with closing(sqlite3.connect(output / "manifest.sqlite", timeout=60)) as database:
        return dict(database.execute("SELECT name, finished FROM scenes WHERE state = 'done'"))


def mask(command: Sequence[str], output: Path, scenes: int, kills: int) -> tuple[float, list[str]]:
    """Runs the command, killing it ``kills`` times at even intervals, until it ends by itself.

    Returns the time in seconds, and the names of scenes that were masked twice.
    """
    started, twice, before = time.monotonic(), [], {}
    for kill in range(1, kills + 2):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None:
            time.sleep(1)
            if kill <= kills and len(done(output)) >= scenes * kill / (kills + 1):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        now = done(output)
        twice += [name for name, when in before.items() if now.get(name) != when]
        before = now
    return time.monotonic() - started, twice


def timed(command: Sequence[str]) -> dict[str, float]:
    """Wall-clock seconds and peak memory in MB of a command. Exits if the command fails."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"seconds": round(time.monotonic() - started, 1), "MB": round(peak)}


def main(work: Path, scenes: int, size: int, workers: int, kills: int) -> None:
    started = time.monotonic()
    make(work / "scenes", scenes, size)
    making = time.monotonic() - started
    output, geocloud = work / "masks", [sys.executable, "-m", "geocloud_cli", "-q"]
    batch = [*geocloud, "batch", str(work / "scenes"), "-o", str(output), "--workers", str(workers)]
    seconds, twice = mask(batch, output, scenes, kills)
    missing = scenes - len(done(output))
    print(
        json.dumps(
            {
                "scenes": scenes,
                "size": size,
                "workers": workers,
                "made in, s": round(making, 1),
                "masked in, s": round(seconds, 1),
                "scenes a minute": round(60 * scenes / seconds),
                "kills": kills,
                "done twice": len(twice),
                "missing": missing,
                "nothing left to do": timed(batch),
                "status": timed([*geocloud, "batch", "status", str(output)]),
                "report": timed([*geocloud, "batch", "report", str(output)]),
                "manifest, MB": round((output / "manifest.sqlite").stat().st_size / 1e6, 1),
            },
            indent=1,
        )
    )
    sys.exit(bool(twice or missing))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5)
    main(**vars(parser.parse_args()))
