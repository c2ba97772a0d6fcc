"""The tutorial and how-tos of the site run as printed, and its references are complete."""

import json
import re
import shlex
import subprocess
import sys

import matplotlib
import pytest
from click.testing import CliRunner
from conftest import ROOT
from geocloud_cli.main import cli

import geocloud

matplotlib.use("Agg")

DOCS = ROOT / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]


def run_line(line):
    """Runs a shell command; geocloud's in this process, as loading torch takes seconds."""
    if line.startswith("geocloud "):
        done = CliRunner().invoke(cli, shlex.split(line)[1:])
        assert done.exit_code == 0, (line, done.stderr, done.exception)
    else:
        subprocess.run(["bash", "-euc", line], check=True)


PROGRAM = """
import numpy as np

class CSmask:
    def __init__(self, img, band_order, product_level):
        assert img.dtype == np.float32 and img.shape[2] == len(band_order) == 4
        self.csm = np.zeros((*img.shape[:2], 1), "uint8")
"""


@pytest.fixture
def ukis_csmask(tmp_path, monkeypatch):
    """A substitute for the package ukis-csmask, with files of the same names and networks of red."""
    pytest.importorskip("onnxruntime")
    from foreign import foreign

    package = tmp_path / "packages" / "ukis_csmask"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "mask.py").write_text(PROGRAM)
    about = {"band_names": ["blue", "green", "red", "nir"], "img": [[0.2, 0.2, 0.3, 0.3], [0.1, 0.1, 0.1, 0.2]]}
    for level in ("l1c", "l2a"):
        (package / f"model_4b_{level}.json").write_text(json.dumps({"data": {"dataset_statistics": about}}))
        foreign(package / f"model_4b_{level}.onnx", 4, [[0, 0, -1, 0], [0, 0, 1, 0], [0, 0, -2, 0]], sides=(256, 256))
    modules = ("ukis_csmask", "ukis_csmask.mask")
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(package.parent)
    yield
    for module in modules:
        del sys.modules[module]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys, request):
    if page.stem == "csmask":
        request.getfixturevalue("ukis_csmask")
    (tmp_path / "sample_scenes").symlink_to(ROOT / "sample_scenes")
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert {kind for kind, _ in blocks} <= {"sh", "python"}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(page), "exec"), names)  # noqa: S102
            assert not re.search(r"\bprint\(", text) or capsys.readouterr().out.strip()
        else:
            for line in text.replace("\\\n", "").splitlines():
                run_line(line)
    assert {path.name for path in tmp_path.iterdir()} <= {"sample_scenes", "packages", "out"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == [page.stem], "pages share no files"


def test_the_reference_has_every_public_name():
    page = (DOCS / "reference" / "python.md").read_text("utf-8")
    shown = {name if name != "errors" else "GeocloudError" for name in re.findall(r"^::: geocloud\.(\w+)$", page, re.M)}
    assert shown == set(geocloud.__all__)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path):
    code = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert path.name in (ROOT / "mkdocs.yml").read_text("utf-8").replace(".md", ".ipynb")


def test_every_entry_of_the_comparison_has_its_document():
    text = (DOCS / "comparison.md").read_text("utf-8")
    used, given = set(re.findall(r"\]\[([\w-]+)\]", text)), set(re.findall(r"^\[([\w-]+)\]: https", text, re.MULTILINE))
    assert used == given
