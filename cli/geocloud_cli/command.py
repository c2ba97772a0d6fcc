"""Base class of the commands: help under headings, ``--quiet``, and errors that name an environment variable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import click

from geocloud.errors import BandError, DeviceError, ModelError, OptionError
from geocloud_cli.messages import show_notices

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FOLDED = "Computing"
"""Heading of rarely needed options; if there are more than three, ``--help`` lists only their names."""

OTHER = "Other"
"""Heading of all other options."""


class Option(click.Option):
    """An option with a heading in the help of its command."""

    def __init__(self, *args: Any, heading: str = OTHER, **how: Any) -> None:
        super().__init__(*args, **how)
        self.heading = heading


def option(heading: str, *names: str, **how: Any) -> Decorator:
    """`click.option` with a heading. With ``envvar``, help and errors name the environment variable."""
    return click.option(*names, cls=Option, heading=heading, show_envvar="envvar" in how, **how)


def output(metavar: str, help: str, **how: Any) -> Decorator:
    """``-o``, ``--out``: the output of a command."""
    return option("Output", "-o", "--out", "output", metavar=metavar, help=help, **how)


def _silence(ctx: click.Context, _: click.Parameter, quiet: bool) -> None:
    if quiet:
        ctx.ensure_object(dict)["quiet"] = True
        show_notices(quiet=True)


def _show_all(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        ctx.meta[FOLDED] = True
        click.echo(ctx.get_help())
        ctx.exit()


class Command(click.Command):
    """Groups options by heading, adds ``-q``, and names the environment variable if an invalid value came from one."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        text, names = "No progress and no notes on stderr.", ["-q", "--quiet"]
        self.params.append(Option(names, is_flag=True, expose_value=False, callback=_silence, help=text))
        if sum(getattr(parameter, "heading", "") == FOLDED for parameter in self.params) > 3:
            text, names = "Show this message with all computing options.", ["--help-computing"]
            how = {"is_flag": True, "is_eager": True, "expose_value": False}
            self.params.append(Option(names, callback=_show_all, help=text, **how))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record:
                sections.setdefault(getattr(parameter, "heading", OTHER), []).append(record)
        for heading, records in sorted(sections.items(), key=lambda section: section[0] == OTHER):
            with formatter.section(heading if len(sections) > 1 else "Options"):
                if heading == FOLDED and len(records) > 3 and not ctx.meta.get(FOLDED):
                    names = ", ".join(record[0].split(" ")[0].rstrip(",") for record in records)
                    formatter.write_text(f"{names}; see --help-computing.")
                else:
                    formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            if variable := _variable(ctx, error.param):
                raise OptionError(f"{variable} (environment variable): {error.message}") from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (BandError, DeviceError, ModelError, OptionError) as error:
            for parameter in self.params:
                variable = _variable(ctx, parameter)
                if variable and re.search(rf"\b{re.escape(os.environ[variable])}\b", str(error)):
                    raise type(error)(f"{error} (from the environment variable {variable})") from error
            raise


class Group(click.Group):
    """A group of `Command`."""

    command_class = Command
    group_class = type


def _variable(ctx: click.Context, parameter: click.Parameter | None) -> str | None:
    """Environment variable that set a parameter's value; None if it was not set by one."""
    if parameter is None or parameter.name is None or not isinstance(parameter.envvar, str):
        return None
    there = ctx.get_parameter_source(parameter.name) is click.core.ParameterSource.ENVIRONMENT
    return parameter.envvar if there else None
