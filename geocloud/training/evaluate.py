"""Scores on test scenes, predicted whole as by `geocloud mask`, or by 38-Cloud's official protocol.

The official protocol is evaluation.m of https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset. Each
384×384 patch is predicted alone and thresholded at 12/255. The patches of a scene are mosaicked, and the padding is
cropped. Every pixel counts, including black margins. Scores are unweighted means over scenes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geocloud.errors import DatasetError, OptionError
from geocloud.models.predictor import Predictor
from geocloud.readers.band_names import shorten
from geocloud.readers.cloud38 import SIDE
from geocloud.readers.stack import open_raster
from geocloud.training.data.chips import CLOUD, UNKNOWN, ChipSource, read_codes
from geocloud.training.data.layout import DataSet, TestScene
from geocloud.training.metrics import Confusion

Probability = NDArray[np.float32]
Mask = NDArray[np.bool_]
PredictPatches = Callable[[Sequence[ChipSource]], Sequence[Probability]]
"""Predicts the patches in one row of a scene; returns the probability of cloud in each, ``(384, 384)``."""

PROTOCOLS = ("official", "whole")
OFFICIAL_THRESHOLD = 12 / 255
BINS = 200
"""Number of probability bins, a multiple of the 20 bins of calibration and the 50 steps of the sweep."""
SUMMARIES = ("mean over scenes", "pooled over pixels", "median over scenes")


class Picture(NamedTuple):
    """Prediction and truth of one scene."""

    name: str
    probability: Probability  # probability of cloud (h, w); NaN is ignored
    truth: Mask  # (h, w), True where there is cloud
    known: Mask  # (h, w), True where the truth is known; other pixels are ignored


@dataclass(slots=True)
class Evaluation:
    """Confusion counts of each scene, and histograms of probability over clear and cloudy pixels."""

    protocol: str  # one of `PROTOCOLS`
    threshold: float  # pixels with a higher probability count as cloud
    target: str = "cloud"  # class that is scored: cloud or shadow
    scenes: dict[str, Confusion] = field(default_factory=dict)  # counts by scene name
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, BINS), "int64"))
    """Pixels by probability, ``(2, BINS)``: clear pixels, then cloud, in equal bins of [0, 1]."""

    def add(self, picture: Picture) -> None:
        """Adds the counts of a scene."""
        known = picture.known & np.isfinite(picture.probability)
        self.scenes[picture.name] = Confusion.of(picture.probability > self.threshold, picture.truth, known)
        bins = np.minimum((picture.probability[known] * BINS).astype("int64"), BINS - 1)
        self.histogram += np.bincount(picture.truth[known] * BINS + bins, minlength=2 * BINS).reshape(2, BINS)

    @property
    def pooled(self) -> Confusion:
        """Counts of all scenes together."""
        return sum(self.scenes.values(), Confusion())

    def table(self) -> pd.DataFrame:
        """Table of `SCORES`: a row for each of `SUMMARIES` and each scene. NaN means 0/0; mean and median ignore it."""
        scenes = pd.DataFrame({name: counts.scores() for name, counts in self.scenes.items()}).T
        views = (scenes.mean(), pd.Series(self.pooled.scores()), scenes.median())
        return pd.concat([pd.DataFrame(dict(zip(SUMMARIES, views, strict=True))).T, scenes])

    def undefined(self) -> dict[str, int]:
        """Number of scenes in which each score is 0/0; one such scene makes the mean of the authors' script NaN."""
        return {str(score): int(n) for score, n in self.table().iloc[len(SUMMARIES) :].isna().sum().items()}

    def as_dict(self) -> dict[str, Any]:
        """The evaluation as a JSON object, with scores in [0, 1] and None where undefined."""
        sweep = pd.DataFrame({f"{t:.2f}": counts.scores() for t, counts in self.sweep().items()}).T
        table, swept = (json.loads(t.to_json(orient="index", double_precision=15)) for t in (self.table(), sweep))
        return {
            "protocol": self.protocol,
            "threshold": self.threshold,
            **{name.replace(" ", "_"): table.pop(name) for name in SUMMARIES},
            "undefined_scenes": self.undefined(),
            "scenes": table,
            "sweep": swept,
        }

    def sweep(self) -> dict[float, Confusion]:
        """Pooled counts at thresholds from 0.02 to 0.98."""
        clear, cloud = np.cumsum(self.histogram[:, ::-1], 1)[:, ::-1].tolist()
        edges = range(BINS // 50, BINS, BINS // 50)  # thresholds are lower edges of bins
        return {e / BINS: Confusion(cloud[e], clear[e], cloud[0] - cloud[e], clear[0] - clear[e]) for e in edges}

    def calibration(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Centres of 20 probability bins, the share of cloud in each, and its pixel count; empty bins are left out."""
        clear, cloud = self.histogram.reshape(2, 20, -1).sum(2)
        pixels = clear + cloud
        filled = pixels > 0
        return ((np.arange(20) + 0.5) / 20)[filled], cloud[filled] / pixels[filled], pixels[filled]


def evaluate(
    dataset: DataSet,
    predictor: Predictor | None = None,
    predictions: Path | None = None,
    protocol: str | None = None,
    threshold: float | None = None,
    shadows: bool = False,
) -> Iterator[tuple[Picture, Evaluation]]:
    """Evaluates a model or a folder of predicted patches. Yields each scene, with the evaluation so far.

    Args:
        dataset: The data set.
        predictor: The model; None to evaluate ``predictions``.
        predictions: Folder of patches predicted by another model.
        protocol: whole or official; None: whole for a model, official for ``predictions``.
        threshold: Threshold of the probability; None: 12/255 for the official protocol, else the model's own.
        shadows: True to score cloud shadow instead of cloud.

    Raises:
        GeocloudError: DatasetError, OptionError or SceneError.
    """
    protocol = protocol or ("whole" if predictions is None else "official")
    if protocol not in PROTOCOLS:
        raise OptionError(f"protocol {protocol!r}: wanted {' or '.join(PROTOCOLS)}")
    if (predictor is None) == (predictions is None):
        raise OptionError("give either a model or a folder of predictions")
    if threshold is not None and not 0 < threshold < 1:
        raise OptionError(f"threshold {threshold:g}: wanted more than 0 and less than 1")
    if shadows and (protocol == "official" or predictor is None or predictor.classes < 2):
        raise OptionError("shadow can be scored only for a model with that class, by the protocol 'whole'")
    if protocol == "official":
        if not dataset.testing:
            raise DatasetError(
                f"{dataset.root}: no test scenes with truth masks (38-Cloud_test/Entire_scene_gts); "
                "the official protocol needs them; the protocol 'whole' does not"
            )
        predict = _by_model(predictor) if predictor else _from_folder(predictions)  # type: ignore[arg-type]
        pictures = (_mosaic(scene, predict) for scene in dataset.testing)
        return _evaluated(pictures, Evaluation(protocol, threshold or OFFICIAL_THRESHOLD))
    if predictor is None:
        raise OptionError("predicted patches can be evaluated by the official protocol only")
    own = predictor.shadow_threshold if shadows else predictor.threshold
    evaluation = Evaluation(protocol, threshold or own, "shadow" if shadows else "cloud")
    return _evaluated(_whole_scenes(dataset, predictor, shadows), evaluation)


def _evaluated(pictures: Iterator[Picture], evaluation: Evaluation) -> Iterator[tuple[Picture, Evaluation]]:
    for picture in pictures:
        evaluation.add(picture)
        yield picture, evaluation


def _whole_scenes(dataset: DataSet, predictor: Predictor, shadows: bool) -> Iterator[Picture]:
    """Scenes as predicted by `geocloud mask`. Where cloud exceeds the model's threshold, shadow is 0."""
    for source in [scene.as_chip() for scene in dataset.testing] or dataset.training:
        chip = source.read()
        probability = predictor.predict_array(chip.pixels(), pixel_size=chip.metres)
        target = chip.target[int(shadows)]
        if shadows:
            probability = np.where(probability[:1] > predictor.threshold, 0, probability[1:])
        yield Picture(chip.name, probability[0], (target > CLOUD // 2) & (target != UNKNOWN), target != UNKNOWN)


def _mosaic(scene: TestScene, predict: PredictPatches) -> Picture:
    """A test scene mosaicked from patches that are predicted one by one, as in the official protocol."""
    rows, cols = scene.shape
    if missing := scene.missing:
        shown = f"{scene.name}: {len(missing)} of {rows * cols} patches are missing ({shorten(missing)})"
        raise DatasetError(f"{shown}; with gaps the mask would shift")
    parts = [predict([scene.patches[row, col] for col in range(1, cols + 1)]) for row in range(1, rows + 1)]
    canvas = np.block([list(row) for row in parts])
    truth = read_codes(scene.truth) > 0
    if np.any(np.greater(truth.shape, canvas.shape)):
        raise DatasetError(
            f"{scene.truth}: {truth.shape[0]}×{truth.shape[1]} pixels, more than its {rows}×{cols} patches cover; "
            "patches at the end are missing"
        )
    top, left = ((whole - part) // 2 for whole, part in zip(canvas.shape, truth.shape, strict=True))
    probability = canvas[top : top + truth.shape[0], left : left + truth.shape[1]]
    return Picture(scene.name, probability, truth, np.ones(truth.shape, bool))


def _by_model(predictor: Predictor) -> PredictPatches:
    """A function that predicts each patch alone, with 0 (clear) where there is no data."""

    def predict(sources: Sequence[ChipSource]) -> Sequence[Probability]:
        tiles = np.stack([source.read().reflectance for source in sources])
        return list(np.where(np.isnan(tiles[:, 0]), 0, predictor(tiles)[:, 0]))

    return predict


def _from_folder(folder: Path) -> PredictPatches:
    """A function that reads patches predicted by another model, from files named after the patches.

    Floats are probabilities. 8-bit values range from 0 to 255, or from 0 to 1 if no patch has higher ones. Files of
    another size than 384×384 are resampled (cubic), as in the official script. Raises DatasetError.
    """
    name = re.compile(r".*(patch_\d+_\d+_by_\d+_[^.]+)\.(tiff?|png|jp2|img|vrt)", re.I)
    files = {m[1].lower(): p for p in sorted(folder.rglob("*")) if (m := name.fullmatch(p.name)) and p.is_file()}
    if not files:
        raise DatasetError(f"{folder}: no predicted patches; wanted files named like 38-Cloud's patches")

    @cache
    def certain() -> int:
        """The 8-bit value for probability 1: 255, or 1 if no patch in the folder has a higher value."""
        codes = (read_codes(path) for path in files.values())
        return 255 if any(values.dtype == np.uint8 and values.max() > 1 for values in codes) else 1

    def read(path: Path) -> Probability:
        with open_raster(str(path), str(path)) as dataset:
            values = dataset.read(1, out_shape=(SIDE, SIDE), resampling=Resampling.cubic)
        if np.issubdtype(values.dtype, np.floating):
            return np.clip(np.nan_to_num(values), 0, 1).astype("float32")
        if values.dtype != np.uint8:
            raise DatasetError(f"{path}: {values.dtype} values, wanted floats from 0 to 1, or 8-bit integers")
        return (values / certain()).astype("float32")

    def predict(sources: Sequence[ChipSource]) -> Sequence[Probability]:
        if missing := [source.name for source in sources if source.name.lower() not in files]:
            raise DatasetError(f"{folder}: no prediction for {missing[0]} ({len(missing)} missing in its row)")
        return [read(files[source.name.lower()]) for source in sources]

    return predict
