"""The default network alone, one tile at a time, on one thread: ``python benchmarks/runtimes.py RUNTIME PRECISION``.

RUNTIME is eager (as geocloud runs it), unfused, compile (torch.compile), onnxruntime or openvino; the last two must be
installed. Prints JSON: CPU seconds per megapixel, seconds until the first tile is done, and the percentage of pixels
masked as in float32.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from geocloud.model import DEFAULT, find_model
from geocloud.model.checkpoint import Checkpoint, normalise
from geocloud.model.fuse import fuse
from geocloud.model.int8 import Int8FastUNet
from geocloud.predict import Precision, find_dtype
from geocloud.simulate import simulate_scene

SHAPE = (768, 1216)
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def prepare(runtime: str, precision: str, checkpoint: Checkpoint, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The network in a runtime: a function from normalised reflectance to logits."""
    network = checkpoint.network()
    if precision == "int8":
        return Int8FastUNet(network, checkpoint.seen, find_dtype(torch.device("cpu"), Precision.AUTO))  # type: ignore[arg-type]
    if runtime in ("eager", "unfused", "compile"):
        if runtime == "eager":
            network = fuse(network, torch.device("cpu"))
        network = network.to(TYPES[precision]).to(memory_format=torch.channels_last)
        return torch.compile(network) if runtime == "compile" else network
    if runtime == "openvino":
        import openvino

        model = openvino.convert_model(network, example_input=x)
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        }
        compiled = openvino.compile_model(model, "CPU", settings)
        return lambda tile: torch.from_numpy(compiled(tile.numpy())[0])
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(network, (x,), file, dynamo=False, input_names=["x"])
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), settings, providers=["CPUExecutionProvider"])
    return lambda tile: torch.from_numpy(session.run(None, {"x": tile.numpy()})[0])


def main(runtime: str, precision: str) -> None:
    torch.set_num_threads(1)
    checkpoint = Checkpoint.load(find_model(DEFAULT))
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (checkpoint.mean, checkpoint.std))
    image = simulate_scene(5, SHAPE).reflectance[None]
    with torch.inference_mode():
        reflectance = torch.from_numpy(image.astype("float32"))
        x = normalise(reflectance, mean, std, checkpoint.clip, checkpoint.optional_nir)
        started = time.perf_counter()
        run = prepare(runtime, precision, checkpoint, x)
        found = run(x).float().sigmoid()
        first = time.perf_counter() - started
        taken = []
        for _ in range(10):
            before = time.process_time()
            run(x)
            taken.append(time.process_time() - before)
        exact = fuse(checkpoint.network(), torch.device("cpu"))(x).sigmoid()
    megapixels = SHAPE[0] * SHAPE[1] / 1e6
    cloud = (found > checkpoint.threshold) == (exact > checkpoint.threshold)
    print(
        json.dumps(
            {
                "cpu_per_mp": round(float(np.median(taken)) / megapixels, 3),
                "first": round(first, 1),
                "agree": round(100 * float(cloud.float().mean()), 3),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
