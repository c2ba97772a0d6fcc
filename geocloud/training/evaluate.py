"""Scores on test scenes: by 38-Cloud's official protocol, and on whole scenes as `geocloud mask` predicts them.

Official: evaluation.m of https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset. Each 384×384 patch is
predicted alone and thresholded at 12/255. The patches of a scene are mosaicked, and the padding around them is cut off.
Every pixel counts, black margins too. Scores are averaged over scenes without weights.
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
from geocloud.models.predictor import Predictor
from geocloud.readers.cloud38 import SIDE
from geocloud.readers.stack import open_raster
from geocloud.training.data.chips import ChipSource, read_codes
from geocloud.training.data.layout import DataSet, TestScene
from geocloud.training.metrics import Confusion
from geocloud.training.train import probabilities

Probability = NDArray[np.float32]
Mask = NDArray[np.bool_]
PredictPatches = Callable[[Sequence[ChipSource]], Sequence[Probability]]
"""The patches of one row of a scene → their probabilities of cloud, each ``(384, 384)``."""

PROTOCOLS = ("official", "whole")
OFFICIAL_THRESHOLD = 12 / 255
SCORES = ("precision", "recall", "specificity", "jaccard", "accuracy")
BINS = 200
"""Bins of probability: a multiple of calibration's 20 bins and of the sweep's 50 steps."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One scene as it is evaluated."""

    name: str
    """Name of the scene."""
    probability: Probability
    """Probability of cloud ``(h, w)``; pixels with NaN are ignored."""
    truth: Mask
    """``(h, w)``, True where there is cloud."""
    known: Mask
    """``(h, w)``, True where the truth is known; other pixels are ignored."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Counts of every scene, and the distribution of predicted probabilities over cloud and over clear pixels."""

    protocol: str
    """One of `PROTOCOLS`."""
    threshold: float
    """Pixels with a higher probability of cloud count as cloud."""
    scenes: dict[str, Confusion] = field(default_factory=dict)
    """Counts by name of the scene."""
    said: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, BINS), "int64"))
    """``(2, BINS)``: histograms of predicted probability, over clear pixels and over cloud, in equal bins of [0, 1]."""
    what: str = "cloud"
    """The class that is scored, cloud or shadow."""

    def with_scene(self, picture: Picture) -> Evaluation:
        """This evaluation with one more scene."""
        known = picture.known & np.isfinite(picture.probability)
        counted = Confusion.of(picture.probability > self.threshold, picture.truth, known)
        bins = np.minimum((picture.probability[known] * BINS).astype("int64"), BINS - 1)
        said = np.bincount(picture.truth[known] * BINS + bins, minlength=2 * BINS).reshape(2, BINS)
        return replace(self, scenes={**self.scenes, picture.name: counted}, said=self.said + said)

    @property
    def pooled(self) -> Confusion:
        """Counts over all pixels of all scenes."""
        return sum(self.scenes.values(), Confusion())

    def defined(self, score: str) -> list[float]:
        """A score of each scene, without scenes for which it is 0/0: a single one would make the official mean NaN."""
        return [v for c in self.scenes.values() if not math.isnan(v := getattr(c, score))]

    def mean(self, score: str) -> float:
        """The unweighted mean over scenes, the official figure; NaN if no scene has the score."""
        values = self.defined(score)
        return float(np.mean(values)) if values else math.nan

    def median(self, score: str) -> float:
        """The median over scenes."""
        values = self.defined(score)
        return float(np.median(values)) if values else math.nan

    def views(self) -> dict[str, dict[str, float]]:
        """The scores, summarised in ways that can differ widely: mean over scenes, pooled, median, and each scene."""
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
        for edge in range(BINS // 50, BINS, BINS // 50):  # thresholds are lower edges of bins
            hits, alarms = int(cloud[edge]), int(clear[edge])
            found[edge / BINS] = Confusion(hits, alarms, int(cloud[0]) - hits, int(clear[0]) - alarms)
        return found

    def calibration(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Predicted probability (centre of each of 20 bins), share that is cloud, and pixels; without empty bins."""
        clear, cloud = self.said.reshape(2, 20, -1).sum(2)
        pixels = clear + cloud
        some = pixels > 0
        return ((np.arange(20) + 0.5) / 20)[some], cloud[some] / pixels[some], pixels[some]


def official(
    scenes: Sequence[TestScene], predict: PredictPatches, threshold: float = OFFICIAL_THRESHOLD
) -> Iterator[tuple[Picture, Evaluation]]:
    """Evaluates by the official protocol: yields each scene, and the evaluation so far. Raises DatasetError."""
    evaluation = Evaluation("official", threshold)
    if not scenes:
        raise DatasetError("no test scenes with a truth mask in Entire_scene_gts")
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
    """A function that predicts each patch alone; 0, clear, where there is no data."""

    def predict(sources: Sequence[ChipSource]) -> Sequence[Probability]:
        tiles = np.stack([source.read().reflectance for source in sources])
        return [np.where(np.isnan(t[0]), 0, p) for t, p in zip(tiles, predictor(tiles)[:, 0], strict=True)]

    return predict


def from_folder(folder: Path) -> PredictPatches:
    """A function that reads patches predicted by another model: files below ``folder`` whose names contain the patch's.

    Floats are probabilities. 8-bit values run from 0 to 255, or are 0 and 1 if no patch in the folder holds more. Files
    of another size than 384×384 are resampled (cubic), as in the official script. Raises DatasetError.
    """
    name = re.compile(r".*(patch_\d+_\d+_by_\d+_.+)\.\w+")
    files = {m[1].lower(): p for p in sorted(folder.rglob("*")) if p.is_file() and (m := name.fullmatch(p.name))}
    if not files:
        raise DatasetError(f"{folder}: no predicted patches; wanted files named like 38-Cloud's patches")
    full = cache(lambda: 255 if any(_goes_to_255(path) for path in files.values()) else 1)

    def predict(sources: Sequence[ChipSource]) -> Sequence[Probability]:
        lost = [source.name for source in sources if source.name.lower() not in files]
        if lost:
            raise DatasetError(f"{folder}: no prediction for {lost[0]} ({len(lost)} missing in its row)")
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
        raise DatasetError(f"{path}: {values.dtype} values, wanted floats from 0 to 1, or 8-bit integers")
    return (values / full()).astype("float32")


def whole(
    dataset: DataSet, predictor: Predictor, threshold: float, shadows: bool = False
) -> Iterator[tuple[Picture, Evaluation]]:
    """Evaluates scenes as `geocloud mask` predicts them, in blended overlapping tiles; ignores pixels without data.

    With ``shadows``, cloud shadow is scored where the masks have such a class. Cloud takes precedence over shadow, at
    the model's own threshold.
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
    """A test scene as one image: `geocloud.readers` mosaics its patches."""
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
    """Evaluates a model, or a folder of predicted patches, scene by scene.

    Args:
        dataset: The data set.
        predictor: The model; None: ``predictions`` are evaluated.
        predictions: Folder of patches predicted by another model.
        protocol: official or whole; None: official if there are test scenes.
        threshold: None: 12/255 for the official protocol, otherwise the model's own.
        shadows: Whether cloud shadow is scored instead of cloud.

    Returns:
        Yields each scene, and the evaluation so far; the last one covers all scenes.

    Raises:
        GeocloudError: DatasetError, OptionError or SceneError.
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
                f"{dataset.root}: no test scenes with truth masks (38-Cloud_test/Entire_scene_gts); "
                "the official protocol needs them; the protocol 'whole' does not"
            )
        predict = by_model(predictor) if predictor else from_folder(predictions)  # type: ignore[arg-type]
        return official(dataset.testing, predict, threshold or OFFICIAL_THRESHOLD)
    if predictor is None:
        raise OptionError("predicted patches are evaluated by the official protocol only")
    own = predictor.shadow_threshold if shadows else predictor.threshold
    return whole(dataset, predictor, threshold or own, shadows)
