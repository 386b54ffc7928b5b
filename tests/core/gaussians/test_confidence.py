"""View states of cells and the hybrid confidence of Eq. 6 to 8."""

import numpy as np
import pytest

from sgrocc_core.depth.layer import DepthLayer, footprint_minimum
from sgrocc_core.gaussians import confidence as c
from tests.samples.recordings.streams import K, anchor, camera_at, sensor, wall_depth

CAMERA = camera_at(0.0, 2.4, 1.44)
"""Pose in the box frame: at the middle of the low-x face of the box, looking along x."""
NEAR = 1
AHEAD = [anchor(i, 15, 9) for i in range(NEAR, 30)]
"""Cells in the image half a cell beside the optical axis; cell i lies at z = (i + 0.5) * 0.16 m."""


def test_cells_before_at_and_behind_a_wall_are_free_surface_and_hidden():
    view = c.view_cells([sensor(wall_depth(2.0))], CAMERA, 4.8)
    z = (np.arange(NEAR, 30) + 0.5) * 0.16
    band = 3 * (0.04 + 0.01 * z**2)
    expected = np.where(z < 2.0 - band, c.FREE, np.where(z <= 2.0 + band, c.SURFACE, c.HIDDEN))
    assert view.state[AHEAD].tolist() == expected.tolist()
    assert view.residual[anchor(12, 15, 9)] == pytest.approx(0.0, abs=1e-6) and view.sigma[
        anchor(12, 15, 9)
    ] == pytest.approx(0.08)


def test_cells_outside_the_image_are_unseen():
    view = c.view_cells([sensor(wall_depth(4.5))], CAMERA, 4.8)
    state = view.state.reshape(30, 30, 18)
    assert (
        state[6, 15, 9] == c.FREE and state[6, 0, 9] == c.UNSEEN
    )  # at z = 1.04 m the image ends 0.83 m beside the axis
    assert not view.weight[view.state == c.UNSEEN].any() and (view.weight[view.state != c.UNSEEN] > 0).all()


def test_cells_without_depth_are_unseen():
    depth = wall_depth(2.0)
    depth[:, 80:] = 0
    state = c.view_cells([sensor(depth)], CAMERA, 4.8).state.reshape(30, 30, 18)
    assert state[10, 17, 9] == c.FREE and state[10, 12, 9] == c.UNSEEN  # the image's right is the world's -y


def test_cells_beyond_the_largest_distance_are_unseen():
    state = c.view_cells([sensor(wall_depth(4.0))], CAMERA, 1.0).state[AHEAD]
    assert (state[: 6 - NEAR] != c.UNSEEN).all() and not state[6 - NEAR :].any()


def test_a_chair_leg_beside_the_cells_centre_keeps_the_cell_from_being_free():
    """At 1.04 m a cell is 15 pixels wide; the leg is 2 pixels wide, 4 pixels beside the centre of the cell."""
    depth = wall_depth(4.0)
    cell = anchor(6, 15, 9)
    assert c.view_cells([sensor(depth)], CAMERA, 4.8).state[cell] == c.FREE
    depth[:, 66:68] = 1.04  # the cell's centre projects to column 79.5 - 100 * 0.08 / 1.04 = 71.8
    assert c.view_cells([sensor(depth)], CAMERA, 4.8).state[cell] == c.SURFACE


def test_a_cell_partly_covered_by_something_nearer_is_hidden_not_free():
    depth = wall_depth(4.0)
    depth[:, 75:77] = 0.6
    assert c.view_cells([sensor(depth)], CAMERA, 4.8).state[anchor(12, 15, 9)] == c.HIDDEN


def test_learned_depth_judges_only_where_the_sensor_says_nothing():
    half = wall_depth(2.0)
    half[:, 80:] = 0
    learned = DepthLayer.learned(wall_depth(4.0), wall_depth(0.1), K)
    state = c.view_cells([sensor(half), learned], CAMERA, 4.8).state.reshape(30, 30, 18)
    assert state[20, 19, 9] == c.HIDDEN and state[20, 10, 9] == c.FREE


