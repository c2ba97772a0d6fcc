"""Errors, notices and progress on stderr. Each error and notice is one line."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from geocloud.errors import GeocloudError, on_command_line, without_secrets

if TYPE_CHECKING:
    from geocloud.training.train import Progress


class Notices(logging.Handler):
    """Prints the library's notices."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"geocloud: note: {on_command_line(without_secrets(record.getMessage()))}", err=True)


def show_notices(quiet: bool) -> None:
    """Prints the library's notices to stderr; with ``quiet``, only errors."""
    logger = logging.getLogger("geocloud")
    logger.handlers = [Notices(logging.ERROR if quiet else logging.WARNING)]
    logger.propagate = False
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # geocloud raises GDAL's errors itself
    sys.unraisablehook = _hide_rasterios


def _hide_rasterios(ignored: sys.UnraisableHookArgs) -> None:
    """Hides rasterio's tracebacks about GDAL messages that are not in UTF-8; shows all others."""
    if not (isinstance(ignored.exc_value, UnicodeDecodeError) and "rasterio" in str(ignored.object)):
        sys.__unraisablehook__(ignored)


def show_error(error: BaseException) -> None:
    """Prints an error in one line."""
    text = on_command_line(without_secrets(" ".join(str(error).split())))
    if isinstance(error, MemoryError):
        text = "out of memory; try a smaller --tile-size, or close other programs"
    elif not isinstance(error, GeocloudError):
        text = f"{type(error).__name__}: {text} (unexpected; 'geocloud --debug …' shows where)"
    click.echo(f"geocloud: error: {text}", err=True)


@contextmanager
def errors_in_one_line(debug: bool = False) -> Iterator[None]:
    """Prints an error in one line and exits with code 1; ``debug`` also prints the traceback."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt:
        click.echo("geocloud: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        show_error(error)
        sys.exit(1)


def counted(number: int, noun: str) -> str:
    """A number and its noun: ``1 patch``, ``2 patches``."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number} {noun}{ending}"


EVERY = 10.0
"""Seconds between the progress lines of a training run."""

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} {unit}, {elapsed}<{remaining}{postfix}"


def progress_bar(description: str, units: str, quiet: bool = False, stays: bool = False) -> Callable[..., None]:
    """A progress bar on stderr, if that is a terminal: call it with the number done, the total, and a text to append.

    ``units`` is the plural of the items that are counted. With ``stays``, the bar stays visible at the end. The bar
    closes when all items are done, unless it is called with ``busy``.
    """
    from tqdm import tqdm

    hidden = quiet or None  # None: hidden if stderr is not a terminal
    bar = tqdm(desc=description[:40], unit=units, bar_format=BAR, leave=stays, disable=hidden, file=sys.stderr)

    def show(done: int, total: int, text: str = "", busy: bool = False) -> None:
        bar.total = total
        bar.set_postfix_str(text, refresh=False)
        bar.update(done - bar.n)
        if done == total and not busy:
            bar.close()

    return show


def training_progress(quiet: bool = False) -> Callable[[Progress], None]:
    """Progress of a training run, with its scores: a bar or, if stderr is not a terminal, a line every `EVERY` seconds.

    A thread prints the lines, so they also appear while the run is busy. Of torchrun's processes only the first prints.
    """
    if quiet or os.environ.get("RANK", "0") != "0":
        return lambda progress: None
    bar = progress_bar("training", "steps", stays=True) if sys.stderr.isatty() else None
    text, ended = "preparing the data", threading.Event()

    def speak() -> None:
        while not ended.wait(EVERY):
            click.echo(text, err=True)

    def show(progress: Progress) -> None:
        nonlocal text
        jaccard = "–" if progress.jaccard is None else f"{progress.jaccard:.3f}"
        stage = f", {progress.stage}" if progress.stage else ""
        scores = f"loss {progress.loss:.3f}, validation Jaccard {jaccard}{stage}"
        if bar:
            bar(progress.step, progress.steps, scores, bool(stage))
            return
        text = f"step {progress.step} of {progress.steps}: {scores}"
        if progress.step == progress.steps and not stage:
            ended.set()
            click.echo(text, err=True)

    if bar is None:
        if context := click.get_current_context(silent=True):
            context.call_on_close(ended.set)  # also when the run fails
        threading.Thread(target=speak, daemon=True).start()
    return show
