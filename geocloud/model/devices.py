"""What this machine computes on, as far as that can be told without torch, which takes seconds to import."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec


class Precision(StrEnum):
    """The type of numbers that the network computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


MOST_WORKERS = 8
"""Most tiles at a time on a CPU. A tile per core is faster than all cores on one, but each takes some 100 MB."""

DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
"""Names of devices."""


def cores() -> int:
    """Threads to compute on: OMP_NUM_THREADS, or else as many as the processors that this process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_openvino() -> bool:
    """Whether networks are computed by OpenVINO on the CPU: where it is installed, on x86-64."""
    return platform.machine() in ("x86_64", "AMD64") and find_spec("openvino") is not None


def has_torch() -> bool:
    """Whether torch is installed, which only GPUs, training and CPUs without OpenVINO need."""
    return find_spec("torch") is not None


def nvidia_gpus() -> int:
    """Number of NVIDIA's GPUs that the driver tells of; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def may_have_gpu() -> bool:
    """False where torch cannot find a GPU: it is not installed or for CPUs, or there is no driver with a device."""
    build = version("torch").partition("+")[2] if has_torch() else "cpu"
    if build == "cpu":
        return False
    return platform.system() == "Darwin" or build.startswith(("rocm", "xpu")) or nvidia_gpus() > 0


def cuda_devices() -> int:
    """Number of CUDA devices that torch can use."""
    if not may_have_gpu():
        return 0
    import torch

    return torch.cuda.device_count()
