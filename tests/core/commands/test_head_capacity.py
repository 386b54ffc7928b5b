"""Capacity of the Gaussians: patterns that they must represent, and one that a single Gaussian per cell cannot."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.bench.head_capacity import Head

CAMERA = np.array([0.0, 2.4, 1.5])


def scene() -> np.ndarray:
    """A floor one voxel thick, and a cell with two classes, one in each half."""
    target = np.zeros((60, 60, 36), np.uint8)
    target[20:30, 20:30, 2] = 2
    target[40:42, 40, 10:12], target[40:42, 41, 10:12] = 8, 5
    target[:, :, 30:] = 255
    return target


@pytest.mark.slow
def test_four_gaussians_a_cell_say_a_thin_slab_and_two_classes_in_one_cell() -> None:
    target = scene()
    found = Head(4, "ray").fit(target, CAMERA)
    assert np.array_equal(found[:, :, :29], target[:, :, :29])  # voxels without truth do not count


@pytest.mark.slow
def test_one_gaussian_a_cell_has_one_class_at_most() -> None:
    cell = Head(1, "ray").fit(scene(), CAMERA)[40:42, 40:42, 10:12]
    assert len(set(cell.ravel().tolist()) - {0}) <= 1
