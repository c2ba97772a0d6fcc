"""``geocloud batch``: mask archives of scenes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geocloud.errors import without_secrets
from geocloud_cli import options
from geocloud_cli.command import Command, Group, option, output
from geocloud_cli.messages import counted

if TYPE_CHECKING:
    from geocloud.batch import Entries, Status

MOST_REASONS = 50
FORMATS, PATH, URL = click.Choice(["gpkg", "parquet"]), click.Path(path_type=Path), "s3://BUCKET/DIR"


class Run(Command):
    """The command ``batch run``, shown to users as ``batch``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        assert parent is not None
        return super().make_context(parent.info_name, args, parent.parent, **extra)


class Batch(Group):
    """Group with the default command ``run``. If ``-o`` is given, a source may be named ``status`` or ``report``."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        return super().resolve_command(ctx, self._named(args))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] in (["-h"], ["--help"]) else self._named(args))

    def _named(self, args: list[str]) -> list[str]:
        results = any(arg.startswith(("-o", "--out")) for arg in args)
        other = args and args[0] in self.commands and (args[0] == "run" or not results)
        return args if other or not args else ["run", *args]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help of ``run``, followed by the other commands."""
        run = self.commands["run"]
        with run.make_context("run", [], ctx, resilient_parsing=True) as inner:
            run.format_help(inner, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(f"{n} DIR", c.get_short_help_str()) for n, c in self.commands.items() if n != "run"])


@click.group(cls=Batch, short_help="Mask archives of scenes: resumable, on this machine or a cluster.")
def batch() -> None:
    """Mask archives of scenes."""


