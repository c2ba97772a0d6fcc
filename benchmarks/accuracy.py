"""Accuracy on real scenes that no bundled model was trained on: ``python benchmarks/accuracy.py DATA [--out DIR]``.

DATA is the folder that `recipes/material.py` describes, whose validation side is scored. ``--model`` names models
(NAME or PATH, several times), ``--folds RUN`` those of a cross-validation; ``--peer ukis-csmask`` scores that program
too, where it is installed. Into DIR go accuracy.md, and per set the ten scenes with the most wrong pixels: scene,
truth, probability, error map.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.model import find_model
from geocloud.model.checkpoint import Checkpoint
from geocloud.predict import load_model
from geocloud.tiling.resample import average
from geocloud.training.data.chips import CLOUD, UNKNOWN, Chip
from geocloud.training.figures import error_map, natural, write_picture
from geocloud.training.metrics import Confusion
from geocloud.training.train import SCORES, probabilities
from recipes.material import Fold, read_codes, validation_sets

THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
SURFACES = {0: "shadow", 1: "shadow over water", 2: "water", 3: "snow", 4: "land", 6: "flooded"}
"""Codes of SPARCS that are clear."""

WORST = 10
Predict = Callable[[Chip], NDArray[np.float32]]
"""A chip → the probability of cloud and, where it is known, of shadow, ``(classes, h, w)``."""


@dataclass
class Scores:
    """What is counted over the chips of one set, seen in one way."""

    threshold: float
    cloud: dict[float, Confusion] = field(default_factory=dict)
    shadow: Confusion = field(default_factory=Confusion)
    alarms: dict[str, Confusion] = field(default_factory=dict)
    """Of clear ground, by surface or by scene."""
    chips: list[tuple[int, Chip, NDArray[np.float32]]] = field(default_factory=list)
    """How many pixels are wrong, the chip, its probability of cloud."""

    def add(self, chip: Chip, found: NDArray[np.float32], surfaces: dict[str, NDArray[np.bool_]]) -> None:
        """Counts one chip."""
        for threshold in {*THRESHOLDS, self.threshold}:
            counted = Confusion.of(found[0] > threshold, chip.cloud, chip.known)
            self.cloud[threshold] = self.cloud.get(threshold, Confusion()) + counted
        cloud = found[0] > self.threshold
        if len(found) > 1:
            known = chip.target[1] != UNKNOWN
            self.shadow += Confusion.of((found[1] > 0.5) & ~cloud, chip.target[1] == CLOUD, known)
        for name, where in surfaces.items():
            counted = Confusion.of(cloud, np.zeros_like(cloud), where & chip.known)
            self.alarms[name] = self.alarms.get(name, Confusion()) + counted
        self.chips.append((int(((cloud != chip.cloud) & chip.known).sum()), chip, found[0]))


def surfaces(name: str, chip: Chip, data: Path) -> dict[str, NDArray[np.bool_]]:
    """Clear ground of a chip whose false alarms are told apart."""
    if name == "sparcs":
        codes = read_codes(data / "sparcs" / "masks" / f"{chip.name}.png")
        return {surface: codes == code for code, surface in SURFACES.items()}
    return {chip.name: chip.known} if name in ("biome", "clear") and not chip.cloud.any() else {}


def by_model(model: str) -> tuple[str, float, Predict]:
    """A geocloud model: its name, threshold, and what predicts a chip."""
    predictor = load_model(model)
    return predictor.name, predictor.threshold, lambda chip: probabilities(predictor, chip)


def by_ukis_csmask() -> tuple[str, float, Predict]:
    """ukis-csmask as its documentation shows, at 30 m where pixels are finer than 20 m, as geocloud's models are."""
    from ukis_csmask.mask import CSmask

    def predict(chip: Chip) -> NDArray[np.float32]:
        image = np.nan_to_num(chip.pixels())
        factor = max(1, round(30 / chip.metres)) if chip.metres < 20 else 1
        height, width = image.shape[1:]
        padded = np.pad(image, ((0, 0), (0, -height % factor), (0, -width % factor)), "edge")
        seen = average(padded, factor) if factor > 1 else padded
        bands = np.moveaxis(seen[[2, 1, 0, 3]], 0, -1)
        mask = CSmask(img=bands, band_order=["blue", "green", "red", "nir"], nodata_value=-1).csm
        share = np.asarray(mask)[..., 0] if np.ndim(mask) == 3 else np.asarray(mask)
        return np.kron((share == 1), np.ones((factor, factor)))[None, :height, :width].astype("float32")

    return "ukis-csmask", 0.5, predict


def score(scores: Scores, name: str, chips: list[Chip], data: Path, predict: Predict, hide: bool) -> None:
    """Scores chips of one set, without near-infrared if it is to be hidden."""
    for chip in chips:
        seen = chip
        if hide:
            reflectance = chip.pixels()
            reflectance[3] = np.nan
            seen = Chip(chip.name, reflectance, chip.target, chip.metres)
        scores.add(chip, predict(seen), surfaces(name, chip, data))


