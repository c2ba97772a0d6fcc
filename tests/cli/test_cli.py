"""The command line: stdout, stderr and exit codes."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint

import geopandas
import numpy as np
import pytest
import rasterio
from conftest import ROOT, SAMPLES, geobox, level1_numbers, ramp, read_tif, write_tif
from console import run
from geocloud_cli.main import cli
from geocloud_cli.messages import counted

FARMLAND = SAMPLES / "LC08_L1TP_999001_20240701_20240708_02_T1"
NAMES = ("red", "green", "blue", "nir")


def lines(text):
    return [line for line in text.splitlines() if line]


def test_masking_a_sample_scene(tmp_path):
    """Runs in a separate process."""
    command = [sys.executable, "-m", "geocloud_cli", "mask", FARMLAND]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = tmp_path / f"{FARMLAND.name}_cloudmask.tif"
    mask = read_tif(out)[0]
    share = 100 * (mask == 1).sum() / (mask != 255).sum()
    assert done.stdout == f"{out.name}: cloud {share:.1f} % of valid pixels, valid {100 * (mask != 255).mean():.1f} %\n"
    assert done.stderr == ""  # no terminal, no bar
    truth = read_tif(SAMPLES / "truth" / f"{FARMLAND.name}_truth.tif")[0]
    np.testing.assert_array_equal(mask == 255, truth == 255)


def test_everything_at_once_as_json(tmp_path):
    done = run(
        "mask", FARMLAND / f"{FARMLAND.name}_MTL.txt", "-o", "a.tif", "--polygons", "a.gpkg", "--probability", "p.tif",
        "--json", "--progress", "json", "--buffer", 100, "--min-area", 5000, "--tile-size", 384, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["mask"] == "a.tif"
    assert result["crs"] == "EPSG:32633"
    assert result["model"] == "fast"
    assert [json.loads(line) for line in lines(done.stderr)][-1] == {"scene": FARMLAND.name, "done": 2, "total": 2}
    frame = geopandas.read_file(tmp_path / "a.gpkg", layer="clouds")
    assert len(frame) == result["polygon_count"] > 0
    area = (read_tif(tmp_path / "a.tif") == 1).sum() * 900
    assert frame.area_m2.sum() == pytest.approx(area, rel=0.1)


def test_several_scenes_go_to_a_folder_and_one_that_fails_stops_no_other(tmp_path):
    broken = tmp_path / "broken.tif"
    broken.write_text("no raster")
    desert = next(SAMPLES.glob("*.tar"))
    done = run("mask", FARMLAND, broken, desert, "-o", tmp_path / "masks", "--polygons", tmp_path / "polygons")
    assert done.returncode == 1
    assert len(lines(done.stdout)) == 2
    assert "broken.tif" in lines(done.stderr)[0]
    assert "1 of 3 scenes failed" in lines(done.stderr)[-1]
    assert {p.name for p in (tmp_path / "masks").glob("*.tif")} == {
        f"{FARMLAND.name}_cloudmask.tif",
        f"{desert.stem}_cloudmask.tif",
    }
    assert len(list((tmp_path / "polygons").glob("*_clouds.gpkg"))) == 2


def test_two_scenes_of_one_name_do_not_overwrite_each_other(tmp_path):
    done = run("mask", FARMLAND, f"{FARMLAND}/", "-o", tmp_path / "m", "--overwrite")
    assert done.returncode == 1
    assert "earlier scene" in done.stderr
    assert len(lines(done.stdout)) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["mask", "gone.tif"], 1, "gone.tif"),
        (["mask", "text.tif"], 1, "text.tif"),
        (["mask", FARMLAND, "--model", "nonsense"], 1, "nonsense"),
        (["mask", FARMLAND, "--device", "cuda:77"], 1, "cuda:77"),
        (["mask", FARMLAND, "--threshold", "7"], 1, "threshold"),
        (["mask", FARMLAND, "--overlap", "500"], 1, "overlap"),
        (["mask", FARMLAND, "-o", "there.tif"], 1, "--overwrite"),
        (["mask", FARMLAND, "-o", "no/such/folder.tif"], 1, "does not exist"),
        (["mask", FARMLAND, "--bands", "1,2"], 2, "--bands"),
        (["mask", FARMLAND, "--units", "furlongs"], 2, "--units"),
        (["mask", FARMLAND, FARMLAND, "-o", "one.tif"], 2, "folder"),
        (["mask", FARMLAND, FARMLAND, "-o", "m", "--polygons", "one.gpkg"], 2, "folder"),
        (["mask", FARMLAND, "--polygon-min-area", "5"], 2, "--polygons"),
        (["mask", "gone.tif", "-o", "new_folder"], 1, "gone.tif"),
        (["mask", "text.tif", "-o", "new_folder/"], 1, "text.tif"),
        (["tile", FARMLAND, "-o", "t", "--layout", "38-cloud", "--tile-size", "0"], 1, "tile size"),
        (["tile", FARMLAND, "-o", "text.tif/below"], 1, "text.tif"),
        (["mask"], 2, "SCENE"),
        (["info", "text.tif"], 1, "text.tif"),
        (["tile", FARMLAND, "-o", "t", "--tile-size", "100"], 1, "tile size"),
        (["tile", FARMLAND, "-o", "t", "--layout", "38-cloud", "--overlap", "8"], 2, "--overlap"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(tmp_path, words, code, message):
    (tmp_path / "text.tif").write_text("no raster")
    (tmp_path / "there.tif").write_text("mine")
    done = run(*words, cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(lines(done.stderr)) == 1
        assert done.stderr.startswith("geocloud: error: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.tif", "there.tif"]
    assert (tmp_path / "there.tif").read_text() == "mine"


def test_debug_shows_where_it_happened(tmp_path):
    assert "Traceback" in run("--debug", "mask", tmp_path / "gone.tif").stderr


def test_notes_go_to_stderr_and_quiet_silences_them(tmp_path):
    path = write_tif(tmp_path / "s.tif", ramp(), geobox(size=200))
    done = run("mask", path, "-o", tmp_path / "a.tif")
    assert done.stderr.startswith("geocloud: note: ")
    assert len(lines(done.stdout)) == 1
    assert run("mask", path, "-o", tmp_path / "b.tif", "--quiet").stderr == ""
    assert run("--quiet", "mask", path, "-o", tmp_path / "c.tif").stderr == ""


def test_info_tells_what_is_seen():
    done = run("info", FARMLAND, "--json")
    facts = json.loads(done.stdout)
    assert facts["units"] == "landsat-l1"
    assert facts["crs"] == "EPSG:32633"
    assert facts["sun_elevation"] == 58.2
    assert (facts["height"], facts["width"], facts["pixel_size_m"]) == (512, 512, [30, 30])
    assert facts["problem"] is None
    assert facts["acquired"] == "2024-07-01T10:00:00+00:00"
    assert [band["name"] for band in facts["bands"]] == list(NAMES)
    text = run("info", FARMLAND).stdout
    assert facts["observed_percentiles"] == [0.1, 99.9] and 0 < facts["sampled_valid_percent"] <= 100
    for word in ("landsat-l1", "EPSG:32633", "58.2", "512 rows", "nir", "B5.TIF", "%, of a sample", "99.9 percentile"):
        assert word in text


def test_info_of_bands_that_cannot_be_told_lists_them_and_the_command(tmp_path):
    values = np.random.default_rng(0).integers(2000, 2400, (4, 60, 60)).astype("uint16")
    path = write_tif(tmp_path / "s.tif", values, descriptions=(None,) * 4)
    result = run("info", path)
    assert result.returncode == 0 and "band 4" in result.stdout and "--bands rgbn" in result.stdout, result.stderr
    facts = json.loads(run("info", path, "--json").stdout)
    assert len(facts["bands"]) == 4 and "--bands bgrn" in facts["problem"]


def test_info_shows_what_mask_refuses(tmp_path):
    path = write_tif(tmp_path / "s.tif", level1_numbers(ramp()), descriptions=NAMES)
    assert run("mask", path, "-o", tmp_path / "a.tif").returncode == 1
    done = run("info", path)
    assert done.returncode == 0
    assert "landsat-l1 or landsat-l2" in done.stdout
    assert json.loads(run("info", path, "--json").stdout)["units"] is None


def test_models_lists_the_default():
    models = json.loads(run("models", "--json").stdout)
    assert [m["name"] for m in models if m["default"]] == ["fast"]
    assert lines(run("models").stdout)[0].startswith("fast: for all scenes, the default")
    everything = run("models", "--all").stdout
    assert "fast (default)" in everything and all(f"{m['name']}: " in everything for m in models)


@pytest.mark.slow
def test_tiles_of_a_scene_with_its_mask(tmp_path):
    truth = SAMPLES / "truth" / f"{FARMLAND.name}_truth.tif"
    done = run("tile", FARMLAND, "-o", tmp_path / "t", "--mask", truth, "--tile-size", 256)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "t" / "images").iterdir())) == 4
    assert len(list((tmp_path / "t" / "masks").iterdir())) == 4
    done = run("tile", FARMLAND, "-o", tmp_path / "c", "--mask", truth, "--layout", "38-cloud")
    assert done.returncode == 0, done.stderr
    done = run("mask", tmp_path / "c", "--scene-id", FARMLAND.name, "--sun-elevation", 58.2, "-o", tmp_path / "a.tif")
    assert done.returncode == 0, done.stderr
    run("mask", FARMLAND, "-o", tmp_path / "b.tif")
    with rasterio.open(tmp_path / "a.tif") as patches, rasterio.open(tmp_path / "b.tif") as scene:
        # As many patches wide as the scene, but cut from another corner: a few pixels of 100 000 may differ.
        assert (patches.read(1) == scene.read(1)).mean() > 0.999


def test_units_said_on_the_command_line(tmp_path):
    path = write_tif(tmp_path / "s.tif", level1_numbers(ramp(), 30), descriptions=NAMES)
    done = run("info", path, "--units", "landsat-l1", "--sun-elevation", 30, "--json")
    assert json.loads(done.stdout)["bands"][0]["scale"] == pytest.approx(4e-5)
    done = run("info", path, "--scale", "1e-5", "--bands", "4,3,2,1", "--json")
    assert [band["index"] for band in json.loads(done.stdout)["bands"]] == [4, 3, 2, 1]


def commands(group=cli, names=()):
    for name, command in group.commands.items():
        yield from commands(command, (*names, name)) if hasattr(command, "commands") else [(*names, name)]


@pytest.mark.parametrize("command", [(), *commands()], ids=" ".join)
def test_every_command_has_help_with_an_example_and_quiet(command):
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert "-q, --quiet" in done.stdout


def test_help_is_grouped_and_leaves_out_what_makes_no_sense():
    shown = run("mask", "--help").stdout
    headings = [line[:-1] for line in lines(shown) if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Output", "Input", "Mask", "Model", "Computing", "Other"]
    assert "STAC" in shown and "https://" in shown
    for command in (["train"], ["evaluate"], ["dataset", "check"]):
        shown = run(*command, "--help").stdout
        assert "--units" in shown and "--extent" not in shown and "--scene-id" not in shown


def test_results_are_named_the_same_way_everywhere():
    for name in ("mask", "batch", "preview", "tile", "train", "evaluate"):
        assert "-o, --out " in run(name, "--help").stdout


def test_usage_names_what_was_typed():
    assert run("batch", "--nonsense").stderr.startswith("Usage: geocloud batch [OPTIONS] SOURCE...\n")


@pytest.mark.slow
def test_variables_set_defaults_that_the_command_line_overrides(tmp_path):
    words = ["mask", FARMLAND, "--json", "--overwrite", "-o", tmp_path / "m.tif"]
    one = json.loads(run(*words, GEOCLOUD_MODEL="unet", GEOCLOUD_THRESHOLD="0.25").stdout)
    two = json.loads(run(*words, "--model", "fast", "--threshold", "0.75", GEOCLOUD_MODEL="unet").stdout)
    assert (one["model"], one["threshold"], two["model"], two["threshold"]) == ("unet", 0.25, "fast", 0.75)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GEOCLOUD_MODEL", "nonsense"),
        ("GEOCLOUD_DEVICE", "cuda:77"),
        ("GEOCLOUD_THRESHOLD", "7"),
        ("GEOCLOUD_THRESHOLD", "half"),
        ("GEOCLOUD_PRECISION", "float8"),
        ("GEOCLOUD_THREADS", "0"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path, name, value):
    done = run("mask", FARMLAND, "-o", tmp_path / "m.tif", **{name: value})
    assert done.returncode == 1 and done.stdout == ""
    assert len(lines(done.stderr)) == 1 and name in done.stderr and value in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_doctor_tells_the_variables_and_fails_where_something_is_bad():
    done = run("doctor", GEOCLOUD_MODEL="nonsense", GEOCLOUD_THREADS="1")
    assert done.returncode == 1
    assert lines(done.stdout)[0].startswith(
        "BAD environment variables: GEOCLOUD_MODEL=nonsense, GEOCLOUD_THREADS=1: nonsense"
    )
    assert all(line.startswith("ok ") for line in lines(done.stdout)[1:])


@pytest.mark.slow
def test_rio_has_the_same_command(tmp_path):
    """Found by its entry point if rasterio and geocloud are installed together."""
    from geocloud_cli.rio import cloudmask
    from rasterio.rio.main import main_group

    main_group.add_command(cloudmask)
    from click.testing import CliRunner

    done = CliRunner().invoke(main_group, ["cloudmask", str(FARMLAND), "-o", str(tmp_path / "a.tif")])
    assert done.exit_code == 0, done.output
    run("mask", FARMLAND, "-o", tmp_path / "b.tif")
    np.testing.assert_array_equal(read_tif(tmp_path / "a.tif"), read_tif(tmp_path / "b.tif"))
    done = CliRunner().invoke(main_group, ["cloudmask", "gone.tif"])
    assert done.exit_code == 1 and done.stderr.startswith("geocloud: error: gone.tif")


def test_rasterio_finds_it_by_the_entry_point():
    (declared,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"].values()
    assert EntryPoint("cloudmask", declared["cloudmask"], "rasterio.rio_plugins").load().name == "cloudmask"


def test_one_is_not_many():
    assert [counted(number, "polygon") for number in range(3)] == ["0 polygons", "1 polygon", "2 polygons"]
    assert (counted(1, "patch"), counted(2, "patch")) == ("1 patch", "2 patches")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_their_shells_own(shell, tmp_path):
    done = run("completion", shell)
    assert done.returncode == 0 and "_GEOCLOUD_COMPLETE" in done.stdout
    if shutil.which(shell):
        (tmp_path / "script").write_text(done.stdout)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_completion_completes():
    line = {"COMP_WORDS": "geocloud mask --thr", "COMP_CWORD": "2", "_GEOCLOUD_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", "from geocloud_cli.main import cli; cli(prog_name='geocloud')"],
        env={**os.environ, **line}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == ["plain,--threads", "plain,--threshold"]


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert version("geocloud") in run("--version").stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "status"])
def test_a_folder_named_as_a_command_of_batch_is_a_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    write_tif(tmp_path / name / "s.tif", ramp(), descriptions=NAMES)
    done = run("batch", name, "-o", "masks", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "masks" / "s_cloudmask.tif").exists(), done.stderr
    assert run("batch", name, "masks", cwd=tmp_path).returncode == 0
