"""Counters and warnings: every cause is counted each time and warned about once per period."""

import pytest

from sgrocc_ros.health.advice import ADVICE
from sgrocc_ros.health.statistics import Statistics


@pytest.fixture
def told():
    """Statistics with a clock set by hand, and their warnings."""
    lines: list[str] = []
    now = [0.0]
    return Statistics(lines.append, lambda: 10.0, lambda: now[0]), lines, now


def test_a_cause_is_told_once_a_period_and_counted_each_time(told):
    statistics, lines, now = told
    for now[0] in (0.0, 1.0, 9.9, 10.0, 12.0, 25.0):
        statistics.drop("no_pose", "why")
    assert statistics.dropped["no_pose"] == 6
    assert lines == [f"image dropped (no_pose, {n} so far): why; {ADVICE['no_pose']}" for n in (1, 4, 6)]


def test_causes_are_told_apart(told):
    statistics, lines, _ = told
    statistics.drop("no_pose", "a")
    statistics.drop("no_depth", "b")
    statistics.notice("no_depth", "c")
    assert len(lines) == 3


def test_overtaken_images_are_counted_silently(told):
    statistics, lines, _ = told
    statistics.drop("overtaken", "newer")
    assert statistics.dropped["overtaken"] == 1 and lines == [] and statistics.last_error == ""


def test_percentiles_are_those_of_the_stage(told):
    statistics, _, _ = told
    for value in range(1, 101):
        statistics.process({"expert": float(value)})
    p50, p95 = statistics.latencies()["expert"]
    assert (p50, p95) == (pytest.approx(50.5), pytest.approx(95.05))


def test_the_summary_holds_all_counts(told):
    statistics, _, _ = told
    statistics.receive()
    statistics.receive()
    statistics.drop("bad_image", "x")
    statistics.process({"total": 5.0})
    summary = statistics.summary()
    assert summary["frames"] == {"received": 2, "lost": 0, "processed": 1, "dropped": {"bad_image": 1}}
    assert summary["latency"]["total"] == {"p50_ms": 5.0, "p95_ms": 5.0}
