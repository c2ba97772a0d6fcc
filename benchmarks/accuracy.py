"""Accuracy on real scenes that no bundled model was trained on: ``python benchmarks/accuracy.py DATA [--out DIR]``.

DATA is the folder that `recipes/material.py` describes; its validation scenes are scored, as they are, without
near-infrared, and clipped where Landsat 5 and 7 saturate. ``--model`` selects models
(NAME or PATH, repeatable), ``--folds RUN`` those of a cross-validation; ``--peer ukis-csmask`` scores that program too,
if it is installed. ``--leave-out NAME`` leaves scenes out (SPARCS' ice sheet is LC82151102013360), ``--also NAME`` adds
scenes that were trained on, as a set of their own. DIR receives accuracy.md and, for each set, pictures of the ten
scenes with the most wrong pixels: scene, truth, probability, error map.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud.models import find_model
from geocloud.model.checkpoint import Checkpoint
from geocloud.models.predictor import load_model
from geocloud.tiling.average import average
from geocloud.training.data.augment import LANDSAT_5, LANDSAT_7, saturate
from geocloud.training.data.chips import CLOUD, UNKNOWN, Chip
from geocloud.training.figures import error_map, natural, write_picture
from geocloud.training.metrics import Confusion
from geocloud.training.train import SCORES, probabilities
from recipes.material import SOURCES, Fold, bright_ground, has_nir, read_codes, training_groups, validation_sets

THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
SHADOW_THRESHOLDS = (0.1, 0.15, 0.2, 0.3, 0.5)
SURFACES = {0: "shadow", 1: "shadow over water", 2: "water", 3: "snow", 4: "land", 6: "flooded"}
"""SPARCS codes that are not cloud."""

SUN = 50.0
"""Elevation of the sun in degrees, for sensors that saturate."""

WORST = 10
Predict = Callable[[Chip], NDArray[np.float32]]
"""A chip → the probability of cloud and, if the model has that class, of shadow, ``(classes, h, w)``."""


@dataclass
class Scores:
    """Counts over the chips of one set, with or without near-infrared."""

    threshold: float
    """The model's threshold of cloud."""
    shadow_threshold: float
    """The model's threshold of shadow."""
    cloud: dict[float, Confusion] = field(default_factory=dict)
    """Cloud, by threshold."""
    shadow: dict[float, Confusion] = field(default_factory=dict)
    """Shadow, by threshold."""
    alarms: dict[str, Confusion] = field(default_factory=dict)
    """False alarms of cloud on clear ground, by surface or scene."""
    shadow_alarms: dict[str, Confusion] = field(default_factory=dict)
    """False alarms of shadow, by surface or scene."""
    chips: list[tuple[int, Chip, NDArray[np.float32]]] = field(default_factory=list)
    """Number of wrong pixels, chip, its probability of cloud."""

    def add(self, chip: Chip, found: NDArray[np.float32], surfaces: dict[str, NDArray[np.bool_]]) -> None:
        """Counts one chip."""
        for threshold in {*THRESHOLDS, self.threshold}:
            counted = Confusion.of(found[0] > threshold, chip.cloud, chip.known)
            self.cloud[threshold] = self.cloud.get(threshold, Confusion()) + counted
        cloud = found[0] > self.threshold
        if len(found) > 1:
            known, truth = chip.target[1] != UNKNOWN, chip.target[1] == CLOUD
            for threshold in {*SHADOW_THRESHOLDS, self.shadow_threshold}:
                counted = Confusion.of((found[1] > threshold) & ~cloud, truth, known)
                self.shadow[threshold] = self.shadow.get(threshold, Confusion()) + counted
        for name, where in surfaces.items():
            counted = Confusion.of(cloud, np.zeros_like(cloud), where & chip.known)
            self.alarms[name] = self.alarms.get(name, Confusion()) + counted
            if len(found) > 1:
                shadow = (found[1] > self.shadow_threshold) & ~cloud
                counted = Confusion.of(shadow, np.zeros_like(cloud), where & chip.known & ~truth)
                self.shadow_alarms[name] = self.shadow_alarms.get(name, Confusion()) + counted
        self.chips.append((int(((cloud != chip.cloud) & chip.known).sum()), chip, found[0]))


