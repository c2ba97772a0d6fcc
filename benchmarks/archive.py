"""Cost of a large manifest and report: ``python benchmarks/archive.py [--scenes 550000] [--folder DIR] [--browser]``.

Simulates the output folder of a batch (manifest, thumbnails, empty results, empty archives as sources) and prints a
Markdown table of the time and peak memory of the commands that read it. With ``--browser`` it opens the report in
Chromium instead. Without ``--folder`` a temporary folder is used. Half a million scenes take about 1 GB and three
million file names.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import measure

FAILED = 50
"""Every Nth scene has failed."""

LINKS = 50_000
"""Maximum number of hard links to one file; file systems limit it."""

GEOCLOUD = [sys.executable, "-m", "geocloud_cli", "-q"]


def make(folder: Path, count: int) -> None:
    """Creates the sources, ``folder/in``, and the results, ``folder/masks``."""
    from geocloud.batch import BatchOptions
    from geocloud.batch.job import shelf_of
    from geocloud.batch.state import Manifest

    masks = folder / "masks"
    masks.mkdir(parents=True)
    settings = BatchOptions().fingerprint()
    with Manifest(masks / "manifest.sqlite") as manifest:
        database = manifest._database
        looks = sorted(pictures())
        for number, (name, corners) in enumerate(places(count)):
            source = folder / "in" / f"{number // 1000:04}" / f"{name}.tar"
            link(source, folder / f"empty-{number // LINKS}")
            for ending in ("_cloudmask.tif", ".json"):
                link(masks / f"{name}{ending}", folder / f"empty-{number // LINKS}{ending}")
            row, look = entry(number, name, source, corners, looks[weather(number, corners, len(looks))])
            row |= {"settings": settings}
            database.execute(
                f"INSERT INTO scenes ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608
                list(row.values()),
            )
            for ending, picture in zip((".jpg", ".png"), look, strict=True) if row["state"] == "done" else ():
                same = folder / f"look-{number // LINKS}-{hash(picture)}{ending}"
                if not same.exists():
                    same.write_bytes(picture)
                link(masks / "thumbnails" / shelf_of(name) / f"{name}{ending}", same)
        database.commit()


def weather(number: int, corners: list[list[float]], count: int) -> int:
    """Index of a picture by cloud cover: cloudy at the equator and in mid-latitudes, clear in between."""
    import numpy as np

    lon, lat = np.deg2rad(corners[0])
    usual = 0.5 + 0.3 * np.cos(6.5 * lat) + 0.15 * np.sin(3 * lon + 5 * lat)
    return int(count * np.clip(usual + 0.5 * (number * 0.618034 % 1 - 0.5), 0, 0.999))


def link(path: Path, empty: Path) -> None:
    """Creates a hard link to a file; a missing file is created empty."""
    if not empty.exists():  # touching it again would change the time of all links
        empty.touch()
    try:
        os.link(empty, path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True)
        os.link(empty, path)


def entry(
    number: int, name: str, source: Path, corners: list[list[float]], look: tuple[float, bytes, bytes]
) -> tuple[dict[str, object], tuple[bytes, bytes]]:
    """Manifest row of a scene, and its thumbnails."""
    from geocloud.batch.find import fingerprint
    from geocloud.readers.registry import RASTER

    cloud, *thumbnails = look
    bad = number % FAILED == FAILED // 2
    acquired = f"{name[17:21]}-{name[21:23]}-{name[23:25]}T10:{number % 60:02}:00Z"
    row: dict[str, object] = {
        "key": name,
        "name": name,
        "source": str(source),
        "state": "done",
        "fingerprint": fingerprint(str(source), None if bad else RASTER),  # None: unreadable archive
        "tries": 1,
        "started": "2024-08-01T10:00:00.000+00:00",
        "finished": "2024-08-01T10:00:12.000+00:00",
        "seconds": 8 + number % 97 / 10,
        "worker": "node7:4711",
    }
    if bad:
        reason = ("damaged or cut off, cannot be read as an archive", "band B5 not found")[number // FAILED % 2]
        row |= {"state": "failed", "error": f"{source}: {reason}", "failure": "bad input"}
    else:
        row |= {
            "megapixels": 59.2,
            "cloud_percent": cloud,
            "valid_percent": 67.5 + number % 13 / 10,
            "height": 7781,
            "width": 7611,
            "crs": "EPSG:32633",
            "transform": "[30.0, 0.0, 300000.0, 0.0, -30.0, 5000000.0]",
            "footprint": json.dumps({"type": "Polygon", "coordinates": [corners]}),
            "acquired": acquired,
            "model": "fast",
            "threshold": 0.5,
            "files": json.dumps({"mask": f"{name}_cloudmask.tif", "item": f"{name}.json"}),
        }
    return row, (thumbnails[0], thumbnails[1])


def places(count: int) -> Iterator[tuple[str, list[list[float]]]]:
    """Product IDs with the corners of their footprints, which repeat every 16 days."""
    import numpy as np

    orbit = []
    for row in range(1, 125):
        across = np.arcsin(np.sin(np.deg2rad(98.2)) * np.cos(np.deg2rad(row * 360 / 248)))  # latitude on a circle
        turned = np.arctan2(np.cos(np.deg2rad(98.2)), 1 / np.tan(np.deg2rad(row * 360 / 248)))
        lat = float(np.rad2deg(across))
        for path in range(1, 234):
            lon = float((-64.6 - 360 / 233 * (path - 1) + np.rad2deg(turned) + 180) % 360 - 180)
            if abs(lat) < 80 and abs(lon) < 178:
                east, north = 0.83 / max(np.cos(across), 0.2), 0.83
                lean = 0.22 * east
                corners = [(-east + lean, north), (east + lean, north), (east - lean, -north), (-east - lean, -north)]
                orbit.append((path, row, [[lon + x, lat + y] for x, y in (*corners, corners[0])]))
    orbit.sort(key=lambda place: np.hypot(*np.subtract(np.mean(place[2][:4], 0), (10.0, 47.0))))  # the Alps first
    for number in range(count):
        path, row, corners = orbit[number % len(orbit)]
        day = date(2024, 1, 1) + timedelta(days=8 * (number // len(orbit)) + path % 8)
        satellite = "LC08" if number // len(orbit) % 2 else "LC09"
        yield f"{satellite}_L1TP_{path:03}{row:03}_{day:%Y%m%d}_{day:%Y%m%d}_02_T1", corners


def pictures() -> Iterator[tuple[float, bytes, bytes]]:
    """Simulated scenes: cloud percentage, JPEG thumbnail of the scene, PNG thumbnail of the mask."""
    from geocloud.batch.job import shelf_of, write_thumbnails
    from geocloud.preview.render import render
    from geocloud.simulate import CLOUD_KINDS, simulate_scene

    surfaces = (("forest", "crops", "water"), ("sand", "soil"), ("crops", "city"), ("water", "forest"), ("snow",))
    for seed in range(35):
        cover = (0.0, 0.1, 0.25, 0.6, 0.9, 0.4, 0.02)[seed % 7]
        kinds = [list(CLOUD_KINDS)[seed % len(CLOUD_KINDS)]] if cover else []
        seen = simulate_scene(seed, (256, 256), surfaces[seed % 5], kinds, cover)
        mask = seen.truth.astype("uint8")
        with tempfile.TemporaryDirectory() as place:
            write_thumbnails(Path(place), "a", render(seen.reflectance, clear=mask == 0), mask)
            jpeg, png = (
                (Path(place) / "thumbnails" / shelf_of("a") / f"a{end}").read_bytes() for end in (".jpg", ".png")
            )
        yield 100 * float(mask.mean()), jpeg, png


def measured(folder: Path) -> list[tuple[str, measure.Took]]:
    """Time and memory of each command."""
    masks = folder / "masks"
    resume = [*GEOCLOUD, "batch", str(folder / "in"), "-o", str(masks), "--dry-run"]
    status = [*GEOCLOUD, "batch", "status", str(masks)]
    page = (
        "import sys; from pathlib import Path; from geocloud.batch import read_entries; "
        "from geocloud.batch.report import write_report; folder = Path(sys.argv[1]); "
        "write_report(read_entries(folder), folder)"
    )
    commands = {
        "`geocloud batch status DIR`": status,
        "`… --export manifest.csv`": [*status, "--export", str(folder / "manifest.csv")],
        "`… --export manifest.parquet`": [*status, "--export", str(folder / "manifest.parquet")],
        "`geocloud batch SOURCE -o DIR --dry-run`: find all, check what is done": resume,
        "`report.html` alone": [sys.executable, "-c", page, str(masks)],
        "`geocloud batch report DIR`: with STAC collection and footprints": [*GEOCLOUD, "batch", "report", str(masks)],
    }
    results = []
    for name, command in commands.items():
        took = measure.run(command)
        results.append((name, took))
        print(f"{name}: {took}", file=sys.stderr)
    return results


def browse(folder: Path, pictures: Path | None) -> str:
    """Opens the report in Chromium; returns the time until all scenes can be searched, and the memory."""
    import psutil
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--enable-precise-memory-info", "--window-size=1400,1000"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options) as browser:
        browser.get("about:blank")
        started = time.perf_counter()
        browser.get((folder / "masks" / "report.html").as_uri())
        WebDriverWait(browser, 120, 0.05).until(lambda b: b.execute_script("return document.body.dataset.ready"))
        took = time.perf_counter() - started
        time.sleep(1)
        heap = browser.execute_script("return performance.memory.usedJSHeapSize") / 2**20
        pages = [p for p in psutil.Process().children(recursive=True) if "--type=renderer" in " ".join(p.cmdline())]
        own = max(page.memory_full_info().uss for page in pages) / 2**20
        cpu = max(page.cpu_times().user + page.cpu_times().system for page in pages)
        for scheme in ("light", "dark") if pictures else ():
            for width, height in ((1400, 1000), (390, 844)):
                browser.execute_cdp_cmd(
                    "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                )
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                time.sleep(0.7)
                assert pictures
                browser.save_screenshot(str(pictures / f"report-{width}-{scheme}.png"))
    return f"open in {took:.1f} s, {cpu:.1f} s of CPU; JavaScript {heap:.0f} MB, the page's process alone {own:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=550_000)
    parser.add_argument("--folder", type=Path, help="Folder to create and keep; an existing one is used.")
    parser.add_argument("--browser", action="store_true", help="Only open the report in Chromium.")
    parser.add_argument("--pictures", type=Path, help="Folder for screenshots of the report.")
    parser.add_argument("--make", action="store_true", help="Only make the folder.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = options.folder or Path(work) / "archive"
        if options.make:
            make(folder, options.scenes)
            return
        if not folder.exists():  # in another process, so that its memory does not count
            again = [sys.executable, __file__, "--make", "--folder", str(folder), "--scenes", str(options.scenes)]
            subprocess.run(again, check=True)
        if options.browser:
            print(browse(folder, options.pictures))
            return
        print("| | seconds | CPU seconds | MB |\n|---|---:|---:|---:|")
        for name, took in measured(folder):
            print(f"| {name} | {took.wall:.1f} | {took.cpu:.1f} | {took.peak:.0f} |")


if __name__ == "__main__":
    main()
