"""The processes of one run, on one device or several."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of one run, as started by torchrun; a single one otherwise."""

    rank: int = 0
    """This process's rank."""
    size: int = 1
    """Number of processes."""
    local: int | None = None
    """This process's rank on its machine; None: not started by torchrun."""

    @classmethod
    def join(cls) -> ProcessGroup:
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return cls()
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", 0)))

    @staticmethod
    def leave() -> None:
        """Closes the connections of a distributed run."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """True in the process that writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Waits until every process has arrived here."""
        if self.size > 1:
            torch.distributed.barrier()
