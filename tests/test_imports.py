"""Imports point down, never up or across."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import geocloud

PACKAGE = Path(geocloud.__file__).parent

# High to low. A module may import from lower levels, and from its own package.
LEVELS = [
    {"training", "batch", "doctor", "compare"},
    {"pipeline"},
    {"preview", "qgis"},
    {"readers", "models", "writers", "simulate"},
    {"masks", "tiling", "io"},
    {"raster", "options", "_checks", "_picture"},
    {"grid"},
    {"bands"},
    {"errors", "_proj"},
]
RANK = {room: rank for rank, level in enumerate(reversed(LEVELS)) for room in level}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "plugin":
            continue  # for another Python
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def test_every_room_has_a_level():
    assert {room for room, _ in modules()} == set(RANK)


def test_imports_point_down():
    wrong = []
    for room, path in modules():
        for name in imports(path):
            parts = name.split(".")
            other = parts[1] if parts[0] == "geocloud" and len(parts) > 1 else room
            if parts[0] == "geocloud_cli" or (other != room and RANK.get(other, -1) >= RANK[room]):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_libraries_stay_in_their_rooms():
    allowed = {
        "torch": {"models", "training", "doctor"},
        "click": set(),
        "tqdm": set(),
        "onnx": {"models"},
        "onnxruntime": {"models"},
        "openvino": {"models"},
        "geopandas": {"writers", "batch", "pipeline"},
        "distributed": {"batch"},
        "obstore": {"io"},
        "matplotlib": {"training", "pipeline"},
    }
    raster_free = {"models", "bands"}
    wrong = []
    for room, path in modules():
        for name in imports(path):
            library = name.split(".")[0]
            if room not in allowed.get(library, {room}) or (library == "rasterio" and room in raster_free):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("errors", "numpy rasterio torch"),
        ("bands", "rasterio torch"),
        ("models", "numpy rasterio torch openvino"),
        ("models.network", "rasterio geopandas matplotlib openvino onnx"),
        ("models.runtime", "torch onnx onnxruntime geopandas"),
        ("grid", "torch geopandas"),
        ("tiling.mosaic", "torch geopandas"),
        ("io.remote", "torch geopandas"),
        ("readers", "torch geopandas matplotlib PIL"),
        ("writers.cog", "torch geopandas"),
        ("preview.draw", "torch geopandas matplotlib"),
        ("pipeline", "torch openvino geopandas matplotlib distributed"),
        ("models.predictor", "torch openvino onnx geopandas matplotlib"),
        ("training.data.cut", "torch matplotlib"),
        ("batch", "torch distributed matplotlib"),
    ],
)
def test_what_a_room_loads_in_a_fresh_process(room, never):
    """Includes indirect imports."""
    code = f"import sys, geocloud.{room}; print([m for m in {never.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_library_neither_prints_nor_exits():
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in {"print", "sys.exit", "exit"}, path


def test_importing_geocloud_loads_nothing_heavy_and_help_neither():
    heavy = "('torch', 'rasterio', 'numpy', 'geopandas')"
    code = f"import sys, geocloud, geocloud_cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist():
    for name in geocloud.__all__:
        assert getattr(geocloud, name) is not None
    assert set(geocloud.__all__) <= set(dir(geocloud))
