"""Fuzzing with thousands of mutated files: ``python tests/reliability/fuzz.py [--cases 20000] [--seed 0]``.

MTL files, Sentinel-2 metadata, TIFFs, JPEG 2000, tars, zips, STAC items and model files are mutated at random (bits,
bytes, numbers, truncation, duplicated and deleted parts) and opened like `geocloud mask`. Every outcome other than a
mask or an error of geocloud is a defect, and so are ten seconds, a gigabyte of memory, and a new file. Prints JSON. The
exit code is 1 if there are defects.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import logging

import numpy as np
import rasterio
from cases import NAME, product, stack
from conftest import ramp
from safe import numbers, pack, write_safe
from small import small

from geocloud.errors import GeocloudError
from geocloud.models.network import Network
from geocloud.models.predictor import Predictor
from geocloud.readers import open_scene, reading_down
from geocloud.readers.landsat import parse_mtl
from geocloud.readers.sentinel2 import LEVELS, parse_mtd
from geocloud.tiling.blend import blend, tile_rows
from geocloud.tiling.tiles import TileGrid

SECONDS, MEGABYTES = 10, 1024
LARGEST = 4_000_000
"""Pixels of a scene that is read as a whole; of larger ones, as headers may claim, only what opening looks at."""

NUMBERS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"9999", b"-1e9", b"NaN ")

Opener = Callable[[Path], Any]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Applies one to eight changes, at least half of them in the first 600 bytes, where headers are."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if not found:
            break
        reach = len(found) if rng.random() < 0.5 else min(len(found), 600)
        at = rng.randrange(reach)
        kind = rng.randrange(8)
        if kind == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x20, 0x2D, 0x39))
        elif kind == 2:
            found[at : at + 4] = rng.choice(NUMBERS)
        elif kind == 3:
            del found[at : at + rng.randint(1, 64)]
        elif kind == 4:
            found[at:at] = found[at : at + rng.randint(1, 64)]
        elif kind == 5:
            del found[at:]
        elif kind == 6:
            other = rng.randrange(len(found))
            found[at : at + 8], found[other : other + 8] = found[other : other + 8], found[at : at + 8]
        else:
            found[at:at] = rng.choice((b"..", b"/", b"\0", b"{", b"[", b'"', b"=", b"\n", b"\xf0\x9f", b"%s", b"1e999"))
    return bytes(found)


def open_and_read(path: Path) -> None:
    """Opens and reads a file like `geocloud mask`, with a trivial model."""
    with rasterio.Env(), open_scene(path) as scene:
        if scene.grid.height * scene.grid.width > LARGEST:
            return
        grid = TileGrid.fitted(scene.grid.height, scene.grid.width, 256, 32)
        with reading_down(scene, 2**20) as rows:
            for strip in blend(grid, tile_rows(grid, rows), Predictor(lambda batch: batch[:, 0] * 0 + 0.5)):
                assert (np.isnan(strip.probability) | (abs(strip.probability - 0.5) < 1e-3)).all()


def read_mtd(text: str) -> None:
    """Reads all required Sentinel-2 metadata."""
    found = parse_mtd(text, "MTD")
    assert found.facts["acquired"] is None or found.facts["acquired"].tzinfo
    assert found.facts["sun_elevation"] is None or abs(found.facts["sun_elevation"]) <= 90
    if found.root in LEVELS:
        found.conversion(("B04", "B03", "B02", "B08"))


def seeds(folder: Path) -> dict[str, tuple[Path, Opener]]:
    """A valid file of each kind, and the function that opens it."""
    made = product(folder)
    tif = stack(folder, name="stack.tif")
    packed = stack(folder, name="packed.tif", compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    with tarfile.open(folder / f"{NAME}.tar", "w") as tar:
        for file in sorted(made.iterdir()):
            tar.add(file, file.name)
    pack(made, folder / f"{NAME}.zip", "", zipfile.ZIP_STORED)
    bands = [{"name": n, "eo:common_name": n} for n in ("red", "green", "blue", "nir")]
    asset = {"href": "stack.tif", "bands": bands, "raster:bands": [{"scale": 1, "offset": 0, "nodata": 0}] * 4}
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "i", "properties": {"datetime": "2024-07-01T00:00:00Z"}}
    (folder / "item.json").write_text(json.dumps({**item, "assets": {"a": asset}}))
    safe = write_safe(folder, numbers(ramp()))
    granule = next((safe / "GRANULE").iterdir())
    product_text, tile_text = safe / "MTD_MSIL1C.xml", granule / "MTD_TL.xml"
    small().save(folder / "model.safetensors")
    return {
        "MTL text": (made / f"{NAME}_MTL.txt", lambda path: parse_mtl(path.read_text("latin-1"), "MTL")),
        "MTL in its folder": (made / f"{NAME}_MTL.txt", lambda path: open_and_read(path.parent)),
        "MTD text": (product_text, lambda path: read_mtd(path.read_text("latin-1"))),
        "MTD in its product": (product_text, lambda path: open_and_read(path.parent)),
        "MTD of a tile": (tile_text, lambda path: open_and_read(path.parent)),
        "JPEG 2000": (next(granule.glob("IMG_DATA/*_B04.jp2")), open_and_read),
        "zip of a .SAFE product": (pack(safe, folder / "safe.zip", None, zipfile.ZIP_STORED), open_and_read),
        "TIFF": (tif, open_and_read),
        "deflated TIFF": (packed, open_and_read),
        "tar": (folder / f"{NAME}.tar", open_and_read),
        "zip": (folder / f"{NAME}.zip", open_and_read),
        "STAC item": (folder / "item.json", open_and_read),
        "checkpoint": (folder / "model.safetensors", Network.load),
    }


def peak() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def too_long(*_: object) -> None:
    raise TimeoutError(f"over {SECONDS} s")


def attempt(path: Path, opener: Opener) -> tuple[str, str]:
    """Outcome: "opened", the name of geocloud's error, or "defect" with its place."""
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        opener(path)
        return "opened", ""
    except GeocloudError as error:
        if "\n" in str(error):
            return "defect", f"more than one line: {error!r}"
        return type(error).__name__, ""
    except Exception:
        return "defect", traceback.format_exc()
    finally:
        signal.alarm(0)


