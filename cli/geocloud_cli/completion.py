"""``geocloud completion``: completion of commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from geocloud_cli.command import Command


@click.command(cls=Command, short_help="Print a script that completes commands and options.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script for SHELL, with which the Tab key completes geocloud's commands, options and file names.

    \b
    Examples, each for once and all:
      echo 'eval "$(geocloud completion bash)"' >> ~/.bashrc
      echo 'eval "$(geocloud completion zsh)"' >> ~/.zshrc
      geocloud completion fish > ~/.config/fish/completions/geocloud.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # one of click's own
    click.echo(found(ctx.find_root().command, {}, "geocloud", "_GEOCLOUD_COMPLETE").source())
