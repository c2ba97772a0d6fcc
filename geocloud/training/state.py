"""Everything a run needs to resume exactly, in one safetensors file, which cannot run code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geocloud.errors import CheckpointError

NETWORK, AVERAGE, OPTIMIZER = "network", "average", "optimizer"


@dataclass(slots=True)
class RunState:
    """The parts of a run that change as it trains."""

    network: nn.Module
    """The network that is trained."""
    average: nn.Module
    """The exponential moving average of its weights."""
    optimizer: torch.optim.Optimizer
    """The optimizer."""
    schedule: torch.optim.lr_scheduler.LRScheduler
    """The schedule of the learning rate."""
    step: int = 0
    """Steps done."""
    best: float = -1.0
    """Best validation Jaccard so far; -1: none yet."""
    seconds: float = 0.0
    """Wall-clock time so far, over all sessions."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of metrics.csv, one per validation."""

    def save(self, path: Path, config: dict[str, Any]) -> None:
        """Writes the state; an existing file is replaced atomically."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        for prefix, module in ((NETWORK, self.network), (AVERAGE, self.average)):
            tensors |= {f"{prefix}/{key}": value for key, value in module.state_dict().items()}
        state = self.optimizer.state_dict()
        for index, entries in state["state"].items():
            tensors |= {f"{OPTIMIZER}/{index}/{key}": value for key, value in entries.items()}
        about = {
            "config": config,
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "rows": self.rows,
            "optimizer": state["param_groups"],
            "schedule": {k: v for k, v in self.schedule.state_dict().items() if _plain(v)},
        }
        staged = path.with_name(f".{path.name}")
        tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(tensors, staged, metadata={"run": json.dumps(about)})
        staged.replace(path)

    def load(self, path: Path, config: dict[str, Any]) -> None:
        """Restores the state from a file. Raises CheckpointError if it belongs to another configuration."""
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["run"])
            tensors = load_file(path)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: not the state of a training run ({error}); start anew in another folder"
            ) from error
        same = {key: json.dumps(config[key]) == json.dumps(about["config"].get(key)) for key in config}
        different = sorted(key for key in same if not same[key] and key != "steps")  # a run may be lengthened
        if different:
            raise CheckpointError(
                f"{path}: the run in this folder had another {', '.join(different)}; "
                "continue with its own config.toml, or start anew in another folder"
            )
        for prefix, module in ((NETWORK, self.network), (AVERAGE, self.average)):
            module.load_state_dict(
                {k.removeprefix(f"{prefix}/"): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(OPTIMIZER):
                _, index, name = key.split("/")
                entries.setdefault(int(index), {})[name] = (
                    value.clone()
                )  # or the file stays mapped: Windows replaces no such file
        self.optimizer.load_state_dict({"state": entries, "param_groups": about["optimizer"]})
        self.schedule.load_state_dict(about["schedule"])
        self.step, self.best, self.seconds, self.rows = (about[k] for k in ("step", "best", "seconds", "rows"))


def _plain(value: Any) -> bool:
    """True if JSON can hold the value: a schedule's state also lists functions."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
