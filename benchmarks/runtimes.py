"""The default network alone, one tile at a time, on one thread: ``python benchmarks/runtimes.py RUNTIME PRECISION``.

RUNTIME is openvino (geocloud's on CPUs), torch (geocloud's on GPUs), compile (torch.compile) or onnxruntime, if
installed. PRECISION auto runs the bundled file. Prints JSON: CPU seconds per megapixel, seconds until the first tile is
done, and the percentage of pixels with the same class as by torch in float32.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geocloud.models import DEFAULT, find_weights
from geocloud.models.devices import Precision
from geocloud.models.export import to_onnx
from geocloud.models.network import Network
from geocloud.models.predictor import load_model
from geocloud.models.runtime import open_onnx
from geocloud.simulate import simulate_scene

SHAPE = (768, 1216)
Tile = NDArray[np.float32]


def prepare(runtime: str, precision: str, network: Network) -> Callable[[Tile], Any]:
    """A function that runs the network in a runtime, from reflectance to probability."""
    if runtime == "openvino" and precision == Precision.AUTO:
        return load_model(device="cpu", threads=1)
    if runtime == "openvino":
        return open_onnx(to_onnx(network), Precision(precision))
    if runtime == "onnxruntime":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(to_onnx(network), settings, providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {"reflectance": image})[0]
    network = copy.deepcopy(network)
    network.body.to(dtype=getattr(torch, precision), memory_format=torch.channels_last)  # type: ignore[call-overload]
    if runtime == "compile":
        network.compile()
    return lambda image: network(torch.from_numpy(image)).numpy()


def main(runtime: str, precision: str) -> None:
    torch.set_num_threads(1)
    network = Network.load(find_weights(DEFAULT))
    tile = simulate_scene(5, SHAPE).reflectance[None].astype("float32")
    with torch.inference_mode():
        started = time.perf_counter()
        run = prepare(runtime, precision, network)
        probability = run(tile)
        first = time.perf_counter() - started
        taken = []
        for _ in range(10):
            before = time.process_time()
            run(tile)
            taken.append(time.process_time() - before)
        exact = prepare("torch", "float32", network)(tile)
    megapixels = SHAPE[0] * SHAPE[1] / 1e6
    cloud = (probability > network.metadata.threshold) == (exact > network.metadata.threshold)
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
