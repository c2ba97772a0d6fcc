"""Files of an evaluation: error maps, plots, tables."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from geocloud.errors import OutputError
from geocloud.training import figures
from geocloud.training.evaluate import SCORES, Evaluation, Picture


def as_dict(found: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON takes it: scores in [0, 1], None where undefined."""
    views = found.views()
    scenes = {name: views.pop(name) for name in found.scenes}
    return {
        "protocol": found.protocol,
        "threshold": found.threshold,
        **{name.replace(" ", "_"): _plain(scores) for name, scores in views.items()},
        "undefined_scenes": {s: len(found.scenes) - len(found.defined(s)) for s in SCORES},
        "scenes": {name: _plain(scores) for name, scores in scenes.items()},
        "sweep": {f"{t:.2f}": _plain({s: getattr(c, s) for s in SCORES}) for t, c in found.sweep().items()},
    }


def _plain(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def write_csv(found: Evaluation, path: Path) -> None:
    """Writes the scores as a table, in [0, 1], empty where undefined. Raises OutputError."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["view", *SCORES])
            for name, scores in found.views().items():
                writer.writerow([name, *("" if math.isnan(v) else v for v in scores.values())])
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def write_map(picture: Picture, threshold: float, out: Path) -> None:
    """Writes ``out/errors_NAME.png``, an error map: see `geocloud.training.figures.error_map`."""
    _folder(out)
    found = figures.error_map(picture.probability > threshold, picture.truth, picture.known)
    figures.write_picture(found, out / f"errors_{picture.name}.png")


def write_plots(found: Evaluation, out: Path) -> None:
    """Writes ``thresholds.png`` (scores by threshold, precision by recall), ``calibration.png`` and ``scores.csv``."""
    _folder(out)
    figures.sweep(found.sweep(), out / "thresholds.png")
    figures.calibration(*found.calibration(), out / "calibration.png")
    write_csv(found, out / "scores.csv")


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: the folder cannot be created ({error.strerror})") from error
