"""Depth from camera motion, on images of two textured walls of known depth: 2 m on the left, 4 m on the right."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sgrocc_core.depth.motion import MotionDepth
from sgrocc_core.depth.tracks import NO_POINTS, PointTracks, TrackedPoints
from sgrocc_core.errors import ConfigError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from tests.samples.engines import small_engine

K = np.array([[250.0, 0, 159.5], [0, 250.0, 119.5], [0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
MASK = np.ones((240, 320), np.float32)
TEXTURE = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, (800, 800)).astype(np.float32), (0, 0), 2.0)
TEXTURE = np.clip((TEXTURE - TEXTURE.mean()) * 8 + 128, 0, 255).astype(np.float32)


def camera(y=0.0, yaw=0.0, x=0.0):
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])
    return make_pose(turn @ FORWARD, np.array([x, y, 1.2]))


def look(T_wc, slid=0.0):
    """Image (240, 320, 3) uint8 and depth (240, 320) float32; the texture of the near wall is shifted, metres."""
    v, u = np.mgrid[0:240, 0:320]
    d = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], -1) @ T_wc[:3, :3].T
    near, far = ((wall - T_wc[0, 3]) / d[..., 0] for wall in (2.0, 4.0))
    left = T_wc[1, 3] + near * d[..., 1] > 0
    depth = np.where(left, near, far)
    at = T_wc[:3, 3] + depth[..., None] * d
    scale = np.where(left, 200, 100)  # textures of equal grain in the image
    column, row = ((c * scale + 400).astype(np.float32) for c in (at[..., 1] + np.where(left, slid, 1.7), at[..., 2]))
    grey = cv2.remap(TEXTURE, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2), depth.astype(np.float32)


def follow(poses, tracks=None, slide=0.0, guess=1.0, **changed):
    """Triangulated points of each image of a walk."""
    tracks, found = tracks or PointTracks(), []
    for k, T_wc in enumerate(poses):
        image, depth = look(T_wc, slide * k)
        values = {
            "grey": image[..., 0],
            "mask": MASK,
            "K": K,
            "T_wc": T_wc,
            "stamp_ns": k * 10**8,
            "depth": depth * guess,
        } | changed
        found.append(tracks.follow(**values))
    return found


SIDEWAYS = [camera(y=0.04 * k, yaw=0.01 * k) for k in range(8)]


def error(points, T_wc):
    """Relative error of the depth of each point away from the edge between the walls."""
    true = look(T_wc)[1]
    column, row = np.rint(points.pixels).astype(int).T
    apart = cv2.dilate(true, np.ones((9, 9))) - cv2.erode(true, np.ones((9, 9))) < 1.0
    return (points.depth / true[row, column] - 1)[apart[row, column]]


def test_a_camera_that_moves_measures_depth_whatever_the_guess():
    for guess in (1.0, 0.6, 1.6):
        points = follow(SIDEWAYS, guess=guess)[-1]
        off = error(points, SIDEWAYS[-1])
        assert len(points.depth) > 100 and np.median(np.abs(off)) < 0.02 and np.mean(np.abs(off) < 0.1) > 0.95
        assert points.pixels.dtype == points.depth.dtype == points.sigma.dtype == np.float32
        near = points.depth < 3
        assert near.sum() > 30 and (~near).sum() > 30
        assert np.median(points.sigma[near]) < np.median(points.sigma[~near])  # less parallax far away


def test_points_grow_more_certain_as_the_camera_goes_on():
    medians = [np.median(p.sigma) for p in follow(SIDEWAYS)[3:]]
    assert medians == sorted(medians, reverse=True)
    assert all(len(p.depth) == 0 for p in follow(SIDEWAYS)[:2])  # a point needs three rays


def test_a_camera_that_only_turns_or_stands_still_measures_nothing():
    assert not any(len(p.depth) for p in follow([camera(yaw=0.02 * k) for k in range(8)]))
    assert not any(len(p.depth) for p in follow([camera()] * 8))


def test_what_moves_is_not_taken_for_a_point():
    """The texture of the near wall moves up and down in turn, which no static point explains; the far wall rests."""
    slides, tracks = [0, 0.05, 0, 0.05, 0, 0.05, 0, 0.05], PointTracks()
    for k, T_wc in enumerate(SIDEWAYS):
        image, depth = look(T_wc, slides[k])
        points = tracks.follow(image[..., 0], MASK, K, T_wc, k * 10**8, depth)
    true = look(SIDEWAYS[-1])[1]
    column, row = np.rint(points.pixels).astype(int).T
    still = follow(SIDEWAYS)[-1]
    on_near = (true[row, column] < 3).sum()
    assert on_near < 0.25 * (still.depth < 3).sum() and len(points.depth) - on_near > 30


@pytest.mark.parametrize(
    "change",
    [{"stamp_ns": 10**12}, {"stamp_ns": -1}, {"T_wc": camera(y=3.0)}, {"T_wc": camera(yaw=2.0)}, {"K": K * 2}],
    ids=["a gap", "back in time", "a leap", "a turn", "another camera"],
)
def test_nothing_is_followed_across(change):
    tracks = PointTracks()
    assert len(follow(SIDEWAYS, tracks)[-1].depth)
    image, depth = look(SIDEWAYS[-1])
    values = {"grey": image[..., 0], "mask": MASK, "K": K, "T_wc": SIDEWAYS[-1], "stamp_ns": 8 * 10**8, "depth": depth}
    assert len(tracks.follow(**(values | change)).depth) == 0
    assert len(follow(SIDEWAYS, tracks)[-1].depth)  # tracking continues from the restored state


def test_images_without_texture_and_padding_give_no_points():
    assert not any(len(p.depth) for p in follow(SIDEWAYS, grey=np.full((240, 320), 90, np.uint8)))
    mask = MASK.copy()
    mask[:, :160] = 0
    points = follow(SIDEWAYS, mask=mask)[-1]
    assert len(points.depth) and points.pixels[:, 0].min() >= 159


def test_points_draw_each_surface_by_itself():
    """Estimates are 1.3 times the near depth and 1.1 times the far depth; points are in one half of the image only."""
    true = np.where(np.arange(80) < 40, 2.0, 4.0).astype(np.float32) * np.ones((60, 1), np.float32)
    guess = np.where(true < 3, true * 1.3, true * 1.1).astype(np.float32)
    v, u = np.mgrid[2:30:4, 1:80:4]
    pixels = np.stack([u.ravel() * 4 + 1.5, v.ravel() * 4 + 1.5], 1).astype(np.float32)
    points = TrackedPoints(pixels, true[v.ravel(), u.ravel()], np.full(v.size, 0.02, np.float32))
    motion, spread = MotionDepth(), np.full((60, 80), 0.3, np.float32)
    for _ in range(5):
        depth, off = motion.apply(guess, spread, points, 4.0)
    assert depth.dtype == off.dtype == np.float32
    measured = np.s_[4:26]
    assert np.abs(depth[measured] / true[measured] - 1).mean() < 0.03 < np.abs(guess / true - 1).mean()
    assert (off[measured] / depth[measured]).mean() < 0.7 * (spread / guess).mean()
    # Far from the points, the scale factor of the image applies to depth and spread.
    np.testing.assert_allclose(depth[-1] / guess[-1], motion.factor, rtol=0.02)
    np.testing.assert_allclose(off[-1] / spread[-1], motion.factor, rtol=0.1)


def test_without_points_depth_is_as_it_was_and_the_factor_fades():
    depth, spread = np.full((60, 80), 2.0, np.float32), np.full((60, 80), 0.2, np.float32)
    motion = MotionDepth()
    for got, given in zip(motion.apply(depth, spread, NO_POINTS, 4.0), (depth, spread), strict=True):
        assert np.abs(got - given).max() < 1e-6
    points = TrackedPoints(
        np.full((50, 2), 100, np.float32), np.full(50, 3.0, np.float32), np.full(50, 0.01, np.float32)
    )
    motion.apply(depth, spread, points, 4.0)
    first = motion.factor
    assert 1.2 < first < 1.5
    factors = [motion.apply(depth, spread, NO_POINTS, 4.0)[0][0, 0] / 2 for _ in range(3)]
    assert first > factors[0] > factors[1] > factors[2] > 1


@pytest.fixture(scope="module")
def engine():
    return small_engine()


class Constant:
    """The shipped engine with a depth head that predicts 3 m everywhere."""

    def __init__(self, engine):
        self._engine, self.spec, self.description, self.expert = engine, engine.spec, engine.description, engine.expert

    def image(self, *inputs):
        seen = self._engine.image(*inputs)
        return replace(seen, depth=np.full_like(seen.depth, 3.0), spread=np.full_like(seen.spread, 0.5))


@pytest.mark.parametrize("source,motion", [("mono", "tracks"), ("fused", "tracks"), ("mono", "none")])
def test_the_mapper_corrects_the_depth_of_colour_alone(engine, source, motion):
    mapper = OccupancyMapper(Constant(engine), MapperConfig(depth_source=source, motion_depth=motion))
    for k, T_wc in enumerate(SIDEWAYS):
        image, depth = look(T_wc)
        update = mapper.step(Frame(image, K, T_wc, k * 10**8))
    near, far = update.depth[:, :100], update.depth[:, 280:]  # away from the edge, where this head has no discontinuity
    assert depth[:, :100].max() < 3 < depth[:, 280:].min()
    if motion == "tracks":
        assert np.median(near) < 2.4 and np.median(far) > 3.2
    else:
        assert (near == 3.0).all() and (far == 3.0).all()


def test_a_sensors_frame_is_left_alone_and_a_reset_forgets_the_tracks(engine):
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="fused"))
    for k, T_wc in enumerate(SIDEWAYS[:3]):
        image, depth = look(T_wc)
        update = mapper.step(Frame(image, K, T_wc, k * 10**8, depth))
        assert np.array_equal(update.depth, depth)
    mapper = OccupancyMapper(Constant(engine), MapperConfig(depth_source="mono", motion_depth="tracks"))
    for k, T_wc in enumerate(SIDEWAYS):
        update = mapper.step(Frame(look(T_wc)[0], K, T_wc, k * 10**8))
    assert not (update.depth == 3.0).all()
    mapper.map.reset()
    assert (mapper.step(Frame(look(SIDEWAYS[-1])[0], K, SIDEWAYS[-1], 10**9)).depth == 3.0).all()


@pytest.mark.parametrize("value", [True, "yes", None])
def test_other_kinds_of_depth_from_motion_are_refused(value):
    with pytest.raises(ConfigError, match="motion_depth is .*; it must be one of none, tracks, stereo"):
        MapperConfig(motion_depth=value)
