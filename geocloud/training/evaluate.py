"""Scores on test scenes: 38-Cloud's official protocol, step by step, and whole scenes as `geocloud mask` sees them.

Official: evaluation.m of https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset. Each 384×384 patch is
predicted alone, cloud is what is above 12/255, the patches of a scene are put side by side, the padding is cut off
around the centre, every pixel counts (black margins too), and scores are averaged over scenes without weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geocloud.errors import DatasetError, OptionError, SceneReadError
from geocloud.predict import Predictor
from geocloud.scene.cloud38 import SIDE
from geocloud.scene.layers import open_raster
from geocloud.training.data.chips import ChipSource, read_codes
from geocloud.training.data.layout import DataSet, TestScene
from geocloud.training.metrics import Confusion
from geocloud.training.train import probabilities

Probability = NDArray[np.float32]
Mask = NDArray[np.bool_]
PredictPatches = Callable[[Sequence[ChipSource]], Sequence[Probability]]
"""Patches of one row of a scene → their probabilities, each ``(384, 384)``."""

PROTOCOLS = ("official", "whole")
OFFICIAL_THRESHOLD = 12 / 255
SCORES = ("precision", "recall", "specificity", "jaccard", "accuracy")
BINS = 200
"""Of probability; a multiple of the twentieths of the calibration and the hundredths of the sweep."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One scene as evaluated: probability, truth and what is known, all ``(h, w)``."""

    name: str
    probability: Probability
    truth: Mask
    known: Mask


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Counts of every scene, by name, and how often each probability was said over cloud and over clear ground.

    ``what`` is scored, cloud or shadow. ``said[1]`` counts pixels of it and ``said[0]`` clear ones, by probability, in
    equal bins of [0, 1].
    """

    protocol: str
    threshold: float
    scenes: dict[str, Confusion] = field(default_factory=dict)
    said: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, BINS), "int64"))
    what: str = "cloud"

    def with_scene(self, picture: Picture) -> Evaluation:
        """The same, and one scene more."""
        known = picture.known & np.isfinite(picture.probability)
        counted = Confusion.of(picture.probability > self.threshold, picture.truth, known)
        bins = np.minimum((picture.probability[known] * BINS).astype("int64"), BINS - 1)
        said = np.bincount(picture.truth[known] * BINS + bins, minlength=2 * BINS).reshape(2, BINS)
        return replace(self, scenes={**self.scenes, picture.name: counted}, said=self.said + said)

    @property
    def pooled(self) -> Confusion:
        """All pixels of all scenes in one count."""
        return sum(self.scenes.values(), Confusion())

    def defined(self, score: str) -> list[float]:
        """A score of each scene, without those for which it is 0/0: the official mean is spoilt by a single one."""
        return [v for c in self.scenes.values() if not math.isnan(v := getattr(c, score))]

    def mean(self, score: str) -> float:
        """The unweighted mean over scenes: the official figure. NaN where no scene has the score."""
        values = self.defined(score)
        return float(np.mean(values)) if values else math.nan

    def median(self, score: str) -> float:
        """The median over scenes."""
        values = self.defined(score)
        return float(np.median(values)) if values else math.nan

    def views(self) -> dict[str, dict[str, float]]:
        """The views of one result that differ so much: by the mean, pooled, by the median, and each scene."""
        return {
            "mean over scenes": {s: self.mean(s) for s in SCORES},
            "pooled over pixels": {s: getattr(self.pooled, s) for s in SCORES},
            "median over scenes": {s: self.median(s) for s in SCORES},
            **{name: {s: getattr(c, s) for s in SCORES} for name, c in self.scenes.items()},
        }

    def sweep(self) -> dict[float, Confusion]:
        """Pooled counts at thresholds from 0.02 to 0.98."""
        clear, cloud = (np.cumsum(counts[::-1])[::-1] for counts in self.said)
        found: dict[float, Confusion] = {}
        for edge in range(BINS // 50, BINS, BINS // 50):  # a threshold is a bin's lower edge
            hits, alarms = int(cloud[edge]), int(clear[edge])
            found[edge / BINS] = Confusion(hits, alarms, int(cloud[0]) - hits, int(clear[0]) - alarms)
        return found

    def calibration(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Probability said (the middle of a twentieth), share that was cloud, and pixels; empty twentieths left out."""
        clear, cloud = self.said.reshape(2, 20, -1).sum(2)
        pixels = clear + cloud
        some = pixels > 0
        return ((np.arange(20) + 0.5) / 20)[some], cloud[some] / pixels[some], pixels[some]


