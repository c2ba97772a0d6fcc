"""``geocloud``: the group of commands, and its handling of errors."""

from __future__ import annotations

import atexit
import gc
import io
import signal
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

import click

from geocloud_cli.messages import errors_in_one_line, show_notices

COMMANDS = "mask apply compare batch preview qgis info tile models dataset train evaluate export doctor"
"""Names of the commands; each is in the module of its name."""


class Commands(click.Group):
    """The group of commands; it prints each error in one line and exits with code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        gc.set_threshold(50_000)  # imports create many lasting objects: scanning them for garbage is slow,
        atexit.register(gc.freeze)  # also at exit
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM is handled like Ctrl-C
        with errors_in_one_line(bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(version("geocloud"), prog_name="geocloud")
@click.option("--debug", is_flag=True, help="Show the full traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="No notes and no progress on stderr, only errors.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Cloud masks for Landsat 8 and similar satellites.

    Example: geocloud mask LC08_L1TP_190026_20200803_20200807_02_T1.tar -o mask.tif
    """
    for stream in (sys.stdout, sys.stderr):
        # On Windows, the code page of a pipe lacks many characters that file names may contain.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    ctx.obj = {"debug": debug, "quiet": quiet}
    show_notices(quiet)


for name in COMMANDS.split():
    cli.add_command(getattr(import_module(f"geocloud_cli.{name}"), name))
