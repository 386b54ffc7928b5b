"""Stamps of images: without a time they are dropped, and a jump of time is believed when three images agree."""

from __future__ import annotations

from collections import Counter

import pytest

from sgrocc_ros.input.stamps import StampGate

SECOND = 1_000_000_000


class _Report:
    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.messages: list[str] = []

    def drop(self, cause: str, message: str) -> None:
        self.dropped[cause] += 1
        self.messages.append(message)


def judged(stamps: list[float], clock: float = 20.0) -> tuple[list[str], Counter[str]]:
    """The judgements of stamps (seconds) under a clock that stands, and the drops."""
    report = _Report()
    gate = StampGate(report)
    return [gate.admit(int(stamp * SECOND), int(clock * SECOND)) for stamp in stamps], report.dropped


@pytest.mark.parametrize(
    ("stamps", "judgements", "dropped"),
    [
        ([10, 10.5, 10.2], "pass pass drop", {"stamp_back": 1}),
        ([10, 10], "pass drop", {"stamp_back": 1}),
        ([10, 8.5, 8.6, 8.7, 8.8], "pass drop drop jump pass", {"stamp_back": 2}),
        ([10, 8.5, 10.1, 8.6, 10.2, 8.7], "pass drop pass drop pass drop", {"stamp_back": 3}),
        ([10, 8.5, 5, 8, 3], "pass drop drop drop drop", {"stamp_back": 4}),
        ([10, 9.0], "pass drop", {"stamp_back": 1}),
        ([29.9], "pass", {}),
        ([30.1, 20], "drop pass", {"stamp_ahead": 1}),
        ([10, 10.1, 15, 10.2, 10.3, 10.4, 10.5], "pass pass pass pass pass pass pass", {}),
        ([10, 15, 16, 10.1, 10.2], "pass pass pass pass pass", {}),
        ([10, 15, 16, 17, 10.1], "pass pass pass pass drop", {"stamp_back": 1}),
        ([1, 2.5, 4, 5.5, 5.5], "pass pass pass pass drop", {"stamp_back": 1}),
        ([1, 3, 2.5, 5], "pass pass drop pass", {"stamp_back": 1}),
        ([1, 2.2, 1.7, 2.3], "pass pass drop pass", {"stamp_back": 1}),
        ([10, 0, 10.1, 0, 0, 0], "pass drop pass drop drop drop", {"stamp_zero": 4}),
        ([10, -1, -0.9, -0.8, -0.7, 10.1], "pass drop drop drop drop pass", {"stamp_invalid": 4}),
    ],
    ids=[
        "a_little_back",
        "twice_the_same",
        "a_restart",
        "two_sources",
        "back_without_agreement",
        "one_second_back",
        "ahead_within_bounds",
        "far_ahead",
        "one_image_five_seconds_ahead",
        "two_images_ahead",
        "time_goes_on_later",
        "one_image_in_two_seconds",
        "a_little_back_of_a_slow_camera",
        "a_little_back_of_the_first_after_a_pause",
        "stamp_zero",
        "before_1970",
    ],
)
def test_stamps_are_judged_by_the_rules(stamps, judgements, dropped):
    assert judged(stamps) == (judgements.split(), dropped)


def test_a_simulated_clock_that_has_not_started_judges_nothing_ahead():
    assert judged([10**9], clock=0)[0] == ["pass"]


def test_a_stamp_that_no_message_can_carry_back_is_dropped():
    assert judged([2**31 + 5.0], clock=0) == (["drop"], {"stamp_invalid": 1})


def test_the_drop_of_a_stamp_of_zero_says_so():
    report = _Report()
    StampGate(report).admit(0, 20 * SECOND)
    assert report.messages == ["the image's stamp is 0: the driver does not stamp its messages"]
