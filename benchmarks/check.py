"""Regression check: ``python benchmarks/check.py`` measures the full scene and compares it with results.json.

It compares peak memory, and times relative to the floor of the same run, which depend little on the machine. The exit
code is 1 if any of them has grown by more than a quarter. It takes a few minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MORE = 1.25


def ratios(folder: Path) -> dict[str, float]:
    """Figures to compare, from the results.json in a folder."""
    floor, mask, collar, shadows = _rows(folder, "full")
    return {
        "wall of mask over floor": mask["wall"] / floor["wall"],
        "CPU of mask over floor": mask["cpu"] / floor["cpu"],
        "CPU with a collar over without": collar["cpu"] / mask["cpu"],
        "CPU with shadows over without": shadows["cpu"] / mask["cpu"],
        "peak memory, MB": mask["peak"],
    }


def _rows(folder: Path, group: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["groups"][group]["rows"]
    return rows


def main() -> None:
    recorded = ratios(HERE)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(HERE / "run.py"), "full", "--turns", "3", "--out", folder], check=True)
        measured = ratios(Path(folder))
    worse = [name for name in recorded if measured[name] > MORE * recorded[name]]
    for name, value in recorded.items():
        print(f"{name}: {measured[name]:.2f}, recorded {value:.2f}{'  WORSE' if name in worse else ''}")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
