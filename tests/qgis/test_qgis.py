"""Results and plugin in a real QGIS; ``GEOCLOUD_QGIS=1`` installs Debian's if it is missing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import ROOT, SAMPLES, read_tif
from console import run
from foreign import foreign
from PIL import Image

from geocloud.batch import BatchOptions, run_batch
from geocloud.pipeline import MaskOptions, mask_scene
from geocloud.qgis import install as qgis
from geocloud.writers import styles

pytestmark = pytest.mark.slow

SCENE = SAMPLES / "LC08_L1TP_999001_20240701_20240708_02_T1"
MOUNTAINS = SAMPLES / "simulated_mountains.tif"
PYTHON, PROCESS = "/usr/bin/python3", "qgis_process.bin"
CLOUD = [*styles.CLOUD_RGB]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Environment of a user who has never started QGIS."""
    if os.environ.get("GEOCLOUD_QGIS") == "1" and not shutil.which(PROCESS):
        packages = ["qgis", "python3-qgis", "qgis-providers", "xvfb"]
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], check=True)
    if not shutil.which(PROCESS):
        pytest.skip("needs QGIS: apt-get install qgis python3-qgis, or set GEOCLOUD_QGIS=1")
    folder = tmp_path_factory.mktemp("home")
    (folder / "run").mkdir(mode=0o700)
    return {
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",  # QGIS must find its own Python
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "PYTHONPATH": "/usr/share/qgis/python",  # must not reach geocloud
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All outputs of geocloud for a sample scene."""
    folder = tmp_path_factory.mktemp("made")
    mask_scene(SCENE, folder / "mask.tif", polygons=folder / "clouds.gpkg", probability=folder / "probability.tif")
    both = MaskOptions(shadows=True)
    mask_scene(SCENE, folder / "shadows.tif", polygons=folder / "shadows.gpkg", options=both)
    for form in ("geojson", "fgb"):
        mask_scene(SCENE, folder / f"{form}.tif", polygons=folder / f"{form}_clouds.{form}")
    run_batch([str(SAMPLES / "*_T1"), str(SAMPLES / "*.tar")], folder / "batch", BatchOptions())
    return folder


def picture(path):
    with Image.open(path) as image:
        return image.convert("RGB")


def ask(home, folder, **job):
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    done = subprocess.run(
        [PYTHON, str(Path(__file__).with_name("inside.py")), str(path)],
        env=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr[-3000:]
    return json.loads(lines[0][6:])


@pytest.fixture(scope="module")
def found(home, made):
    """QGIS's description of the layers, and rendered maps."""
    band = next(SCENE.glob("*_B4.TIF"))
    return ask(
        home,
        made,
        rasters={
            "band": str(band),
            "mask": str(made / "mask.tif"),
            "shadows": str(made / "shadows.tif"),
            "probability": str(made / "probability.tif"),
        },
        vectors={
            "polygons": f"{made / 'clouds.gpkg'}|layername=clouds",
            "both": f"{made / 'shadows.gpkg'}|layername=clouds",
            "geojson": str(made / "geojson_clouds.geojson"),
            "fgb": str(made / "fgb_clouds.fgb"),
            "footprints": f"{made / 'batch' / 'footprints.gpkg'}|layername=footprints",
        },
        maps={
            str(made / "qgis_mask.png"): ["mask", "band"],
            str(made / "qgis_shadows.png"): ["shadows", "band"],
            str(made / "qgis_probability.png"): ["probability", "band"],
            str(made / "qgis_polygons.png"): ["polygons", "band"],
            str(made / "alone.png"): ["mask"],
            str(made / "band.png"): ["band"],
        },
    )


def test_the_mask_lies_on_its_source_with_two_named_classes(found):
    mask, band = found["mask"], found["band"]
    assert mask["valid"] and mask["crs"] == band["crs"] == "EPSG:32633"
    assert mask["extent"] == band["extent"] and mask["size"] == band["size"]
    assert mask["renderer"] == "paletted" and mask["nodata"] == 255
    assert mask["classes"] == [[0, "clear", [0, 0, 0, 0]], [1, "cloud", [*CLOUD, 128]]]
    assert [label for label, _ in mask["legend"]] == ["clear", "cloud"]


def test_shadow_is_a_third_class_of_mask_and_polygons(found, made):
    mask, polygons = found["shadows"], found["both"]
    assert [label for label, _ in mask["legend"]] == ["clear", "cloud", "shadow"]
    assert mask["classes"][2] == [2, "shadow", [*styles.SHADOW_RGB, 128]]
    assert polygons["renderer"] == "categorizedSymbol" and polygons["labels"] == ["cloud", "shadow"]
    assert "class" in polygons["fields"] and "% shadow" in polygons["abstract"]
    values = read_tif(made / "shadows.tif")[0]
    assert {1, 2} <= set(np.unique(values))
    drawn, band = np.array(picture(made / "qgis_shadows.png"), int), np.array(picture(made / "band.png"), int)
    assert (abs(drawn - (band + styles.SHADOW_RGB) / 2).max(2) < 3).mean() > 0.3 * (values == 2).mean()


def test_probability_is_a_ramp_in_per_cent(found):
    probability = found["probability"]
    assert probability["renderer"] == "singlebandpseudocolor" and probability["nodata"] == 255
    assert probability["legend"][0][0] == "0 %" and probability["legend"][-1] == ["100 %", [*CLOUD, 220]]
    assert probability["extent"] == found["band"]["extent"]


def test_polygons_have_an_outline_a_light_fill_a_title_and_an_abstract(found):
    polygons = found["polygons"]
    assert polygons["valid"] and polygons["crs"] == "EPSG:32633" and polygons["features"] > 3
    assert polygons["renderer"] == "singleSymbol"
    assert polygons["fill"] == [*CLOUD, 60] and polygons["stroke"] == [*CLOUD, 255]
    assert polygons["title"] == f"Clouds of {SCENE.name}" and "% cloud" in polygons["abstract"]
    assert {"area_m2", "mean_probability", "acquired"} <= set(polygons["fields"])


def test_other_forms_of_polygons(found):
    assert found["geojson"]["features"] == found["fgb"]["features"] == found["polygons"]["features"]
    assert found["geojson"]["crs"] == "EPSG:4326" and found["fgb"]["crs"] == "EPSG:32633"
    assert found["geojson"]["fill"] == found["fgb"]["fill"] == [*CLOUD, 60]


def test_footprints_are_coloured_by_cloud(found):
    footprints = found["footprints"]
    assert footprints["valid"] and footprints["features"] == 2 and footprints["crs"] == "EPSG:4326"
    assert footprints["renderer"] == "graduatedSymbol" and footprints["labels"][0] == "0 to 10 % cloud"


def test_maps_show_cloud_and_nothing_where_there_is_none(found, made):
    """The expected map is computed from the mask: half-transparent cloud, and all other pixels unchanged."""
    with rasterio.open(made / "mask.tif") as dataset:
        mask = dataset.read(1, out_shape=(480, 480))
    alone = np.asarray(picture(made / "alone.png")).astype(int)
    half = (np.array(CLOUD) * 128 + 255 * 127) // 255
    inside = (mask == 1) & np.roll(mask == 1, 3, 0) & np.roll(mask == 1, -3, 0) & np.roll(mask == 1, 3, 1)
    inside &= np.roll(mask == 1, -3, 1)
    assert inside.sum() > 1000 and (abs(alone[inside] - half) <= 3).all(1).mean() > 0.99
    assert (alone[mask == 255] == 255).all(1).mean() > 0.99
    over = np.asarray(picture(made / "qgis_mask.png")).astype(int)
    band = np.asarray(picture(made / "band.png")).astype(int)
    clear = mask == 0
    assert (abs(over[clear] - band[clear]) <= 2).all(1).mean() > 0.97
    if os.environ.get("GEOCLOUD_PICTURES"):
        for name in ("qgis_mask", "qgis_shadows", "qgis_probability", "qgis_polygons"):
            picture(made / f"{name}.png").save(ROOT / "docs" / "images" / f"{name}.png", optimize=True)


@pytest.fixture(scope="module")
def plugin(home):
    """The plugin, installed in a new profile."""
    line = [sys.executable, "-m", "geocloud_cli", "qgis", "install"]
    done = subprocess.run(line, env={**os.environ, "HOME": home["HOME"]}, capture_output=True, text=True, check=True)
    assert "installed" in done.stdout
    return Path(home["HOME"]) / ".local/share/QGIS/QGIS3/profiles/default/python/plugins"


def process(home, algorithm, **parameters):
    line = [PROCESS, "run", f"geocloud:{algorithm}", *(f"--{name}={value}" for name, value in parameters.items())]
    return subprocess.run(line, env=home, capture_output=True, text=True, check=False, timeout=300)


def test_one_qgis_process_command_makes_the_same_mask(home, plugin, tmp_path):
    done = process(
        home, "mask", INPUT=MOUNTAINS, UNITS=4, OUTPUT=tmp_path / "q.tif", POLYGONS=tmp_path / "q.gpkg", BUFFER=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    line = [sys.executable, "-m", "geocloud_cli", "mask", MOUNTAINS, "--units", "sentinel2", "--buffer", "60"]
    subprocess.run([*map(str, line), "-o", str(tmp_path / "c.tif")], check=True, capture_output=True)
    assert (read_tif(tmp_path / "q.tif") == read_tif(tmp_path / "c.tif")).all()
    assert (tmp_path / "q.gpkg").exists() and (tmp_path / "q.qml").exists()
    assert "% cloud" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_products_and_extents(home, plugin, tmp_path):
    product = next(SCENE.glob("*_MTL.txt"))
    with rasterio.open(next(SCENE.glob("*_B4.TIF"))) as band:
        left, _, _, top = band.bounds
    extent = f"{left + 3000},{left + 6000},{top - 9000},{top - 6000} [EPSG:32633]"
    done = process(
        home, "mask", INPUT=next(SCENE.glob("*_B4.TIF")), OUTPUT=tmp_path / "part.tif", EXTENT=extent, MODEL=0
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with rasterio.open(tmp_path / "part.tif") as part:
        assert part.shape == (100, 100) and part.bounds == (left + 3000, top - 9000, left + 6000, top - 6000)
    model = foreign(tmp_path / "theirs.onnx", 3, [[1, 0, 0]])
    model.with_suffix(".toml").write_text(
        'bands = ["red", "green", "blue"]\nmean = [0.3, 0, 0]\nstd = [1, 1, 1]\nactivation = "sigmoid"\n'
    )
    done = process(home, "mask", PRODUCT=product, OUTPUT=tmp_path / "whole.tif", MODEL_FILE=model)
    assert done.returncode == 0, done.stdout + done.stderr
    with rasterio.open(tmp_path / "whole.tif") as whole:
        assert whole.shape == (512, 512) and "theirs" in whole.tags().values()


def test_a_folder_and_a_preview(home, plugin, tmp_path):
    done = process(home, "maskfolder", INPUT=SCENE.parent, OUTPUT=tmp_path / "masks", MODEL=0, POLYGONS="true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "masks" / "footprints.gpkg").exists() and (tmp_path / "masks" / "report.html").exists()
    mask = next((tmp_path / "masks").glob("*999001*_cloudmask.tif"))
    done = process(
        home, "preview", PRODUCT=next(SCENE.glob("*_MTL.txt")), MASK=mask, COLOUR=1, OUTPUT=tmp_path / "p.png", SIZE=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert picture(tmp_path / "p.png").size[0] == 300


def test_a_failing_scene_is_one_line_in_the_log(home, plugin, tmp_path):
    (tmp_path / "no_MTL.txt").write_text("nothing")
    done = process(home, "mask", PRODUCT=tmp_path / "no_MTL.txt", OUTPUT=tmp_path / "q.tif")
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    reasons = [line for line in (done.stdout + done.stderr).splitlines() if "no_MTL.txt: cannot be opened" in line]
    assert reasons and not (tmp_path / "q.tif").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["no_MTL.txt"]


def test_cancelling_leaves_nothing(home, plugin, tmp_path):
    image = np.tile(read_tif(MOUNTAINS), (1, 8, 8))
    with rasterio.open(MOUNTAINS) as small:
        profile = {**small.profile, "height": image.shape[1], "width": image.shape[2]}
    with rasterio.open(tmp_path / "large.tif", "w", **profile) as large:
        large.write(image)
    (tmp_path / "out").mkdir()
    job = {"plugins": str(plugin), "input": str(tmp_path / "large.tif"), "output": str(tmp_path / "out" / "q.tif")}
    found = ask(home, tmp_path, cancel=job)["cancel"]
    assert found["cancelled"] and found["results"] == {}
    assert not list((tmp_path / "out").iterdir())


def geocloud(folder, *arguments):
    return run("qgis", *arguments, "--profiles", folder)


def test_install_doctor_uninstall_without_qgis(tmp_path):
    ini = tmp_path / "default" / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir(parents=True)
    ini.write_text("[General]\nname=caf\\xe9\n\n[PythonPlugins]\nother=true\n")
    before = geocloud(tmp_path, "doctor")
    assert before.returncode == 1 and "BAD plugin" in before.stdout
    assert geocloud(tmp_path, "install").returncode == 0
    assert geocloud(tmp_path, "install").returncode == 0  # again: replaced
    assert ini.read_text().count("geocloud=true") == 1 and "other=true" in ini.read_text()
    assert "name=caf\\xe9" in ini.read_text()
    assert geocloud(tmp_path, "doctor").returncode == 0
    folder = tmp_path / "default" / "python" / "plugins" / "geocloud"
    assert "VERSION" not in (folder / "metadata.txt").read_text().replace("qgisMinimumVersion", "")
    (folder / "environment.json").write_text('{"python": "/gone/python"}')
    ill = geocloud(tmp_path, "doctor")
    assert ill.returncode == 1 and "/gone/python: has no geocloud" in ill.stdout
    gone = geocloud(tmp_path, "uninstall")
    assert gone.stdout == f"{folder}: the plugin is removed; the profile stays\n" and gone.returncode == 0
    assert not folder.exists() and ini.exists() and "geocloud" not in ini.read_text()
    assert "not installed" in geocloud(tmp_path, "uninstall").stdout


def test_a_misspelt_profile_is_not_created(tmp_path):
    for name in ("default", "work"):
        (tmp_path / name).mkdir()
    done = geocloud(tmp_path, "install", "--profile", "wrok")
    assert done.returncode == 1 and "'wrok'; there are: default, work" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["default", "work"]


def test_without_qgis_nothing_is_installed(tmp_path):
    (tmp_path / "bin").mkdir()
    done = run("qgis", "install", HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path / "share"), PATH=str(tmp_path / "bin"))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("geocloud: error: no QGIS found") and "--profiles DIR" in done.stderr
    assert not (tmp_path / "share").exists()
    done = geocloud(tmp_path / "gone", "install")
    assert done.returncode == 1 and "no such folder" in done.stderr and not (tmp_path / "gone").exists()


def test_profiles_are_found_where_qgis_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(qgis, "_program", lambda: "/usr/bin/qgis")  # exists, but was never started
    assert qgis.find_profiles("work") == [tmp_path / "QGIS" / "QGIS3" / "profiles" / "work"]
    (tmp_path / "QGIS" / "QGIS4" / "profiles").mkdir(parents=True)
    assert qgis.find_profiles("work") == [tmp_path / "QGIS" / "QGIS4" / "profiles" / "work"]
