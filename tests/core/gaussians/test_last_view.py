"""The view of the last frame: its Gaussians, and removing what it observed."""

import numpy as np
import pytest

from sgrocc_core.errors import FrameError
from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE
from sgrocc_core.gaussians.last_view import MOST, VISIBLE
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from tests.samples.engines import small_engine
from tests.samples.rooms import scene


@pytest.fixture(scope="module")
def engine():
    return small_engine()


def mapped(engine, frames=4, origin=(0.0, 0.0, 0.0)):
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="topic"), origin)
    for frame in scene.walk(frames):
        mapper.step(frame)
    return mapper


def voxels(mapper):
    return dict(
        zip(map(tuple, mapper.map.voxel_map.occupied()[0].tolist()), mapper.map.voxel_map.occupied()[1].tolist())
    )


def test_what_was_seen_is_forgotten_and_nothing_else(engine):
    mapper = mapped(engine)
    before, free = voxels(mapper), {tuple(v) for v in mapper.map.voxel_map.free().tolist()}
    last = mapper.map.last_view
    kept = {name: array.copy() for name, array in mapper.map.memory.arrays().items()}
    update = mapper.map.clear_view()
    assert (update.stamp_ns, update.sequence, mapper.map.sequence) == (last.stamp_ns, 5, 5)
    after = voxels(mapper)
    gone = set(before) - set(after)
    assert len(gone) > 100 and {tuple(v) for v in update.voxels[update.labels == 0].tolist()} == gone
    assert len({tuple(v) for v in mapper.map.voxel_map.free().tolist()}) < 0.5 * len(free)
    rows = mapper.map.memory.box(last.corner)
    seen = np.isin(last.view.state, (FREE, SURFACE)) & (rows >= 0)
    hidden = (last.view.state == HIDDEN) & (rows >= 0)
    assert hidden.any() and not mapper.map.memory.fields.tag[rows[seen]].any()
    for name in ("means", "opacities", "tag", "features"):
        array = getattr(mapper.map.memory.fields, name)
        np.testing.assert_array_equal(
            array[rows[hidden]], kept[name].reshape(array[: len(mapper.map.memory) * 512].shape)[rows[hidden]]
        )
    slots = mapper.map.memory.slots(last.keys)
    assert not mapper.map.memory.evidence[slots[slots >= 0]][last.judged[slots >= 0]].any()


def test_the_next_frame_maps_it_anew_as_in_an_empty_map_where_depth_sees(engine):
    mapper, frame = mapped(engine), scene.walk(5)[4]
    mapper.map.clear_view()
    mapper.step(frame)
    alone = OccupancyMapper(engine, MapperConfig(depth_source="topic"))
    alone.step(frame)
    again, fresh = voxels(mapper), voxels(alone)
    assert len(set(fresh) - set(again)) < 0.05 * len(fresh)


def test_forgetting_twice_or_before_any_frame(engine):
    mapper = mapped(engine)
    mapper.map.clear_view()
    assert len(mapper.map.clear_view().voxels) == 0
    mapper.map.reset()
    with pytest.raises(FrameError, match="no frame has been mapped"):
        mapper.map.clear_view()
    assert mapper.map.gaussians_in_view() is None


def test_a_map_that_was_taken_over_has_no_view_yet(engine):
    mapper, other = mapped(engine), OccupancyMapper(engine, MapperConfig(depth_source="topic"))
    other.map.restore(mapper.map.arrays())
    assert other.map.gaussians_in_view() is None
    with pytest.raises(FrameError):
        other.map.clear_view()


def test_gaussians_in_view_lie_where_the_map_is_occupied(engine):
    mapper = mapped(engine, origin=(0.8, -1.6, 0.24))
    shown = mapper.map.gaussians_in_view()
    assert 100 < len(shown.means) <= MOST and shown.opacities.min() >= VISIBLE
    assert shown.scales.min() >= 0.02 and shown.scales.max() <= 0.08 and set(shown.labels.tolist()) <= set(range(1, 12))
    np.testing.assert_allclose(np.linalg.norm(shown.rotations, axis=1), 1.0, atol=1e-4)
    found = mapper.map.query(shown.means[shown.opacities > 0.9])
    assert (found.labels > 0).mean() > 0.8  # evidence may contradict a few
    assert found.probability.mean() > 0.7
