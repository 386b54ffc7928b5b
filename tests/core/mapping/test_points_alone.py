"""Points alone are evidence all around their sensor; a camera's network lends class where it has looked."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.errors import FrameError
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.mapping.points_alone import FACES
from tests.samples.engines import small_engine
from tests.samples.recordings.point_clouds import surfaces
from tests.samples.rooms.box_room import frames, pose

CENTRE = np.array([2.0, 2.5, 1.4])


@pytest.fixture(scope="module")
def mapper():
    return OccupancyMapper(small_engine(), MapperConfig())


@pytest.fixture(scope="module")
def around():
    """What a LiDAR in the middle of the room hits, a camera's field of view at a time."""
    yaws = np.arange(0, 2 * np.pi, np.pi / 6)
    return np.concatenate([surfaces(pose(2.0, 2.5, yaw, down)) for yaw in yaws for down in (-0.5, 0.1, 0.7)])


def test_the_views_are_rotations_that_look_in_all_six_directions():
    for R in FACES:
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(R) == pytest.approx(1.0)
    assert {tuple(R[:, 2]) for R in FACES} == {tuple(s * e) for e in np.eye(3) for s in (1.0, -1.0)}


def test_walls_on_every_side_are_occupied_without_class_and_the_room_between_is_free(mapper, around):
    mapper.map.reset()
    update = mapper.observe_points(around, CENTRE, 10**18)
    voxels, labels, _ = mapper.map.occupied()
    assert len(update.voxels) == len(voxels) and set(labels.tolist()) == {UNKNOWN}
    centres = (voxels + 0.5) * 0.08
    for axis, place in ((0, 0.0), (0, 4.0), (1, 0.0), (1, 5.0), (2, 0.0)):
        assert (np.abs(centres[:, axis] - place) < 0.09).sum() > 200, (axis, place)
    assert mapper.map.query(CENTRE + np.array([[0.6, 0, 0], [-0.6, 0, 0], [0, 0.6, 0]])).is_free.all()


def test_where_a_camera_has_looked_the_points_have_a_class(mapper, around):
    mapper.map.reset()
    for frame in frames(4):
        mapper.step(frame)
    mapper.observe_points(around, CENTRE, 2 * 10**18)
    labels = mapper.map.occupied()[1]
    assert (labels != UNKNOWN).sum() > 1000 and (labels == UNKNOWN).sum() > 500


def test_no_points_are_refused(mapper):
    with pytest.raises(FrameError, match="a cloud without points is no evidence"):
        mapper.observe_points(np.zeros((0, 3)), CENTRE, 0)
