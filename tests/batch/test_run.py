"""Whole batches: scenes masked, skipped, failed, and never masked twice."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import console
import geopandas
import numpy as np
import pandas
import pystac
import pystac.validation
import pytest
import rasterio
import shapely
from archive import BROKEN, break_ten, make_archive
from click.testing import CliRunner
from conftest import bright, geobox, ramp, read_tif, write_tif
from geocloud_cli.main import cli
from rasterio.windows import Window
from torture import states, torture

from geocloud.batch import BatchOptions, Shard, describe_folder, plan_batch, read_entries, run_batch
from geocloud.batch.find import fingerprint
from geocloud.batch.job import Job, outline, run_job
from geocloud.batch.run import _alone
from geocloud.batch.state import OTHER, Manifest, export
from geocloud.batch.workers import LocalExecutor, load_worker, run_jobs
from geocloud.errors import DeviceError, GeocloudError, OptionError, OutputError
from geocloud.grid import GeoBox
from geocloud.models.predictor import Predictor, load_model
from geocloud.pipeline import ComputeOptions, MaskOptions, mask_scene

pytestmark = pytest.mark.slow

COUNT = 9


def command(*arguments):
    return console.run(*arguments)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_archive(tmp_path_factory.mktemp("source") / "archive", COUNT, broken=False)


@pytest.fixture(scope="module")
def batch(archive, tmp_path_factory):
    """The output folder of a batch."""
    folder = tmp_path_factory.mktemp("out") / "masks"
    done = command("batch", archive, "-o", folder, "--polygons", "--quicklook", "--progress", "json")
    assert done.returncode == 0, done.stderr
    (folder / "progress").write_text(done.stderr)
    return folder


def test_every_scene_is_masked_as_the_single_command_does(archive, batch, tmp_path):
    assert len(list(batch.glob("*_cloudmask.tif"))) == COUNT
    source = archive / "stack_002.tif"
    mask_scene(source, tmp_path / "alone.tif", model=load_model())
    assert (tmp_path / "alone.tif").read_bytes() == (batch / "stack_002_cloudmask.tif").read_bytes()
    assert (batch / "stack_002_clouds.gpkg").exists() and (batch / "stack_002_quicklook.jpg").exists()


def test_progress_is_told_to_programs(batch):
    lines = [json.loads(line) for line in (batch / "progress").read_text().splitlines() if line.startswith("{")]
    assert [line["done"] for line in lines] == list(range(COUNT + 1))
    assert all(line["total"] == COUNT and line["failed"] == 0 for line in lines)
    assert lines[-1]["eta_seconds"] == 0 and lines[-1]["megapixels_per_second"] > 0


def test_stac_items_and_collection_are_valid(batch):
    collection = pystac.Collection.from_file(str(batch / "collection.json"))
    pystac.validation.validate_dict(collection.to_dict(), extensions=[])
    items = list(collection.get_items())
    assert len(items) == COUNT
    for item in items:
        pystac.validation.validate_dict(item.to_dict(), extensions=[])
        with rasterio.open(batch / item.assets["mask"].href.rpartition("/")[2]) as mask:
            assert item.ext.proj.shape == [mask.height, mask.width]
            assert item.ext.proj.transform == list(mask.transform)[:6]
            assert item.properties["proj:code"] == mask.crs.to_string()
            values = mask.read(1)
        cloud = 100 * (values == 1).sum() / (values != 255).sum()
        assert item.ext.eo.cloud_cover == pytest.approx(cloud, abs=0.01)
        classes = item.assets["mask"].extra_fields["bands"][0]["classification:classes"]
        assert {c["value"]: c["name"] for c in classes} == {0: "clear", 1: "cloud", 255: "no_data"}


def test_footprints_open_in_geopandas(batch):
    frame = geopandas.read_file(batch / "footprints.gpkg", layer="footprints")
    assert len(frame) == COUNT and frame.crs == "EPSG:4326"
    assert set(frame["mask"]) == {path.name for path in batch.glob("*_cloudmask.tif")}
    for row in frame.itertuples():
        with rasterio.open(batch / row.mask) as mask:
            box = geopandas.GeoSeries([shapely.box(*mask.bounds)], crs=mask.crs).to_crs(4326)[0]
        assert row.geometry.within(box.buffer(1e-4)) and row.geometry.area > 0.5 * box.area


def test_what_is_done_stays_done(archive, batch):
    before, report = states(batch), batch / "report.html"
    told = report.stat().st_mtime_ns

    def again():
        return CliRunner().invoke(cli, ["batch", str(archive), "-o", str(batch), "--polygons", "--quicklook"])

    done = again()
    assert done.exit_code == 0 and states(batch) == before
    assert f"{COUNT} done" in done.stdout and report.stat().st_mtime_ns == told
    with Manifest(batch / "manifest.sqlite") as manifest:
        manifest.plan(
            [("other", "other", "o.tif", "print")], "settings", OTHER
        )  # newer than the report, as after a run that was killed before writing its report
    assert again().exit_code == 0 and report.stat().st_mtime_ns > told


def test_a_dry_run_tells_of_scenes_done_with_other_options(archive, batch):
    def planned(*options):
        done = CliRunner().invoke(cli, ["batch", str(archive), "-o", str(batch), "--dry-run", *options])
        return done.stdout.splitlines()[-1]

    asked = ("--polygons", "--quicklook")
    assert planned(*asked) == f"0 to do, {COUNT} done before, 0 failed before"
    other = f"{COUNT} to do ({COUNT} of them done before, but with other options), 0 done before, 0 failed before"
    assert planned(*asked, "--threshold", "0.7") == other
    assert planned(*asked, "--no-resume") == f"{COUNT} to do, 0 done before, 0 failed before"


def test_what_changed_is_done_again(archive, tmp_path):
    out, sources = tmp_path / "out", [str(archive)]
    options = BatchOptions(model="fast")
    assert {e.state for e in run_batch(sources, out, options)} == {"done"}
    assert not plan_batch(sources, out, options).jobs

    def to_do(**changes):
        return len(plan_batch(sources, out, BatchOptions(**changes)).jobs)

    assert to_do(mask=MaskOptions(threshold=0.7)) == COUNT
    assert to_do(model="unet") == COUNT
    assert to_do(polygons=True) == COUNT
    assert to_do(compute=ComputeOptions("cpu", batch=3)) == 0  # the device does not matter
    next(out.glob("stack_002_cloudmask.tif")).unlink()
    assert [name for _, name, _ in plan_batch(sources, out, options).jobs] == ["stack_002"]
    os.utime(archive / "stack_005.tif")
    assert len(plan_batch(sources, out, options).jobs) == 2
    assert len(plan_batch(sources, out, BatchOptions(resume=False)).jobs) == COUNT


def test_snow_and_cirrus_are_told_wherever_cloud_is(tmp_path):
    image = np.concatenate([ramp(), ramp()[:1] / 4, np.full_like(ramp()[:1], 0.05)])
    names = ("red", "green", "blue", "nir", "swir1", "cirrus")
    path, out = write_tif(tmp_path / "s.tif", image, descriptions=names), tmp_path / "out"
    (entry,) = run_batch([str(path)], out, BatchOptions(mask=MaskOptions(snow=True, cirrus=True)))
    mask, columns = read_tif(out / "s_cloudmask.tif")[0], ["snow_percent", "cirrus_percent"]
    percents = [100 * (mask == code).mean() for code in (3, 4)]
    assert min(percents) > 0 and [entry.snow_percent, entry.cirrus_percent] == pytest.approx(percents)
    properties = json.loads((out / "s.json").read_text())["properties"]
    assert [properties[f"geocloud:{name}"] for name in columns] == pytest.approx(percents, abs=0.01)
    for name, read in (("t.csv", pandas.read_csv), ("t.parquet", pandas.read_parquet)):
        export(read_entries(out), tmp_path / name)
        assert read(tmp_path / name)[columns].values.tolist() == [pytest.approx(percents)]
    footprints = geopandas.read_file(out / "footprints.gpkg", layer="footprints")
    assert footprints[columns].values.tolist() == [pytest.approx(percents)] and footprints.shadow_percent.isna().all()
    rows = (out / "report" / "scenes-0.js").read_text().replace("\\", "")
    found = [float(re.search(rf'"{name}":\[([\d.]+)', rows)[1]) for name in ("snow", "cirrus")]
    assert found == pytest.approx(percents, abs=0.06) and '"shadow"' not in rows


def test_a_dry_run_writes_nothing(archive, tmp_path):
    done = command("batch", archive, "-o", tmp_path / "out", "--dry-run")
    assert done.returncode == 0 and "9 to do" in done.stdout and "stack_002" in done.stdout
    assert not (tmp_path / "out").exists()


def test_broken_scenes_are_told_of_and_the_others_masked(tmp_path):
    archive = make_archive(tmp_path / "archive", 4 + BROKEN)
    done = command("batch", archive, "-o", tmp_path / "out")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    reasons = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert len(reasons) == BROKEN and len(set(reasons)) == BROKEN
    assert all(str(archive) in reason for reason in reasons)
    assert len(list((tmp_path / "out").glob("*_cloudmask.tif"))) == 4
    assert len(list((tmp_path / "out").glob("*.tif"))) == 4
    # Unchanged bad input is retried only on request.
    assert not plan_batch([str(archive)], tmp_path / "out", BatchOptions()).jobs
    assert len(plan_batch([str(archive)], tmp_path / "out", BatchOptions(retry_failed=True)).jobs) == BROKEN
    again = command("batch", archive, "-o", tmp_path / "out")
    assert again.returncode == 1 and again.stdout.count("failed: ") == BROKEN
    listed = command("batch", "status", tmp_path / "out", "--export", tmp_path / "t.csv", "--json")
    assert json.loads(listed.stdout)["failed"] == BROKEN
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 4 + BROKEN


def test_killed_again_and_again_it_ends_as_if_undisturbed(tmp_path):
    """For 200 scenes and twenty kills, run: python tests/batch/torture.py."""
    found = torture(tmp_path, scenes=30, kills=3)
    assert found["same masks"] and not found["done twice"] and not found["left behind"]
    assert found["exit codes"] == [1, 1] and found["states"] == {"done": 20, "failed": 10}


def test_a_worker_that_is_killed_is_replaced(archive, tmp_path):
    """A scene that kills its worker is tried three times, then fails. Other scenes are unaffected."""
    jobs = [Job(f"s{i}", str(archive / "stack_002.tif"), tmp_path, BatchOptions()) for i in range(4)]
    jobs.insert(1, Job("killer", "kill me", tmp_path, BatchOptions()))
    starts = []
    with closing(LocalExecutor("fast", ComputeOptions(), 2, starts.append, load_deadly)) as executor:
        outcomes = {outcome.name: outcome for outcome in run_jobs(jobs, executor)}
    assert set(outcomes) == {"killer", "s0", "s1", "s2", "s3"}
    assert "died 3 times" in outcomes["killer"].error and starts.count("killer") == 3
    assert all(outcomes[f"s{i}"].error is None for i in range(4))


def load_deadly(*arguments):
    """Loads a worker whose process is killed by the source ``kill me``."""
    import geocloud.batch.job as module

    mask = module.mask_scene

    def deadly(source, *arguments, **options):
        if source == "kill me":
            os.kill(os.getpid(), signal.SIGKILL)
        return mask(source, *arguments, **options)

    module.mask_scene = deadly
    return load_worker(*arguments)


def test_a_worker_that_cannot_start_is_an_error(archive, tmp_path):
    with pytest.raises(GeocloudError, match="cuda"):
        run_batch([str(archive)], tmp_path / "out", BatchOptions(compute=ComputeOptions("cuda:7")))
    with pytest.raises(DeviceError):
        load_worker("fast", ComputeOptions("cuda:7"))


def test_interrupted_it_stops_and_goes_on_later(archive, tmp_path):
    line = [sys.executable, "-m", "geocloud_cli", "batch", str(archive), "-o", str(tmp_path / "out")]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        for _ in range(600):
            if any(state == "done" for state, _ in states(tmp_path / "out").values()):
                break
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=30)
    if run.returncode != 0:  # interrupted before its end
        assert run.returncode == 130 and "Traceback" not in errors
    assert not list((tmp_path / "out").glob(".*"))
    assert "running" not in {state for state, _ in states(tmp_path / "out").values()}
    assert (tmp_path / "out" / "report.html").exists()
    assert command("batch", archive, "-o", tmp_path / "out").returncode == 0


def test_a_second_run_in_the_same_folder_refuses(archive, tmp_path):
    seen = []

    def meanwhile(status):
        if not seen:
            seen.append(command("batch", archive, "-o", tmp_path / "out"))

    run_batch([str(archive)], tmp_path / "out", BatchOptions(), meanwhile)
    assert seen[0].returncode == 1 and "another 'geocloud batch' is using this folder" in seen[0].stderr
    assert len(list((tmp_path / "out").glob("*_cloudmask.tif"))) == COUNT
    assert not list((tmp_path / "out").glob(".*"))


def test_an_interrupt_ends_the_workers_before_their_leftovers_are_swept(archive, tmp_path):
    """The interrupt can come while progress is reported and workers are in the middle of scenes."""

    def interrupt(status):
        if status.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch([str(archive)], tmp_path / "out", BatchOptions(), interrupt)
    assert not list((tmp_path / "out").glob(".*")) and not multiprocessing.active_children()
    assert set(read_entries(tmp_path / "out").counts()) == {"done", "waiting"}


def test_what_went_wrong_first_is_told(archive, tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise OutputError("no room for the report")

    monkeypatch.setattr("geocloud.batch.report.write_report", broken)
    with pytest.raises(GeocloudError, match="cuda"):
        run_batch([str(archive)], tmp_path / "out", BatchOptions(compute=ComputeOptions("cuda:7")))
    assert "no room for the report" in caplog.text


def test_the_lock_holds_while_its_file_comes_and_goes(tmp_path):
    """Eight threads take turns for a second, each with its own lock, and remove the file after each turn."""
    inside, most, turns, until = [], [], [], time.monotonic() + 1

    def run():
        while time.monotonic() < until:
            with suppress(OutputError), _alone(tmp_path / "manifest.sqlite"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()
                turns.append(1)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(run) for _ in range(8)]:
            future.result()
    assert max(most) == 1 and len(turns) > 8 and not list(tmp_path.iterdir())


def test_shards_share_the_work(archive, tmp_path):
    out = tmp_path / "out"
    parts = [run_batch([str(archive)], out, BatchOptions(shard=Shard(i, 3))) for i in (1, 2, 3)]
    assert sorted(e.name for part in parts for e in part) == [e.name for e in read_entries(out)]
    assert len(read_entries(out)) == COUNT and len(list(out.glob("manifest-*.sqlite"))) == 3
    assert not (out / "report.html").exists()  # or each shard would read the manifests of all others
    done = CliRunner().invoke(cli, ["batch", "report", str(out)])
    assert done.exit_code == 0 and (out / "report.html").exists()
    assert len(geopandas.read_file(out / "footprints.gpkg", layer="footprints")) == COUNT
    for wrong in ("0/3", "4/3", "x"):
        with pytest.raises(OptionError):
            Shard.parse(wrong)


def test_scenes_of_one_name_do_not_meet(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write_tif(tmp_path / "in" / folder / "scene.tif", ramp())
    entries = run_batch([str(tmp_path / "in")], tmp_path / "out", BatchOptions())
    assert len({e.name for e in entries}) == 2 and {e.state for e in entries} == {"done"}
    assert not plan_batch([str(tmp_path / "in")], tmp_path / "out", BatchOptions()).jobs


def test_a_full_disk_is_told_and_may_be_tried_again(archive, tmp_path):
    full = f"ulimit -f 8; exec {sys.executable} -m geocloud_cli batch {archive} -o {tmp_path / 'out'} --probability"
    done = subprocess.run(["bash", "-c", full], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*_cloudmask.tif"))
    assert command("batch", archive, "-o", tmp_path / "out").returncode == 0


def test_where_there_is_nothing_nothing_is_made(tmp_path):
    done = command("batch", tmp_path, "-o", tmp_path / "out")
    assert done.returncode == 1 and "no scenes" in done.stderr and not (tmp_path / "out").exists()


def test_a_manifest_that_is_none_is_refused(tmp_path):
    (tmp_path / "manifest.sqlite").write_text("something else, long enough to be looked at" * 20)
    with pytest.raises(OutputError, match="manifest"):
        run_batch([str(write_tif(tmp_path / "s.tif", ramp()))], tmp_path, BatchOptions())
    assert command("batch", "status", tmp_path / "none").returncode == 1


def test_the_footprint_is_where_data_are():
    grid = geobox(400, 300)
    seen = np.full((4, 40, 30), 0.3, "float32")
    seen[:, :20] = np.nan
    found = outline(seen, 10, grid)
    lower = shapely.box(*rasterio.transform.array_bounds(200, 300, grid.transform @ grid.transform.translation(0, 200)))
    expected = geopandas.GeoSeries([lower], crs=grid.crs).to_crs(4326)[0]
    assert found.symmetric_difference(expected).area < 0.01 * expected.area
    across = GeoBox(400, 300, rasterio.Affine(1000, 0, 200_000, 0, -1000, 7_000_000), rasterio.crs.CRS.from_epsg(32601))
    split = outline(np.zeros((4, 40, 30), "float32"), 10, across)
    assert split.geom_type == "MultiPolygon" and split.bounds[0] == -180 and split.bounds[2] == 180
    assert outline(seen, 10, GeoBox(400, 300, grid.transform, None)) is None


def test_a_scene_that_is_south_up_has_the_footprint_and_pictures_of_its_ground(tmp_path):
    image = ramp()
    image[:, :45] = np.nan  # the northern half
    footprints, pictures = [], []
    for name, values, grid in (("north", image, geobox()), ("south", image[:, ::-1], geobox().flip())):
        path = write_tif(tmp_path / f"{name}.tif", values, grid)
        outcome = run_job(Job(name, str(path), tmp_path, BatchOptions(quicklook=True)), Predictor(bright))
        assert outcome.transform == tuple(grid.transform)[:6]
        footprints.append(shapely.from_geojson(outcome.footprint))
        files = [tmp_path / f"{name}_quicklook.jpg", *(tmp_path / "thumbnails").rglob(f"{name}.*")]
        pictures.append([(file.suffix, file.read_bytes()) for file in sorted(files, key=lambda file: file.suffix)])
    assert footprints[0].equals_exact(footprints[1], 1e-9)
    lower = geopandas.GeoSeries([shapely.box(*geobox().crop(Window(0, 45, 110, 45)).bounds)], crs=geobox().crs)
    assert footprints[1].symmetric_difference(lower.to_crs(4326)[0]).area < 0.01 * footprints[1].area
    assert len(pictures[0]) == 3 and pictures[0] == pictures[1]


def test_fingerprints_follow_the_files(tmp_path):
    break_ten(tmp_path / "b", 16)
    folder = tmp_path / "b" / "LC08_L1TP_191002_20240701_20240708_02_T1"
    before = fingerprint(str(folder))
    assert fingerprint(str(folder)) == before
    next(folder.glob("*_MTL.txt")).write_text("changed")
    assert fingerprint(str(folder)) != before
    assert fingerprint(str(tmp_path / "gone")) == fingerprint(str(tmp_path / "gone"))


def test_a_job_never_raises(tmp_path):
    def broken(batch):
        raise RuntimeError("the network\nfell over")

    write_tif(tmp_path / "s.tif", ramp())
    outcome = run_job(Job("s", str(tmp_path / "s.tif"), tmp_path, BatchOptions()), broken)
    assert outcome.error == "RuntimeError: the network fell over" and outcome.failure == "passing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tif"]


def test_the_manifest_can_be_read_while_a_run_writes_it(archive, tmp_path):
    seen = []

    def look(status):
        with closing(sqlite3.connect(tmp_path / "manifest.sqlite")) as database:
            seen.append(database.execute("SELECT count(*) FROM scenes WHERE state = 'done'").fetchone()[0])

    run_batch([str(archive)], tmp_path, BatchOptions(), look)
    assert seen == list(range(COUNT + 1))


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("name", ["s_cloudmask.tif", "s.json", "collection.json", "footprints.gpkg", "report.html"])
def test_a_new_batch_replaces_no_files(tmp_path, name, shards):
    path, out = write_tif(tmp_path / "s.tif", ramp()), tmp_path / "out"
    scenes = [str(path), str(write_tif(tmp_path / "other.tif", ramp()))]
    shard = next(shard for shard in (Shard(i + 1, shards) for i in range(shards)) if shard.holds(str(path)))
    out.mkdir()
    (out / name).write_text("mine")
    for run in (plan_batch, run_batch, run_batch):  # a refused run leaves no manifest
        with pytest.raises(OutputError, match=rf"{re.escape(name)}: exists, and no batch wrote it; name another"):
            run(scenes, out, BatchOptions(shard=shard))
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [(name, "mine")]


def test_sources_and_files_in_the_reports_folder_stay(tmp_path):
    path = write_tif(tmp_path / "s.tif", ramp())
    run_batch([str(path)], tmp_path, BatchOptions())
    notes = tmp_path / "report" / "notes.txt"
    notes.write_text("mine")
    run_batch([str(path)], tmp_path, BatchOptions(resume=False))
    assert notes.read_text() == "mine" and (tmp_path / "report" / "scenes-0.js").exists()
    assets = {name: {"href": str(path), "bands": [{"name": name}]} for name in ("red", "green", "blue", "nir")}
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "t", "geometry": None, "links": [], "assets": assets}
    text = json.dumps(item | {"properties": {"datetime": "2024-07-01T10:00:00Z"}})
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(OutputError, match=r"t\.json: exists"):
        run_batch([str(tmp_path / "t.json")], tmp_path, BatchOptions())
    assert (tmp_path / "t.json").read_text() == text


def test_results_beside_their_scenes_change_nothing(archive, tmp_path):
    """Masks, styles and sidecar files in a product's folder are not scenes."""
    folder = tmp_path / "in"
    shutil.copytree(next(archive.glob("LC08*_T1")), folder)
    for _ in range(2):
        entries = run_batch([str(folder)], folder, BatchOptions())
        assert [e.state for e in entries] == ["done"]
    (folder / "x_B4.TIF.aux.xml").write_text("<PAMDataset/>")
    assert not plan_batch([str(folder)], folder, BatchOptions()).jobs
    tifs = tmp_path / "tifs"
    tifs.mkdir()
    shutil.copy(archive / "stack_002.tif", tifs)
    for _ in range(2):
        entries = run_batch([f"{tifs}/*.tif"], tifs, BatchOptions())
        assert [(e.name, e.state) for e in entries] == [("stack_002", "done")]


def test_manifests_in_one_folder_never_share_a_name(archive, tmp_path):
    sources = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(archive / "stack_002.tif", tmp_path / folder / "stack.tif")
        shutil.copy(archive / "stack_005.tif", tmp_path / folder / "collection.tif")
        sources.append(str(tmp_path / folder))
    for source in sources:
        for number in (1, 2):
            run_batch([source], tmp_path / "out", BatchOptions(shard=Shard(number, 2)))
    names = [entry.name for entry in read_entries(tmp_path / "out")]
    assert len(names) == len(set(names)) == 4 and "collection" not in names
    with pytest.raises(OutputError, match=r"manifest-00001-of-00002.sqlite is of a run with another"):
        run_batch(sources, tmp_path / "out", BatchOptions())
    describe_folder(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "collection.json").read_text())["type"] == "Collection"
