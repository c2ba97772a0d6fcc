"""Writes results.md and results.png from results.json: ``python benchmarks/show.py FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

TITLES = {
    "full": "A full Landsat scene: 7600×7700 pixels, four bands, tiled, deflated",
    "sentinel2": "A Sentinel-2 tile: 10 980×10 980 pixels of 10 m, four bands, JPEG 2000",
    "stages": "Where the CPU time of a full scene goes",
    "sizes": "Scenes of other sizes",
    "start": "Start-up",
    "runtimes": "The default network alone, on one thread, by runtime",
    "gpu": "On a GPU",
    "peers": "Other programs",
}
HEADS = {
    "what": "",
    "megapixels": "MP",
    "wall": "wall, s",
    "cpu": "CPU, s",
    "cpu_per_mp": "CPU-s/MP",
    "peak": "peak memory, MB",
    "first": "first tile, s",
    "agree": "mask as in float32, %",
}


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of the rows, without empty columns."""
    heads = [key for key in HEADS if any(row.get(key) for row in rows)]
    lines = [[HEADS[key] for key in heads], ["---", *["---:"] * (len(heads) - 1)]]
    lines += [["" if row.get(key) is None else str(row[key]) for key in heads] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(folder: Path) -> None:
    groups = json.loads((folder / "results.json").read_text())["groups"]
    parts = [
        "# Measured",
        "Made by `python benchmarks/run.py`: medians of whole processes, run in turn. See [README.md](README.md).",
    ]
    for name, title in TITLES.items():
        if name in groups:
            group = groups[name]
            parts += [f"## {title}", f"{group['machine']}; {group['turns']} turns.", table(group["rows"])]
    if "full" in groups:
        floor, mask = groups["full"]["rows"][:2]
        parts.insert(2, f"`geocloud mask` takes {mask['wall'] / floor['wall']:.2f} times the wall time of the floor.")
    (folder / "results.md").write_text("\n\n".join(parts) + "\n")

    figure = Figure((10, 3.5))
    left, right = figure.subplots(1, 2)
    if "stages" in groups:
        rows = groups["stages"]["rows"]
        left.barh([row["what"] for row in rows][::-1], [row["cpu"] for row in rows][::-1], color="#4477aa")
        left.set_xlabel("CPU seconds, full scene")
    if "sizes" in groups:
        rows = groups["sizes"]["rows"]
        megapixels = [row["megapixels"] for row in rows]
        right.plot(megapixels, [row["wall"] for row in rows], "o-", color="#4477aa", label="wall, s")
        right.plot(megapixels, [row["peak"] / 100 for row in rows], "s--", color="#cc6677", label="peak memory, 100 MB")
        right.set_xlabel("megapixels")
        right.legend()
    figure.savefig(folder / "results.png", dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
