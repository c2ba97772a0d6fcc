"""A data set and a configuration in, a trained model and its scores out: the whole story of `geocloud train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geocloud.errors import DatasetError
from geocloud.model.checkpoint import Checkpoint
from geocloud.training.config import TrainConfig
from geocloud.training.data.chips import Chips, LazyChips
from geocloud.training.data.layout import DataSet
from geocloud.training.data.pack import pack as write_pack
from geocloud.training.data.pack import packed
from geocloud.training.data.split import hold_out
from geocloud.training.train import BEST, Progress, Team, train


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run: the best model by validation Jaccard, and how many patches were trained on and held out."""

    model: Path
    training: int
    validation: int
    jaccard: float


def train_on(
    dataset: DataSet,
    config: TrainConfig,
    out: Path,
    *,
    start: Checkpoint | None = None,
    device: str = "auto",
    pack: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Holds scenes out, trains on the rest, keeps the best.

    ``start``: a model to go on from, rather than fresh weights. ``pack``: a folder to pack all patches into first.

    No more than a fifth of the patches is held out.
    Raises DatasetError, OptionError, OutputExistsError, CheckpointError, DeviceError, SceneError.
    """
    sources = dataset.worth_training() if config.informative else dataset.training
    if not sources:
        raise DatasetError(
            f"{dataset.root}: none of its {len(dataset.training)} training patches is fit to train on "
            "(informative: data on more than 80 % of the pixels); 'geocloud dataset check' tells what is there"
        )
    kept, held = hold_out(sources, min(config.val_patches, max(len(sources) // 5, 1)), config.split, config.seed)
    team = Team.join()
    training: Chips = LazyChips(kept)
    validation: Chips = LazyChips(held)
    if pack is not None:
        if team.first:
            write_pack(sources, pack)
        team.wait()
        training, validation = packed(pack, kept), packed(pack, held)
    how: dict[str, Any] = {"start": start, "name": out.name, "device": device, "resume": resume, "report": report}
    train([(1.0, training)], validation, config, out, **how)
    team.wait()
    best = Checkpoint.load(out / BEST)
    return Trained(out / BEST, len(kept), len(held), best.training["validation"]["jaccard"])
