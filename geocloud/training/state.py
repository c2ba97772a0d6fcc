"""State of a training run in one safetensors file, from which the run resumes exactly. The file cannot run code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geocloud.errors import CheckpointError


@dataclass(slots=True)
class RunState:
    """State of a training run."""

    network: nn.Module
    average: nn.Module  # exponential moving average of the network's weights
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0  # wall-clock time, including earlier sessions
    rows: list[dict[str, Any]] = field(default_factory=list)  # rows of metrics.csv, one per validation

    def save(self, path: Path, config: dict[str, Any]) -> None:
        """Writes the state, replacing an existing file atomically."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {f"network/{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"average/{key}": value for key, value in self.average.state_dict().items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in entries.items()}
        tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        facts = {"config": config, "step": self.step, "seconds": self.seconds, "rows": self.rows}
        staged = path.with_name(f".{path.name}")
        save_file(tensors, staged, metadata={"run": json.dumps(facts)})
        staged.replace(path)

    def load(self, path: Path, config: dict[str, Any]) -> None:
        """Restores the state from a file. Raises CheckpointError if the configuration differs."""
        from safetensors import SafetensorError, safe_open

        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()["run"])
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    part, _, name = key.partition("/")
                    parts[part][name] = file.get_tensor(key).clone()  # Windows cannot replace a mapped file
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: not the state of a training run ({error}); start a new run in another folder"
            ) from error
        saved = facts["config"]
        changed = [key for key, value in config.items() if json.dumps(value) != json.dumps(saved.get(key))]
        if different := sorted({*changed} - {"steps"}):  # the number of steps may change
            raise CheckpointError(
                f"{path}: the run in this folder had another {', '.join(different)}; "
                "continue with its own config.toml, or start a new run in another folder"
            )
        self.network.load_state_dict(parts["network"])
        self.average.load_state_dict(parts["average"])
        state = self.optimizer.state_dict()
        for key, value in parts["optimizer"].items():
            index, name = key.split("/")
            state["state"].setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(state)
        self.step, self.seconds, self.rows = facts["step"], facts["seconds"], facts["rows"]
