"""A loaded map equals the saved one bit for bit, and mapping continues from it as if it had not stopped.

Stereo begins anew after loading, see test_stereo_mapping.py.
"""

from dataclasses import replace

import numpy as np
import pytest

from sgrocc_core.errors import DataError
from sgrocc_core.map_files.file import MapFolder, SavedMap
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from tests.samples.engines import small_engine
from tests.samples.rooms import scene

STOP, COUNT = 3, 5


@pytest.fixture(scope="module")
def engine():
    return small_engine()


@pytest.fixture(scope="module", params=["fused", "mono"])
def stopped(request, engine, tmp_path_factory):
    """An unstopped mapper, its updates, one stopped after STOP frames, one continued from its file, the frames."""
    frames = scene.walk(COUNT)
    if request.param == "mono":
        frames = [replace(frame, depth=None) for frame in frames]
    config = MapperConfig(depth_source=request.param, motion_depth="tracks")  # the images of stereo are not saved
    straight, first, second = (OccupancyMapper(engine, config) for _ in range(3))
    updates = [straight.step(frame) for frame in frames]
    for frame in frames[:STOP]:
        first.step(frame)
    second.step(scene.frame(scene.camera(yaw=2.0)))  # another map, which is replaced
    folder = tmp_path_factory.mktemp("map")
    MapFolder(folder).save(SavedMap.of(first.map, "map", frames[STOP - 1].stamp_ns), picture=False)
    MapFolder(folder).load(lambda saved: second.map.restore(saved.gaussians))
    return straight, updates, first, second, frames


def in_bytes(mapper):
    """The state that mapping continues from, and everything that is published, as bytes."""
    published = dict(zip(("voxels", "labels", "probability"), mapper.map.voxel_map.occupied())) | {
        "free": mapper.map.voxel_map.free()
    }
    return {name: array.tobytes() for name, array in (mapper.map.arrays() | published).items()}


def test_what_is_loaded_is_what_was_saved_and_goes_on_as_if_it_had_not_stopped(stopped):
    straight, updates, first, second, frames = stopped
    assert in_bytes(second) == in_bytes(first)
    for frame, update in zip(frames[STOP:], updates[STOP:]):
        later = second.step(frame)
        for name in ("voxels", "labels", "probability", "changed_blocks", "depth"):
            np.testing.assert_array_equal(getattr(later, name), getattr(update, name))
    assert in_bytes(second) == in_bytes(straight)


def test_the_saved_voxels_are_those_of_the_mapper(engine):
    mapper = OccupancyMapper(engine)
    for frame in scene.walk(2):
        mapper.step(frame)
    saved = SavedMap.of(mapper.map, "map", 5)
    expected = (*mapper.map.voxel_map.occupied(), mapper.map.voxel_map.free())
    for found, wanted in zip((saved.voxels, saved.labels, saved.probability, saved.free), expected):
        np.testing.assert_array_equal(found, wanted)
    assert len(saved.voxels) > 1000 and saved.stamp_ns == 5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("motion.log_factor", np.array([np.nan]), "'log_factor' holds values that are not finite"),
        ("motion.log_factor", np.array([800.0]), "'log_factor' holds 800.0"),
        ("motion.pixels", np.zeros((3, 2), np.float32), "'points' is"),
        ("motion.grey", np.zeros(5, np.uint8), r"'grey' is \(5,\) uint8"),
        ("opacities", np.zeros((1, 2), np.float32), "'opacities' is"),
    ],
)
def test_arrays_that_no_mapper_made_are_refused_and_the_map_stays_bit_for_bit(engine, name, value, words):
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="mono"))
    for frame in scene.walk(2):
        mapper.step(frame)
    before = in_bytes(mapper)
    with pytest.raises(DataError, match=words):
        mapper.map.restore(mapper.map.arrays() | {name: value})
    assert in_bytes(mapper) == before


@pytest.mark.parametrize(
    ("changed", "frame_id", "words"),
    [
        ({"name": "base"}, "map", r"made by the model 'small' \(4 Gaussians a cell, 32 features\); this is 'base'"),
        ({"gaussians_per_cell": 2}, "map", "this is 'small' .2 Gaussians a cell"),
        ({"feature_channels": 96}, "map", "this is 'small' .4 Gaussians a cell, 96 features"),
        ({"classes": ("empty", "rock")}, "map", "this model's are empty, rock"),
        ({}, "odom", "frame is 'map'; it must be the map frame 'odom'"),
    ],
)
def test_a_map_of_another_model_or_frame_does_not_fit(engine, changed, frame_id, words):
    saved = SavedMap.of(OccupancyMapper(engine).map, "map", 0)
    with pytest.raises(DataError, match=words):
        saved.check_fits(replace(engine.spec, **changed), frame_id)


def test_a_map_without_its_gaussians_does_not_fit(engine):
    saved = replace(SavedMap.of(OccupancyMapper(engine).map, "map", 0), gaussians={})
    with pytest.raises(DataError, match=r"no gaussians\.safetensors"):
        saved.check_fits(engine.spec, "map")


def test_an_empty_map_is_kept_too(engine, tmp_path):
    mapper = OccupancyMapper(engine)
    MapFolder(tmp_path).save(SavedMap.of(mapper.map, "map", 0), picture=False)
    mapper.step(scene.frame(scene.camera()))
    MapFolder(tmp_path).load(lambda saved: mapper.map.restore(saved.gaussians))
    assert len(mapper.map.memory) == 0 and len(mapper.map.voxel_map.occupied()[0]) == 0
