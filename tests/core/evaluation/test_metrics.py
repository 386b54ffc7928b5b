"""The metrics against values computed by hand on small grids."""

import numpy as np
import pytest

from sgrocc_core.evaluation.metrics import Calibration, DepthErrors, OccupancyCounts, RegionCounts, boundary, regions


def counted(predicted, target, mask=None):
    counts = OccupancyCounts()
    predicted, target = (np.array(a, np.uint8).reshape(len(a), 1, 1) for a in (predicted, target))
    counts.add(predicted, target, np.ones_like(target, bool) if mask is None else np.array(mask).reshape(target.shape))
    return counts


def test_sc_iou_counts_occupied_against_empty():
    # occupied in both: 2 (one of another class); predicted only: 1; true only: 1; unknown: left out
    figures = counted([3, 5, 2, 0, 0, 7], [3, 3, 0, 8, 0, 255]).figures()
    assert figures["sc_iou"] == pytest.approx(2 / 4)


def test_class_ious_and_both_means():
    figures = counted([3, 5, 2, 0, 0, 7], [3, 3, 0, 8, 0, 255]).figures()
    assert figures["per_class"]["wall"] == pytest.approx(1 / 2)
    assert figures["per_class"]["table"] == 0.0
    assert (
        figures["per_class"]["chair"] is None and figures["per_class"]["floor"] is None
    )  # predicted, but nowhere true
    assert figures["miou"] == pytest.approx(0.5 / 2)
    assert figures["miou_absent_zero"] == pytest.approx(0.5 / 11)


def test_views_are_pooled_not_averaged():
    counts = counted([2, 2, 2], [2, 2, 2])
    counts.add(np.array([[[2]]], np.uint8), np.array([[[0]]], np.uint8), np.ones((1, 1, 1), bool))
    assert counts.figures()["sc_iou"] == pytest.approx(3 / 4)


def test_a_voxel_without_class_is_occupied_but_of_no_class():
    figures = counted([255, 3], [3, 3]).figures()
    assert figures["sc_iou"] == 1.0
    assert figures["per_class"]["wall"] == pytest.approx(1 / 2)


def test_only_the_mask_counts():
    figures = counted([3, 0, 0], [3, 3, 3], [True, False, True]).figures()
    assert figures["sc_iou"] == pytest.approx(1 / 2)


def test_the_boundary_of_a_block_is_its_shell():
    occupied = np.zeros((7, 7, 7), bool)
    occupied[1:6, 1:6, 1:6] = True
    shell = boundary(occupied, np.ones_like(occupied))
    assert shell.sum() == 125 - 27
    assert not boundary(np.ones((3, 3, 3), bool), np.ones((3, 3, 3), bool)).any()  # the grid's border is no boundary


def test_unknown_neighbours_make_no_boundary():
    occupied = np.array([True, False]).reshape(2, 1, 1)
    assert boundary(occupied, np.array([True, True]).reshape(2, 1, 1)).sum() == 1
    assert boundary(occupied, np.array([True, False]).reshape(2, 1, 1)).sum() == 0


def test_boundary_f1_forgives_one_voxel():
    target = np.zeros((9, 3, 3), np.uint8)
    target[:4] = 3
    everywhere = np.ones(target.shape, bool)
    scores = []
    for shift in (0, 1, 2):
        predicted = np.zeros_like(target)
        predicted[: 4 + shift] = 3
        counts = OccupancyCounts()
        counts.add(predicted, target, everywhere)
        scores.append(counts.figures()["boundary_f1"])
    assert scores == [1.0, 1.0, 0.0]


def test_regions_of_a_camera_before_a_wall():
    target = np.full((20, 20, 20), 3, np.uint8)
    target[0, 0, 0] = 255
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # looks along x
    T[:3, 3] = (0.0, 0.8, 0.8)
    K = np.array([[40.0, 0, 39.5], [0, 40.0, 29.5], [0, 0, 1]])
    masks = regions(target, np.full((60, 80), 0.5, np.float32), K, T)
    assert masks["all"].sum() == 20**3 - 1
    x, y, z = (np.arange(20) + 0.5) * 0.08, (np.arange(20) + 0.5) * 0.08 - 0.8, (np.arange(20) + 0.5) * 0.08 - 0.8
    wide = np.abs(y[None, :, None] / x[:, None, None]) < 1.0  # 80 pixels at focal length 40: 45 degrees to each side
    tall = np.abs(z[None, None] / x[:, None, None]) < 0.75
    assert np.array_equal(masks["in_view"], wide & tall)
    assert np.array_equal(masks["hidden"], wide & tall & (x[:, None, None] > 0.58))


def test_hidden_needs_a_surface_in_front():
    target = np.zeros((10, 10, 10), np.uint8)
    T = np.eye(4)
    T[:3, 3] = (0.4, 0.4, -1.0)
    K = np.array([[40.0, 0, 39.5], [0, 40.0, 29.5], [0, 0, 1]])
    masks = regions(target, np.zeros((60, 80), np.float32), K, T)
    assert masks["in_view"].any() and not masks["hidden"].any()


