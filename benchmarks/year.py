"""Cost of masking a year of Landsat 8 and 9, computed from results.json: ``python benchmarks/year.py``.

Each satellite acquires about 750 scenes per day, assumed to be as large as the benchmark's full scene.
"""

from __future__ import annotations

import json
from pathlib import Path

SCENES = 2 * 750 * 365


def table() -> str:
    """Table in Markdown."""
    groups = json.loads((Path(__file__).parent / "results.json").read_text())["groups"]
    floor, mask = groups["full"]["rows"][:2]
    stages = {row["what"]: row["cpu"] for row in groups["stages"]["rows"]}
    rate = mask["megapixels"] / mask["wall"]
    rows = [
        ("scenes per year", f"{SCENES:,}"),
        ("terapixels", f"{SCENES * mask['megapixels'] / 1e6:.0f}"),
        ("CPU hours", f"{SCENES * mask['cpu'] / 3600:,.0f}"),
        ("of which start-up, needed in a batch once per worker", f"{SCENES * stages['start-up'] / 3600:,.0f}"),
        ("megapixels per second on two cores", f"{rate:.1f}"),
        ("two-core machines required", f"{SCENES / 365 * mask['wall'] / 86_400:.2f}"),
        ("CPU hours for only reading the bands and writing masks", f"{SCENES * floor['cpu'] / 3600:,.0f}"),
    ]
    return "\n".join(["| | |", "|---|---:|", *(f"| {what} | {value} |" for what, value in rows)])


if __name__ == "__main__":
    print(table())
