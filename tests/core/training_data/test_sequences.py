"""Walks: symmetries preserve what each pixel sees; episodes depend on seed and place only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE, box_corner
from sgrocc_core.training.data.dataset import DatasetOptions
from sgrocc_core.training.data.sequences import EpisodeSampler, Turn, Walks, cut, episodes, open_walk, pack_walks
from tests.samples.rooms.little_walks import synthesise

FRAMES = 4


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms of four frames each, packed."""
    folder = tmp_path_factory.mktemp("walks")
    synthesise(folder / "rooms", "train", "--seed", "3", "--scenes", "2", "--frames", str(FRAMES), "--embodied")
    assert pack_walks(EmbodiedScanNet(folder / "rooms", "train"), folder / "packed") == 2
    assert pack_walks(EmbodiedScanNet(folder / "rooms", "train"), folder / "packed") == 0
    return folder / "packed"


def walks(packed: Path, **options: object) -> Walks:
    return Walks([packed], DatasetOptions(**{"augment": False, "grid": True, **options}), FRAMES)  # type: ignore[arg-type]


def seen_labels(depth: np.ndarray, K: np.ndarray, T_sc: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """(H, W) label of the voxel 2 cm behind each pixel's surface; 255 where there is none."""
    deeper = np.where(depth > 0, depth + 0.02, 0)
    index = np.floor(back_project(deeper, K, T_sc) / VOXEL_SIZE).astype(int)
    inside = ((index >= 0) & (index < scene.shape)).all(1)
    out = np.full(depth.shape, 255, np.uint8)
    found = np.full(len(index), 255, np.uint8)
    found[inside] = scene[tuple(index[inside].T)]
    out[depth > 0] = found
    return out


@pytest.mark.parametrize("turn", [Turn(), Turn(True), Turn(False, 1), Turn(True, 2), Turn(True, 3)])
def test_a_turned_world_shows_every_pixel_what_it_saw(packed: Path, turn: Turn) -> None:
    data = walks(packed)
    walk = data.walk(0)
    depth = walk.depth[1].astype(np.float32) / 1000
    before = seen_labels(depth, walk.K[1], walk.T_sc[1], walk.scene)
    view, corner = data.view(0, 1, turn)
    T_sc = view.T_bc.copy()
    T_sc[:3, 3] += corner * 0.16
    after = seen_labels(view.depth, view.K, T_sc, turn.scene(walk.scene))
    expected = before[:, ::-1] if turn.mirrored else before
    assert np.mean(after != expected) < 0.01  # a point on a voxel's border may round to either side
    assert np.linalg.det(T_sc[:3, :3]) == pytest.approx(1)
    assert np.array_equal(corner, box_corner(T_sc))


def test_the_box_is_cut_out_of_the_scene(packed: Path) -> None:
    scene = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    box = cut(scene, np.array([-2, 1, 0]))
    assert box.shape == (60, 60, 36)
    assert np.array_equal(box[2:7, :3, :3], scene[:, 1:]) and (box[:2] == 255).all() and (box[7:] == 255).all()
    assert (cut(scene, np.array([100, 0, 0])) == 255).all()


def test_a_sample_has_its_box_in_the_scene(packed: Path) -> None:
    data = walks(packed, sensor_share=1.0)
    sample = data[(1, 2, False, 1, 0, 2, 0)]
    shape = data.walk(1).scene.shape
    assert sample["cells"].tolist() == [(shape[1] + 1) // 2, (shape[0] + 1) // 2, (shape[2] + 1) // 2]
    assert sample["prior"].any() and sample["corner"].shape == (3,) and sample["target"].shape == (60, 60, 36)
    assert not walks(packed, sensor_share=0.0)[(1, 2, False, 1, 0, 2, 0)]["prior"].any()


def test_episodes_follow_walks_frame_by_frame_and_are_the_same_again(packed: Path) -> None:
    keys = list(EpisodeSampler([9, 7], 4, 3, 2, 4, seed=5, augment=True))
    assert len(keys) == 8 and all(len(batch) == 3 for batch in keys)
    for episode in (keys[:4], keys[4:]):
        for place in range(3):
            walk = [batch[place] for batch in episode]
            assert {key[0] for key in walk} <= {0, 1} and len({key[0] for key in walk}) == 1
            assert np.diff([key[1] for key in walk]).tolist() == [1, 1, 1] and [key[5] for key in walk] == [0, 1, 2, 3]
            assert len({key[2:5] for key in walk}) == 1 and walk[0][6] == place
            assert walk[0][1] >= 0 and walk[-1][1] < (9, 7)[walk[0][0]]
    assert list(EpisodeSampler([9, 7], 4, 3, 3, 4, seed=5, augment=True)) == keys[4:]  # a resumed run gets the same
    batch = next(iter(episodes(walks(packed), 2, 0, 1, 0)))
    assert batch["image"].shape == (2, 3, 240, 320) and batch["corner"].shape == (2, 3)


def test_what_cannot_be_walked_is_an_error(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scene has 5 frames"):
        episodes(Walks([packed], DatasetOptions(), 5), 1, 0, 1, 0)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="is not a packed scene"):
        open_walk(tmp_path / "a")
    (tmp_path / "a" / "walk.json").write_text('{"format_version": 7, "frames": 1}')
    with pytest.raises(DataError, match="format version 7, not 1: delete it"):
        open_walk(tmp_path / "a")
