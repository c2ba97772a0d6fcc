"""The site's pages that are no files in docs/: documents of the repository, and notebooks, run as they are built.

mkdocs calls `on_files` and `on_page_markdown`; mkdocs.yml names this file under ``hooks``.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
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
    """Turns links between files of the repository into links between pages, so that the same text works in both."""
    here = page.file.src_uri
    folder = posixpath.dirname(ORIGINS.get(here, f"docs/{here}"))

    def to_page(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        place = DOCUMENTS.get(target, target.removeprefix("docs/"))
        return f"{link[1]}{posixpath.relpath(place, posixpath.dirname(here) or '.')}{link[3]}"

    return LINK.sub(to_page, markdown)


def run(path: Path) -> tuple[str, dict[str, bytes]]:
    """Runs a notebook from the repository's root and returns its text with outputs, and the pictures by their names."""
    notebook = nbformat.read(path, as_version=4)
    quiet = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute(env=quiet)
    text, resources = MarkdownExporter().from_notebook_node(
        notebook, {"unique_key": path.stem, "output_files_dir": "."}
    )
    return text, {Path(name).name: content for name, content in resources["outputs"].items()}
