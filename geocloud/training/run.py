"""From a data set and a configuration to a trained model and its scores: what `geocloud train` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geocloud.errors import DatasetError
from geocloud.models.metadata import read_safetensors
from geocloud.models.network import Network
from geocloud.training.config import TrainConfig
from geocloud.training.data.chips import Chips, LazyChips
from geocloud.training.data.layout import DataSet
from geocloud.training.data.pack import pack as write_pack
from geocloud.training.data.pack import packed
from geocloud.training.data.split import hold_out
from geocloud.training.distributed import ProcessGroup
from geocloud.training.train import BEST, Progress, train


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training run."""

    model: Path
    """Safetensors file of the best model, by validation Jaccard."""
    training: int
    """Number of patches trained on."""
    validation: int
    """Number of patches held out."""
    jaccard: float
    """Validation Jaccard of the best model, in [0, 1]."""


def train_on(
    dataset: DataSet,
    config: TrainConfig,
    out: Path,
    *,
    start: Network | None = None,
    device: str = "auto",
    pack: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Holds scenes out for validation, trains on the rest, and keeps the best model.

    At most about a fifth of the patches is held out.

    Args:
        dataset: The data set.
        config: The configuration.
        out: Folder of the run.
        start: Model whose weights the run starts from; None: random weights.
        device: auto, cpu, cuda, cuda:N or mps.
        pack: Folder to pack all patches into before training; None: no packing.
        resume: Whether to continue a run in ``out``.
        report: Called with the progress.

    Raises:
        GeocloudError: DatasetError, OptionError, OutputExistsError, CheckpointError, DeviceError or SceneError.
    """
    sources = dataset.worth_training() if config.informative else dataset.training
    if not sources:
        raise DatasetError(
            f"{dataset.root}: none of its {len(dataset.training)} training patches is fit to train on "
            "(informative: data on more than 80 % of the pixels); 'geocloud dataset check' shows what it holds"
        )
    kept, held = hold_out(sources, min(config.val_patches, max(len(sources) // 5, 1)), config.split, config.seed)
    group = ProcessGroup.join()
    training: Chips = LazyChips(kept)
    validation: Chips = LazyChips(held)
    if pack is not None:
        if group.first:
            write_pack(sources, pack)
        group.wait()
        training, validation = packed(pack, kept), packed(pack, held)
    how: dict[str, Any] = {"start": start, "name": out.name, "device": device}
    how |= {"resume": resume, "report": report}
    train([(1.0, training)], validation, config, out, **how)
    group.wait()
    best = read_safetensors(out / BEST)
    return Trained(out / BEST, len(kept), len(held), best.training["validation"]["jaccard"])
