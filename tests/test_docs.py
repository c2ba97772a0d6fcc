"""The examples of the README and the docs run, and their figures are those of the model and the benchmarks."""

import json
import re
import shutil
import subprocess
import sys

import click
import pytest
from conftest import ROOT, SAMPLES, read_tif
from console import play, run
from geocloud_cli.main import cli

from geocloud.models import DEFAULT, bundled_models, read_metadata

README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (ROOT / "geocloud" / "weights" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(<!-- command: \w+ -->\n)?```(\w+)\n(.*?)```", README, re.DOTALL)


PAGES = ("sources", "units", "results", "training", "command-line", "exchange")
TEXT = README + "".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)


@pytest.fixture
def place(tmp_path):
    shutil.copytree(SAMPLES, tmp_path / "sample_scenes")
    return tmp_path


def script_of(text):
    """Commands and Python code of a page, as one script."""
    parts = []
    for kind, block in re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL):
        parts.append(block if kind == "sh" else f"{sys.executable} - <<'END'\n{block}END\n")
    return "".join(parts)


def play_page(text, place):
    """Runs a page in a clone with this environment; its commands to install and test do nothing."""
    bin = place / ".venv" / "bin"
    bin.mkdir(parents=True)
    for name in ("pip", "pytest", "python3"):
        (bin / name).write_text("#!/bin/sh\n")
        (bin / name).chmod(0o755)
    (bin / "activate").write_text(f'PATH="{bin}:$PATH"\n')
    done = play(script_of(text), place, bin)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_readme_runs_from_top_to_bottom(place):
    said = play_page(README, place)
    assert "(400, 400) EPSG:32632" in said
    for name in ("clouds.gpkg", "masks/report.html", "run/curves.png", "report/calibration.png", "by_run.tif"):
        assert (place / "out" / name).exists(), name
    assert {path.name for path in place.iterdir()} <= {"sample_scenes", ".venv", "door", "out"}
    assert len((place / "out" / "run" / "metrics.csv").read_text().splitlines()) > 5  # curves, not dots
    truth = read_tif(SAMPLES / "truth" / "simulated_mountains_truth.tif")[0]
    found = read_tif(place / "out" / "by_run.tif")[0]
    assert ((found == 1) == (truth == 1)).mean() > 0.8, "the demonstration's mask is worth looking at"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_pages_run_from_top_to_bottom(place, page):
    play_page((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), place)
    made = {path.name for path in place.glob("*") if path.name not in {"sample_scenes", ".venv", "door"}}
    assert made <= {"out"} and {path.name for path in place.glob("out/*")} <= {page}, "pages share no files"


def test_the_description_of_a_foreign_model_is_understood(tmp_path):
    from geocloud.models.metadata import from_toml

    (shown,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "exchange.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "their_model.toml").write_text(shown, encoding="utf-8")
    facts = from_toml(tmp_path / "their_model.toml")
    assert (facts.bands[0], facts.cloud, facts.shadow, facts.pixel_size) == ("blue", (1, 2), (3,), 10)


def test_the_build_of_torch_is_the_one_that_is_tested():
    pinned = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    assert f"pip install {pinned} --index-url https://download.pytorch.org/whl/cpu" in README


def test_what_is_needed_is_installed_before():
    assert README.index("-e '.[train]'") < README.index("geocloud dataset simulate") < README.index("geocloud train ")
    assert README.index("whl/cpu") < README.index("-e '.[test]'")
    assert README.count(". .venv/bin/activate\n") == 1


def blocks_of(page):
    """Python code of a page, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL))


def run_page(page, place):
    pytest.importorskip("xarray")
    program = [sys.executable, "-c", blocks_of(page)]
    done = subprocess.run(program, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_python_in_its_guide_runs(place):
    assert float(run_page("python.md", place).split()[-1]) > 0


@pytest.mark.slow
def test_the_composite_is_the_ground(place):
    before, after, never = map(float, re.findall(r"\d+\.\d+", run_page("composite.md", place)))
    assert after < before / 3 and never < 5


SCALING = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_the_year_of_landsat_is_worked_out():
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "year.py"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in SCALING


def test_batch_commands_in_the_scaling_guide_are_understood(place):
    """They need clusters, so only their options are checked."""
    lines = re.findall(r"^geocloud (batch .*)$", SCALING, re.MULTILINE)
    assert len(lines) > 3
    for line in lines:
        words = line.replace("${SLURM_ARRAY_TASK_ID}", "3").replace("archive/", "sample_scenes").split()
        words = [w.replace("/data/landsat", "sample_scenes").replace("/data/masks", "masks/") for w in words]
        done = run(*words, "--dry-run", cwd=place)
        assert done.returncode == 0, done.stderr


def test_the_speed_that_the_readme_tells_was_measured():
    floor, mask, *_ = json.loads((ROOT / "benchmarks" / "results.json").read_text())["groups"]["full"]["rows"]
    said = f"{mask['wall']:.1f} s, {mask['cpu_per_mp']:.2f} CPU seconds per megapixel and {mask['peak']} MB"
    assert said in README
    assert f"{mask['wall'] / floor['wall']:.1f} times what it takes" in README


def test_the_two_commands_stand_on_the_first_screen():
    marks = [mark.split()[2] for mark, _, _ in BLOCKS if mark]
    assert marks == ["try", "test"]
    assert README.index("<!-- command: test -->") < README.index("\n## Mask")
    assert README.count("\n", 0, README.index("<!-- command: test -->")) < 45


def test_every_command_and_shared_option_is_told():
    for name, command in cli.commands.items():
        assert f"geocloud {name}" in TEXT
        assert isinstance(command, click.Command)
    for parameter in cli.commands["mask"].params:
        if isinstance(parameter, click.Option) and parameter.name not in {"scale", "offset", "batch", "help_computing"}:
            assert any(f"{option}" in TEXT for option in parameter.opts), parameter.name


def test_pictures_and_files_that_are_linked_exist():
    pages = [ROOT / "README.md", ROOT / "geocloud" / "weights" / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        text, folder = page.read_text(encoding="utf-8"), page.parent
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (folder / target).exists(), target


def test_scores_in_the_docs_are_those_in_the_model():
    metadata = read_metadata(DEFAULT)
    assert f"threshold {metadata.threshold:g}" in CARD
    scores = metadata.training["scores"]
    for name in ("biome", "sparcs", "catalogue, red green blue alone"):
        assert f"{scores[name]['jaccard']:.3f}" in README, name
    for name, score in scores.items():
        start = rf"\| {name} \| \d+ \| \*\*{score['jaccard']:.3f}\*\* \| {score['accuracy']:.3f} \|"
        assert re.search(start, CARD), name


def test_bundled_files_stay_small():
    assert sum(path.stat().st_size for path in bundled_models().values()) < 25e6


def test_the_sample_scenes_say_that_they_are_simulated():
    import rasterio

    text = (ROOT / "sample_scenes" / "README.md").read_text(encoding="utf-8")
    assert "simulated, not observed" in text
    for path in (ROOT / "sample_scenes").rglob("*.[tT][iI][fF]"):
        if "truth" not in path.name:
            with rasterio.open(path) as dataset:
                assert "Simulated" in dataset.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    size = sum(p.stat().st_size for p in (ROOT / "sample_scenes").rglob("*") if p.is_file())
    assert size < 8_000_000
