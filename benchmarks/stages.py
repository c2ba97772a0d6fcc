"""Profile by stage: ``python benchmarks/stages.py SCENE MASK.tif`` masks a scene like the command and prints the CPU
seconds of each stage as JSON. The network runs in one thread of OpenVINO; its stage is measured in wall-clock time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

SPENT: Counter[str] = Counter()
LOCK = threading.Lock()


def watch(owner: Any, name: str, stage: str, clock: Callable[[], float] = time.thread_time) -> None:
    """Adds the CPU time of each call to a stage. The calling thread alone is measured, as stages run concurrently."""
    call: Callable[..., Any] = getattr(owner, name)

    def watched(*args: Any, **options: Any) -> Any:
        started = clock()
        try:
            return call(*args, **options)
        finally:
            with LOCK:
                SPENT[stage] += clock() - started

    setattr(owner, name, watched)


def main(scene: str, output: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    from geocloud.io.allocator import keep_freed_memory

    keep_freed_memory()
    from geocloud import pipeline
    from geocloud.models import predictor, runtime
    from geocloud.pipeline import run
    from geocloud.readers.scene import RasterScene
    from geocloud.writers import cog

    SPENT["start-up"] = time.process_time()
    watch(RasterScene, "read_raw", "read")
    watch(runtime, "_predict", "network", time.perf_counter)
    watch(predictor, "fill_gaps", "fill gaps")
    watch(run, "to_mask", "write")
    watch(cog.StripWriter, "write", "write")
    watch(run, "write_cog", "write", time.process_time)  # only GDAL's own threads run then
    pipeline.mask_scene(scene, output, options=pipeline.MaskOptions(overwrite=True))
    SPENT["convert, blend"] = max(0.0, time.process_time() - sum(SPENT.values()))  # the network is wall-clock time
    print(json.dumps({stage: round(seconds, 3) for stage, seconds in SPENT.items()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
