"""The node waits for the next image, briefly, where that makes the map more up to date. Time is simulated."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sgrocc_ros.input.cadence import ENOUGH, LATE, Cadence

PERIOD = 0.1
STEP = 0.35


def _camera(images: int, period: float = PERIOD) -> Cadence:
    cadence = Cadence()
    for i in range(images):
        cadence.arrive(i * period)
    return cadence


@pytest.mark.parametrize(
    ("age", "work", "expected"),
    [
        (0.0, STEP, 0.0),
        (0.033, STEP, 0.0),
        (0.034, STEP, LATE * PERIOD - 0.034),
        (0.12, STEP, LATE * PERIOD - 0.12),
        (0.13, STEP, 0.0),  # the next image is late
        (0.05, 0.09, 0.0),  # a step that keeps up loses no image
    ],
)
def test_an_old_image_gives_way_to_the_next_where_images_are_overtaken_anyway(age, work, expected):
    assert _camera(20).patience(age, work) == pytest.approx(expected)


def test_nothing_is_waited_for_before_the_period_is_known():
    assert _camera(ENOUGH).patience(0.05, STEP) == 0
    assert _camera(ENOUGH + 1).patience(0.05, STEP) > 0


def test_a_gap_between_images_changes_nothing():
    cadence = _camera(20)
    cadence.arrive(60.0)
    assert cadence.patience(0.05, STEP) == pytest.approx(LATE * PERIOD - 0.05)


def test_an_image_is_as_old_as_it_is_complete():
    cadence = _camera(20)
    for age in (0.14, 0.12, 0.19):  # poses arrive 0.12 s after their image
        cadence.take(age)
    assert cadence.patience(0.15, STEP) == 0
    assert cadence.patience(0.17, STEP) == pytest.approx(LATE * PERIOD - 0.05)


def _mean_staleness(waits: bool) -> tuple[float, int]:
    """Simulate 10 Hz and steps of 0.30 to 0.42 s for 1000 s: mean age of the map's information, and images mapped."""
    random = np.random.default_rng(7)
    cadence, now, arrived, work = Cadence(), 0.0, 0, 0.0
    done: list[tuple[float, float]] = []  # (time of an update, stamp of its image)
    while now < 1000:
        while (arrived + 1) * PERIOD <= now:
            arrived += 1
            cadence.arrive(arrived * PERIOD)
        age = now - arrived * PERIOD
        if waits and cadence.patience(age, work) > 0:
            now = (arrived + 1) * PERIOD + 1e-9
            continue
        cadence.take(age)
        work = random.uniform(0.30, 0.42)
        done.append((now + work, arrived * PERIOD))
        now += work
    staleness = sum((b - a) * ((a + b) / 2 - stamp) for (a, stamp), (b, _) in pairwise(done))
    return staleness / (done[-1][0] - done[0][0]), len(done)


def test_the_maps_news_are_younger_for_a_few_images_less():
    (without, all_images), (with_waiting, images) = _mean_staleness(False), _mean_staleness(True)
    assert without - with_waiting > 0.25 * PERIOD  # a third of a period by the module's docstring
    assert images > 0.9 * all_images
