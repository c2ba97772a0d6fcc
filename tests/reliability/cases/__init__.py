"""Matrix of invalid and unusual input, by kind."""

from . import files, products, archives, sentinel2, hls, rasters, places, names, destinations, models  # noqa: F401, I001
from .case import CASES, NAME, Case, product, stack

__all__ = ["CASES", "NAME", "Case", "product", "stack", "table"]


def table() -> str:
    """The matrix in Markdown, for docs/reliability.md. Cases with the same outcome share a row."""
    rows: dict[tuple[str, str], list[str]] = {}
    for case in CASES:
        happens = f"error: …{case.says}…" if case.refused else "masked"
        if case.says and not case.refused:
            happens += f", with the note: …{case.says}…"
        rows.setdefault((case.group, happens), []).append(case.what)
    lines = [f"| {group} | {'; '.join(whats)} | {happens} |" for (group, happens), whats in rows.items()]
    return "\n".join(["| | case | what happens |", "|---|---|---|", *lines])
