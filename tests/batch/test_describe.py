"""STAC items against their schemas, footprints in other readers, and large numbers of both."""

import json
import tracemalloc
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet
import pytest
import shapely
from affine import Affine
from conftest import geobox
from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from rasterio.crs import CRS
from referencing import Registry, Resource

from geocloud.batch import find_scenes
from geocloud.batch.job import make_item, outline
from geocloud.batch.report import write_collection, write_footprints
from geocloud.batch.state import Entry
from geocloud.errors import SceneReadError
from geocloud.grid import GeoBox
from geocloud.pipeline import MaskResult
from geocloud.readers import find_recipe

CLASSES = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
SCHEMAS = Path(__file__).parent / "schemas"

RESULT = MaskResult(
    source="in/a.tif",
    scene="a",
    mask=Path("a_cloudmask.tif"),
    polygons=None,
    probability=None,
    cloud_percent=12.345,
    valid_percent=98.7,
    polygon_count=None,
    height=90,
    width=110,
    crs=CRS.from_epsg(32633),
    acquired=datetime(2024, 7, 1, 10, tzinfo=UTC),
    model="fast",
    threshold=0.5,
    seconds=1.0,
)
FILES = {
    "mask": Path("a_cloudmask.tif"),
    "polygons": Path("a_clouds.gpkg"),
    "probability": Path("a_probability.tif"),
    "quicklook": Path("a_quicklook.jpg"),
    "item": Path("a.json"),
}


@pytest.fixture(scope="module")
def errors():
    """A function that lists a file's violations of the schemas of STAC 1.1 and of its extensions."""
    known = get_local_schema_cache()
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text())
        known[schema["$id"].rstrip("#")] = schema
    registry = Registry().with_resources([(name, Resource.from_contents(schema)) for name, schema in known.items()])

    def check(found):
        kind = {"Feature": "item", "Collection": "collection"}[found["type"]]
        assert found["stac_version"] == "1.1.0"
        names = [f"https://schemas.stacspec.org/v1.1.0/{kind}-spec/json-schema/{kind}.json", *found["stac_extensions"]]
        checked = [(name, found) for name in names]
        for asset in found.get("assets", {}).values():  # the schema, of STAC 1.0, does not check these
            checked += [(f"{CLASSES}#/definitions/fields", classes_of(band)) for band in asset.get("bands", [])]
        return [
            f"{name}: {error.json_path} {error.message[:200]}"
            for name, part in checked
            for error in Draft7Validator({"$ref": name}, registry=registry).iter_errors(part)
        ]

    def classes_of(band):
        return {key: value for key, value in band.items() if key.startswith("classification:")}

    return check


@pytest.mark.parametrize(
    ("changes", "grid"),
    [
        ({}, geobox()),
        ({"shadow_percent": 3.5, "shadow_threshold": 0.4, "snow_percent": 1.5, "codes": (0, 1, 2, 3)}, geobox()),
        ({"acquired": None}, geobox()),
        ({"cloud_percent": None, "valid_percent": 0.0}, geobox()),
        ({"crs": None}, GeoBox(90, 110, geobox().transform, None)),
        ({}, GeoBox(90, 110, geobox().transform, CRS.from_proj4("+proj=laea +lat_0=50 +lon_0=11 +ellps=GRS80"))),
        ({}, GeoBox(90, 110, Affine(0.01, 0, 179.5, 0, -0.01, 10), CRS.from_epsg(4326))),
    ],
    ids=["plain", "shadow", "undated", "empty", "nowhere", "custom CRS", "antimeridian"],
)
def test_items_are_valid(errors, changes, grid):
    footprint = None if grid.crs is None else outline(np.ones((4, 90, 110), "float32"), 1, grid)
    item = make_item(replace(RESULT, **changes), grid, footprint, FILES, "a")
    assert errors(json.loads(json.dumps(item))) == []
    assert len(item["stac_extensions"]) == 3
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert links == {"collection": "./collection.json", "derived_from": str(Path(RESULT.source).absolute())}
    assert item["properties"].get("geocloud:undated", False) == (changes.get("acquired", 0) is None)
    broken = json.loads(json.dumps(item))
    broken["properties"]["eo:cloud_cover"] = 101
    broken["properties"]["proj:shape"] = [1, 2, 3]
    broken["assets"]["mask"]["bands"][0]["classification:classes"][0].pop("value")
    assert len({error.partition(":/")[2].partition("/v")[0] for error in errors(broken)}) == 3, "each schema is used"


def entry(number):
    values = dict.fromkeys((f.name for f in fields(Entry)), None)
    box = shapely.box(number % 300 - 150, number % 140 - 70, number % 300 - 149, number % 140 - 69)
    values |= {"key": f"k{number}", "name": f"scene_{number:06}", "source": f"in/{number}.tif", "state": "done"}
    values |= {"tries": 1, "footprint": shapely.to_geojson(box), "cloud_percent": number % 100 + 0.5, "model": "fast"}
    values |= {"acquired": "2024-07-01T10:00:00+00:00" if number % 2 else None, "valid_percent": 100.0}
    values["files"] = {"mask": f"scene_{number:06}_cloudmask.tif", "item": f"scene_{number:06}.json"}
    return Entry(**values)