def fuzz(folder: Path, cases: int, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """Runs ``cases`` cases; ``keep`` is a folder for files that show a defect."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = lambda ignored: None  # rasterio's log fails on text that is not UTF-8
    warnings.simplefilter("ignore")  # Python's zipfile warns of duplicate names
    rng, found = random.Random(seed), Counter[str]()  # noqa: S311 - no secret
    kinds = seeds(folder)
    defects: list[dict[str, Any]] = []
    before = set(folder.rglob("*"))
    slowest, started, base = 0.0, time.monotonic(), peak()
    for number in range(cases):
        kind = list(kinds)[number % len(kinds)]
        path, opener = kinds[kind]
        whole = path.read_bytes()
        data = mutate(whole, rng)
        path.write_bytes(data)
        began, size = time.monotonic(), peak()
        try:
            what, why = attempt(path, opener)
        finally:
            path.write_bytes(whole)
        slowest = max(slowest, time.monotonic() - began)
        if peak() - base > MEGABYTES and peak() > size:
            what, why = "defect", f"took {peak():.0f} MB"
        strange = set(folder.rglob("*")) - before if number % 50 == 0 or what == "defect" else set()
        if strange:
            what, why = "defect", f"made {sorted(map(str, strange))}"
            before |= strange
        found[f"{kind}: {what}"] += 1
        if what == "defect":
            defects.append({"case": number, "kind": kind, "why": why})
            if keep:
                (keep / f"{number}-{path.name}").write_bytes(data)
    return {
        "cases": cases,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "slowest case, s": round(slowest, 2),
        "peak memory, MB": round(peak()),
        "before, MB": round(base),
        "outcomes": dict(sorted(found.items())),
        "defects": defects[:20],
        "number of defects": len(defects),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = fuzz(Path(folder), options.cases, options.seed, options.keep)
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["number of defects"]))


if __name__ == "__main__":
    logging.getLogger("geocloud").setLevel(logging.CRITICAL)
    main()
