"""Training of a network on a data set, on one device or several."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from geocloud.errors import CheckpointError, DatasetError, OptionError, OutputExistsError
from geocloud.models.devices import Precision
from geocloud.models.metadata import ModelMetadata, read_safetensors
from geocloud.models.network import Network, build_body, by_torch, find_device, find_dtype, prepare
from geocloud.models.predictor import Predictor
from geocloud.training.config import TrainConfig
from geocloud.training.data.chips import Chip, Chips, LazyChips
from geocloud.training.data.layout import DataSet, hold_out
from geocloud.training.data.samples import Group, Samples, batches
from geocloud.training.losses import parse_loss
from geocloud.training.metrics import Confusion
from geocloud.training.state import RunState

log = logging.getLogger(__name__)

CONFIG, METRICS, STATE = "config.toml", "metrics.csv", "state.safetensors"
BEST, LAST = "best.safetensors", "last.safetensors"
NETWORK = {"classes": 2, "optional_nir": True}
"""Options of all trained networks: the classes cloud and shadow, near-infrared optional."""

SHOWN = 8
"""Number of validation chips in samples.png."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a training run."""

    step: int  # number of steps done
    steps: int  # total number of steps
    loss: float  # mean loss since the last validation
    jaccard: float | None  # Jaccard index of the last validation, in [0, 1]; None before the first
    stage: str = ""  # work between steps, such as validating; empty while training


