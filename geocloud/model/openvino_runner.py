"""Networks computed by OpenVINO, on an x86-64 CPU: https://docs.openvino.ai. It starts in a sixth of torch's time."""

from __future__ import annotations

import sys
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocloud.errors import CheckpointError, DeviceError
from geocloud.model import graph
from geocloud.model.checkpoint import Checkpoint
from geocloud.model.complete import complete
from geocloud.model.devices import MOST_WORKERS, Precision

TYPES = {Precision.FLOAT32: "f32", Precision.BFLOAT16: "bf16"}

_CORE: list[Any] = []
_LOCK = Lock()


class OpenVinoRunner:
    """A checkpoint's network, as `geocloud.predict.Runner`; one tile per thread.

    Args:
        checkpoint: For which `graph.can_build` holds.
        precision: Its own, or auto: int8 where the model can, bfloat16 where the CPU has it, else float32.
        threads: Of all tiles together.

    Raises:
        DeviceError: The CPU lacks the precision.
        CheckpointError: The model cannot compute in int8, or the weights do not fit its architecture.
    """

    device = "cpu"
    batch = 1

    def __init__(self, checkpoint: Checkpoint, precision: Precision, threads: int) -> None:
        core = _core()
        has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        own = Precision.BFLOAT16 if has_bfloat16 else Precision.FLOAT32
        if precision is Precision.AUTO:
            precision = Precision.INT8 if checkpoint.seen else own
        if precision is Precision.FLOAT16 or (precision is Precision.BFLOAT16 and not has_bfloat16):
            raise DeviceError(f"precision {precision}: this CPU has no instructions for it; take auto or float32")
        integers = precision is Precision.INT8
        if integers and not checkpoint.seen:
            raise CheckpointError(
                f"model {checkpoint.name!r}: cannot compute in int8, as only 'fast' networks trained since can; "
                "leave --precision int8 out"
            )
        self.precision: Precision = precision
        self.workers = min(threads, MOST_WORKERS)
        self._settings = {
            "INFERENCE_PRECISION_HINT": TYPES[own if integers else precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": self.workers,
            "ENABLE_CPU_PINNING": False,  # processes side by side would take the same cores
        }
        self._core, self._checkpoint, self._lock = core, checkpoint, Lock()
        self._with_nir = self._requests(False)
        self.stride = graph.stride(checkpoint)
        self._without: SimpleQueue[Any] | None = None

    def _requests(self, without_nir: bool) -> SimpleQueue[Any]:
        """The network, once for each worker: scenes that share a runner must not compete for cores."""
        integers = self.precision is Precision.INT8
        try:
            model = graph.build(self._checkpoint, integers, without_nir)
            network = self._core.compile_model(model, "CPU", self._settings)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(_problem(self._checkpoint, integers, error)) from error
        idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.workers):
            idle.put(network.create_infer_request())
        return idle

    def start_worker(self) -> None:
        """Nothing to do: OpenVINO computes in threads of its own."""

    def __call__(self, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tiles ``(N, 4, H, W)``, NaN where there is no data → probability ``(N, classes, H, W)``."""
        filled, absent = complete(reflectance, self._checkpoint.clip, self._checkpoint.optional_nir)
        if absent.any() and not absent.all():
            return np.concatenate([self(tile) for tile in np.split(reflectance, len(reflectance))])
        if not absent.any():
            return _compute(self._with_nir, filled)
        with self._lock:
            self._without = self._without or self._requests(True)
        return _compute(self._without, filled)


def _compute(idle: SimpleQueue[Any], reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    request = idle.get()
    try:
        request.infer([reflectance], share_inputs=True)
        probability: NDArray[np.float32] = request.get_output_tensor().data.copy()
    finally:
        idle.put(request)
    return probability


def _problem(checkpoint: Checkpoint, integers: bool, error: Exception) -> str:
    detail = " ".join(str(error).split())
    if integers:
        return (
            f"model {checkpoint.name!r}: what it needs for int8 is damaged or of another network ({detail}); "
            "fetch it again, train it anew, or take another --precision"
        )
    return f"model {checkpoint.name!r}: the weights do not fit {checkpoint.architecture!r}: {detail}"


def _core() -> Any:
    """OpenVINO's core, one for the process, which is never freed.

    Its CPU plugin gives the thread that makes it a stack for signals, and at its end unmaps that without telling the
    system: the next signal, such as Ctrl-C, would kill the process.
    """
    with _LOCK:
        if not _CORE:
            _CORE.append(import_openvino().Core())
        return _CORE[0]


def import_openvino() -> Any:
    """OpenVINO without its telemetry, which would send an event to Google each time that it is imported."""
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # importing it fails, which is foreseen
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino
