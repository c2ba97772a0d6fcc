"""Scores models on scenes held out from training: ``python benchmarks/accuracy.py DATA [--model NAME] [--out DIR]``.

DATA is the training data folder of ``recipes/bundled.py``. Half of the held-out places are for choosing thresholds
(the columns "chosen at"), the other half for published scores (the columns before them). ``--folds RUN`` scores the
models of a cross-validation instead, on all scenes. Each set is scored unchanged, without near-infrared, and clipped
where Landsat 5 and 7 saturate. Further tables: false alarms by surface, cloud shadow, and the change of masks when a
scene is rotated or mirrored, when red and blue are swapped, and at pixel sizes of 10, 20 and 30 m. ``--peer
ukis-csmask`` also scores that program, if installed. Writes accuracy.md and pictures of the ten worst scenes of each
set (scene, truth, probability, error map) to DIR.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from geocloud._picture import render
from geocloud.models import ONNX, find_model, find_weights
from geocloud.models.export import with_metadata
from geocloud.models.network import Network
from geocloud.models.predictor import load_model
from geocloud.tiling.resample import average
from geocloud.training.data.augment import LANDSAT_5, LANDSAT_7, METRES, saturate
from geocloud.training.data.chips import CLEAR, CLOUD, UNKNOWN, Chip
from geocloud.training.figures import error_map
from geocloud.training.metrics import Confusion
from geocloud.training.train import probabilities
from recipes.material import SOURCES, Fold, bright_ground, has_nir, read_codes, saturated_ground, validation_chips

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Predict = Callable[[Chip], Array]
"""Predicts the probability of cloud and, if the model has that class, shadow in a chip, ``(classes, h, w)``."""

PUBLISH, CHOOSE = 0, 1
"""Halves of the held-out places: one for published scores, one for choosing thresholds."""

THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
SHADOW_THRESHOLDS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.2)
SURFACES = {0: "shadow", 1: "shadow over water", 2: "water", 3: "snow", 4: "land", 6: "flooded"}
"""Surfaces by SPARCS code, without cloud."""

SUN = 50.0
"""Sun elevation in degrees for clipping at saturation."""

PARTLY = (0.05, 0.95)
"""Range of cloud cover in partly cloudy scenes, 0 to 1."""

ICE = {"catalogue": 0.1, "sparcs": 0.8}
"""Minimum share of bright clear ground (in the catalogue: saturated ground) in scenes scored as ice sheets."""

SCORES = ("jaccard", "accuracy", "precision", "recall")
WORST = 10
RGB = "red green blue alone"
VIEWS: dict[str, Callable[[Array], Array]] = {
    "": lambda reflectance: reflectance,
    RGB: lambda reflectance: np.concatenate([reflectance[:3], np.full_like(reflectance[:1], np.nan)]),
    "as Landsat 5": partial(saturate, limits=LANDSAT_5, elevation=SUN),
    "as Landsat 7": partial(saturate, limits=LANDSAT_7, elevation=SUN),
}
"""Changes of reflectance for each row of a set, by label."""


@dataclass(frozen=True)
class Candidate:
    """A model or program to be scored."""

    name: str
    """Name in tables."""
    threshold: float
    """Threshold of cloud."""
    shadow_threshold: float
    """Threshold of shadow."""
    predict: Predict
    """Function that predicts a chip."""


def by_model(model: str) -> Candidate:
    """A model of geocloud as candidate."""
    predictor = load_model(model)
    predict = partial(probabilities, predictor)
    return Candidate(predictor.name, predictor.threshold, predictor.shadow_threshold, predict)


def by_ukis_csmask() -> Candidate:
    """ukis-csmask as candidate, used as documented; finer chips are averaged to 30 m, as for geocloud."""
    from ukis_csmask.mask import CSmask

    def predict(chip: Chip) -> Array:
        factor = max(1.0, METRES / chip.metres)
        seen = np.nan_to_num(average(chip.pixels(), factor))
        mask = CSmask(
            img=np.moveaxis(seen[[2, 1, 0, 3]], 0, -1), band_order=["blue", "green", "red", "nir"], nodata_value=-1
        ).csm
        cloud = np.squeeze(np.asarray(mask)) == 1
        rows, cols = ((np.arange(n) / factor).astype(int) for n in chip.target.shape[1:])
        return cloud[rows][:, cols].astype("float32")[None]

    return Candidate("ukis-csmask", 0.5, 0.5, predict)


@dataclass
class Scores:
    """Counts over the chips of one set, view and half."""

    cloud: dict[float, Confusion] = field(default_factory=dict)
    """Counts of cloud by threshold."""
    shadow: dict[float, Confusion] = field(default_factory=dict)
    """Counts of shadow by threshold."""
    alarms: dict[str, Confusion] = field(default_factory=dict)
    """Counts of false alarms on clear ground, by surface or scene."""
    chips: list[tuple[int, Chip, Array]] = field(default_factory=list)
    """Number of misclassified pixels, chip, and probability of cloud, for each chip."""

    def add(self, candidate: Candidate, chip: Chip, probability: Array, surfaces: dict[str, Mask]) -> None:
        """Adds the counts of a chip."""
        for threshold in {*THRESHOLDS, candidate.threshold}:
            _add(self.cloud, threshold, probability[0] > threshold, chip.cloud, chip.known)
        cloud = probability[0] > candidate.threshold
        if len(probability) > 1:
            for threshold in {*SHADOW_THRESHOLDS, candidate.shadow_threshold}:
                shadow = (probability[1] > threshold) & ~cloud
                _add(self.shadow, threshold, shadow, chip.target[1] == CLOUD, chip.target[1] != UNKNOWN)
        for name, where in surfaces.items():
            _add(self.alarms, name, cloud, np.zeros_like(cloud), where & chip.known)
        self.chips.append((int(((cloud != chip.cloud) & chip.known).sum()), chip, probability[0]))


def _add(counts: dict[float, Confusion] | dict[str, Confusion], key: float | str, *masks: Mask) -> None:
    counts[key] = counts.get(key, Confusion()) + Confusion.of(*masks)  # type: ignore[index,call-overload]


def surfaces(name: str, chip: Chip, data: Path) -> dict[str, Mask]:
    """Surfaces of a chip for which false alarms are counted separately: masks ``(h, w)`` by name."""
    if name == "sparcs":
        codes = read_codes(data / "sparcs" / "masks" / f"{chip.name}.png")
        return {surface: codes == code for code, surface in SURFACES.items()}
    if name in ("catalogue", "taught"):
        return {"bright ground": bright_ground(chip)}
    return {chip.name: chip.known} if not chip.cloud.any() else {}


def sets_of(name: str, chip: Chip) -> list[str]:
    """Table rows in which a chip is counted."""
    if name not in ("catalogue", "sparcs"):
        return [name]
    if (saturated_ground(chip) if name == "catalogue" else bright_ground(chip)).mean() > ICE[name]:
        return [f"{name}, ice sheets"]
    partly = name == "catalogue" and PARTLY[0] < chip.cloud.mean() < PARTLY[1]
    return [name, "catalogue, partly cloudy"] if partly else [name]


def score(data: Path, candidate: Candidate, half: int | None, fold: Fold | None, views: list[str]) -> dict[str, Scores]:
    """Scores by set and view, on one half of the held-out places or on a fold."""
    results: dict[str, Scores] = {}
    for name, source in SOURCES.items():
        for chip in validation_chips(source, data, half, fold) if name != "glaciers" else []:
            for view in views if has_nir(chip) else [RGB]:
                shown = replace(chip, reflectance=VIEWS[view](chip.pixels()))
                probability = candidate.predict(shown)
                for row in sets_of(name, chip):
                    scores = results.setdefault(", ".join(filter(None, (row, view))), Scores())
                    scores.add(candidate, chip, probability, surfaces(name, chip, data))
    return results


def agreement(data: Path, candidate: Candidate) -> Iterator[str]:
    """Table rows with the change of masks by orientation, band order and pixel size."""
    rows: dict[str, list[tuple[float, str]]] = {}
    for name, source in SOURCES.items():
        for chip in validation_chips(source, data, None) if name not in ("glaciers", "catalogue") else []:
            cloud = candidate.predict(chip)[0] > candidate.threshold
            quarter = [
                (partial(np.rot90, k=k, axes=(-2, -1)), partial(np.rot90, k=-k, axes=(-2, -1))) for k in (1, 2, 3)
            ]
            views = {
                "turned or mirrored": [*quarter, (lambda x: x[..., ::-1], lambda x: x[..., ::-1])],
                "red and blue swapped": [(lambda x: x[[2, 1, 0, 3]], lambda x: x)],
            }
            for label, pairs in views.items():
                for turn, back in pairs:
                    seen = Chip(chip.name, turn(chip.pixels()), chip.target, chip.metres)
                    changed = (back(candidate.predict(seen)[0] > candidate.threshold) != cloud)[chip.known]
                    rows.setdefault(label, []).append((float(changed.mean()), chip.name))
            if chip.metres == 10:
                shares = [cloud[chip.known].mean()]
                for factor in (2, 3):
                    image = average(chip.pixels(), factor)
                    seen = Chip(chip.name, image, np.full((2, *image.shape[1:]), CLEAR, "uint8"), 10 * factor)
                    valid = ~np.isnan(image[0])
                    shares.append((candidate.predict(seen)[0] > candidate.threshold)[valid].mean())
                rows.setdefault("cloud cover at 10, 20, 30 m", []).append((float(np.ptp(shares)), chip.name))
    for label, changes in rows.items():
        worst, name = max(changes)
        mean = np.mean([change for change, _ in changes])
        yield f"| {label} | {100 * mean:.2f} % | {100 * worst:.2f} % ({name}) |"


HEAD = (
    "| set | scenes | Jaccard | accuracy | precision | recall | chosen at: own | "
    f"{' | '.join(f'{t:g}' for t in THRESHOLDS)} |\n|{'---|' * (7 + len(THRESHOLDS))}"
)
SHADOW_HEAD = (
    f"| shadow: precision, recall | own | chosen at {' | '.join(f'{t:g}' for t in SHADOW_THRESHOLDS)} |\n"
    f"|{'---|' * (2 + len(SHADOW_THRESHOLDS))}"
)
ALARMS_HEAD = "| clear ground | classified as cloud | in the half used for thresholds |\n|---|---|---|"


def has_cloud(counts: dict[float, Confusion]) -> bool:
    """True if the truth contains any positive pixels."""
    return any(c.tp + c.fn for c in counts.values())


def report(candidate: Candidate, chosen: dict[str, Scores], published: dict[str, Scores], out: Path) -> list[str]:
    """Scores as lines of Markdown. Also writes the pictures."""
    rows, shadow, alarms = [HEAD], [SHADOW_HEAD], [ALARMS_HEAD]
    for label in sorted({*chosen, *published}):
        one, other = chosen.get(label, Scores()), published.get(label, Scores())
        if has_cloud(other.cloud):
            own = other.cloud[candidate.threshold].scores()
            cells = [label, str(len(other.chips)), f"**{own['jaccard']:.3f}**"]
            cells += [f"{own[name]:.3f}" for name in SCORES[1:]]
            swept = [one.cloud.get(t, Confusion()) for t in (candidate.threshold, *THRESHOLDS)]
            swept_cells = (f"{c.jaccard:.3f}" if c.tp + c.fn else "–" for c in swept)
            rows.append(f"| {' | '.join([*cells, *swept_cells])} |")
        if has_cloud(other.shadow):
            own_shadow = other.shadow[candidate.shadow_threshold]
            pairs = [c.scores() for c in (own_shadow, *(one.shadow.get(t, Confusion()) for t in SHADOW_THRESHOLDS))]
            cells = [f"{scores['precision']:.2f}, {scores['recall']:.2f}" for scores in pairs]
            shadow.append(f"| {' | '.join([label, *cells])} |")
        for surface in one.alarms | other.alarms if label in (*SOURCES, f"catalogue, {RGB}") else ():
            both = [scores.alarms.get(surface, Confusion()) for scores in (other, one)]
            cells = [f"{100 * c.fp / (c.fp + c.tn):.2f} %" if c.fp + c.tn else "–" for c in both]
            if set(cells) != {"–"}:
                alarms.append(f"| {' | '.join([f'{label}: {surface}', *cells])} |")
        folder = out / candidate.name
        folder.mkdir(parents=True, exist_ok=True)
        worst = sorted(one.chips + other.chips, key=lambda item: -item[0])[:WORST]
        for wrong, chip, probability in worst if label in (*SOURCES, f"catalogue, {RGB}") else []:
            share = 100 * wrong / max(int(chip.known.sum()), 1)
            draw(
                chip, probability, candidate.threshold, folder / f"{label.split(',')[0]}_{share:05.1f}_{chip.name}.png"
            )
    return [f"## {candidate.name}, threshold {candidate.threshold:g}", "", *rows, "", *shadow, "", *alarms, ""]


def draw(chip: Chip, probability: Array, threshold: float, path: Path) -> None:
    """Writes a picture: scene in natural colour, truth, probability, error map."""
    grey = [np.where(chip.known, chip.cloud, 0.5), np.nan_to_num(probability)]
    parts = [
        render(chip.pixels())[..., :3],
        *(np.repeat((255 * g).astype("uint8")[..., None], 3, 2) for g in grey),
        error_map(np.nan_to_num(probability) > threshold, chip.cloud, chip.known),
    ]
    picture = np.concatenate(parts, 1)
    step = -(-max(picture.shape) // 2000)
    Image.fromarray(picture[::step, ::step]).save(path)


def record(path: Path, published: dict[str, Scores], threshold: float) -> None:
    """Writes the published scores into the metadata of a model's files, for `geocloud models`."""
    network = Network.load(find_weights(path))
    scores = {
        label: {
            name: round(s.cloud[threshold].scores()[name], 6) for name in ("jaccard", "accuracy", "precision", "recall")
        }
        for label, s in published.items()
        if has_cloud(s.cloud)
    }
    metadata = replace(network.metadata, training={**network.metadata.training, "scores": scores})
    Network(metadata, network.body).save(find_weights(path))
    if path.suffix == ONNX:
        path.write_bytes(with_metadata(path.read_bytes(), metadata))


def main() -> None:
    """Scores the models given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append", default=[], help="NAME or PATH, repeatable [default: fast]")
    parser.add_argument("--record", metavar="MODEL", help="write the scores into the files of this model")
    parser.add_argument("--folds", type=Path, metavar="RUN", help="models of a cross-validation: RUN/fold0 and so on")
    parser.add_argument("--peer", choices=["ukis-csmask"])
    parser.add_argument("--out", type=Path, default=Path("accuracy"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    views = list(VIEWS)
    if options.folds:
        paths = sorted(options.folds.glob("fold*/*.safetensors"))
        models = [by_model(str(path)) for path in paths if path.stem not in ("last", "state", "best")]
        for k, model in enumerate(models):
            results = score(options.data, model, None, (k, len(models)), views)
            lines += report(replace(model, name=f"{model.name}, fold {k}"), {}, results, options.out)
    candidates = [by_model(named) for named in options.model or ([] if options.folds else ["fast"])]
    for candidate in [*candidates, *([by_ukis_csmask()] if options.peer else [])]:
        shown = [view for view in views if view != RGB] if candidate.name == "ukis-csmask" else views
        chosen, published = (score(options.data, candidate, half, None, shown) for half in (CHOOSE, PUBLISH))
        lines += report(candidate, chosen, published, options.out)
        if candidate in candidates:
            head = ["| change of masks | mean | worst |", "|---|---|---|"]
            lines += [*head, *agreement(options.data, candidate), ""]
            if options.record:
                record(find_model(options.record), published, candidate.threshold)
    (options.out / "accuracy.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