def row(label: str, scores: Scores) -> str:
    """A set's scores as a row of the table."""
    own = scores.cloud[scores.threshold]
    swept = [f"{scores.cloud[t].jaccard:.3f}" for t in THRESHOLDS]
    shadow = ["–", "–"]
    if scores.shadow.hits + scores.shadow.misses:
        shadow = [f"{scores.shadow.precision:.2f}", f"{scores.shadow.recall:.2f}"]
    cells = [
        label, str(len(scores.chips)), f"**{own.jaccard:.3f}**", f"{own.accuracy:.3f}", f"{own.precision:.3f}",
        f"{own.recall:.3f}", *swept, *shadow,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def pictures(label: str, scores: Scores, out: Path) -> None:
    """The worst scenes: natural colour, truth, probability, errors, side by side."""
    for wrong, chip, probability in sorted(scores.chips, key=lambda item: -item[0])[:WORST]:
        if not wrong:
            continue
        grey = [np.where(chip.known, chip.cloud, 0.5), np.nan_to_num(probability)]
        parts = [
            (255 * np.clip(natural(chip.pixels()), 0, 1)).astype("uint8"),
            *(np.repeat((255 * g).astype("uint8")[..., None], 3, 2) for g in grey),
            error_map(np.nan_to_num(probability) > scores.threshold, chip.cloud, chip.known),
        ]
        share = 100 * wrong / max(int(chip.known.sum()), 1)
        write_picture(np.concatenate(parts, 1), out / f"{label}_{share:05.1f}_{chip.name}.png")


HEAD = (
    "| set | scenes | Jaccard | accuracy | precision | recall | at 0.3 | 0.4 | 0.5 | 0.6 | shadow P | shadow R |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


Scored = tuple[Predict, Fold | None]
"""What predicts, and the fold that it has not seen (None: the fixed split)."""


def score_sets(data: Path, threshold: float, scored: list[Scored], rgb: bool) -> dict[str, Scores]:
    """All sets, by name, and, with ``rgb``, each once more without near-infrared; several folds are pooled."""
    found: dict[str, Scores] = {}
    for predict, fold in scored:
        for set_name, chips in validation_sets(data, fold):
            for hide in (False, True) if rgb else (False,):
                if all(np.isnan(chip.pixels()[3]).all() for chip in chips) and not hide:
                    continue
                label = f"{set_name}{', red green blue alone' if hide else ''}"
                score(found.setdefault(label, Scores(threshold)), set_name, chips, data, predict, hide)
    return found


def record(path: Path, found: dict[str, Scores]) -> None:
    """Writes scores into a checkpoint, from where `geocloud models` reads them."""
    model = Checkpoint.load(path)
    scores = {
        label: {name: round(getattr(s.cloud[s.threshold], name), 6) for name in SCORES}
        for label, s in found.items()
        if s.cloud and s.cloud[s.threshold].hits + s.cloud[s.threshold].misses
    }
    replace(model, training={**model.training, "scores": scores}).save(path)


def report(name: str, threshold: float, found: dict[str, Scores], out: Path) -> str:
    """Scores as Markdown, and pictures."""
    rows, alarms = [HEAD], ["| clear ground | called cloud |", "|---|---|"]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for label, scores in found.items():
        if scores.chips and scores.cloud[threshold].hits + scores.cloud[threshold].misses:
            rows.append(row(label, scores))
        for surface, counted in scores.alarms.items():
            if counted.false_alarms + counted.correct_clear:
                alarms.append(f"| {label}: {surface} | {100 * (1 - counted.specificity):.2f} % |")
        pictures(label.replace(", ", "-").replace(" ", "-"), scores, folder)
    return "\n".join([f"## {name}, threshold {threshold:g}", "", *rows, "", *alarms, ""])


def main() -> None:
    """Scores what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append", default=[], help="NAME or PATH, several times [default: fast]")
    parser.add_argument("--record", action="store_true", help="write the scores into the files that --model names")
    parser.add_argument("--folds", type=Path, metavar="RUN", help="models of a cross-validation, RUN/fold0 and so on")
    parser.add_argument("--peer", choices=["ukis-csmask"])
    parser.add_argument("--out", type=Path, default=Path("accuracy"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    parts = []
    if options.folds:
        paths = sorted(options.folds.glob("fold*/*.safetensors"))
        models = [by_model(str(path)) for path in paths if path.stem not in ("last", "state", "best")]
        folds: list[Scored] = [(predict, (k, len(models))) for k, (_, _, predict) in enumerate(models)]
        name, threshold, _ = models[0]
        found = score_sets(options.data, threshold, folds, True)
        parts.append(report(f"{name}, {len(models)} folds", threshold, found, options.out))
    for model in options.model or ([] if options.folds else ["fast"]):
        name, threshold, predict = by_model(model)
        found = score_sets(options.data, threshold, [(predict, None)], True)
        parts.append(report(name, threshold, found, options.out))
        if options.record:
            record(find_model(model), found)
    if options.peer:
        name, threshold, predict = by_ukis_csmask()
        found = score_sets(options.data, threshold, [(predict, None)], False)
        parts.append(report(name, threshold, found, options.out))
    (options.out / "accuracy.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


if __name__ == "__main__":
    main()