def test_the_spread_of_a_learned_depth_widens_the_surface():
    state = {}
    for spread in (0.05, 0.5):
        learned = DepthLayer.learned(wall_depth(2.0), wall_depth(spread), K)
        state[spread] = c.view_cells([learned], CAMERA, 4.8).state[AHEAD]
    # Only 2.00 m lies within 0.15 m of the wall; 0.56 to 3.44 m lie within 1.5 m.
    assert (state[0.05] == c.SURFACE).sum() == 1 and (state[0.5] == c.SURFACE).sum() == 19


@pytest.mark.parametrize("stride", [1, 3])
def test_the_footprints_minimum_is_that_of_all_its_pixels(stride):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (90, 120)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.4] = 0
    from sgrocc_core.depth.layer import _minima

    table = _minima(depth, stride)
    for _ in range(300):
        half = rng.uniform(0.2, 20)
        u, v = rng.uniform(half + 4, 115 - half), rng.uniform(half + 4, 85 - half)
        low_u, high_u = (int(np.floor((u + s * half + 0.5) / stride)) * stride for s in (-1, 1))
        low_v, high_v = (int(np.floor((v + s * half + 0.5) / stride)) * stride for s in (-1, 1))
        window = depth[low_v : high_v + stride, low_u : high_u + stride]
        expected = window[window > 0].min() if (window > 0).any() else np.inf
        assert footprint_minimum(table, stride, u, v, half) == expected


def test_a_footprint_at_the_images_corner_stays_inside():
    layer = sensor(wall_depth(2.0))
    for u, v in ((-0.4, -0.4), (159.4, 119.4)):
        assert footprint_minimum(layer.minima, 1, u, v, 50.0) == 2.0


def test_geometric_confidence_is_equation_6():
    at_one_sigma = np.exp(-0.5)
    assert c.geometric_confidence(c.SURFACE, 0.9, 0.05, 0.05) == pytest.approx(at_one_sigma)
    assert c.geometric_confidence(c.SURFACE, 0.1, 0.05, 0.05) == pytest.approx(1 - at_one_sigma)
    assert c.geometric_confidence(c.FREE, 0.9, 0.0, 0.05) == pytest.approx(0.1)
    assert c.geometric_confidence(c.HIDDEN, 0.9, 0.0, 0.05) == 1


def test_semantic_confidence_is_equation_7():
    def of(top):
        return c.semantic_confidence(np.array([top] + [(1 - top) / 10] * 10), 0.9)

    assert of(0.2) == 0 and of(0.9) == 1 and of(0.55) == pytest.approx(0.5)
    assert c.semantic_confidence(np.full(11, 1 / 11), 0.2) == 1  # not occupied: classes do not matter


def test_class_distributions_are_weighted_by_opacity_and_sharpened_by_the_temperature():
    logits = np.zeros((2, 11), np.float32)
    logits[0, 0], logits[1, 1] = np.log(10), np.log(10)  # softmax at T = 1: 10 / 20, at T = 0.5: 100 / 110
    opacities = np.array([np.log(3), np.log(1 / 3)], np.float32)  # 0.75, 0.25
    out = np.empty((2, 11), np.float32)
    for temperature, (own, other) in ((1.0, (10 / 20, 1 / 20)), (0.5, (100 / 110, 1 / 110))):
        c.class_distribution(logits, opacities, temperature, out)
        assert out[0, 0] == pytest.approx(0.75 * own + 0.25 * other) and out[0].sum() == pytest.approx(1)


def test_occupancy_of_a_cell_is_that_any_of_its_gaussians_is_there():
    assert c.cell_occupancy(np.array([0.0, 0.0, -40.0, -40.0])) == pytest.approx(0.75)


def test_looks_weigh_less_from_afar_and_at_the_border():
    assert c.view_weight(3.0, 79.5, 59.5, 160, 120) == pytest.approx(0.5)
    assert c.view_weight(1.0, 79.5, 59.5, 160, 120) > c.view_weight(2.0, 79.5, 59.5, 160, 120)
    assert c.view_weight(1.0, 7.5, 59.5, 160, 120) == pytest.approx(c.view_weight(1.0, 79.5, 59.5, 160, 120) * 0.5)
