"""The recipe of the bundled models: which data, in which shares, with which settings, and how it is scored.

DATA holds the folders l8biome, s2_labelled, weak, backgrounds and pairs: four-band GeoTIFFs, reflectance × 10 000, no
data 65535. ``geocloud train DATA --recipe bundled --out RUN`` trains on all of it; ``--folds 5`` leaves scenes out in
turn and scores them. Once both are there, the checkpoint holds the scores.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geocloud.errors import DatasetError
from geocloud.metrics import Confusion
from geocloud.model.checkpoint import Checkpoint
from geocloud.predict import Predictor
from geocloud.scene import ReadOptions
from geocloud.simulate import SURFACES, simulate_surface
from geocloud.training.chips import CLASSES, CLEAR, CLOUD, IGNORE, Chip, ChipSource
from geocloud.training.config import TrainConfig
from geocloud.training.samples import Group
from geocloud.training.train import SCORES, Progress, probabilities, train

log = logging.getLogger(__name__)

CONFIGS = {
    "fast": TrainConfig(options={"width": 16, "levels": 4, "ratios": True}),
    "unet": TrainConfig(architecture="unet", options={"width": 16}, steps=4000),
    "attention-unet": TrainConfig(architecture="attention-unet", options={"width": 16}, steps=4000),
}
"""By architecture. A step of the full-resolution networks takes twice as long, so they get fewer."""

THRESHOLDS = (0.2, 0.3, 0.35, 0.4, 0.5, 0.6)
FOLDS = "folds.json"

GROUNDS = {
    "snow": ("s2l1c_snow_montcalm", "ROIs1158_spring_26"),
    "bright rock": ("l8l1_zion",),
    "desert": ("s2l2a_arid_australia",),
    "fields": ("s2_river_crops_ftw", "s2l2a_aquileia", "s2l2a_cropland", "s2l2a_varilhes"),
}
"""Clear places by what they show, by how their names begin; all the others are "other"."""


@dataclass(frozen=True, slots=True)
class Material:
    """Chips of the recipe: scored ones, each of its own scene; others with labels; clear ground, simulated and real."""

    biome: list[Chip]
    labelled: list[tuple[float, list[Chip]]]
    simulated: tuple[float, list[Chip]]
    clear: list[tuple[float, dict[str, list[Chip]]]]

    @classmethod
    def read(cls, data: Path) -> Material:
        """Reads everything into memory. Raises DatasetError, SceneError."""
        biome, labelled, weak = data / "l8biome", data / "s2_labelled", data / "weak"
        backgrounds = _by_place(_read((data / "backgrounds").glob("*.tif")))
        pairs = _by_place(_read((data / "pairs").glob("*_clear.tif")))
        found = cls(
            _read((biome / "images").glob("*.tif"), biome / "masks", ".tif", "l8-biome"),
            [
                (0.2, _read(labelled.glob("oncloudn_?.tif"), labelled, "_label.tif", "geocloud")),
                (0.2, _read((p for p in weak.glob("*.tif") if "_label" not in p.name), weak, "_label.tif", "geocloud")),
            ],
            (0.2, [_simulate(seed) for seed in range(80)]),
            [
                (0.4, _some(backgrounds, snow=False)),
                (0.25, _some(pairs, snow=False)),
                (0.3, _some(backgrounds, snow=True) | _some(pairs, snow=True)),
            ],
        )
        if not found.biome:
            raise DatasetError(f"{data}: no l8biome/images/*.tif; the recipe needs them, labelled, to be scored on")
        return found

    def without(self, scenes: set[int], places: set[str]) -> list[Group]:
        """Groups to train on, without some scored scenes and some clear places."""
        return [
            (1.0, [chip for i, chip in enumerate(self.biome) if i not in scenes]),
            *((share, [c for c in chips if c.name not in places]) for share, chips in self.labelled),
            self.simulated,
            *((share, [c for p, chips in of.items() if p not in places for c in chips]) for share, of in self.clear),
        ]

    @property
    def places(self) -> dict[str, list[Chip]]:
        """Clear chips by place."""
        return {place: chips for _, of in self.clear for place, chips in of.items()}


def _read(images: Any, masks: Path | None = None, suffix: str = "", classes: str = "geocloud") -> list[Chip]:
    options = ReadOptions(scale=1e-4, bands=(1, 2, 3, 4))
    return [
        ChipSource(p.stem, p.stem, p, masks and masks / f"{p.stem}{suffix}", CLASSES[classes], options).read()
        for p in sorted(images)
    ]


def _simulate(seed: int) -> Chip:
    """Clear ground of the simulator's, one to three kinds of it."""
    rng = np.random.default_rng(seed)
    ground = simulate_surface(
        (256, 256), rng, [str(k) for k in rng.choice(list(SURFACES), rng.integers(1, 4), replace=False)]
    )
    return Chip(f"simulated_{seed}", ground, np.full(ground.shape[1:], CLEAR, "uint8"))


def _by_place(chips: Sequence[Chip]) -> dict[str, list[Chip]]:
    """Chips that show the same place, at other times or side by side."""
    found: dict[str, list[Chip]] = {}
    for chip in chips:
        place = re.sub(r"_p\d+_clear$|_clear$|_p?\d+$|(_\d\d){2,3}_\d{4}$|_\d{4}-\d\d-\d\d$", "", chip.name)
        found.setdefault(place, []).append(chip)
    return found