def test_collections_are_valid(errors, tmp_path):
    for count in (0, 3):
        entries = [entry(number) for number in range(count)]
        found = json.loads(write_collection(entries, tmp_path).read_text())
        assert errors(found) == []
        assert sum(link["rel"] == "item" for link in found["links"]) == count


def read_footprints(path):
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, layer="footprints")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["gpkg", "parquet"])
def test_footprints_are_written_part_by_part(tmp_path, monkeypatch, form):
    monkeypatch.setattr("geocloud.batch.report.ROWS", 250)

    def peak(count):
        tracemalloc.start()
        try:
            write_footprints((entry(number) for number in range(count)), tmp_path, form)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    small = peak(500)
    assert peak(4000) < 1.5 * small
    path = tmp_path / f"footprints.{form}"
    frame = read_footprints(path)
    assert frame.crs == "EPSG:4326" and list(frame["name"]) == [f"scene_{number:06}" for number in range(4000)]
    expected = [shapely.from_geojson(entry(number).footprint) for number in range(4000)]
    assert shapely.equals(frame.geometry.values, expected).all()
    assert frame.cloud_percent[123] == 23.5 and frame.shadow_percent.isna().all()
    assert frame.acquired[1] == datetime(2024, 7, 1, 10, tzinfo=UTC) and frame.acquired.isna().sum() == 2000
    if form == "parquet":
        about = pyarrow.parquet.ParquetFile(path)
        assert about.num_row_groups == 16
        geo = json.loads(about.metadata.metadata[b"geo"])["columns"]["geometry"]
        assert geo["geometry_types"] == ["Polygon"] and geo["bbox"] == list(frame.total_bounds)
    write_footprints([], tmp_path, form)
    assert len(read_footprints(path)) == 0


def write_items(folder, count):
    """Writes a static catalog in two levels, an item collection in pages, and circular links."""
    asset = {"href": "s.tif", "bands": [{"name": n, "eo:common_name": n} for n in ("red", "green", "blue", "nir")]}
    more = {f"extra_{i}": {"href": f"extra_{i}.tif", "title": "not used " * 5} for i in range(20)}
    about = {"type": "Feature", "stac_version": "1.1.0", "geometry": None, "links": [{"rel": "root", "href": "c.json"}]}
    about |= {"properties": {"datetime": "2024-07-01T10:00:00Z"}, "assets": {"all": asset, **more}}
    pages = [list(range(first, min(first + 100, count))) for first in range(0, count, 100)]
    for page, numbers in enumerate(pages):
        items = [{**about, "id": f"item {number}"} for number in numbers]
        for number, item in zip(numbers, items, strict=True):
            (folder / f"{number}.json").write_text(json.dumps(item))
        following = [{"rel": "next", "href": f"page_{page + 1}.json"}] if page + 1 < len(pages) else []
        found = {"type": "FeatureCollection", "features": items, "links": following}
        (folder / f"page_{page}.json").write_text(json.dumps(found))
        links = [{"rel": "item", "href": f"./{number}.json"} for number in numbers]
        child = {"type": "Catalog", "stac_version": "1.1.0", "id": f"child {page}", "description": "d"}
        links.append({"rel": "child", "href": "c.json"})
        (folder / f"child_{page}.json").write_text(json.dumps(child | {"links": links}))
    links = [{"rel": "child", "href": f"./child_{page}.json"} for page in range(len(pages))]
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "description": "d", "links": links}
    (folder / "c.json").write_text(json.dumps(catalog))
    everything = {"type": "FeatureCollection", "features": [{**about, "id": f"item {n}"} for n in range(count)]}
    (folder / "all.json").write_text(json.dumps(everything))
    return [f"item {number}" for number in range(count)]


@pytest.mark.slow
def test_large_catalogs_are_walked_item_by_item(tmp_path):
    names = write_items(tmp_path, 1000)
    one = (tmp_path / "0.json").stat().st_size
    for start in ("c.json", "page_0.json", "all.json"):
        tracemalloc.start()
        found = find_scenes([str(tmp_path / start)])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [f.name for f in found] == names and len({f.source for f in found}) == 1000
        # Each scene found takes 1 kB. Parsing all items at once would take about 7 times the size of their text.
        room = 1000 * 1024 + (4 * (tmp_path / start).stat().st_size if start == "all.json" else 1000 * one)
        assert peak < room, (start, peak, room)


def test_an_item_that_is_gone_or_there_twice_is_told_when_it_is_masked(tmp_path):
    names = write_items(tmp_path, 5)
    (tmp_path / "3.json").unlink()
    assert [f.name for f in find_scenes([str(tmp_path / "c.json")])] == [*names[:3], "3", names[4]]
    everything = json.loads((tmp_path / "all.json").read_text())
    everything["features"].append(everything["features"][0])
    (tmp_path / "all.json").write_text(json.dumps(everything))
    found = find_scenes([str(tmp_path / "all.json")])
    assert [f.name for f in found] == names
    with pytest.raises(SceneReadError, match="several items have this id"):
        find_recipe(found[0].source)
    assert find_recipe(found[1].source).name == "item_1"
