"""Time and memory of commands, from the operating system's process accounting (Linux, macOS)."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Took:
    """Time and memory used by a process."""

    wall: float
    """Wall-clock seconds."""
    cpu: float
    """CPU seconds of all threads, user and system."""
    peak: float
    """Peak memory in MB."""


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Took:
    """Runs a command once and measures it. Exits if the command fails.

    The calling process should be small: its memory is counted until the new process starts the command.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Took(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def in_turn(commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]], turns: int) -> dict[str, Took]:
    """Runs all commands in turn, ``turns`` times, so that slow periods affect all of them. Returns the medians."""
    taken: dict[str, list[Took]] = {name: [] for name in commands}
    for turn in range(turns):
        for name, (command, environment) in commands.items():
            taken[name].append(run(command, environment))
            print(f"turn {turn + 1} of {turns}  {name}: {taken[name][-1].wall:.2f} s", file=sys.stderr)
    return {
        name: Took(*(statistics.median(getattr(t, field) for t in all_of) for field in ("wall", "cpu", "peak")))
        for name, all_of in taken.items()
    }