def test_region_figures_nest():
    counts = RegionCounts()
    target = np.full((2, 2, 2), 3, np.uint8)
    half = np.zeros((2, 2, 2), bool)
    half[0] = True
    predicted = np.where(half, 3, 0).astype(np.uint8)
    counts.add(predicted, target, {"all": np.ones_like(half), "in_view": half, "hidden": ~half})
    figures = counts.figures()
    assert (figures["sc_iou"], figures["in_view"]["sc_iou"], figures["hidden"]["sc_iou"]) == (0.5, 1.0, 0.0)


def test_depth_errors_by_hand():
    errors = DepthErrors()
    errors.add(
        np.array([[2.0, 1.0, 5.0, 0.0]]), np.array([[2.5, 1.0, 0.0, 3.0]])
    )  # |2 - 2.5| / 2.5 = 0.2; 2.5 / 2 is not below 1.25
    errors.add(np.array([[1.0]]), np.array([[2.0]]))
    errors.add(np.array([[1.0]]), np.array([[0.0]]))
    figures = errors.figures()
    assert figures["abs_rel"] == pytest.approx((0.1 + 0.5) / 2)
    assert figures["delta1"] == pytest.approx((0.5 + 0.0) / 2)


def test_depth_without_any_truth_has_no_error():
    errors = DepthErrors()
    errors.add(np.array([[1.0]]), np.array([[0.0]]))
    assert errors.figures() == {"abs_rel": None, "delta1": None}


def test_delta1_is_the_share_within_a_factor_of_a_quarter_more():
    errors = DepthErrors()
    errors.add(np.array([[1.24, 1.26, 0.81, 0.79]]), np.ones((1, 4)))  # 1 / 0.81 = 1.235, 1 / 0.79 = 1.266
    assert errors.figures()["delta1"] == 0.5


def test_confusions_are_counted_by_name():
    confusion = counted([3, 5, 2, 0, 255, 7], [3, 3, 0, 8, 8, 255]).confusions()
    assert confusion["wall"] == {"wall": 1, "chair": 1}
    assert confusion["empty"] == {"floor": 1} and confusion["table"] == {"empty": 1, "no class": 1}
    assert confusion["sofa"] == {} and len(confusion) == 12


def test_boundary_precision_and_recall_by_hand():
    # Along x, known empty after: truth ends at 2, the prediction at 2 in the first row and at 5 in the second.
    target, predicted = np.zeros((8, 2, 1), np.uint8), np.zeros((8, 2, 1), np.uint8)
    target[:3] = 3
    predicted[:3, 0], predicted[:6, 1] = 3, 3
    counts = OccupancyCounts()
    counts.add(predicted, target, np.ones(target.shape, bool))
    # Predicted boundary: (2, 0); in row 1 (3, 1), (4, 1) and (5, 1), which are next to the empty (3..5, 0).
    # Total 4.
    # True boundary: (2, 0) and (2, 1). Near the truth: (2, 0) and (3, 1). Found: (2, 0) itself, (2, 1) beside it.
    assert (counts.boundary_predicted, counts.boundary_precise) == (4, 2)
    assert (counts.boundary_true, counts.boundary_found) == (2, 2)
    assert counts.figures()["boundary_f1"] == pytest.approx(2 * 0.5 * 1.0 / 1.5)


def test_a_region_counts_its_own_boundary_but_may_find_it_next_door():
    target, predicted = np.zeros((6, 1, 1), np.uint8), np.zeros((6, 1, 1), np.uint8)
    target[:3], predicted[:4] = 3, 3  # boundaries at 2 and at 3
    region = np.arange(6).reshape(6, 1, 1) < 3
    counts = OccupancyCounts()
    counts.add(predicted, target, region)
    assert (counts.boundary_predicted, counts.boundary_true, counts.boundary_found) == (0, 1, 1)


def test_nothing_true_and_nothing_predicted_scores_zero():
    figures = counted([0, 0], [0, 255]).figures()
    assert (figures["sc_iou"], figures["miou"], figures["miou_absent_zero"], figures["boundary_f1"]) == (
        0.0,
        0.0,
        0.0,
        0.0,
    )


def test_calibration_by_hand():
    calibration = Calibration()
    p = np.array([0.05, 0.05, 0.25, 0.29, 1.0, 0.5]).reshape(6, 1, 1)
    target = np.array([0, 3, 3, 0, 8, 255], np.uint8).reshape(6, 1, 1)
    calibration.add(p, target, np.ones((6, 1, 1), bool))
    figures = calibration.figures()
    first, third, last = figures["bins"][0], figures["bins"][2], figures["bins"][9]
    assert (first["voxels"], first["predicted"], first["occupied"]) == (2, pytest.approx(0.05), 0.5)
    assert (third["from"], third["voxels"], third["predicted"], third["occupied"]) == (0.2, 2, pytest.approx(0.27), 0.5)
    assert (last["voxels"], last["occupied"]) == (1, 1.0)
    assert figures["bins"][5]["voxels"] == 0 and figures["bins"][5]["occupied"] is None  # its only voxel is unknown
    # |0.1 - 1| + |0.54 - 1| + |1 - 1| over 5 voxels
    assert figures["error"] == pytest.approx((0.9 + 0.46) / 5)
