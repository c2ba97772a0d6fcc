"""Kills a batch at random moments until it is done: ``python tests/batch/torture.py [--scenes 200] [--kills 20]``.

Writes an archive of small scenes, ten of them damaged, masks it once without and once with repeated SIGKILL, and
compares the results. Prints JSON. The exit code is 1 if they differ or a scene was masked twice.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from archive import make_archive


def command(archive: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "geocloud_cli", "-q", "batch", str(archive), "-o", str(out)]


def states(out: Path) -> dict[str, tuple[str, str]]:
    """State and finishing time of each scene, by name."""
    if not (out / "manifest.sqlite").exists():
        return {}
    with closing(sqlite3.connect(out / "manifest.sqlite")) as database:
        try:
            return {n: (s, f) for n, s, f in database.execute("SELECT name, state, finished FROM scenes")}
        except sqlite3.OperationalError:  # killed before the table was created
            return {}


def masks(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*_cloudmask.tif")}


def torture(work: Path, scenes: int, kills: int, seed: int = 0) -> dict[str, object]:
    random.seed(seed)
    archive = make_archive(work / "archive", scenes)
    started = time.monotonic()
    peace = subprocess.run(command(archive, work / "peace"), capture_output=True, text=True, check=False)
    took = time.monotonic() - started
    killed, again, moments = 0, [], []
    done: dict[str, str] = {}
    while killed < kills:
        run = subprocess.Popen(command(archive, work / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        moment = random.uniform(0.5, 2.5 + 1.5 * took / kills)  # noqa: S311 - no secret; starting takes two seconds
        try:
            run.wait(moment)
            break  # all done before it could be killed
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            killed += 1
            moments.append(round(moment, 2))
        found = states(work / "killed")
        again += [name for name, when in done.items() if found[name] != ("done", when)]
        done = {name: when for name, (state, when) in found.items() if state == "done"}
    last = subprocess.run(command(archive, work / "killed"), capture_output=True, text=True, check=False)
    found = states(work / "killed")
    again += [name for name, when in done.items() if found[name] != ("done", when)]
    left = [p.name for p in (work / "killed").iterdir() if p.name.startswith(".")]
    return {
        "scenes": scenes,
        "seconds": round(took, 1),
        "exit codes": [peace.returncode, last.returncode],
        "states": dict(Counter(state for state, _ in found.values())),
        "reasons": [line for line in last.stdout.splitlines() if line.startswith("failed: ")],
        "kills": killed,
        "moments": moments,
        "same masks": masks(work / "peace") == masks(work / "killed"),
        "done twice": again,
        "left behind": left,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = torture(Path(work), options.scenes, options.kills, options.seed)
    print(json.dumps(found, indent=1))
    sys.exit(not found["same masks"] or bool(found["done twice"]) or bool(found["left behind"]))


if __name__ == "__main__":
    main()
