"""Pages of the site besides docs/: documents of the repository, the commands' help, the matrix of bad input that the
tests hold, and notebooks, which run.

mkdocs calls `on_files` and `on_page_markdown`; mkdocs.yml names this file under ``hooks``.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import nbclient
import nbformat
from geocloud_cli.main import cli
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent

DOCUMENTS = {
    "README.md": "index.md",
    "sample_scenes/README.md": "sample-scenes.md",
    "geocloud/weights/README.md": "model-card.md",
    "benchmarks/results.md": "speed.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE",
}
"""Documents outside docs/, by their place in the repository, and the pages that they become."""

ORIGINS = {page: document for document, page in DOCUMENTS.items()}

COMMANDS = "reference/cli.md"
"""The page below which the help of all commands is put."""

MATRIX = "reliability.md"
"""The page below which the matrix of bad and odd input is put, as the tests' cases tell it."""

LINK = re.compile(r"(\]\()(?!\w+:)([^)#\s]+)((?:#[^)]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Adds the documents, and the notebooks with their outputs."""
    for document, page in DOCUMENTS.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text(encoding="utf-8")))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, pictures = run(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links between files of the repository into links between pages, and fills in the commands' help."""
    here = page.file.src_uri
    folder = posixpath.dirname(ORIGINS.get(here) or (here if here.startswith("notebooks/") else f"docs/{here}"))

    def to_page(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        place = DOCUMENTS.get(target, target.removeprefix("docs/"))
        return f"{link[1]}{posixpath.relpath(place, posixpath.dirname(here) or '.')}{link[3]}"

    more = {COMMANDS: lambda: helps(cli), MATRIX: lambda: [matrix()]}.get(here, list)()
    return "\n\n".join([LINK.sub(to_page, markdown), *more])


def matrix() -> str:
    """The table of `tests/reliability/cases`, which needs the tests' own modules on the path."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "reliability")]
    from cases import table

    return table()


def helps(command: click.Command, parent: click.Context | None = None) -> Iterator[str]:
    """Output of ``--help`` for a command and all below it, each under its name."""
    name = command.name if parent else "geocloud"
    context = click.Context(command, parent, name, terminal_width=100, **command.context_settings)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below and not below.hidden:
                yield from helps(below, context)


def run(path: Path) -> tuple[str, dict[str, bytes]]:
    """Runs a notebook in its folder, as Jupyter does: its text with outputs, and the pictures by their names."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    text, resources = MarkdownExporter().from_notebook_node(
        notebook, {"unique_key": path.stem, "output_files_dir": "."}
    )
    return text, {Path(name).name: content for name, content in resources["outputs"].items()}
