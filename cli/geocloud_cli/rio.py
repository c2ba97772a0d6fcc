"""``rio cloudmask``: ``geocloud mask`` as a command of rasterio's ``rio``, under the same options."""

from __future__ import annotations

from typing import Any

import click

from geocloud_cli.command import Command
from geocloud_cli.mask import mask
from geocloud_cli.messages import errors_in_one_line, show_notices


class RioCommand(Command):
    """A command with the notices and error handling of the group ``geocloud``."""

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = {"debug": False, "quiet": False} | (ctx.obj or {})  # rio's, with the keys that geocloud needs
        show_notices(ctx.obj["quiet"])
        with errors_in_one_line():
            return super().invoke(ctx)


cloudmask = RioCommand(
    "cloudmask",
    callback=mask.callback,
    params=[p for p in mask.params if p.name not in ("quiet", "help_computing")],  # which every Command adds
    help=(mask.help or "").replace("geocloud mask", "rio cloudmask"),
    short_help="Mask the clouds of a scene (geocloud).",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
