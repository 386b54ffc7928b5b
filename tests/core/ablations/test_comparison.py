"""The statistics of ablations against values computed by hand."""

import pytest

from sgrocc_core.training.ablations.comparison import estimate, paired_difference


def test_mean_and_sample_spread():
    found = estimate([1.0, 2.0, 6.0])
    assert found.mean == 3.0 and found.count == 3
    assert found.spread == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    assert found.error == pytest.approx((7 / 3) ** 0.5)


def test_one_value_has_no_spread_and_is_never_clear():
    found = estimate([5.0])
    assert (found.mean, found.spread, found.error, found.clear) == (5.0, None, None, False)
    assert estimate([]) is None


def test_differences_are_paired_by_seed():
    # Seeds differ by tens, the variants by 1, 2 and 3: pairing sees the latter only. Seed 4 has no partner.
    found = paired_difference({1: 11.0, 2: 22.0, 3: 33.0, 4: 99.0}, {3: 30.0, 2: 20.0, 1: 10.0})
    assert (found.mean, found.spread, found.count) == (2.0, 1.0, 3)
    assert found.error == pytest.approx(3**-0.5)
    assert paired_difference({1: 1.0}, {2: 1.0}) is None


def test_a_difference_is_clear_beyond_students_interval():
    # Three seeds: t = 4.303. Spread 1, error 0.577: clear above 2.484.
    assert not estimate([1.4, 2.4, 3.4]).clear
    assert estimate([1.5, 2.5, 3.5]).clear and estimate([-1.5, -2.5, -3.5]).clear
    # Two seeds: t = 12.706, error 0.1: clear above 1.27.
    assert not estimate([1.1, 1.3]).clear
    assert estimate([1.2, 1.4]).clear
    # Eleven seeds: t = 2.228 with ten degrees of freedom. Spread of the numbers -5..5 is the root of 11: error 1.
    assert not estimate([2.22 + n for n in range(-5, 6)]).clear
    assert estimate([2.24 + n for n in range(-5, 6)]).clear
