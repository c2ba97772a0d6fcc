"""How errors and notices reach people: a line each on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from geocloud.errors import GeocloudError, without_secrets

if TYPE_CHECKING:
    from geocloud.training.train import Progress


class Notices(logging.Handler):
    """The library's notices."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"geocloud: note: {without_secrets(record.getMessage())}", err=True)


def show_notices(quiet: bool) -> None:
    """Sends the library's notices to stderr, or, when quiet, nowhere."""
    logger = logging.getLogger("geocloud")
    logger.handlers = [Notices(logging.ERROR if quiet else logging.WARNING)]
    logger.propagate = False
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # GDAL's trouble arrives as errors of our own
    sys.unraisablehook = _hide_rasterios


def _hide_rasterios(ignored: sys.UnraisableHookArgs) -> None:
    """Rasterio logs what GDAL says, and stumbles, with a traceback, where that is not in UTF-8; all else is shown."""
    if not (isinstance(ignored.exc_value, UnicodeDecodeError) and "rasterio" in str(ignored.object)):
        sys.__unraisablehook__(ignored)


def show_error(error: BaseException) -> None:
    """Says what went wrong."""
    text = without_secrets(" ".join(str(error).split()))
    if isinstance(error, MemoryError):
        text = "out of memory; try a smaller --tile-size, or close other programs"
    elif not isinstance(error, GeocloudError):
        text = f"{type(error).__name__}: {text} (not foreseen; 'geocloud --debug …' shows where)"
    click.echo(f"geocloud: error: {text}", err=True)


def progress_bar(description: str, unit: str, quiet: bool = False) -> Callable[[int, int], None]:
    """A bar on stderr, where that is a terminal: call it with what is done and how much there is."""
    from tqdm import tqdm

    bar = tqdm(desc=description[:40], unit=unit, leave=False, disable=quiet or None, file=sys.stderr)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


def training_bar(quiet: bool = False) -> Callable[[Progress], None]:
    """The same for a training run, with its loss and validation Jaccard."""
    from tqdm import tqdm

    bar = tqdm(desc="training", unit="step", disable=quiet or None, file=sys.stderr)

    def show(progress: Progress) -> None:
        bar.total = progress.steps
        jaccard = "–" if progress.jaccard is None else f"{progress.jaccard:.3f}"
        bar.set_postfix_str(f"loss {progress.loss:.3f}, validation Jaccard {jaccard}", refresh=False)
        bar.update(progress.step - bar.n)
        if progress.step == progress.steps:
            bar.close()

    return show
