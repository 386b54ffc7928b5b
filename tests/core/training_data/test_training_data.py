"""Training views: augmentation keeps image, pose and grid consistent; targets; draws depend on seed and step only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.bench.loader_speed import packed_speed
from sgrocc_core.data.occ_scannet import Sample
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import back_project, project
from sgrocc_core.geometry.lattice import VOXEL_SIZE, voxel_centres
from sgrocc_core.training.data import augmentation
from sgrocc_core.training.data.augmentation import View
from sgrocc_core.training.data.dataset import (
    BEYOND,
    IN_VIEW,
    OUT_OF_VIEW,
    DatasetOptions,
    PackedViews,
    StepSampler,
    run_lengths,
    voxel_states,
)
from sgrocc_core.training.data.packed import open_scene, pack, packed_scenes
from tests.samples.rooms.little_room import write_scene


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    for seed in range(2):
        write_scene(folder / f"room{seed}", 3, seed, (160, 120))
    return folder


@pytest.fixture(scope="module")
def view(packed: Path) -> View:
    return PackedViews([packed], DatasetOptions()).view(1)


def agreement(view: View) -> float:
    """Share of pixels whose back-projected point, pushed 2 cm in, lies in a voxel of the pixel's own label."""
    deeper = np.where(view.depth > 0, view.depth + 0.02, 0)
    index = np.floor(back_project(deeper, view.K, view.T_bc) / VOXEL_SIZE).astype(int)
    labels = view.labels[view.depth > 0]
    inside = ((index >= 0) & (index < view.target.shape)).all(1)
    return float((view.target[tuple(index[inside].T)] == labels[inside]).mean())


def test_the_room_itself_agrees_with_its_picture(view: View) -> None:
    assert agreement(view) > 0.97


def test_a_mirrored_view_agrees_with_its_mirrored_grid(view: View) -> None:
    mirrored = augmentation.mirror(view)
    assert agreement(mirrored) > 0.97
    assert np.linalg.det(mirrored.T_bc[:3, :3]) == pytest.approx(1.0)
    assert np.array_equal(mirrored.image[:, 0], view.image[:, -1])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_world_agrees_with_the_same_picture(view: View, turns: int) -> None:
    turned = augmentation.quarter_turns(view, turns)
    assert agreement(turned) > 0.97
    assert turned.image is view.image and not np.array_equal(turned.target, view.target)


def test_a_zoomed_and_letterboxed_view_agrees_with_the_grid(view: View) -> None:
    zoomed = augmentation.zoom(view, 1.5, (0.2, 0.7), aspect=1.7)
    assert agreement(zoomed) > 0.95
    assert zoomed.K[0, 0] == pytest.approx(1.5 * view.K[0, 0])
    padding = zoomed.mask == 0
    assert (
        padding.any()
        and not zoomed.image[padding].any()
        and not zoomed.depth[padding].any()
        and (zoomed.labels[padding] == 255).all()
    )


def test_light_changes_the_image_and_neither_its_shape_nor_the_original(view: View) -> None:
    before = view.image.copy()
    changed = [augmentation.light(view.image, np.random.default_rng(seed)) for seed in range(20)]
    assert np.array_equal(view.image, before)
    assert all(
        image.shape == before.shape and image.dtype == np.uint8 and not np.array_equal(image, before)
        for image in changed
    )


def test_simulated_sensor_depth_misses_about_a_third_and_is_noisier_far_away() -> None:
    depth = np.full((240, 320), 1.0, np.float32)
    depth[:, 160:] = 2.9
    near, far, missing = [], [], []
    for seed in range(60):
        read = augmentation.sensor_depth(depth, np.random.default_rng(seed))
        missing.append((read == 0).mean())
        near.append((read - depth)[:, :150][read[:, :150] > 0].std())
        far.append((read - depth)[:, 170:][read[:, 170:] > 0].std())
    assert 0.2 < np.mean(missing) < 0.5
    assert np.nanmean(far) > 4 * np.nanmean(near) > 0


def test_thickness_is_the_run_of_matter_along_the_ray() -> None:
    target = np.zeros((60, 60, 36), np.uint8)
    target[20:25] = 3  # a wall 0.40 m thick, its near face at x = 1.6
    T = np.eye(4)
    T[:3, :3] = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # looking along x
    T[:3, 3] = [0.2, 2.4, 1.4]
    K = np.array([[100.0, 0, 1.5], [0, 100.0, 1.5], [0, 0, 1]])
    found = run_lengths(np.array([[1.4]], np.float32), K, T, target, 4)
    assert found[0, 0] == pytest.approx(0.40, abs=0.025)
    assert run_lengths(np.array([[0.9]], np.float32), K, T, target, 4)[0, 0] == 0


