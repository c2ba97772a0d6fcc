"""Measures geocloud on scenes as large as Landsat's and writes results.json, results.md and results.png.

    python benchmarks/run.py [GROUP ...] [--turns 5] [--out benchmarks]

Without GROUP, all groups are measured, which takes long. Results of other groups stay in results.json. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measure import in_turn

from geocloud.models.devices import Precision, cuda_devices

HERE = Path(__file__).parent
FULL = (7600, 7700)
OPENVINO = "from geocloud.models.runtime import import_openvino; import_openvino()"  # without telemetry
Row = dict[str, Any]
Commands = dict[str, tuple[list[str], float]]


class Bench:
    """Scenes in a temporary folder, and the commands to measure on them."""

    def __init__(self, folder: Path, turns: int) -> None:
        self.folder, self.turns = folder, turns

    def scene(self, name: str, rows: int, cols: int, *options: str) -> Path:
        """Path of a scene. The scene is created on first use."""
        path = self.folder / name
        if not path.exists():
            size = ["--rows", str(rows), "--cols", str(cols)]
            subprocess.run([sys.executable, str(HERE / "scenes.py"), str(path), *size, *options], check=True)
        return path

    def full(self) -> Path:
        """Path of the scene of most benchmarks: 7600×7700 pixels, four tiled files, deflate."""
        return self.scene("full", *FULL)

    def mask(self, scene: Path, *options: str) -> list[str]:
        """Command that masks a scene."""
        output = str(self.folder / "mask.tif")
        return [sys.executable, "-m", "geocloud_cli", "-q", "mask", str(scene), "-o", output, "--overwrite", *options]

    def floor(self, scene: Path) -> list[str]:
        """Command that only reads the bands and writes a mask."""
        return [sys.executable, str(HERE / "floor.py"), str(scene), str(self.folder / "floor.tif")]

    def rows(self, commands: Commands, threads: int | None = None) -> list[Row]:
        """Measures commands, given with their megapixels, in turn. ``threads`` None: the default number."""
        environment = dict.fromkeys(("OMP_NUM_THREADS", "GDAL_NUM_THREADS"), str(threads)) if threads else {}
        took = in_turn({name: (command, environment) for name, (command, _) in commands.items()}, self.turns)
        return [
            {
                "what": name,
                "megapixels": round(megapixels, 1),
                "wall": round(took[name].wall, 2),
                "cpu": round(took[name].cpu, 2),
                "cpu_per_mp": round(took[name].cpu / megapixels, 3) if megapixels else None,
                "peak": round(took[name].peak),
            }
            for name, (_, megapixels) in commands.items()
        ]


def full_scene(bench: Bench) -> list[Row]:
    """The floor, the full scene, a scene with a collar, and the full scene with shadows."""
    collar = bench.scene("collar", *FULL, "--collar")
    megapixels = FULL[0] * FULL[1] / 1e6
    return bench.rows(
        {
            "floor: read the bands, write a mask": (bench.floor(bench.full()), megapixels),
            "geocloud mask": (bench.mask(bench.full()), megapixels),
            "geocloud mask, a third of the scene without data": (bench.mask(collar), megapixels),
            "geocloud mask --shadows": (bench.mask(bench.full(), "--shadows"), megapixels),
        }
    )


def sentinel2(bench: Bench) -> list[Row]:
    """A Sentinel-2 tile at 10 m, JPEG 2000."""
    tile = bench.scene("sentinel2", 10_980, 10_980, "--layout", "jp2")
    read, megapixels = ["--units", "sentinel2"], 10_980**2 / 1e6
    return bench.rows(
        {
            "floor: decode the bands, write a mask": (bench.floor(tile), megapixels),
            "geocloud mask": (bench.mask(tile, *read), megapixels),
            "geocloud mask --working-resolution native": (
                bench.mask(tile, *read, "--working-resolution", "native"),
                megapixels,
            ),
        }
    )


def stages(bench: Bench) -> list[Row]:
    """CPU seconds by stage, from the median run."""
    command = [sys.executable, str(HERE / "stages.py"), str(bench.full()), str(bench.folder / "mask.tif")]
    runs = [
        json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        for _ in range(bench.turns)
    ]
    middle = sorted(runs, key=lambda run: sum(run.values()))[len(runs) // 2]
    return [{"what": stage, "cpu": round(seconds, 2)} for stage, seconds in middle.items()]


def sizes(bench: Bench) -> list[Row]:
    """Scenes from 5 to 240 megapixels."""
    commands = {}
    for rows, cols in ((2200, 2273), (3800, 3850), FULL, (15_200, 15_400)):
        megapixels = rows * cols / 1e6
        scene = bench.full() if (rows, cols) == FULL else bench.scene(f"size-{rows}", rows, cols)
        commands[f"{megapixels:.0f} megapixels"] = (bench.mask(scene), megapixels)
    return bench.rows(commands)


def start(bench: Bench) -> list[Row]:
    """Start-up time of commands."""
    small = bench.scene("small", 512, 512)
    return bench.rows(
        {
            "geocloud --help": ([sys.executable, "-m", "geocloud_cli", "--help"], 0),
            "import torch": ([sys.executable, "-c", "import torch"], 0),
            "import openvino": ([sys.executable, "-c", OPENVINO], 0),
            "geocloud mask, 512×512": (bench.mask(small), 0),
        }
    )


def runtimes(bench: Bench) -> list[Row]:
    """The default network alone, in all installed runtimes, and in bfloat16 if the CPU has instructions for it."""
    import torch

    from geocloud.models.network import find_dtype

    fastest = str(find_dtype(torch.device("cpu"), Precision.AUTO)).removeprefix("torch.")
    types = dict.fromkeys(("float32", fastest))
    wanted = [("openvino", precision) for precision in ("auto", *types)]
    wanted += [(runtime, precision) for runtime in ("torch", "compile") for precision in types]
    wanted += [("onnxruntime", "float32")] if find_spec("onnxruntime") and find_spec("onnx") else []
    rows = []
    for runtime, precision in wanted:
        command = [sys.executable, str(HERE / "runtimes.py"), runtime, precision]
        runs = [
            json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
            for _ in range(bench.turns)
        ]
        rows.append(
            {"what": f"{runtime}, {precision}", **{key: statistics.median(r[key] for r in runs) for key in runs[0]}}
        )
    return rows


def gpu(bench: Bench) -> list[Row]:
    """The full scene on a CUDA device, if there is one."""
    if not cuda_devices():
        return []
    variants = {f"cuda, {p}": ["--device", "cuda", "--precision", p] for p in ("float32", "bfloat16", "float16")}
    variants |= {f"cuda, batches of {n}": ["--device", "cuda", "--batch", str(n)] for n in (1, 4, 16)}
    megapixels = FULL[0] * FULL[1] / 1e6
    return bench.rows({name: (bench.mask(bench.full(), *options), megapixels) for name, options in variants.items()})


def peers(bench: Bench) -> list[Row]:
    """geocloud and other installed programs, on 5 megapixels."""
    scene = bench.scene("size-2200", 2200, 2273)
    output = str(bench.folder / "peer.tif")
    commands = {"geocloud": (bench.mask(scene), 5.0)}
    for peer, module in (("omnicloudmask", "omnicloudmask"), ("ukis-csmask", "ukis_csmask")):
        if find_spec(module):
            commands[peer] = ([sys.executable, str(HERE / "peers.py"), peer, str(scene), output], 5.0)
    return bench.rows(commands) if len(commands) > 1 else []


GROUPS: dict[str, Callable[[Bench], list[Row]]] = {
    "full": full_scene,
    "sentinel2": sentinel2,
    "stages": stages,
    "sizes": sizes,
    "start": start,
    "runtimes": runtimes,
    "gpu": gpu,
    "peers": peers,
}


def machine() -> str:
    """Description of this machine."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text()
        names = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
        model = f"{len(names)} × {names[0]}" if names else model
        model += " with bfloat16" if "avx512_bf16" in text else ""
    return f"{model}, {platform.system()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    strange = set(arguments.groups) - set(GROUPS)
    if strange:
        parser.error(f"no group {min(strange)!r}: there are {', '.join(GROUPS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"groups": {}}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.turns)
        for name in arguments.groups or GROUPS:
            rows = GROUPS[name](bench)
            if rows:
                results["groups"][name] = {"machine": machine(), "turns": arguments.turns, "rows": rows}
                path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    subprocess.run([sys.executable, str(HERE / "show.py"), str(arguments.out)], check=True)


if __name__ == "__main__":
    main()