def surfaces(name: str, chip: Chip, data: Path) -> dict[str, NDArray[np.bool_]]:
    """Parts of a chip whose false alarms are counted separately: name → ``(h, w)``, True inside."""
    if name == "sparcs":
        codes = read_codes(data / "sparcs" / "masks" / f"{chip.name}.png")
        return {surface: codes == code for code, surface in SURFACES.items()}
    if name in ("catalogue", "taught"):
        return {"bright ground": bright_ground(chip)}
    return {chip.name: chip.known} if name in ("biome", "clear", ALSO) and not chip.cloud.any() else {}


@dataclass(frozen=True)
class Rival:
    """A model or program to be scored."""

    name: str
    """As in tables."""
    threshold: float
    """Its threshold of cloud."""
    shadow_threshold: float
    """Its threshold of shadow."""
    predict: Predict
    """Predicts a chip."""


def by_model(model: str) -> Rival:
    """A geocloud model."""
    predictor = load_model(model)
    return Rival(
        predictor.name, predictor.threshold, predictor.shadow_threshold, lambda chip: probabilities(predictor, chip)
    )


def by_ukis_csmask() -> Rival:
    """ukis-csmask used as its documentation shows; pixels finer than 20 m are averaged to 30 m, as for geocloud."""
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

    return Rival("ukis-csmask", 0.5, 0.5, predict)


View = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Reflectance ``(4, h, w)`` → what is shown to the model."""


def as_it_is(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """A `View` that changes nothing."""
    return reflectance


def without_nir(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    """A `View` without near-infrared."""
    return np.concatenate([reflectance[:3], np.full_like(reflectance[:1], np.nan)])


RGB = "red green blue alone"
VIEWS: dict[str, View] = {
    "": as_it_is,
    RGB: without_nir,
    "saturated as Landsat 5": partial(saturate, limits=LANDSAT_5, elevation=SUN),
    "saturated as Landsat 7": partial(saturate, limits=LANDSAT_7, elevation=SUN),
}
"""What models are shown of each set, by label."""


def score(scores: Scores, name: str, chips: list[Chip], data: Path, predict: Predict, view: View) -> None:
    """Scores the chips of a set in a view."""
    for chip in chips:
        seen = Chip(chip.name, view(chip.pixels()), chip.target, chip.metres)
        scores.add(chip, predict(seen), surfaces(name, chip, data))


def row(label: str, scores: Scores) -> str:
    """A set's scores as a row of the table."""
    own = scores.cloud[scores.threshold]
    swept = [f"{scores.cloud[t].jaccard:.3f}" for t in THRESHOLDS]
    cells = [
        label, str(len(scores.chips)), f"**{own.jaccard:.3f}**", f"{own.accuracy:.3f}", f"{own.precision:.3f}",
        f"{own.recall:.3f}", *swept,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def shadow_row(label: str, scores: Scores) -> str:
    """Precision and recall of shadow as a row of the table, the model's own threshold first."""
    swept = [scores.shadow[t] for t in (scores.shadow_threshold, *SHADOW_THRESHOLDS)]
    cells = [f"{c.precision:.2f}, {c.recall:.2f}" for c in swept]
    return "| " + " | ".join([label, f"**{cells[0]}**", *cells[1:]]) + " |"


def pictures(label: str, scores: Scores, out: Path) -> None:
    """Writes pictures of the worst scenes: natural colour, truth, probability and errors side by side."""
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
    "| set | scenes | Jaccard | accuracy | precision | recall | at 0.3 | 0.4 | 0.5 | 0.6 |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
SHADOW_HEAD = (
    f"| shadow: precision, recall | own threshold | at {' | '.join(f'{t:g}' for t in SHADOW_THRESHOLDS)} |\n"
    f"|{'---|' * (2 + len(SHADOW_THRESHOLDS))}"
)
ALSO = "trained on"
"""Name of the set of scenes given by ``--also``."""


@dataclass(frozen=True)
class Sets:
    """The scenes to be scored."""

    data: Path
    """Folder of the data."""
    without: tuple[str, ...] = ()
    """Prefixes of the names of validation scenes to leave out."""
    also: tuple[str, ...] = ()
    """Prefixes of the names of training scenes to add, as the set `ALSO`."""

    def chips(self, fold: Fold | None) -> Iterator[tuple[str, list[Chip]]]:
        """Scenes by set."""
        for name, chips in validation_sets(self.data, fold):
            yield name, [chip for chip in chips if not (self.without and chip.name.startswith(self.without))]
        if self.also:
            groups = training_groups(self.data, dict.fromkeys(SOURCES, 1.0), fold)
            yield ALSO, [chip for _, chips in groups for chip in chips if chip.name.startswith(self.also)]


def score_sets(sets: Sets, scored: list[tuple[Rival, Fold | None]], views: Iterable[str]) -> dict[str, Scores]:
    """Scores by set and view; scenes that were trained on are scored as they are.

    Each model comes with the fold that it was not trained on (None: the fixed split). Several folds are pooled.
    """
    found: dict[str, Scores] = {}
    for rival, fold in scored:
        for set_name, chips in sets.chips(fold):
            without = not any(has_nir(chip) for chip in chips)
            for view in views if set_name != ALSO else ("",):
                if without and view != RGB:
                    continue
                label = ", ".join(filter(None, (set_name, view)))
                scores = found.setdefault(label, Scores(rival.threshold, rival.shadow_threshold))
                score(scores, set_name, chips, sets.data, rival.predict, VIEWS[view])
    return found


def record(path: Path, found: dict[str, Scores]) -> None:
    """Writes scores into a checkpoint, where `geocloud models` reads them."""
    model = Checkpoint.load(path)
    scores = {
        label: {name: round(getattr(s.cloud[s.threshold], name), 6) for name in SCORES}
        for label, s in found.items()
        if s.cloud and s.cloud[s.threshold].hits + s.cloud[s.threshold].misses
    }
    replace(model, training={**model.training, "scores": scores}).save(path)


def report(name: str, found: dict[str, Scores], out: Path) -> str:
    """Writes pictures, and returns the scores as Markdown."""
    rows, shadow, alarms = [HEAD], [SHADOW_HEAD], ["| ground | called cloud | called shadow |", "|---|---|---|"]
    folder, threshold = out / name, next(iter(found.values())).threshold
    folder.mkdir(parents=True, exist_ok=True)
    for label, scores in found.items():
        if scores.chips and scores.cloud[threshold].hits + scores.cloud[threshold].misses:
            rows.append(row(label, scores))
        if (
            scores.shadow
            and scores.shadow[scores.shadow_threshold].hits + scores.shadow[scores.shadow_threshold].misses
        ):
            shadow.append(shadow_row(label, scores))
        for surface, counted in scores.alarms.items():
            if counted.false_alarms + counted.correct_clear:
                seen = scores.shadow_alarms.get(surface, Confusion())
                known = seen.false_alarms + seen.correct_clear
                also = f"{100 * (1 - seen.specificity):.2f} %" if known else "–"
                alarms.append(f"| {label}: {surface} | {100 * (1 - counted.specificity):.2f} % | {also} |")
        pictures(label.replace(", ", "-").replace(" ", "-"), scores, folder)
    return "\n".join([f"## {name}, threshold {threshold:g}", "", *rows, "", *shadow, "", *alarms, ""])


def main() -> None:
    """Scores the models given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append", default=[], help="NAME or PATH, repeatable [default: fast]")
    parser.add_argument("--record", action="store_true", help="write the scores into the files that --model names")
    parser.add_argument("--folds", type=Path, metavar="RUN", help="models of a cross-validation, RUN/fold0 and so on")
    parser.add_argument("--peer", choices=["ukis-csmask"])
    parser.add_argument(
        "--leave-out", action="append", default=[], metavar="NAME", help="prefix of scenes to leave out"
    )
    parser.add_argument("--also", action="append", default=[], metavar="NAME", help="prefix of scenes to add")
    parser.add_argument("--out", type=Path, default=Path("accuracy"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sets, parts = Sets(options.data, tuple(options.leave_out), tuple(options.also)), []
    if options.folds:
        paths = sorted(options.folds.glob("fold*/*.safetensors"))
        models = [by_model(str(path)) for path in paths if path.stem not in ("last", "state", "best")]
        found = score_sets(sets, [(model, (k, len(models))) for k, model in enumerate(models)], VIEWS)
        parts.append(report(f"{models[0].name}, {len(models)} folds", found, options.out))
    for named in options.model or ([] if options.folds else ["fast"]):
        found = score_sets(sets, [(rival := by_model(named), None)], VIEWS)
        parts.append(report(rival.name, found, options.out))
        if options.record:
            record(find_model(named), found)
    if options.peer:
        views = [view for view in VIEWS if view != RGB]  # it needs near-infrared
        found = score_sets(sets, [(rival := by_ukis_csmask(), None)], views)
        parts.append(report(rival.name, found, options.out))
    (options.out / "accuracy.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


if __name__ == "__main__":
    main()
