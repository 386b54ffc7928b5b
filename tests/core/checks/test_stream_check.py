"""The checks of an input find what does not agree, and nothing in an input that is right."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sgrocc_core.checks.camera import check_info_sizes, check_intrinsics
from sgrocc_core.checks.depth import EdgeAlignment, check_unit
from sgrocc_core.checks.findings import Finding, Findings
from sgrocc_core.checks.posture import AXES, Posture, levelling
from sgrocc_core.checks.stamps import check_stamps
from sgrocc_core.checks.stream import StreamCheck
from tests.samples.rooms.box_room import SIZE, K, frames, look, pose, walk

SECOND = 10**9


@pytest.fixture(scope="module")
def good():
    return frames()


def codes(findings):
    return {finding.code: finding.level for finding in findings}


def checked(stream, **options):
    check = StreamCheck(**options)
    for frame in stream:
        check.add_stamp(frame.stamp_ns)
        check.add_frame(frame)
        if frame.depth is not None:
            check.add_depth(frame.depth)
    return check.findings()


def test_a_good_stream_has_no_finding(good):
    assert codes(checked(good)) == {}


def test_a_good_stream_without_depth_has_no_finding(good):
    assert codes(checked([replace(frame, depth=None) for frame in good])) == {}


@pytest.mark.parametrize("factor", [0.5, 2.0, 4.0])
def test_k_of_another_resolution_is_an_error_that_names_the_factor(factor):
    scaled = K.copy()
    scaled[:2] *= factor
    (finding,) = [f for f in check_intrinsics(scaled, SIZE) if f.code == "principal_point"]
    assert finding.level == "error" and f"{factor:g} times" in finding.message


def test_a_principal_point_a_little_off_the_middle_is_fine():
    moved = K.copy()
    moved[:2, 2] += 0.06 * np.array(SIZE)
    assert check_intrinsics(moved, SIZE) == []


@pytest.mark.parametrize(("focal", "degrees"), [(900.0, "10"), (25.0, "145")])
def test_an_implausible_field_of_view_is_named(focal, degrees):
    narrow = np.array([[focal, 0, 79.5], [0, focal, 59.5], [0, 0, 1]])
    (finding,) = check_intrinsics(narrow, SIZE)
    assert finding.code == "field_of_view" and f"{degrees} degrees" in finding.message


def test_an_image_stretched_in_one_direction_is_a_warning():
    assert codes(check_intrinsics(np.array([[130.0, 0, 79.5], [0, 80.0, 59.5], [0, 0, 1]]), SIZE)) == {
        "focal_lengths": "warning"
    }


def test_several_sizes_on_one_camera_info_topic_are_a_note_while_the_images_is_among_them():
    assert codes(check_info_sizes(SIZE, [SIZE, (80, 60)])) == {"camera_info_sizes": "note"}
    assert codes(check_info_sizes(SIZE, [(80, 60)])) == {"camera_info_size": "error"}
    assert check_info_sizes(SIZE, [SIZE]) == []


@pytest.mark.parametrize(
    ("median", "level", "hint"), [(2000.0, "warning", "millimetres?"), (0.002, "error", "metres read as millimetres?")]
)
def test_depth_in_another_unit_is_told_with_its_median(median, level, hint):
    (finding,) = check_unit(median, 8)
    assert finding.level == level and hint in finding.message


def test_depth_without_any_reading_is_a_warning():
    assert codes(check_unit(float("nan"), 3)) == {"depth_empty": "warning"}


def test_depth_of_a_camera_beside_the_colour_camera_is_found_by_its_edges():
    alignment, aside = EdgeAlignment(), np.eye(4)
    aside[0, 3] = -0.05
    wider = np.array([[85.0, 0, 79.5], [0, 85.0, 59.5], [0, 0, 1]])
    for T_wc in walk(12):
        alignment.add(look(T_wc)[0], look(T_wc @ aside, wider)[1])
    assert codes(alignment.findings()) == {"depth_registration": "warning"}


def test_a_shift_of_a_twentieth_of_the_width_is_measured(good):
    alignment = EdgeAlignment()
    for frame in good:
        alignment.add(frame.image, np.roll(frame.depth, 8, 1))
    scale, right, down, ratio = alignment.best()
    assert scale == 1.0 and right == pytest.approx(-0.05, abs=0.01) and abs(down) < 0.02 and ratio > 1.35


@pytest.mark.parametrize("axes", ["opengl", "ros"])
def test_poses_of_other_camera_axes_are_recognised_from_depth(good, axes):
    turned = []
    for frame in good:
        T_wc = frame.T_wc.copy()
        T_wc[:3, :3] = T_wc[:3, :3] @ AXES[axes].T
        turned.append(replace(frame, T_wc=T_wc))
    (finding,) = [f for f in checked(turned) if f.code == "camera_axes"]
    assert finding.level == "error" and f"--axes {axes}" in finding.advice


FLAT = np.full(SIZE[::-1], 2.0, np.float32)
SLANTED = FLAT + np.linspace(0, 1.5, SIZE[0], dtype=np.float32)


@pytest.mark.parametrize(
    "depth", [FLAT, SLANTED, SLANTED + np.float32(0.5) * (SLANTED > 2.7)], ids=["flat", "slanted", "step"]
)
@pytest.mark.parametrize("along", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0.5)], ids=["forward", "aside", "up", "all"])
@pytest.mark.parametrize("step", [0.06, 0.3], ids=["slow", "fast"])
def test_a_wall_that_stays_as_far_away_as_it_is_says_nothing_of_the_axes(depth, along, step):
    level, posture = np.eye(4), Posture()
    level[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    for number in range(20):
        T_wc = level.copy()
        T_wc[:3, 3] = np.array(along) * step * number
        posture.add(K, T_wc, depth)
    assert "camera_axes" not in codes(posture.findings())


@pytest.mark.parametrize("axes", ["opengl", "ros"])
def test_axes_are_told_from_a_walk_along_one_line(axes):
    posture = Posture()
    for number in range(14):
        T_wc = pose(0.6 + 0.15 * number, 2.4, 0.1)
        depth = look(T_wc)[1]
        T_wc[:3, :3] = T_wc[:3, :3] @ AXES[axes].T
        posture.add(K, T_wc, depth)
    (finding,) = [f for f in posture.findings() if f.code == "camera_axes"]
    assert f"--axes {axes}" in finding.advice


@pytest.mark.parametrize("degrees", [10, 27, -40])
def test_a_tilted_world_is_found_by_its_floor_and_levelled(good, degrees):
    axis = np.array([0.6, 0.8, 0.0]) * np.deg2rad(degrees)
    tilt = np.eye(4)
    tilt[:3, :3] = cv2.Rodrigues(axis)[0]
    posture = Posture()
    for frame in good:
        posture.add(frame.K, tilt @ frame.T_wc, frame.depth)
    (finding,) = posture.findings()
    assert finding.code == "world_up" and f"{abs(degrees)} degrees" in finding.message
    up, source = posture.up()
    assert source == "floor" and (levelling(up) @ tilt)[2, 2] == pytest.approx(1.0, abs=0.002)


def test_a_world_with_z_forward_is_told_by_its_axis_with_and_without_depth(good):
    forward = np.eye(4)
    forward[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    for with_depth in (True, False):
        posture = Posture()
        for frame in good:
            posture.add(frame.K, forward @ frame.T_wc, frame.depth if with_depth else None)
        (finding,) = posture.findings()
        assert "-y of 'map' is up" in finding.message


@pytest.mark.parametrize("up", [[0, 0, 1.0], [0, 0, -1.0], [0, 1.0, 0], [0.6, 0, 0.8]])
def test_levelling_takes_up_to_z(up):
    turn = levelling(np.array(up))[:3, :3]
    assert np.allclose(turn @ up, [0, 0, 1]) and np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_stamps_of_zero_are_an_error_and_single_ones_a_warning():
    assert codes(check_stamps([0, 0, 0]))["stamp_zero"] == "error"
    assert codes(check_stamps([SECOND, 0, 3 * SECOND]))["stamp_zero"] == "warning"


def test_repeated_and_backward_stamps_are_warnings():
    assert codes(check_stamps([1, 1, 1, 2, 2, 3])) == {"stamps_equal": "warning"}
    assert codes(check_stamps([5, 4, 3, 6])) == {"stamps_backward": "warning"}


def test_images_of_another_epoch_than_the_poses_are_an_error():
    images = [k * SECOND for k in range(100, 105)]
    assert codes(check_stamps(images, [1_700_000_000 * SECOND, 1_700_000_010 * SECOND])) == {"clock_epoch": "error"}
    assert check_stamps(images, [90 * SECOND, 110 * SECOND]) == []


def test_the_higher_level_of_a_code_is_kept_and_errors_come_first():
    found = Findings([Finding("note", "a", "x"), Finding("warning", "b", "y")])
    found.add(Finding("error", "b", "worse"))
    found.add(Finding("note", "b", "better"))
    assert [(f.code, f.level) for f in found] == [("b", "error"), ("a", "note")] and found.worst == "error"
