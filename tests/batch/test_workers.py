"""Order and retries of jobs, on an executor with simulated failures."""

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from geocloud.batch import BatchOptions
from geocloud.batch.job import BAD_INPUT, PASSING, Job, failed
from geocloud.batch.workers import run_jobs
from geocloud.errors import GeocloudError

JOBS = [Job(f"s{number}", f"s{number}.tif", Path(), BatchOptions()) for number in range(12)]


class Fake:
    """An executor that runs jobs in threads. ``fate(name, tries)`` is "done", "bad", "passing" or "death"."""

    def __init__(self, fate, room=3):
        self.fate, self.lost = fate, False
        self.tries, self.together, self.most, self.beside = Counter(), set(), 0, {}
        self.room, self._pool, self._lock = room, ThreadPoolExecutor(8), threading.Lock()

    def submit(self, job):
        future = Future() if self.lost else self._pool.submit(self._run, job)
        if self.lost:
            future.cancel()
            future.set_running_or_notify_cancel()
        return future

    def _run(self, job):
        with self._lock:
            self.tries[job.name] += 1
            tries = self.tries[job.name]
            self.together.add(job.name)
            self.beside[job.name, tries] = len(self.together)
            self.most = max(self.most, len(self.together))
        time.sleep(0.01)
        with self._lock:
            self.together.remove(job.name)
        fate = self.fate(job.name, tries)
        if fate == "death":
            raise BrokenProcessPool("its worker died")
        return {"done": job.entry("done"), "bad": failed(job, "no", BAD_INPUT)}.get(fate) or failed(job, "no", PASSING)


def outcomes(fake, jobs=JOBS):
    return {entry.name: entry.state for entry in run_jobs(jobs, fake)}


def test_all_run_and_never_more_than_there_is_room_for():
    fake = Fake(lambda *_: "done")
    assert outcomes(fake) == dict.fromkeys((job.name for job in JOBS), "done") and fake.most == 3


def test_what_may_pass_is_tried_again_and_bad_input_is_not():
    fates = {"s1": ["passing", "done"], "s2": ["passing"] * 9, "s3": ["bad"] * 9}
    fake = Fake(lambda name, tries: fates.get(name, ["done"] * 9)[tries - 1])
    states = outcomes(fake)
    assert (states["s1"], states["s2"], states["s3"]) == ("done", "failed", "failed")
    assert (fake.tries["s1"], fake.tries["s2"], fake.tries["s3"]) == (2, 3, 1)


def test_what_was_lost_with_a_worker_is_tried_alone():
    fake = Fake(lambda name, tries: "death" if name == "s4" or (name == "s5" and tries == 1) else "done")
    states = outcomes(fake)
    assert [name for name, state in states.items() if state == "failed"] == ["s4"] and len(states) == len(JOBS)
    assert fake.tries["s4"] == 3 and fake.tries["s5"] == 2
    assert all(together == 1 for (_, tries), together in fake.beside.items() if tries > 1)


def test_an_executor_that_is_lost_ends_the_run():
    fake = Fake(lambda *_: "done")
    run = run_jobs(JOBS, fake)
    next(run)
    fake.lost = True
    with pytest.raises(GeocloudError, match="start the run again to continue"):
        list(run)
