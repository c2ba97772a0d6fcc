"""Prefetching: order, bounds and errors."""

import threading
import time

import pytest

from geocloud.io.prefetch import ahead


def test_items_come_in_order_and_are_worked_out_elsewhere_but_not_too_far_ahead():
    made = []

    def items():
        for number in range(20):
            made.append((number, threading.get_ident()))
            yield number

    with ahead(items(), 3) as numbers:
        for number in numbers:
            time.sleep(0.002)
            assert made[-1][0] - number <= 4
            last = number
    assert last == 19
    assert {thread for _, thread in made}.isdisjoint({threading.get_ident()})


def test_it_starts_before_anything_is_asked_for():
    started = threading.Event()

    def items():
        started.set()
        yield 1

    with ahead(items(), 1):
        assert started.wait(5)


def test_an_error_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("the second is broken")

    with ahead(items(), 2) as numbers:
        assert next(numbers) == 1
        with pytest.raises(ValueError, match="second"):
            next(numbers)


def test_leaving_early_stops_the_work():
    made = []
    with ahead((made.append(i) or i for i in range(1000)), 2) as numbers:
        next(numbers)
    count = len(made)
    time.sleep(0.02)
    assert len(made) == count <= 5
