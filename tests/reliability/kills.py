"""``geocloud mask`` killed at random moments: ``python tests/reliability/kills.py [--kills 50]``.

The destination must contain the complete old or new mask, or not exist, and leftovers must be deleted by the next run.
Prints JSON. The exit code is 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import SAMPLES

SCENE = SAMPLES / "simulated_mountains.tif"
OLD = b"what was there before"


def command(out: Path, *options: str) -> list[str]:
    line = [sys.executable, "-m", "geocloud_cli", "-q", "mask", str(SCENE), "--scale", "0.0001", "-o", str(out)]
    return [*line, "--overwrite", "--polygons", str(out.with_suffix(".gpkg")), *options]


def kill_again_and_again(work: Path, kills: int, seed: int = 0) -> dict[str, object]:
    rng = random.Random(seed)  # noqa: S311 - no secret
    (work / "whole").mkdir()
    started = time.monotonic()
    subprocess.run(command(work / "whole" / "m.tif"), check=True, capture_output=True)
    took = time.monotonic() - started
    whole = (work / "whole" / "m.tif").read_bytes()
    held, left = Counter[str](), 0
    for turn in range(kills):
        folder = work / str(turn)
        folder.mkdir()
        out = folder / "m.tif"
        if turn % 2:
            out.write_bytes(OLD)
        run = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Half of the kills are in the last third of the run, when files are written and renamed.
        time.sleep(took * rng.uniform(*((0.6, 1.1) if turn % 4 > 1 else (0.05, 1))))
        run.send_signal(signal.SIGKILL)
        run.wait()
        now = out.read_bytes() if out.exists() else b""
        known = {b"": "nothing", OLD: "the old file", whole: "the new file"}
        held[known.get(now, "a broken file")] += 1
        if not now and turn % 2:
            held["the old file lost"] += 1
        left += bool(list(folder.glob(".geocloud-*")))
        if turn % 10 == 9 or turn == kills - 1:
            subprocess.run(command(out), check=True, capture_output=True)
            known_names = {"m.tif", "m.qml", "m.tif.aux.xml", "m.gpkg"}
            if {path.name for path in folder.iterdir()} != known_names or out.read_bytes() != whole:
                held["not cleaned up by the next run"] += 1
    return {
        "kills": kills,
        "seconds undisturbed": round(took, 2),
        "destination held": dict(held),
        "left something": left,
    }


def well(found: dict[str, object]) -> bool:
    held = found["destination held"]
    assert isinstance(held, dict)
    return set(held) <= {"nothing", "the old file", "the new file"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = kill_again_and_again(Path(work), options.kills, options.seed)
    print(json.dumps(found, indent=1))
    sys.exit(not well(found))


if __name__ == "__main__":
    main()