@batch.command(cls=Run, hidden=True)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@output("DIR", "Folder of the results.", type=PATH, required=True)
@option("Output", "--polygons", is_flag=True, help="Also write cloud polygons.")
@option("Output", "--probability", is_flag=True, help="Also write the cloud probability, in per cent.")
@option("Output", "--quicklook", is_flag=True, help="Also write a picture of each scene next to its mask.")
@option("Output", "--footprints", type=FORMATS, default="gpkg", help="Format of the footprints.")
@option("Output", "--upload", metavar=URL, help="Upload the results of each scene to this s3://, gs:// or az:// URL.")
@option("Output", "--keep/--no-keep", default=True, help="Keep uploaded results in DIR, or delete them.")
@options.as_json
@option("Run", "--resume/--no-resume", default=True, help="Skip scenes done with the same input, model and options.")
@option("Run", "--retry-failed", is_flag=True, help="Retry scenes that failed for bad input, even if unchanged.")
@option(
    "Run", "--workers", type=int, metavar="N", help="Processes on this machine.  [default: 2, or 2 per CUDA device]"
)
@option("Run", "--shard", default="1/1", metavar="I/N", help="Mask only shard I of N, for job arrays.")
@option("Run", "--scheduler", metavar="tcp://HOST:PORT", help="Run on this dask cluster instead (extra 'batch').")
@option("Run", "--dry-run", is_flag=True, help="Only list the scenes to be masked.")
@options.masking
@options.progress
@click.pass_context
def run(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    output: Path,
    shard: str,
    dry_run: bool,
    progress: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Mask every scene in SOURCE: a folder (searched for Landsat, HLS and .SAFE folders, .tar, .zip and GeoTIFFs), a
    glob, a text or CSV list, a STAC item, item collection or catalog, or an https://, s3://, gs:// or az:// URL of
    these.

    Run it again to continue where it stopped. Exit code 0: all done; 1: some failed.

    \b
    Examples:
      geocloud batch archive/ -o masks/
      geocloud batch archive/ -o masks/ --shard 3/100
      geocloud batch status masks/
    """
    from geocloud.batch import BatchOptions, Shard, plan_batch, run_batch
    from geocloud.pipeline import MaskOptions

    if ctx.obj["quiet"]:
        progress = "none"
    if not given["keep"] and not given["upload"]:
        raise click.UsageError("--no-keep without --upload would keep no results")
    _check_upload(given["upload"])
    read, compute = options.read_options(given), options.compute_options(given)
    chosen = {field.name: given.pop(field.name) for field in fields(BatchOptions) if field.name in given}
    how = BatchOptions(read=read, mask=MaskOptions(**given), compute=compute, shard=Shard.parse(shard), **chosen)
    if dry_run:
        plan = plan_batch(sources, output, how)
        for found, name, _ in plan.jobs:
            source = without_secrets(found.source)
            click.echo(json.dumps({"name": name, "source": source}) if as_json else f"{name}\t{source}")
        if not as_json:
            outdated = f" ({plan.outdated} of them done before, but with other options)" if plan.outdated else ""
            click.echo(f"{len(plan.jobs)} to do{outdated}, {plan.before} done before, {plan.refused} failed before")
        return
    entries = run_batch(sources, output, how, _reporter(progress))
    _tell(entries, output, as_json)
    if set(entries.counts()) - {"done"}:
        sys.exit(1)


@batch.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--export", "table", type=PATH, metavar="FILE", help="Also write a table: .csv or .parquet.")
@options.as_json
def status(folder: Path, table: Path | None, as_json: bool) -> None:
    """Show the progress of a batch and the scenes that failed.

    Example: geocloud batch status masks/ --export manifest.csv
    """
    from geocloud.batch import read_entries

    entries = read_entries(folder)
    if table:
        from geocloud.batch.state import export

        export(entries, table)
    _tell(entries, folder, as_json)


@batch.command()
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("--footprints", type=FORMATS, default="gpkg", help="Format of the footprints.")
@click.option("--upload", metavar=URL, help="Also upload these files to the folder of the uploaded results.")
def report(folder: Path, footprints: str, upload: str | None) -> None:
    """Write report.html, footprints and the STAC collection for all shards.

    Example: geocloud batch report masks/
    """
    from geocloud.batch import describe_folder

    _check_upload(upload)
    describe_folder(folder, footprints, upload)
    click.echo(folder / "report.html")


def _check_upload(url: str | None) -> None:
    from geocloud.io.remote import is_store

    if url and not is_store(url):
        raise click.UsageError(f"--upload {url}: wanted a URL that starts with s3://, gs:// or az://")


def _tell(entries: Entries, folder: Path, as_json: bool) -> None:
    """Prints the number of scenes in each state, and the errors of failed scenes."""
    states = entries.counts()
    if as_json:
        reasons = [{"name": e.name, "source": e.source, "error": e.error} for e in entries.failures()]
        click.echo(json.dumps({"folder": str(folder), "scenes": states.total(), **states, "failures": reasons}))
        return
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    noted = entries.noted()
    more = f" ({noted} with notes)" if noted else ""
    page = folder / "report.html"
    hint = f"see {page}" if page.exists() else f"'geocloud batch report {folder}' writes a report"
    click.echo(f"{folder}: {counted(states.total(), 'scene')}: {counts}{more}; {hint}")
    for entry in islice(entries.failures(), MOST_REASONS):
        click.echo(f"failed: {entry.error}")
    if states["failed"] > MOST_REASONS:
        click.echo(f"and {states['failed'] - MOST_REASONS} more: geocloud batch status {folder} --export failures.csv")


def _reporter(kind: str) -> Callable[[Status], None]:
    if kind == "none":
        return lambda status: None
    if kind == "json":
        return lambda status: click.echo(json.dumps(_as_json(status)), err=True)
    from tqdm import tqdm

    bar = tqdm(desc="scenes", unit="scene", disable=None, file=sys.stderr)

    def show(status: Status) -> None:
        bar.total = status.total
        bar.initial = status.before  # otherwise the rate would count scenes of earlier runs
        bar.set_postfix_str(f"{status.rate:.1f} MP/s, {status.failed} failed", refresh=False)
        bar.update(status.before + status.done + status.failed - bar.n)
        if bar.n == status.total:
            bar.close()

    return show


def _as_json(status: Status) -> dict[str, Any]:
    values = {name: getattr(status, name) for name in ("total", "done", "before", "failed", "scene", "error")}
    eta = None if status.eta is None else round(status.eta, 1)
    return values | {"megapixels_per_second": round(status.rate, 3), "eta_seconds": eta}
