"""The default network alone, one tile at a time, on one thread: ``python benchmarks/runtimes.py RUNTIME PRECISION``.

RUNTIME is openvino (as geocloud runs it on x86-64 CPUs), torch (as elsewhere), compile (torch.compile) or onnxruntime,
which must be installed. Prints JSON: CPU seconds per megapixel, seconds until the first tile is done, and the
percentage of pixels masked as by torch in float32.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geocloud.models import DEFAULT, find_model
from geocloud.model.checkpoint import Checkpoint
from geocloud.models.devices import Precision
from geocloud.model.fuse import fuse
from geocloud.model.networks import load_network
from geocloud.model.normalise import normalise
from geocloud.model.openvino_runner import OpenVinoRunner
from geocloud.simulate import simulate_scene

SHAPE = (768, 1216)
Tile = NDArray[np.float32]


def prepare(runtime: str, precision: str, checkpoint: Checkpoint, tile: Tile) -> Callable[[Tile], Any]:
    """The network in a runtime: a function from reflectance to probability."""
    if runtime == "openvino":
        return OpenVinoRunner(checkpoint, Precision(precision), 1)
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std))

    def normalised(image: Tile) -> Tensor:
        return normalise(torch.from_numpy(image), mean, std, checkpoint.clip, checkpoint.optional_nir)

    if runtime == "onnxruntime":
        import onnxruntime

        file = io.BytesIO()
        torch.onnx.export(load_network(checkpoint), (normalised(tile),), file, dynamo=False, input_names=["x"])
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file.getvalue(), settings, providers=["CPUExecutionProvider"])
        return lambda image: torch.from_numpy(session.run(None, {"x": normalised(image).numpy()})[0]).sigmoid().numpy()
    network: nn.Module = fuse(load_network(checkpoint)).to(getattr(torch, precision))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if runtime == "compile":
        network.compile()
    return lambda image: network(normalised(image)).float().sigmoid().numpy()


def main(runtime: str, precision: str) -> None:
    torch.set_num_threads(1)
    checkpoint = Checkpoint.load(find_model(DEFAULT))
    tile = simulate_scene(5, SHAPE).reflectance[None].astype("float32")
    with torch.inference_mode():
        started = time.perf_counter()
        run = prepare(runtime, precision, checkpoint, tile)
        found = run(tile)
        first = time.perf_counter() - started
        taken = []
        for _ in range(10):
            before = time.process_time()
            run(tile)
            taken.append(time.process_time() - before)
        exact = prepare("torch", "float32", checkpoint, tile)(tile)
    megapixels = SHAPE[0] * SHAPE[1] / 1e6
    cloud = (found > checkpoint.threshold) == (exact > checkpoint.threshold)
    print(
        json.dumps(
            {
                "cpu_per_mp": round(float(np.median(taken)) / megapixels, 3),
                "first": round(first, 1),
                "agree": round(100 * float(cloud.mean()), 3),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
