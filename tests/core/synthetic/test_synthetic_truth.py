"""Generated rooms: depth computed by hand, voxel labels against geometry and depth, free and unknown space, seeds."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.data.synthetic.generate import (
    GeneratedFrame,
    GeneratedScene,
    prepare,
    prepare_walk,
    render_frames,
    render_walk,
)
from sgrocc_core.data.synthetic.rendering.camera_effects import draw_style
from sgrocc_core.data.synthetic.rendering.render import Renderer
from sgrocc_core.data.synthetic.rendering.voxelise import voxelise
from sgrocc_core.data.synthetic.rooms.layouts import outline
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.trajectories import camera_pose
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from tests.samples.rooms.solid_scene import SIZE, hits, intrinsics, scene_of


@pytest.fixture(scope="module", params=[3, 11])
def seed(request) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def made(seed) -> tuple[GeneratedScene, list[GeneratedFrame]]:
    scene = prepare("train", seed, 0, 3, SIZE)
    return scene, list(render_frames(scene, SIZE))


def test_depth_of_a_box_is_the_distance_of_its_plane():
    b = Builder()
    b.box((3.0, 2.0, 1.0), (1.0, 4.0, 2.0), 10, 0)
    T_wc = camera_pose(np.array([0.5, 2.0, 1.0]), 0.0, 0.0, 0.3)
    depth, labels = Renderer(scene_of(b), draw_style(np.random.default_rng(0))).depth_and_labels(
        T_wc, intrinsics(), SIZE
    )
    assert labels[36, 48] == 10
    np.testing.assert_allclose(depth[labels == 10], 2.0, atol=1e-5)


def test_an_empty_direction_has_no_depth_and_no_label():
    b = Builder()
    b.box((3.0, 2.0, 1.0), (0.2, 0.2, 0.2), 10, 0)
    T_wc = camera_pose(np.array([0.5, 2.0, 1.0]), np.pi, 0.0, 0.0)
    depth, labels = Renderer(scene_of(b), draw_style(np.random.default_rng(0))).depth_and_labels(
        T_wc, intrinsics(), SIZE
    )
    assert not depth.any() and (labels == UNKNOWN).all()


def test_a_box_on_the_lattice_fills_exactly_its_voxels():
    b = Builder()
    b.box((1.2, 1.2, 0.4), (0.8 - 0.04, 0.8 - 0.04, 0.8 - 0.04), 8, 0)  # two centimetres inside 10 x 10 x 10 voxels
    grid = voxelise(scene_of(b), np.zeros(3))
    assert (grid.labels == 8).sum() == 1000
    np.testing.assert_array_equal(np.argwhere(grid.labels == 8).min(0) + grid.low, (10, 10, 0))


@pytest.mark.parametrize("kind", ["box", "cylinder", "ball", "cushion"])
def test_every_point_inside_a_turned_solid_lies_in_an_occupied_voxel(kind):
    rng, b = np.random.default_rng(5), Builder()
    size = (0.9, 0.02, 0.7) if kind == "box" else (0.5, 0.3, 0.6)
    angles = (0.7, 0.4, -0.9)
    getattr(b, kind)((2.0, 2.0, 1.2), size, 5, 0, angles)
    scene = scene_of(b, 0.5)
    grid = voxelise(scene, rng.uniform(0, 0.16, 3))
    local = rng.uniform(-1, 1, (4000, 3))
    radius = {"box": np.zeros(len(local)), "cylinder": np.hypot(local[:, 0], local[:, 1])}.get(
        kind, np.linalg.norm(local, axis=1)
    )
    local = local[radius <= 1] * np.array(size) / 2
    points = local @ scene.solids.rotations[0].T + scene.solids.centres[0]
    index = np.floor((points - grid.origin) / VOXEL_SIZE).astype(int) - grid.low
    hit = (grid.labels[tuple(index.T)] == 5).mean()
    assert hit == 1.0 if kind == "box" else hit > 0.998  # a curved rim may graze a voxel between two samples


def test_depth_hits_fall_in_voxels_of_their_label_or_beside_one(made):
    scene, frames = made
    for frame in frames:
        occupied, labelled = hits(scene, frame)
        assert occupied > 0.995 and labelled > 0.98


def test_what_lies_well_before_the_first_surface_is_free(made):
    scene, frames = made
    for frame in frames:
        # the nearest depth of a neighbourhood, so that only rays at its border graze an object
        nearest = cv2.erode(frame.view.depth, np.ones((25, 25)))
        points = back_project(np.where(nearest > 0.8, 0.7 * nearest, 0), frame.K, frame.T_wc)
        index = np.floor((points - scene.grid.origin) / VOXEL_SIZE).astype(int) - scene.grid.low
        assert (scene.grid.labels[tuple(index.T)] == 0).mean() > 0.98


def test_the_target_is_the_scene_s_grid_at_the_box(made):
    scene, frames = made
    for frame in frames:
        steps = (frame.voxel_origin - scene.grid.origin) / VOXEL_SIZE
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
        middle = frame.voxel_origin + (np.array([20, 31, 14]) + 0.5) * VOXEL_SIZE
        index = np.floor((middle - scene.grid.origin) / VOXEL_SIZE).astype(int) - scene.grid.low
        inside = ((index >= 0) & (index < scene.grid.labels.shape)).all()
        assert frame.target[20, 31, 14] == (scene.grid.labels[tuple(index)] if inside else UNKNOWN)


def test_a_room_is_closed(made):
    for frame in made[1]:
        assert (frame.view.depth > 0).mean() > 0.9999


def test_beyond_the_walls_is_unknown(made):
    scene, _ = made
    grid = scene.grid
    outside = grid.labels[[0, -1]]
    assert (outside != 0).all()  # the grid ends in walls and what lies beyond them
    room = scene.scene
    x0, y0, x1, y1 = room.layout.rects[0]
    above = room.rotation @ np.array([(x0 + x1) / 2, (y0 + y1) / 2, room.layout.height + 0.5]) + room.offset
    corner = np.floor((above - grid.origin) / VOXEL_SIZE).astype(int)
    assert (grid.crop(corner, (1, 1, 1)) == UNKNOWN).all()


def test_the_same_seed_gives_the_same_labels_and_depth(seed, made):
    first, frames = made
    again = prepare("train", seed, 0, 3, SIZE)
    np.testing.assert_array_equal(again.grid.labels, first.grid.labels)
    for a, b in zip(frames, render_frames(again, SIZE), strict=True):
        np.testing.assert_array_equal(a.view.depth, b.view.depth)
        np.testing.assert_array_equal(a.view.labels, b.view.labels)
        np.testing.assert_array_equal(a.target, b.target)


def test_the_same_seed_of_another_namespace_is_another_room():
    train, held_out = (prepare(name, 1, 0, 2, SIZE) for name in ("train", "heldout"))
    assert train.grid.labels.shape != held_out.grid.labels.shape or (train.grid.labels != held_out.grid.labels).any()


def test_an_l_shaped_room_has_the_edges_of_its_outline():
    edges = outline([(0, 0, 4, 2), (0, 0, 1.5, 3)])
    assert sorted(round(e.length, 6) for e in edges) == [1.0, 1.5, 2.0, 2.5, 3.0, 4.0]
    inner = next(e for e in edges if e.axis == 0 and e.at == 1.5)
    assert inner.outward == 1 and (inner.start, inner.end) == (2.0, 3.0)


def test_a_walk_is_smooth_and_stays_in_free_space():
    made, _ = prepare_walk(0, 12, SIZE)
    frames = list(render_walk(0, 12, SIZE))
    positions = np.array([f.T_wc[:3, 3] for f in frames])
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 0.12
    turns = [np.arccos(np.clip(a.T_wc[:3, 2] @ b.T_wc[:3, 2], -1, 1)) for a, b in itertools.pairwise(frames)]
    assert max(turns) < 0.2
    for frame in frames:
        cell = np.floor((frame.T_wc[:3, 3] - made.grid.origin) / VOXEL_SIZE).astype(int)
        assert made.grid.crop(cell, (1, 1, 1)).item() == 0


@pytest.mark.slow
def test_a_walk_is_the_same_from_any_number_of_processes():
    for alone, shared in zip(render_walk(1, 16, SIZE, jobs=1), render_walk(1, 16, SIZE, jobs=2), strict=True):
        np.testing.assert_array_equal(alone.view.depth, shared.view.depth)
        np.testing.assert_array_equal(alone.view.image, shared.view.image)