def test_voxel_states_are_those_of_the_projection(view: View) -> None:
    target = view.target.copy()
    target[5:9], target[:, 28:31] = 255, 255  # one slab outside the picture, one through it
    states = voxel_states(target, view.K, view.T_bc, view.mask)
    u, v, z = project(voxel_centres(np.zeros(3)).reshape(-1, 3), view.K, view.T_bc)
    height, width = view.mask.shape
    seen = (z > 0.05) & (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    expected = np.where(seen.reshape(target.shape), IN_VIEW, OUT_OF_VIEW)
    expected[target == 255] = np.where(seen.reshape(target.shape), BEYOND, 0)[target == 255]
    assert (states != expected).mean() < 1e-4  # rounding at the picture's border
    assert {0, OUT_OF_VIEW, IN_VIEW, BEYOND} == set(np.unique(states))


def test_a_sample_is_a_function_of_seed_step_and_place(packed: Path) -> None:
    options = DatasetOptions(grid=True, seed=3)
    one, same = PackedViews([packed], options)[2, 7, 1], PackedViews([packed], options)[2, 7, 1]
    other = PackedViews([packed], options)[2, 8, 1]
    assert all(np.array_equal(one[key], same[key]) for key in one)
    assert not np.array_equal(one["image"], other["image"])


def test_batches_of_a_later_start_are_those_of_an_earlier_one() -> None:
    p = np.full(10, 0.1)
    assert list(StepSampler(p, 4, 0, 6, seed=5))[3:] == list(StepSampler(p, 4, 3, 6, seed=5))


def test_views_of_rare_classes_are_drawn_more_often(packed: Path) -> None:
    data = PackedViews([packed], DatasetOptions())
    data.counts = np.zeros((10, 12), np.int64)
    data.counts[:, 3] = 1000
    data.counts[4, 9] = 500
    data.has_labels = np.ones(10, bool)
    p = data.balance()
    assert p.sum() == pytest.approx(1.0)
    assert p.argmax() == 4 and p[4] > 1.3 * p[0]


class _Set:
    """Two scenes of one frame each, the second appearing later."""

    def __init__(self, scenes: list[str]) -> None:
        self.names = [(scene, "00000") for scene in scenes]

    def __getitem__(self, index: int) -> Sample:
        pose = np.eye(4)
        pose[:3, 3] = [1.0, 2.0, 3.0]
        image, depth = np.full((4, 6, 3), index, np.uint8), np.full((4, 6), 1.2344, np.float32)
        target = np.zeros((60, 60, 36), np.uint8)
        return Sample(
            self.names[index][0], "00000", image, depth, np.eye(3), pose, np.array([0.5, 0.5, 0.5]), target, None
        )


def test_packing_adds_what_is_new_and_keeps_what_is_there(tmp_path: Path) -> None:
    assert pack(_Set(["a"]), tmp_path) == 1  # type: ignore[arg-type]
    assert pack(_Set(["a", "b"]), tmp_path) == 1  # type: ignore[arg-type]
    assert [path.name for path in packed_scenes(tmp_path)] == ["a", "b"]
    scene = open_scene(tmp_path / "b")
    assert scene.image[0, 0, 0, 0] == 1 and scene.depth[0, 0, 0] == 1234 and scene.labels[0, 0, 0] == 255
    assert scene.T_bc[0, :3, 3].tolist() == [0.5, 1.5, 2.5]


def test_a_packed_scene_of_another_version_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path / "a", 1, 0, (16, 12))
    (tmp_path / "a" / "packed.json").write_text('{"format_version": 0}')
    with pytest.raises(DataError, match="version 0"):
        open_scene(tmp_path / "a")


def test_a_packed_scene_with_other_frames_than_the_list_is_named(tmp_path: Path) -> None:
    pack(_Set(["a"]), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"a holds 1 views, but the set's list has 2 of that scene: delete it"):
        pack(_Set(["a", "a"]), tmp_path)  # type: ignore[arg-type]


def test_the_loaders_speed_is_measured_over_every_view_it_gives(packed: Path, tmp_path: Path) -> None:
    wall, core = packed_speed(packed, grid=True, batch=2, workers=1, steps=3)
    assert wall > 0 and core > 0
    with pytest.raises(DataError, match="no packed views under"):
        packed_speed(tmp_path, grid=True, batch=2, workers=1, steps=3)
