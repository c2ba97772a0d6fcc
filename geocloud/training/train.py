"""The training loop: from chips and a configuration to weights, on one device or several."""

from __future__ import annotations

import copy
import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from geocloud.errors import CheckpointError, DatasetError, OptionError, OutputExistsError
from geocloud.models.devices import Precision
from geocloud.models.metadata import ModelMetadata
from geocloud.models.network import Network, build_body, find_device, find_dtype, prepare
from geocloud.models.predictor import Predictor, by_torch
from geocloud.training import require_extras
from geocloud.training.config import TrainConfig
from geocloud.training.data.chips import Chip, Chips
from geocloud.training.data.samples import Batches, Group, Samples
from geocloud.training.distributed import ProcessGroup
from geocloud.training.losses import parse_loss
from geocloud.training.metrics import Confusion
from geocloud.training.state import RunState

log = logging.getLogger(__name__)

CONFIG, METRICS, STATE = "config.toml", "metrics.csv", "state.safetensors"
BEST, LAST = "best.safetensors", "last.safetensors"
NETWORK = {"classes": 2, "optional_nir": True}
"""Options of every network that is trained: classes cloud and shadow, near-infrared optional."""

SCORES = ("jaccard", "accuracy", "precision", "recall")


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run."""

    step: int
    """Steps done."""
    steps: int
    """Steps in total."""
    loss: float
    """Mean loss since the last validation."""
    jaccard: float | None
    """Jaccard of the last validation, in [0, 1]; None: none yet."""


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
    """Trains a network.

    Under torchrun every process calls this, and only the first one writes. On a CPU a resumed run ends with exactly the
    weights of an uninterrupted one.

    Args:
        groups: Chips to train on, each group with its share of the samples.
        validation: Chips to validate on; without any there is no best model.
        config: The configuration.
        out: Folder for config.toml, metrics.csv, the state to resume from, last.safetensors, best.safetensors (by
            validation Jaccard), curves.png and samples.png; None: nothing is written.
        start: Model whose weights the run starts from; None: random weights.
        name: Name of the model.
        device: auto, cpu, cuda, cuda:N or mps.
        resume: Whether to continue a run in ``out``.
        report: Called with the progress.

    Returns:
        The moving average of the weights after the last step.

    Raises:
        GeocloudError: DatasetError, OptionError, OutputExistsError, CheckpointError or DeviceError.
    """
    require_extras()
    if not sum(len(chips) for _, chips in groups):
        raise DatasetError("nothing to train on: no chips")
    group = ProcessGroup.join()
    if group.local is not None and device == "auto" and torch.cuda.is_available():
        device = f"cuda:{group.local}"
    place = find_device(device)
    run = _start(config, start, place)
    dtype = find_dtype(place, Precision(config.precision))
    dtype = torch.float32 if dtype is torch.float16 else dtype  # float16 would need gradient scaling
    _check_size(config.augment.size, run.network)
    settings = asdict(config)
    if out is not None and group.first:
        _prepare(out, config, resume)
    group.wait()
    if out is not None and resume and (out / STATE).exists():
        run.load(out / STATE, settings)
    network: nn.Module = run.network
    if group.size > 1:
        network = nn.parallel.DistributedDataParallel(network)
    if config.compile:
        network.compile()
    samples = Samples(groups, config.augment, config.seed, config.pixel_size)
    loader = DataLoader(
        samples,
        batch_sampler=Batches(run.step, config.steps, config.batch, group.rank, group.size),
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=place.type == "cuda",
    )
    loss = parse_loss(config.loss)
    started, since, count = time.monotonic() - run.seconds, torch.zeros((), device=place), 0
    for batch in loader:
        reflectance, target = (part.to(place, non_blocking=True) for part in batch)
        image = prepare(reflectance, [config.mean] * 4, [config.std] * 4, config.brightest, optional_nir=True)
        with torch.autocast(place.type, dtype, enabled=dtype is not torch.float32):
            logits = network(image.contiguous(memory_format=torch.channels_last))
        value = loss(logits, target)
        run.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.network.parameters(), config.clip)
        run.optimizer.step()
        run.step += 1
        run.schedule.step()
        _average(run, config.average)
        since, count = since + value.detach(), count + 1
        if run.step % config.validate_every and run.step < config.steps:
            if run.step % 20 == 0:
                report(Progress(run.step, config.steps, float(since) / count, _last(run, "jaccard")))
            continue
        run.seconds = time.monotonic() - started
        row = {"step": run.step, "learning_rate": run.optimizer.param_groups[0]["lr"], "loss": float(since) / count}
        model = _trained(run, config, name)
        if group.first and len(validation):
            found = validate(by_torch(model, str(place)), validation)
            scores = {score: getattr(found, score) for score in SCORES}
            row |= scores
            model = _trained(run, config, name, {"validation": scores})
        run.rows.append(row | {"seconds": round(run.seconds, 1)})
        log.info("%s step %d of %d: %s", name, run.step, config.steps, row)
        report(Progress(run.step, config.steps, row["loss"], row.get("jaccard")))
        since, count = torch.zeros((), device=place), 0
        if group.first and out is not None:
            _save(run, model, out, settings, validation, place)
    return _trained(run, config, name)


def _start(config: TrainConfig, start: Network | None, place: torch.device) -> RunState:
    torch.manual_seed(config.seed)
    network = build_body(config.architecture, **{**NETWORK, **config.options})
    if start is not None:
        found = start.metadata
        if (found.architecture, found.options) != (config.architecture, {**NETWORK, **config.options}):
            raise CheckpointError(
                f"model {found.name!r} is {found.architecture} {found.options}: "
                f"it cannot start a run of {config.architecture} {config.options}"
            )
        network = copy.deepcopy(start.body).train()
    network = network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)

    def rate(step: int) -> float:
        """Warm up, stay constant, then fall linearly to zero: Hägele et al. 2024, https://arxiv.org/abs/2405.18392."""
        return min((step + 1) / config.warmup, 1, (config.steps - step) / max(config.decay * config.steps, 1))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    return RunState(network, copy.deepcopy(network), optimizer, schedule)


