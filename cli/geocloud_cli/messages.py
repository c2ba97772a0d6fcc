"""How errors and notices reach people: a line each on stderr."""

from __future__ import annotations

import logging

import click

from geocloud.errors import GeocloudError


class Notices(logging.Handler):
    """The library's notices."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"geocloud: note: {record.getMessage()}", err=True)


def show_notices(quiet: bool) -> None:
    """Sends the library's notices to stderr, or, when quiet, nowhere."""
    logger = logging.getLogger("geocloud")
    logger.handlers = [Notices(logging.ERROR if quiet else logging.WARNING)]
    logger.propagate = False
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # GDAL's trouble arrives as errors of our own


def show_error(error: BaseException) -> None:
    """Says what went wrong."""
    text = " ".join(str(error).split())
    if not isinstance(error, GeocloudError):
        text = f"{type(error).__name__}: {text} (not foreseen; 'geocloud --debug …' shows where)"
    click.echo(f"geocloud: error: {text}", err=True)
