"""The overhead of a batch per scene, once warmed up: ``python benchmarks/overhead.py SCENE``.

Masks a small scene alternately alone (`mask_scene` with a loaded model) and as a job of a batch, with STAC item,
footprint and thumbnails. Prints the median seconds of each as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from geocloud.batch import BatchOptions
from geocloud.batch.job import Job, run_job
from geocloud.models.predictor import load_model
from geocloud.pipeline import MaskOptions, mask_scene

TURNS = 30


def main(scene: str) -> None:
    model = load_model()
    took: dict[str, list[float]] = {"alone": [], "as a job": []}
    with tempfile.TemporaryDirectory() as work:
        job = Job("scene", scene, Path(work), BatchOptions())
        for _ in range(TURNS):
            started = time.monotonic()
            mask_scene(scene, Path(work) / "alone.tif", model=model, options=MaskOptions(overwrite=True))
            took["alone"].append(time.monotonic() - started)
            started = time.monotonic()
            assert run_job(job, model).error is None
            took["as a job"].append(time.monotonic() - started)
    print(json.dumps({name: statistics.median(seconds[3:]) for name, seconds in took.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
