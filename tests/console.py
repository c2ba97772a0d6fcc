"""The command line, run in this process: what is typed, what it prints where, and how it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner
from geocloud_cli.main import cli


@dataclass(frozen=True)
class Done:
    """How a command ended; named like `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: object, cwd: Path | None = None, **environment: str) -> Done:
    """Runs ``geocloud WORDS`` in a folder, with more environment variables; nothing of it stays behind."""
    with _restored(), contextlib.chdir(cwd or Path.cwd()):
        found = CliRunner().invoke(cli, [str(word) for word in words], prog_name="geocloud", env=environment)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Done(found.exit_code, found.stdout, found.stderr)


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Undoes what the command line sets for a process of its own: loggers, hooks, signals and the environment."""
    loggers = [logging.getLogger(name) for name in ("geocloud", "rasterio")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    hook, environment, stop = sys.unraisablehook, dict(os.environ), signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, stop)
        os.environ.clear()
        os.environ.update(environment)
