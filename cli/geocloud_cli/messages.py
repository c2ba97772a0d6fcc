"""Errors, notices and progress on stderr; errors and notices take a line each."""

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
    """Prints the library's notices."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"geocloud: note: {without_secrets(record.getMessage())}", err=True)


def show_notices(quiet: bool) -> None:
    """Prints the library's notices to stderr; with ``quiet`` only errors."""
    logger = logging.getLogger("geocloud")
    logger.handlers = [Notices(logging.ERROR if quiet else logging.WARNING)]
    logger.propagate = False
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # GDAL's errors are raised as ours
    sys.unraisablehook = _hide_rasterios


def _hide_rasterios(ignored: sys.UnraisableHookArgs) -> None:
    """Hides the tracebacks with which rasterio fails to log GDAL messages that are not in UTF-8; shows all others."""
    if not (isinstance(ignored.exc_value, UnicodeDecodeError) and "rasterio" in str(ignored.object)):
        sys.__unraisablehook__(ignored)


def show_error(error: BaseException) -> None:
    """Prints an error in one line."""
    text = without_secrets(" ".join(str(error).split()))
    if isinstance(error, MemoryError):
        text = "out of memory; try a smaller --tile-size, or close other programs"
    elif not isinstance(error, GeocloudError):
        text = f"{type(error).__name__}: {text} (unexpected; 'geocloud --debug …' shows where)"
    click.echo(f"geocloud: error: {text}", err=True)


def progress_bar(description: str, unit: str, quiet: bool = False) -> Callable[[int, int], None]:
    """A progress bar on stderr if that is a terminal: call it with the number done and the total."""
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