def official(
    scenes: Sequence[TestScene], predict: PredictPatches, threshold: float = OFFICIAL_THRESHOLD
) -> Iterator[tuple[Picture, Evaluation]]:
    """Evaluates scene by scene: yields each picture and the evaluation so far. Raises DatasetError."""
    evaluation = Evaluation("official", threshold)
    if not scenes:
        raise DatasetError("no test scenes with a truth in Entire_scene_gts")
    for scene in scenes:
        picture = _put_together(scene, predict)
        evaluation = evaluation.with_scene(picture)
        yield picture, evaluation


def _put_together(scene: TestScene, predict: PredictPatches) -> Picture:
    rows, cols = scene.shape
    lost = [(r, c) for r in range(1, rows + 1) for c in range(1, cols + 1) if (r, c) not in scene.patches]
    if lost:
        shown = ", ".join(f"row {r} column {c}" for r, c in lost[:4]) + (" …" if len(lost) > 4 else "")
        raise DatasetError(
            f"{scene.name}: {len(lost)} of {rows * cols} patches are missing ({shown}); with gaps the mask would shift"
        )
    canvas = np.zeros((rows * SIDE, cols * SIDE), "float32")
    for row in range(1, rows + 1):
        found = predict([scene.patches[row, col] for col in range(1, cols + 1)])
        for col, probability in enumerate(found):
            canvas[(row - 1) * SIDE : row * SIDE, col * SIDE : (col + 1) * SIDE] = probability
    truth = read_codes(scene.truth) > 0
    if truth.shape[0] > canvas.shape[0] or truth.shape[1] > canvas.shape[1]:
        raise DatasetError(
            f"{scene.truth}: {truth.shape[0]}×{truth.shape[1]} pixels, more than its {rows}×{cols} patches cover; "
            "patches at the end are missing"
        )
    top, left = ((whole - part) // 2 for whole, part in zip(canvas.shape, truth.shape, strict=True))
    probability = canvas[top : top + truth.shape[0], left : left + truth.shape[1]]
    return Picture(scene.name, probability, truth, np.ones(truth.shape, bool))


def by_model(predictor: Predictor) -> PredictPatches:
    """Patches predicted each alone; clear where there is no data."""

    def predict(sources: Sequence[ChipSource]) -> Sequence[Probability]:
        tiles = np.stack([source.read().reflectance for source in sources])
        return [np.where(np.isnan(t[0]), 0, p) for t, p in zip(tiles, predictor(tiles)[:, 0], strict=True)]

    return predict


def from_folder(folder: Path) -> PredictPatches:
    """Patches that somebody else's model predicted: files whose names hold the patch's, in any folder below.

    Floats are probabilities, 8 bits are 0 to 255, or 0 and 1 where no patch in the folder holds more than 1; another
    size than 384×384 is resampled (cubic), as the official script does. Raises DatasetError.
    """
    name = re.compile(r".*(patch_\d+_\d+_by_\d+_.+)\.\w+")
    files = {m[1].lower(): p for p in sorted(folder.rglob("*")) if p.is_file() and (m := name.fullmatch(p.name))}
    if not files:
        raise DatasetError(f"{folder}: no predicted patches; wanted files named as 38-Cloud's patches are")
    full = cache(lambda: 255 if any(_goes_to_255(path) for path in files.values()) else 1)

    def predict(sources: Sequence[ChipSource]) -> Sequence[Probability]:
        lost = [source.name for source in sources if source.name.lower() not in files]
        if lost:
            raise DatasetError(f"{folder}: no prediction of {lost[0]} ({len(lost)} missing in its row)")
        return [_read_probability(files[source.name.lower()], full) for source in sources]

    return predict


def _goes_to_255(path: Path) -> bool:
    """True for 8 bits that are not 0 and 1 alone: a patch without cloud does not tell."""
    try:
        with open_raster(str(path), str(path)) as dataset:
            return bool(dataset.dtypes[0] == "uint8" and dataset.read(1).max() > 1)
    except SceneReadError:  # a sidecar, or whoever wants it hears of it
        return False


def _read_probability(path: Path, full: Callable[[], int]) -> Probability:
    """``full`` tells what 8 bits hold where cloud is certain."""
    with open_raster(str(path), str(path)) as dataset:
        values = dataset.read(1, out_shape=(SIDE, SIDE), resampling=Resampling.cubic)
    if np.issubdtype(values.dtype, np.floating):
        return np.clip(np.nan_to_num(values), 0, 1).astype("float32")
    if values.dtype != np.uint8:
        raise DatasetError(f"{path}: {values.dtype} values, wanted floats from 0 to 1, or 8 bits")
    return (values / full()).astype("float32")


def whole(
    dataset: DataSet, predictor: Predictor, threshold: float, shadows: bool = False
) -> Iterator[tuple[Picture, Evaluation]]:
    """Evaluates as `geocloud mask` works: scenes in overlapping tiles, blended; pixels without data left out.

    With ``shadows`` it is cloud shadow that is scored, where the masks tell of it; cloud wins, at the model's own
    threshold.
    """
    evaluation = Evaluation("whole", threshold, what="shadow" if shadows else "cloud")
    sources = [_as_one(scene) for scene in dataset.testing] or list(dataset.training)
    for source in sources:
        chip = source.read()
        probability = probabilities(predictor, chip)
        picture = Picture(chip.name, probability[0], chip.cloud, chip.known)
        if shadows:
            alone = np.where(probability[0] > predictor.threshold, 0, probability[1])
            picture = Picture(chip.name, alone, chip.shadow, chip.shadow_known)
        evaluation = evaluation.with_scene(picture)
        yield picture, evaluation


def _as_one(scene: TestScene) -> ChipSource:
    """A test scene as one image: `geocloud.scene` puts its patches together."""
    patch = next(iter(scene.patches.values()))
    options = replace(patch.options, scene_id=scene.name)
    return replace(patch, name=scene.name, image=patch.image.parent.parent, mask=scene.truth, options=options)


def evaluate(
    dataset: DataSet,
    predictor: Predictor | None = None,
    predictions: Path | None = None,
    protocol: str | None = None,
    threshold: float | None = None,
    shadows: bool = False,
) -> Iterator[tuple[Picture, Evaluation]]:
    """Evaluates a model, or a folder of predicted patches, scene by scene; the last evaluation holds them all.

    ``protocol``: "official", the default where there are test scenes, or "whole". ``threshold``: 12/255 by default in
    the official protocol, the model's own otherwise. ``shadows``: cloud shadow is scored. Raises DatasetError,
    OptionError, SceneError.
    """
    protocol = protocol or ("official" if dataset.testing and not shadows else "whole")
    if protocol not in PROTOCOLS:
        raise OptionError(f"protocol {protocol!r}: wanted {' or '.join(PROTOCOLS)}")
    if (predictor is None) == (predictions is None):
        raise OptionError("give either a model or a folder of predictions")
    if threshold is not None and not 0 < threshold < 1:
        raise OptionError(f"threshold {threshold:g}: wanted more than 0 and less than 1")
    if shadows and (protocol == "official" or predictor is None or predictor.classes < 2):
        raise OptionError("shadow is scored of a model that tells it, by the protocol 'whole'")
    if protocol == "official":
        if not dataset.testing:
            raise DatasetError(
                f"{dataset.root}: no test scenes with truths (38-Cloud_test/Entire_scene_gts); "
                "the official protocol needs them, the protocol 'whole' does not"
            )
        predict = by_model(predictor) if predictor else from_folder(predictions)  # type: ignore[arg-type]
        return official(dataset.testing, predict, threshold or OFFICIAL_THRESHOLD)
    if predictor is None:
        raise OptionError("predicted patches are evaluated by the official protocol alone")
    own = predictor.shadow_threshold if shadows else predictor.threshold
    return whole(dataset, predictor, threshold or own, shadows)
