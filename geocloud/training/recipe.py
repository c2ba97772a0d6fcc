"""The recipe of the bundled models: which data, in which shares, with which settings, and how it is scored.

DATA holds the folders l8biome, s2_labelled, weak, backgrounds and pairs: four-band GeoTIFFs, reflectance × 10 000, no
data 65535. ``geocloud train DATA --recipe bundled --out RUN`` trains on all of it; ``--folds 5`` leaves scenes out in
turn and scores them. With both in one RUN, the checkpoint holds the scores.
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
    "unet": TrainConfig(architecture="unet", options={"width": 16}, steps=2000),
    "attention-unet": TrainConfig(architecture="attention-unet", options={"width": 16}, steps=2000),
}
"""By architecture. A step of the full-resolution networks takes longer, so they get fewer."""

THRESHOLDS = (0.2, 0.3, 0.35, 0.4, 0.5, 0.6)
FOLDS = "folds.json"

DONE = "done.safetensors"
FINE_STEPS = 3000

SNOW = ("s2l1c_snow_montcalm", "ROIs1158_spring_26")
"""Places under snow, which is rare here and the hardest to tell from cloud."""

APART = {
    "ROIs1158_spring_26": "snow",
    "l8l1_zion_sun60assumed": "bright rock",
    "s2l2a_aquileia_italy": "fields",
    "s2_river_crops_ftw": "fields",
    "s2l1c_amsterdam": "city",
}
"""Clear places, and what they show, that only the model trained on everything sees: the folds' false alarms on them
are those on places that were not in training."""


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

    @property
    def apart(self) -> set[str]:
        """The places of `APART` that are there."""
        return set(self.places) & set(APART)


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
    """The places that show snow, or those that do not."""
    return {place: chips for place, chips in places.items() if (place in SNOW) == snow}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One architecture's training on the data folder ``data``, into the folder ``out``.

    First the base, on all that is not scored and shows none of the places `APART`; then, from there, with a third of
    the learning rate and at most `FINE_STEPS`, the model on everything, or each fold on what the fold leaves in.
    Whatever is finished is not trained again.
    """

    data: Path
    out: Path
    config: TrainConfig
    device: str = "auto"
    resume: bool = False
    report: Callable[[Progress], None] = lambda progress: None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.architecture

    def train(self) -> Checkpoint:
        """Trains on everything and writes ``out/NAME.safetensors``."""
        material = Material.read(self.data)
        checkpoint = self._fine(material.without(set(), set()), self.out / "model", self._base(material))
        checkpoint.save(self.out / f"{self.name}.safetensors")
        record_scores(self.out, self.name)
        return checkpoint

    def cross_validate(self, folds: int, only: int | None = None) -> dict[str, Any] | None:
        """Leaves a fold of scenes out, trains on the rest; scores what was left out once all folds are done.

        ``only`` trains that fold alone, so that several can be trained side by side. Returns None while folds are
        missing.
        """
        material = Material.read(self.data)
        order = np.random.default_rng(0).permutation(len(material.biome))
        scenes = [sorted(int(i) for i in order[fold::folds]) for fold in range(folds)]
        models = []
        for fold, left_out in enumerate(scenes):
            run = self.out / f"fold{fold}"
            if (only is None or fold == only) and not (run / DONE).exists():
                groups = material.without(set(left_out), material.apart)
                self._fine(groups, run, self._base(material), fold).save(run / DONE)
            if (run / DONE).exists():
                models.append(Predictor(Checkpoint.load(run / DONE), "cpu", "float32"))
        if len(models) < folds:
            return None
        scores = _score(material, scenes, models, self.config)
        (self.out / FOLDS).write_text(json.dumps(scores, indent=1), encoding="utf-8")
        record_scores(self.out, self.name)
        return scores

    def _base(self, material: Material) -> Checkpoint:
        run = self.out / "base"
        if not (run / DONE).exists():
            groups = material.without(set(range(len(material.biome))), material.apart)
            self._run(groups, self.config, run, None).save(run / DONE)
        return Checkpoint.load(run / DONE)

    def _fine(self, groups: list[Group], run: Path, base: Checkpoint, seed: int = 0) -> Checkpoint:
        steps, rate = min(FINE_STEPS, max(self.config.steps // 4, 1)), self.config.learning_rate / 3
        config = replace(self.config, steps=steps, learning_rate=rate, seed=self.config.seed + 1 + seed)
        return self._run(groups, config, run, base)

    def _run(self, groups: list[Group], config: TrainConfig, run: Path, start: Checkpoint | None) -> Checkpoint:
        how: dict[str, Any] = {"device": self.device, "resume": self.resume, "report": self.report}
        return train(groups, [], config, run, start=start, name=self.name, **how)


def _score(material: Material, scenes: list[list[int]], models: list[Predictor], config: TrainConfig) -> dict[str, Any]:
    """Each fold's model on the scenes that it has not seen, and all of them on the places that none has seen."""
    thresholds = sorted({*THRESHOLDS, config.threshold})
    pooled = dict.fromkeys(thresholds, Confusion())
    patches: dict[str, Any] = {}
    grounds: dict[str, Confusion] = {}
    for left_out, predictor in zip(scenes, models, strict=True):
        for index in left_out:
            chip = material.biome[index]
            probability = probabilities(predictor, chip)
            truth, known = chip.label == CLOUD, chip.label != IGNORE
            found = {t: Confusion.of(probability > t, truth, known) for t in thresholds}
            pooled = {t: pooled[t] + found[t] for t in thresholds}
            accuracy = Confusion.of(probability > config.threshold, truth, known).accuracy
            patches[chip.name] = {"cloud": round(float(truth[known].mean()), 4), "accuracy": round(accuracy, 4)}
        for place in sorted(material.apart):
            for chip in material.places[place]:
                alarms = probabilities(predictor, chip) > config.threshold
                counted = Confusion.of(alarms, np.zeros_like(alarms), chip.label != IGNORE)
                key = f"{APART[place]}: {place}"
                grounds[key] = grounds.get(key, Confusion()) + counted
    return {
        "folds": len(models),
        "steps": config.steps,
        "threshold": config.threshold,
        "pooled": {str(t): {s: round(getattr(c, s), 4) for s in SCORES} for t, c in pooled.items()},
        "patches": patches,
        "false_alarms": {key: round(1 - c.specificity, 5) for key, c in sorted(grounds.items())},
    }


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