def _some(places: dict[str, list[Chip]], snow: bool) -> dict[str, list[Chip]]:
    """The places that show snow, or those that do not: it is rare here, and the hardest to tell from cloud."""
    return {place: chips for place, chips in places.items() if (surface(place) == "snow") == snow}


def surface(place: str) -> str:
    """What a clear place shows."""
    return next((name for name, starts in GROUNDS.items() if place.startswith(starts)), "other")


def train_all(
    data: Path,
    out: Path,
    name: str,
    config: TrainConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """Trains on everything and writes ``out/NAME.safetensors``."""
    groups = Material.read(data).without(set(), set())
    checkpoint = train(groups, [], config, out, name=name, device=device, resume=resume, report=report)
    checkpoint.save(out / f"{name}.safetensors")
    record_scores(out, name)
    return checkpoint


def cross_validate(
    data: Path,
    out: Path,
    name: str,
    config: TrainConfig,
    folds: int,
    only: int | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any] | None:
    """Leaves a fold of scenes and of clear places out, trains on the rest; scores what was left out once all are done.

    Each fold is a run of its own, ``out/fold0`` and so on; one that is finished is not trained again. ``only`` trains
    that fold alone, so that several can be trained side by side. Returns None while folds are missing.
    """
    material = Material.read(data)
    rng = np.random.default_rng(0)
    scenes = rng.permutation(len(material.biome))
    places = [sorted(material.places)[i] for i in rng.permutation(len(material.places))]
    runs = [out / f"fold{fold}" for fold in range(folds)]
    for fold, run in enumerate(runs):
        if (only is None or fold == only) and not (run / f"{name}.safetensors").exists():
            groups = material.without({int(i) for i in scenes[fold::folds]}, set(places[fold::folds]))
            settings = replace(config, seed=config.seed + fold)
            named = f"{name} {fold}"
            checkpoint = train(groups, [], settings, run, name=named, device=device, resume=resume, report=report)
            checkpoint.save(run / f"{name}.safetensors")
    if not all((run / f"{name}.safetensors").exists() for run in runs):
        return None
    pooled = dict.fromkeys(THRESHOLDS, Confusion())
    patches: dict[str, Any] = {}
    grounds: dict[str, Confusion] = {}
    for fold, run in enumerate(runs):
        predictor = Predictor(Checkpoint.load(run / f"{name}.safetensors"), "cpu", "float32")
        for index in sorted(int(i) for i in scenes[fold::folds]):
            chip = material.biome[index]
            probability = probabilities(predictor, chip)
            truth, known = chip.label == CLOUD, chip.label != IGNORE
            found = {t: Confusion.of(probability > t, truth, known) for t in THRESHOLDS}
            pooled = {t: pooled[t] + found[t] for t in THRESHOLDS}
            accuracy = Confusion.of(probability > config.threshold, truth, known).accuracy
            patches[chip.name] = {"cloud": round(float(truth[known].mean()), 4), "accuracy": round(accuracy, 4)}
        for place in places[fold::folds]:
            for chip in material.places[place]:
                alarms = probabilities(predictor, chip) > config.threshold
                counted = Confusion.of(alarms, np.zeros_like(alarms), chip.label != IGNORE)
                for key in (surface(place), f"{surface(place)}: {place}"):
                    grounds[key] = grounds.get(key, Confusion()) + counted
    scores = {
        "folds": folds,
        "steps": config.steps,
        "threshold": config.threshold,
        "pooled": {str(t): {s: round(getattr(c, s), 4) for s in SCORES} for t, c in pooled.items()},
        "patches": patches,
        "false_alarms": {key: round(1 - c.specificity, 5) for key, c in sorted(grounds.items())},
    }
    (out / FOLDS).write_text(json.dumps(scores, indent=1), encoding="utf-8")
    record_scores(out, name)
    return scores


def record_scores(out: Path, name: str) -> None:
    """Where both are there: writes the scores into the checkpoint, and a Markdown of them beside it."""
    checkpoint, folds = out / f"{name}.safetensors", out / FOLDS
    if not (checkpoint.exists() and folds.exists()):
        return
    model, found = Checkpoint.load(checkpoint), json.loads(folds.read_text(encoding="utf-8"))
    scores = {k: v for k, v in found.items() if k != "pooled"} | found["pooled"][str(model.threshold)]
    replace(model, training={**model.training, "cross_validation": scores}).save(checkpoint)
    checkpoint.with_suffix(".md").write_text(tables(found), encoding="utf-8")


def tables(found: dict[str, Any]) -> str:
    """The scores of a cross-validation in Markdown, for the model card."""
    lines = ["| threshold | Jaccard | accuracy | precision | recall |", "|---|---|---|---|---|"]
    for threshold, scores in found["pooled"].items():
        lines.append(f"| {threshold} | " + " | ".join(f"{scores[name]:.3f}" for name in SCORES) + " |")
    lines += ["", "| patch | cloud | accuracy |", "|---|---|---|"]
    for name, patch in sorted(found["patches"].items()):
        lines.append(f"| {name} | {100 * patch['cloud']:.0f} % | {patch['accuracy']:.3f} |")
    lines += ["", "| clear ground, held out | called cloud |", "|---|---|"]
    for name, share in found["false_alarms"].items():
        lines.append(f"| {name} | {100 * share:.2f} % |")
    return "\n".join(lines) + "\n"
