"""Runs the command line in this process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path

import click
from click.testing import CliRunner
from geocloud_cli.main import cli


@dataclass(frozen=True)
class Done:
    """Result of a command, with the fields of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: object, cwd: Path | None = None, command: click.Command = cli, **environment: str) -> Done:
    """Runs ``geocloud WORDS`` in a folder, with further environment variables, and restores the process afterwards."""
    with _restored(), contextlib.chdir(cwd or Path.cwd()):
        name = "geocloud" if command is cli else command.name
        found = CliRunner().invoke(command, [str(word) for word in words], prog_name=name, env=environment)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Done(found.exit_code, found.stdout, found.stderr)


STUB = """#!{python} -I
import os, sys
from multiprocessing.connection import Client

said = {{name: value for name, value in os.environ.items() if name.startswith("GEOCLOUD_")}}
with Client({address!r}) as there:
    there.send(({name!r}, sys.argv[1:], os.getcwd(), said))
    code, out, err = there.recv()
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


def play(script: str, folder: Path, bin: Path) -> Done:
    """Runs a shell script in a folder; this process runs its commands geocloud and rio.

    So torch is loaded once, not per command. The commands are placed in ``bin``, first in PATH.
    """
    address = str(folder / "door")
    bin.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        (bin / name).write_text(STUB.format(python=sys.executable, address=address, name=name))
        (bin / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"}

    def shell() -> subprocess.CompletedProcess[str]:
        line = ["bash", "-euo", "pipefail", "-c", script]
        try:
            return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        finally:
            with Client(address) as there:
                there.send(None)

    with Listener(address) as door, ThreadPoolExecutor(1) as threads:
        played = threads.submit(shell)
        while True:
            with door.accept() as caller:
                if (said := caller.recv()) is None:
                    break
                name, words, place, variables = said
                done = run(*words, cwd=place, command=COMMANDS[name](), **variables)
                caller.send((done.returncode, done.stdout, done.stderr))
    ended = played.result()
    return Done(ended.returncode, ended.stdout, ended.stderr)


def _rio() -> click.Command:
    """Rasterio's ``rio`` with geocloud's plugin."""
    from geocloud_cli.rio import cloudmask
    from rasterio.rio.main import main_group

    main_group.add_command(cloudmask)
    return main_group


COMMANDS = {"geocloud": lambda: cli, "rio": _rio}
"""What a script may call."""


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Restores what the command line changes in its process: loggers, hooks, signals and environment."""
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
