"""Accuracy against cost of the default network's variants: ``python benchmarks/networks.py DATA RUN [--steps 1500]``.

Each is trained by the recipe of the bundled models with fewer steps, scored in cross-validation of two folds, and timed
alone, as geocloud runs it, on one thread. Writes networks.md into RUN; what is finished there is not done again.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from geocloud.training.recipe import CONFIGS, Recipe

from geocloud.model.checkpoint import Checkpoint, build_network
from geocloud.predict import Predictor

VARIANTS = {
    f"width {width}, {levels} levels": {"width": width, "levels": levels, "ratios": True}
    for width, levels in ((8, 4), (12, 4), (16, 3), (16, 4), (16, 5), (24, 4))
}
SHAPE = (768, 1216)
HEAD = "| network | weights | CPU-s/MP | Jaccard | accuracy |\n| --- | ---: | ---: | ---: | ---: |\n"


def seconds(options: dict[str, object]) -> tuple[int, float]:
    """How many weights, and the CPU seconds a megapixel in bfloat16, the least of seven tiles."""
    network = build_network("fast", **options)
    checkpoint = Checkpoint("variant", "fast", network.state_dict(), (0.25,) * 4, (0.25,) * 4, 0.35, options)
    predictor, tile = Predictor(checkpoint, "cpu", "bfloat16"), np.full((1, 4, *SHAPE), 0.2, "float32")
    took = []
    for _ in range(7):
        started = time.process_time()
        predictor(tile)
        took.append(time.process_time() - started)
    return sum(w.numel() for w in checkpoint.weights.values()), min(took) / (SHAPE[0] * SHAPE[1] / 1e6)


def main() -> None:
    """Trains, scores, times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, network in VARIANTS.items():
        config = replace(CONFIGS["fast"], options=network, steps=options.steps)
        out = options.run / name.replace(", ", "-").replace(" ", "")
        scores = Recipe(options.data, out, config, resume=True).cross_validate(2)
        weights, took = seconds(network)
        best = scores["pooled"][str(config.threshold)]
        rows.append(f"| {name} | {weights} | {took:.3f} | {best['jaccard']:.3f} | {best['accuracy']:.3f} |\n")
        (options.run / "networks.md").write_text(HEAD + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
