"""Keyframes: which images become sources, and what empties the ring."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sgrocc_core.depth.keyframes import (
    KEYFRAMES,
    MAX_BASELINE,
    MIN_BASELINE,
    KeyframeRing,
    View,
    choose_sources,
    digest,
    overlap,
    turn_between,
)
from sgrocc_core.depth.stereo import MotionStereo
from sgrocc_core.geometry.camera import LetterboxedCamera
from sgrocc_core.geometry.poses import invert_pose, make_pose, rotation_from_quaternion

K = np.array([[72.0, 0, 39.5], [0, 72.0, 29.5], [0, 0, 1]])
LAST = (79, 59)
SECOND = 10**9
WHOLE = np.array([0, 0, 79, 59], np.float32)


def at(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> np.ndarray:
    """A camera at (x, y, z), metres, turned about its vertical axis by degrees."""
    half = math.radians(turn) / 2
    return make_pose(rotation_from_quaternion(np.array([0, math.sin(half), 0, math.cos(half)])), np.array([x, y, z]))


def view(pose: np.ndarray, number: int = 0, **changes: object) -> View:
    values = {
        "features": np.zeros((60, 80, 16), np.float32), "K": K, "T_wc": pose, "stamp_ns": number * SECOND // 10,
        "bounds": WHOLE, "size": (640, 480), "digest": number,
    }  # fmt: skip
    return View(**(values | changes))  # type: ignore[arg-type]


def sideways(ring: KeyframeRing, steps: int, step: float = 0.05) -> None:
    for k in range(steps):
        ring.follow(view(at(x=step * k), k))


def test_the_first_image_has_no_source() -> None:
    assert KeyframeRing().follow(view(at())) == ([], None)


def test_a_camera_that_moves_sideways_has_four_sources_that_are_neither_too_near_nor_too_far() -> None:
    ring = KeyframeRing()
    sideways(ring, 20)
    chosen, _ = ring.follow(view(at(x=1.0), 20))
    baselines = [1.0 - source.T_wc[0, 3] for source in chosen]
    assert len(chosen) == 4 and baselines[0] == pytest.approx(0.2)
    assert all(MIN_BASELINE <= baseline <= MAX_BASELINE + 1e-9 for baseline in baselines)


def test_a_camera_that_only_turns_has_no_source() -> None:
    ring = KeyframeRing()
    for k in range(10):
        ring.follow(view(at(turn=5.0 * k), k))
    assert ring.follow(view(at(turn=50.0), 10))[0] == []


def test_a_camera_that_stands_keeps_the_sources_of_its_way_there() -> None:
    ring = KeyframeRing()
    sideways(ring, 8)
    for k in range(100):
        chosen, _ = ring.follow(view(at(x=0.35), 8 + k))
        assert len(chosen) == 4


def test_a_source_that_is_turned_by_more_than_thirty_degrees_is_none() -> None:
    candidates = np.stack([at(x=0.2, turn=29.0), at(x=0.2, turn=31.0)])
    wide = np.array([[30.0, 0, 39.5], [0, 30.0, 29.5], [0, 0, 1]])
    assert choose_sources(at(), candidates, wide, LAST) == [0]


def test_a_source_whose_view_does_not_overlap_is_none() -> None:
    narrow = np.array([[400.0, 0, 39.5], [0, 400.0, 29.5], [0, 0, 1]])  # 11 degrees wide
    candidates = np.stack([at(x=0.1), at(x=0.1, turn=20.0)])
    assert choose_sources(at(), candidates, narrow, LAST) == [0]
    assert overlap(narrow, at(), candidates[1], LAST) == 0.0


def test_half_of_the_view_overlaps_after_half_of_its_width() -> None:
    # 80 pixels at a focal length of 72 are 2.2 m at 2 m; half of that to the side.
    assert overlap(K, at(), at(x=2.2 / 2), LAST) == pytest.approx(0.5, abs=0.11)


def test_sources_lie_on_several_sides_where_there_are_some() -> None:
    left, right = [at(x=-0.2), at(x=-0.19), at(x=-0.21)], [at(x=0.15)]
    chosen = choose_sources(at(), np.stack([*left, *right]), K, LAST, 2)
    assert chosen[0] == 0 and chosen[1] == 3


def test_turns_are_measured_between_the_two_cameras() -> None:
    relative = invert_pose(at(turn=10.0)) @ at(turn=35.0)
    assert turn_between(relative[None]) == pytest.approx([math.radians(25.0)])


def test_the_ring_is_bounded_and_its_memory_counted() -> None:
    ring = KeyframeRing()
    sideways(ring, 3 * KEYFRAMES, 0.04)
    assert len(ring.views) == KEYFRAMES
    per_view = 60 * 80 * 16 * 4 + 9 * 8 + 16 * 8 + 4 * 4
    assert ring.nbytes == KEYFRAMES * per_view < 10.5e6


def test_the_features_of_a_second_sweep_are_counted_too() -> None:
    ring, fine = KeyframeRing(), np.zeros((120, 160, 16), np.float32)
    for k in range(3):
        ring.follow(view(at(0.1 * k), k, fine=fine))
    per_view = 5 * 60 * 80 * 16 * 4 + 9 * 8 + 16 * 8 + 4 * 4
    assert ring.nbytes == 3 * per_view


def test_images_nearer_than_a_step_are_not_kept() -> None:
    ring = KeyframeRing()
    sideways(ring, 16, 0.01)
    assert [round(v.T_wc[0, 3], 2) for v in ring.views] == [0.0, 0.03, 0.06, 0.09, 0.12, 0.15]


def test_a_place_that_is_seen_again_replaces_its_old_keyframe() -> None:
    ring = KeyframeRing()
    for k, x in enumerate((0.0, 0.1, 0.2, 0.1, 0.0)):
        ring.follow(view(at(x=x), k))
    assert [v.digest for v in ring.views] == [2, 3, 4]


def test_sources_across_a_jump_of_the_pose_are_dropped() -> None:
    ring = KeyframeRing()
    sideways(ring, 8)
    # 0.8 m in a tenth of a second, back among the old poses' neighbours: no camera moves so.
    assert ring.follow(view(at(x=0.35, y=0.8), 8))[0] == []
    assert len(ring.views) == 1


def test_a_turn_that_no_camera_makes_is_a_jump() -> None:
    ring = KeyframeRing()
    sideways(ring, 8)
    assert ring.follow(view(at(x=0.4, turn=120.0), 8))[0] == [] and len(ring.views) == 1


def test_time_that_runs_back_begins_anew() -> None:
    ring = KeyframeRing()
    sideways(ring, 8)
    assert ring.follow(view(at(x=0.4), 2))[0] == [] and len(ring.views) == 1


def test_a_long_gap_is_no_jump() -> None:
    ring = KeyframeRing()
    sideways(ring, 8)
    assert len(ring.follow(view(at(x=0.4, y=0.3), 100))[0]) > 0


@pytest.mark.parametrize("change", [{"size": (320, 240)}, {"K": K * [[1.2, 1, 1], [1, 1.2, 1], [1, 1, 1]]}])
def test_another_camera_empties_the_ring_and_is_told_once(change: dict) -> None:
    ring = KeyframeRing()
    sideways(ring, 8)
    chosen, said = ring.follow(view(at(x=0.4), 8, **change))
    assert chosen == [] and said is not None and "size or intrinsics changed from 640 x 480" in said
    assert ring.follow(view(at(x=0.45), 9)) == ([], None)
    assert ring.follow(view(at(x=0.5), 10, **change)) == ([], None)


def test_an_image_that_is_the_same_as_a_keyframe_has_it_not_for_a_source() -> None:
    ring = KeyframeRing()
    ring.follow(view(at(), 1, digest=7))
    assert ring.follow(view(at(x=0.2), 2, digest=7))[0] == []
    assert len(ring.views) == 1
    assert len(ring.follow(view(at(x=0.2), 3, digest=8))[0]) == 1


def test_equal_images_have_equal_digests_and_others_have_not() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    other = image.copy()
    other[10, 20, 1] ^= 1
    assert digest(image) == digest(image.copy()) != digest(other)


def test_the_mapper_gets_projections_of_the_features_and_not_of_the_image() -> None:
    stereo = MotionStereo()
    camera = LetterboxedCamera.of(np.array([[576.0, 0, 319.5], [0, 576.0, 239.5], [0, 0, 1]]), (640, 480), (320, 240))
    features, pictures = np.zeros((60, 80, 16), np.float32), [np.full((240, 320, 3), k, np.uint8) for k in range(2)]
    assert stereo.follow(features, pictures[0], camera, at(), 0) == (None, None)
    sources, _ = stereo.follow(features, pictures[1], camera, at(x=0.2), SECOND // 2)
    assert sources is not None and sources.features.shape == (1, 60, 80, 16)
    # Seen from 0.2 m to the right a point lies further left; back in the source it lies further right.
    x, y, z = sources.transforms[0] @ [39.5, 29.5, 1, 1 / 2.0]
    assert (x / z, y / z) == pytest.approx((39.5 + 72 * 0.2 / 2.0, 29.5))
    assert sources.bounds.tolist() == [[0, 0, 79, 59]]