def _check_size(size: int, network: nn.Module) -> None:
    if size % int(network.stride):  # type: ignore[arg-type]
        raise OptionError(f"augment.size {size}: wanted a multiple of {network.stride}, the network's stride")


@torch.no_grad()
def _average(run: RunState, keep: float) -> None:
    """Updates the moving average of weights and batch statistics; early in a run it forgets faster."""
    keep = min(keep, run.step / (run.step + 10))
    for slow, fast in zip(run.average.state_dict().values(), run.network.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - keep)


def _trained(run: RunState, config: TrainConfig, name: str, scores: dict[str, Any] | None = None) -> Network:
    provenance = {"config": asdict(config), "step": run.step, "minutes": round(run.seconds / 60, 1), **(scores or {})}
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
        training=provenance,
    )
    return Network(metadata, copy.deepcopy(run.average))


def _last(run: RunState, score: str) -> float | None:
    return run.rows[-1].get(score) if run.rows else None


def _prepare(out: Path, config: TrainConfig, resume: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if not resume and (out / STATE).exists():
        raise OutputExistsError(f"{out}: holds a training run already; --resume continues it, or name another folder")
    if not (out / STATE).exists():
        config.save(out / CONFIG)


def _save(
    run: RunState,
    model: Network,
    out: Path,
    settings: dict[str, Any],
    validation: Chips,
    place: torch.device,
) -> None:
    """Writes all files of a run, the state last, so that it never refers to files that are missing."""
    from geocloud.training import figures

    model.save(out / LAST)
    jaccard = run.rows[-1].get("jaccard")
    if jaccard is not None and math.isnan(jaccard) and run.best <= 0:
        log.warning("the validation scenes hold no cloud, so no model is best: %s is the latest", BEST)
        model.save(out / BEST)
    elif jaccard is not None and jaccard > run.best:
        run.best = jaccard
        model.save(out / BEST)
    with (out / METRICS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(run.rows[-1]))
        writer.writeheader()
        writer.writerows(run.rows)
    figures.curves(run.rows, out / "curves.png")
    if len(validation):
        shown = [validation[int(i)] for i in np.linspace(0, len(validation) - 1, min(8, len(validation)))]
        predictor = by_torch(model, str(place))
        found = [(chip, probabilities(predictor, chip)[0]) for chip in shown]
        figures.samples(found, predictor.threshold, out / "samples.png")
    run.save(out / STATE, settings)


def validate(predictor: Predictor, chips: Chips) -> Confusion:
    """Counts over whole chips, pooled, at the model's threshold of cloud."""
    total = Confusion()
    for index in range(len(chips)):
        chip = chips[index]
        found = probabilities(predictor, chip)[0] > predictor.threshold
        total += Confusion.of(found, chip.cloud, chip.known)
    return total


def probabilities(predictor: Predictor, chip: Chip) -> NDArray[np.float32]:
    """Probability ``(classes, h, w)`` of a whole chip; NaN where there is no data."""
    return predictor.predict_array(chip.pixels(), pixel_size=chip.metres)
