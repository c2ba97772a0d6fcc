"""Devices of this machine, detected without importing torch, which takes seconds."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec


class Precision(StrEnum):
    """Data types in which networks compute."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


DEVICES = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
"""Pattern of the names of devices."""


def cores() -> int:
    """Number of threads to use: OMP_NUM_THREADS, or else the number of processors that this process may use."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit):
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_torch() -> bool:
    """True if torch is installed. Only GPUs and training need it."""
    return find_spec("torch") is not None


def nvidia_gpus() -> int:
    """Number of NVIDIA GPUs that the driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def may_have_gpu() -> bool:
    """False if torch cannot use a GPU: it is not installed or built for CPUs, or no driver reports a device."""
    build = version("torch").partition("+")[2] if has_torch() else "cpu"
    system = platform.system() == "Darwin" or build.startswith(("rocm", "xpu"))
    return build != "cpu" and (system or nvidia_gpus() > 0)


def cuda_devices() -> int:
    """Number of CUDA devices that torch can use."""
    if not may_have_gpu():
        return 0
    import torch

    return torch.cuda.device_count()
