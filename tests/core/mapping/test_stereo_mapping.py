"""Stereo in the mapper: when it is used, what it falls back to, and what is told."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sgrocc_core.depth.stereo import Sources
from sgrocc_core.engines.engine import Engine, ImageOutputs
from sgrocc_core.errors import ConfigError, FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from tests.samples.engines import small_engine

K = np.array([[250.0, 0, 159.5], [0, 250.0, 119.5], [0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@functools.cache
def shipped() -> Engine:
    return small_engine()


class WithStereo:
    """The real engine, its model described as one with stereo, which answers 2 m plus a centimetre a source."""

    def __init__(self, has_stereo: bool = True) -> None:
        self._engine = shipped()
        files = {name: "" for name in self._engine.spec.files if name != "stereo.onnx"}
        self.spec = replace(self._engine.spec, files=files | ({"stereo.onnx": ""} if has_stereo else {}))
        self.description, self.expert = self._engine.description, self._engine.expert
        self.asked: list[Sources] = []

    def image(self, *inputs: Any) -> ImageOutputs:
        seen = self._engine.image(*inputs)
        seen = replace(seen, depth=np.full_like(seen.depth, 3.0), spread=np.full_like(seen.spread, 0.5))
        matching, fine = (np.zeros((*shape, 16), np.float32) for shape in ((60, 80), (120, 160)))
        return replace(seen, matching=matching, matching_fine=fine, context=np.zeros((1, 48, 60, 80), np.float32))

    def stereo(self, seen: ImageOutputs, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(sources)
        return np.full_like(seen.depth, 2.0 + 0.01 * len(sources.features)), np.full_like(seen.spread, 0.1)


def frame(
    k: int, y: float | None = None, depth: np.ndarray | None = None, shape: tuple[int, int] = (240, 320)
) -> Frame:
    image = np.random.default_rng(k).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pose = make_pose(FORWARD, np.array([0.0, 0.1 * k if y is None else y, 1.2]))
    return Frame(image, K, pose, k * 10**8, depth)


def depths(mapper: OccupancyMapper, frames: list[Frame]) -> list[float]:
    return [float(np.median(mapper.step(each).depth)) for each in frames]


def test_a_moving_camera_gets_its_depth_from_stereo_and_the_first_image_its_own() -> None:
    mapper = OccupancyMapper(WithStereo(), MapperConfig(depth_source="mono", motion_depth="stereo"))
    assert depths(mapper, [frame(k) for k in range(4)]) == pytest.approx([3.0, 2.01, 2.02, 2.03])


def test_the_sources_have_the_features_of_the_second_sweep_unless_it_is_left_out() -> None:
    engine = WithStereo()
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="mono"))
    depths(mapper, [frame(k) for k in range(3)])
    assert engine.asked[-1].fine is not None and engine.asked[-1].fine.shape == (2, 120, 160, 16)
    mapper.map.motion_of("").stereo.finer = False
    depths(mapper, [frame(3)])
    assert engine.asked[-1].fine is None


def test_a_camera_that_stands_has_the_depth_of_the_image_alone() -> None:
    mapper = OccupancyMapper(WithStereo(), MapperConfig(depth_source="mono"))
    assert depths(mapper, [frame(k, y=0.0) for k in range(3)]) == pytest.approx([3.0] * 3)


def test_sensor_depth_is_left_alone_and_no_keyframe_is_kept() -> None:
    engine = WithStereo()
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="fused"))
    sensor = np.full((240, 320), 1.5, np.float32)
    assert depths(mapper, [frame(k, depth=sensor) for k in range(3)]) == pytest.approx([1.5] * 3)
    assert engine.asked == [] and len(mapper.map.motion_of("").stereo.ring.views) == 0


@pytest.mark.parametrize("kind", ["none", "tracks"])
def test_other_kinds_of_depth_from_motion_do_not_ask_the_stereo_network(kind: str) -> None:
    engine = WithStereo()
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="mono", motion_depth=kind))
    depths(mapper, [frame(k) for k in range(3)])
    assert engine.asked == []


def test_a_model_without_stereo_uses_tracks_and_says_so_once() -> None:
    mapper = OccupancyMapper(WithStereo(has_stereo=False), MapperConfig(depth_source="mono", motion_depth="stereo"))
    notes = [mapper.step(frame(k)).notes for k in range(3)]
    assert notes[1:] == [(), ()]
    assert "has no network for it: tracks are used" in notes[0][0]
    assert mapper.map.motion_of("").tracks.tracks.arrays()["grey"].size > 0


def test_images_of_two_cameras_on_one_topic_are_never_compared_and_told_once() -> None:
    engine = WithStereo()
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="mono"))
    shapes = [(240, 320), (120, 160)]
    notes = [mapper.step(frame(k, shape=shapes[k % 2])).notes for k in range(6)]
    assert engine.asked == []
    assert [len(each) for each in notes] == [0, 1, 0, 0, 0, 0]
    assert "do two cameras publish on one topic?" in notes[1][0]


def test_a_reset_and_a_restored_map_begin_stereo_anew() -> None:
    mapper = OccupancyMapper(WithStereo(), MapperConfig(depth_source="mono"))
    depths(mapper, [frame(k) for k in range(4)])
    saved = mapper.map.arrays()
    mapper.map.restore(saved)
    assert depths(mapper, [frame(4), frame(5)]) == pytest.approx([3.0, 2.01])
    mapper.map.reset()
    assert depths(mapper, [frame(6)]) == pytest.approx([3.0])


def test_each_camera_is_compared_with_its_own_images_only() -> None:
    engine = WithStereo()
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="mono"))
    shapes = {"front": (240, 320), "left": (120, 160)}
    frames = [replace(frame(k, shape=shapes[camera]), camera=camera) for k in range(4) for camera in shapes]
    updates = [mapper.step(each) for each in frames]
    assert [float(update.depth.max()) for update in updates[:2]] == pytest.approx([3.0, 3.0])
    assert all(float(update.depth.max()) < 2.1 and update.notes == () for update in updates[2:])
    assert [len(mapper.map.motion_of(camera).stereo.ring.views) for camera in shapes] == [4, 4]


def test_the_tracks_of_each_camera_are_saved_under_its_name() -> None:
    mapper = OccupancyMapper(WithStereo(), MapperConfig(depth_source="mono", motion_depth="tracks"))
    for k in range(3):
        mapper.step(replace(frame(k), camera="front"))
    mapper.step(frame(3))
    saved = mapper.map.arrays()
    assert {"motion.log_factor", "motion.log_factor@front"} <= set(saved)
    other = OccupancyMapper(WithStereo(), MapperConfig(depth_source="mono", motion_depth="tracks"))
    other.map.restore(saved)
    for camera in ("", "front"):
        np.testing.assert_array_equal(
            other.map.motion_of(camera).tracks.tracks.arrays()["grey"],
            mapper.map.motion_of(camera).tracks.tracks.arrays()["grey"],
        )


def test_a_camera_may_have_a_depth_source_of_its_own() -> None:
    config = MapperConfig(depth_source="topic", camera_depth_sources={"left": "mono"})
    mapper = OccupancyMapper(WithStereo(), config)
    assert float(mapper.step(replace(frame(0), camera="left")).depth.max()) == pytest.approx(3.0)
    with pytest.raises(FrameError, match="depth_source is topic and the frame has no depth image"):
        mapper.step(replace(frame(1), camera="front"))
    with pytest.raises(ConfigError, match="depth_source is 'lidar'; it must be one of"):
        MapperConfig(camera_depth_sources={"left": "lidar"})
