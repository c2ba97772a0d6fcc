"""The recipe of the bundled model: which data, in which shares, and how it is scored.

    python -m geocloud.training.bundled DATA --out RUN --folds 5  leaves scenes out, writes RUN/folds.json
    python -m geocloud.training.bundled DATA --out RUN            trains on everything, writes RUN/fast.safetensors

Once both are there, the checkpoint holds the scores.

DATA holds the folders l8biome, s2_labelled, weak, backgrounds and pairs: four-band GeoTIFFs, reflectance × 10 000.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geocloud.metrics import Confusion
from geocloud.model.checkpoint import Checkpoint
from geocloud.training.chips import CLOUD, IGNORE, L8_BIOME, ZERO_ONE, Chip, read_chip, read_pairs
from geocloud.training.fit import FitConfig, fit, probabilities

log = logging.getLogger(__name__)

CONFIG = FitConfig(threshold=0.35, options={"width": 16, "levels": 4})

NAME = "fast"
SCORES = ("jaccard", "accuracy", "precision", "recall")
THRESHOLDS = (0.2, 0.3, 0.35, 0.4, 0.5)


def read_biome(data: Path) -> list[Chip]:
    """The patches that are scored: every one of another scene."""
    folder = data / "l8biome"
    return read_pairs((folder / "images").glob("*.tif"), folder / "masks", ".tif", L8_BIOME)


def read_others(data: Path) -> list[tuple[float, list[Chip]]]:
    """Everything else, in groups with their shares of the samples; L8 Biome has a share of 1."""
    labelled = data / "s2_labelled"
    weak = data / "weak"
    clear = sorted((data / "pairs").glob("*_clear.tif"))
    return [
        (0.2, read_pairs(labelled.glob("oncloudn_?.tif"), labelled, "_label.tif", ZERO_ONE)),
        (0.2, read_pairs((p for p in weak.glob("*.tif") if "_label" not in p.name), weak, "_label.tif", ZERO_ONE)),
        (0.5, [read_chip(path, None, {}) for path in sorted((data / "backgrounds").glob("*.tif"))]),
        (0.3, [read_chip(path, None, {}) for path in clear]),
    ]


def cross_validate(data: Path, config: FitConfig, folds: int) -> dict[str, Any]:
    """Leaves a fold of L8 Biome scenes out, trains on the rest, scores the fold; pooled over all folds."""
    biome, others = read_biome(data), read_others(data)
    order = np.random.default_rng(0).permutation(len(biome))
    pooled = dict.fromkeys(THRESHOLDS, Confusion())
    patches: dict[str, Any] = {}
    for fold in range(folds):
        out = {int(i) for i in order[fold::folds]}
        kept = [chip for i, chip in enumerate(biome) if i not in out]
        checkpoint = fit([(1.0, kept), *others], replace(config, seed=config.seed + fold), f"fold {fold}")
        for index in sorted(out):
            chip = biome[index]
            probability = probabilities(checkpoint, chip)
            truth, known = chip.label == CLOUD, chip.label != IGNORE
            found = {t: Confusion.of(probability > t, truth, known) for t in THRESHOLDS}
            pooled = {t: pooled[t] + found[t] for t in THRESHOLDS}
            accuracy = found[config.threshold].accuracy
            patches[chip.name] = {"cloud": round(float(truth[known].mean()), 4), "accuracy": round(accuracy, 4)}
            log.info("fold %d: %s accuracy %.3f", fold, chip.name, accuracy)
        log.info("fold %d: so far %s", fold, {t: round(c.jaccard, 4) for t, c in pooled.items()})
    return {
        "folds": folds,
        "steps": config.steps,
        "pooled": {str(t): {s: round(getattr(c, s), 4) for s in SCORES} for t, c in pooled.items()},
        "patches": patches,
    }


def record_scores(checkpoint: Path, folds: Path) -> None:
    """Where both files are there: writes the scores into the checkpoint, and a Markdown of them beside it."""
    if not (checkpoint.exists() and folds.exists()):
        return
    model, found = Checkpoint.load(checkpoint), json.loads(folds.read_text())
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
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds the data")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--folds", type=int, help="cross-validate in this many folds instead of training on all")
    parser.add_argument("--steps", type=int, default=CONFIG.steps, help="optimizer steps (default %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = replace(CONFIG, steps=arguments.steps)
    checkpoint, folds = arguments.out / f"{NAME}.safetensors", arguments.out / "folds.json"
    if arguments.folds:
        folds.write_text(json.dumps(cross_validate(arguments.data, config, arguments.folds), indent=1))
    else:
        fit([(1.0, read_biome(arguments.data)), *read_others(arguments.data)], config, NAME).save(checkpoint)
    record_scores(checkpoint, folds)


if __name__ == "__main__":
    main()