def train_on(dataset: DataSet, config: TrainConfig, out: Path, pack: Path | None = None, **how: Any) -> dict[str, Any]:
    """Trains on a data set, holding out at most about a fifth of the patches for validation.

    ``out`` is the folder of the run, ``pack`` a folder in which decoded patches are kept (see `LazyChips`); ``how`` is
    passed to `train`. Returns ``model`` (path of the best model), ``trained on`` and ``held out`` (numbers of patches)
    and ``jaccard`` (validation, in [0, 1]). Raises SceneError and the errors of `train`.
    """
    sources = dataset.worth_training() if config.informative else dataset.training
    if not sources:
        raise DatasetError(
            f"{dataset.root}: none of its {len(dataset.training)} training patches is informative "
            "(data in more than 80 % of the pixels); 'geocloud dataset check' describes the data set"
        )
    kept, held = hold_out(sources, min(config.val_patches, max(len(sources) // 5, 1)), config.split, config.seed)
    train([(1.0, LazyChips(kept, pack))], LazyChips(held, pack), config, out, name=out.name, **how)
    wait_for_processes()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    jaccard = read_safetensors(out / BEST).training["validation"]["jaccard"]
    return {"model": out / BEST, "trained on": len(kept), "held out": len(held), "jaccard": jaccard}


def train(
    groups: Sequence[Group],
    validation: Chips,
    config: TrainConfig,
    out: Path | None = None,
    *,
    start: Network | None = None,
    name: str = "model",
    device: str = "auto",
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Network:
    """Trains a network, and returns it with the moving average of its weights.

    Under torchrun every process calls this function, and only the first process writes. On a CPU a resumed run ends
    with exactly the weights of an uninterrupted run.

    Args:
        groups: Groups of training chips, each with its share of the samples.
        validation: Validation chips; if empty, best.safetensors is not written.
        config: The configuration.
        out: Folder for config.toml, metrics.csv, the state to resume from, last.safetensors, best.safetensors (by
            validation Jaccard), curves.png and samples.png; None: nothing is written.
        start: Model to start from; None: random weights.
        name: Name of the model.
        device: auto, cpu, cuda, cuda:N or mps.
        resume: True to continue the run in ``out``.
        report: Called with the progress, about once a second.

    Raises:
        GeocloudError: DatasetError, OptionError, OutputExistsError, CheckpointError or DeviceError.
    """
    from geocloud.training import figures

    if not sum(len(chips) for _, chips in groups):
        raise DatasetError("nothing to train on: no chips")
    rank, size = join_processes()
    if "LOCAL_RANK" in os.environ and device == "auto" and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    place = find_device(device)
    dtype = find_dtype(place, Precision(config.precision))
    dtype = torch.float32 if dtype is torch.float16 else dtype  # float16 would need gradient scaling
    run = _start(config, start, place)
    begun = out is not None and (out / STATE).exists()
    if begun and not resume:
        raise OutputExistsError(f"{out}: contains a training run; --resume continues it, or name another folder")
    if out is not None and begun:
        run.load(out / STATE, asdict(config))
    elif out is not None and rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        config.save(out / CONFIG)
    wait_for_processes()
    network = nn.parallel.DistributedDataParallel(run.network) if size > 1 else run.network
    if config.compile:
        network.compile()
    loader = DataLoader(
        Samples(groups, config.augment, config.seed, config.pixel_size),
        batch_sampler=batches(run.step, config.steps, config.batch, rank, size),
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=place.type == "cuda",
    )
    loss = parse_loss(config.loss)
    started, reported = time.monotonic() - run.seconds, 0.0
    total, count = torch.zeros((), device=place), 0

    def report_progress(stage: str = "") -> None:
        nonlocal reported
        jaccard = run.rows[-1].get("jaccard") if run.rows else None
        report(Progress(run.step, config.steps, float(total) / count, jaccard, stage))
        reported = time.monotonic()

    for batch in loader:
        reflectance, target = (part.to(place, non_blocking=True) for part in batch)
        image = prepare(reflectance, [config.mean] * 4, [config.std] * 4, config.brightest, optional_nir=True)
        with torch.autocast(place.type, dtype, enabled=dtype is not torch.float32):
            logits = network(image.contiguous(memory_format=torch.channels_last))
        value = loss(logits, target)
        run.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.network.parameters(), config.clip)
        for parameters in run.optimizer.param_groups:
            parameters["lr"] = _learning_rate(config, run.step)
        run.optimizer.step()
        run.step += 1
        _average(run, config.average)
        total, count = total + value.detach(), count + 1
        if run.step % config.validate_every and run.step < config.steps:
            if run.step % 20 == 0 or time.monotonic() > reported + 1:
                report_progress()
            continue
        run.seconds = time.monotonic() - started
        row = {"step": run.step, "learning_rate": _learning_rate(config, run.step), "loss": float(total) / count}
        model = _trained(run, config, name)
        if rank == 0 and len(validation):
            report_progress("validating")
            counts, chips, masks = validate(by_torch(model, str(place)), validation)
            row |= counts.scores()
            model = _trained(run, config, name, validation=counts.scores())
        run.rows.append(row | {"seconds": round(run.seconds, 1)})
        log.info("%s step %d of %d: %s", name, run.step, config.steps, row)
        if rank == 0 and out is not None:
            if len(validation):
                report_progress("drawing pictures")
                figures.draw_chips(chips, masks, out / "samples.png")
            _save(run, model, out, config)
        report_progress()
        total, count = torch.zeros((), device=place), 0
    return _trained(run, config, name)


def join_processes() -> tuple[int, int]:
    """Rank of this process and number of processes under torchrun; otherwise (0, 1)."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def wait_for_processes() -> None:
    """Blocks until all processes of the run have called this function."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _start(config: TrainConfig, start: Network | None, place: torch.device) -> RunState:
    torch.manual_seed(config.seed)
    options = {**NETWORK, **config.options}
    network = build_body(config.architecture, **options)
    size, stride = config.augment.size, int(network.stride)  # type: ignore[arg-type]
    if size % stride:
        raise OptionError(f"augment.size {size}: wanted a multiple of {stride}, the network's stride")
    if start is not None:
        own = start.metadata
        if (own.architecture, own.options) != (config.architecture, options):
            raise CheckpointError(
                f"model {own.name!r} is {own.architecture} {own.options}: "
                f"it cannot start a run of {config.architecture} {config.options}"
            )
        network = copy.deepcopy(start.body).train()
    network = network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    return RunState(network, copy.deepcopy(network), optimizer)


def _learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate at a step: warm-up, constant, linear decay (Hägele et al. 2024, https://arxiv.org/abs/2405.18392)."""
    rise, fall = (step + 1) / config.warmup, (config.steps - step) / max(config.decay * config.steps, 1)
    return config.learning_rate * min(rise, 1, fall)


@torch.no_grad()
def _average(run: RunState, keep: float) -> None:
    """Updates the moving average of weights and batch statistics, with faster decay early in the run."""
    keep = min(keep, run.step / (run.step + 10))
    for slow, fast in zip(run.average.state_dict().values(), run.network.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - keep)


def _trained(run: RunState, config: TrainConfig, name: str, **scores: Any) -> Network:
    metadata = ModelMetadata(
        name=name,
        mean=(config.mean,) * 4,
        std=(config.std,) * 4,
        clip=config.brightest,
        shadow=(1,),
        threshold=config.threshold,
        shadow_threshold=config.shadow_threshold,
        pixel_size=config.pixel_size,
        optional_nir=True,
        architecture=config.architecture,
        options={**NETWORK, **config.options},
        training={"config": asdict(config), "step": run.step, "minutes": round(run.seconds / 60, 1), **scores},
    )
    return Network(metadata, copy.deepcopy(run.average))


def _save(run: RunState, model: Network, out: Path, config: TrainConfig) -> None:
    """Writes the files of a run. The state is written last, so that all files exist when a run resumes from it."""
    from geocloud.training import figures

    model.save(out / LAST)
    *earlier, jaccard = (row.get("jaccard") for row in run.rows)
    best = max((value for value in earlier if value is not None and not math.isnan(value)), default=-1.0)
    if jaccard is not None and math.isnan(jaccard) and best <= 0:
        log.warning("the validation scenes hold no cloud, so models cannot be ranked: %s is the latest", BEST)
        model.save(out / BEST)
    elif jaccard is not None and jaccard > best:
        model.save(out / BEST)
    pd.DataFrame(run.rows).to_csv(out / METRICS, index=False)
    figures.draw_curves(run.rows, out / "curves.png")
    run.save(out / STATE, asdict(config))


def validate(predictor: Predictor, chips: Chips) -> tuple[Confusion, list[Chip], list[NDArray[np.bool_]]]:
    """Pooled confusion counts at the model's cloud threshold, and up to `SHOWN` of the chips with their masks."""
    chosen = set(np.linspace(0, len(chips) - 1, min(SHOWN, len(chips))).astype(int).tolist())
    total, shown, masks = Confusion(), list[Chip](), list[NDArray[np.bool_]]()
    for index in range(len(chips)):
        chip = chips[index]
        mask = probabilities(predictor, chip)[0] > predictor.threshold
        total += Confusion.of(mask, chip.cloud, chip.known)
        if index in chosen:
            shown.append(chip)
            masks.append(mask)
    return total, shown, masks


def probabilities(predictor: Predictor, chip: Chip) -> NDArray[np.float32]:
    """Probabilities for a chip, ``(classes, h, w)``; NaN where there is no data."""
    return predictor.predict_array(chip.pixels(), pixel_size=chip.metres)
