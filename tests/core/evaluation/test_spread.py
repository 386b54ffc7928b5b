"""Calibration of the spread: Laplace quantiles, counted by hand and on draws of the distribution itself."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.evaluation.spread import SpreadCalibration, quantile


def test_half_of_a_laplace_distributions_errors_are_below_its_scale_times_ln_2() -> None:
    assert quantile(0.5) == pytest.approx(np.log(2))
    assert quantile(0.9) == pytest.approx(np.log(10))


def test_a_right_spread_has_the_shares_that_it_promises() -> None:
    draw = np.random.default_rng(1)
    truth = draw.uniform(1, 5, (100, 1000))
    spread = draw.uniform(0.05, 0.5, truth.shape)
    found = SpreadCalibration()
    found.add(truth + draw.laplace(0, spread), spread, truth)
    figures = found.figures()
    assert figures["p50"] == pytest.approx(0.5, abs=0.01) and figures["p90"] == pytest.approx(0.9, abs=0.01)
    assert figures["error"] < 0.01


def test_a_spread_that_is_twice_as_large_as_it_should_be_is_told() -> None:
    draw = np.random.default_rng(2)
    truth = np.full((100, 1000), 3.0)
    found = SpreadCalibration()
    found.add(truth + draw.laplace(0, 0.1, truth.shape), np.full(truth.shape, 0.2), truth)
    # P(|e| < 2 b ln 2) = 1 - exp(-2 ln 2) = 3/4
    assert found.figures()["p50"] == pytest.approx(0.75, abs=0.01)
    assert found.figures()["error"] == pytest.approx(0.25, abs=0.01)


def test_pixels_without_truth_or_depth_do_not_count() -> None:
    depth, truth = np.array([[1.0, 0.0, 2.0]]), np.array([[1.05, 1.0, 0.0]])
    found = SpreadCalibration()
    found.add(depth, np.full((1, 3), 0.1), truth)
    assert found.pixels == 1
    assert found.figures() == {"p50": 1.0, "p68": 1.0, "p90": 1.0, "error": 0.5}


def test_no_pixels_have_no_figures() -> None:
    assert SpreadCalibration().figures() == {"p50": None, "p68": None, "p90": None, "error": None}
