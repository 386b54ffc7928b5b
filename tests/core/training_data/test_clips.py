"""Clips of videos: frames and poses belong together through every augmentation; sources are the mapper's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.depth.sweep import MAX_SOURCES
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.training.stereo.clips import ClipConfig, ClipOptions, Clips, clip_loader
from sgrocc_core.training.stereo.videos import open_video, pack_videos, packed_videos
from tests.samples.rooms.little_videos import pose, write_videos

CONFIG = ClipConfig(views=4, translation_noise=0.0, rotation_noise=0.0)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    pack_videos(write_videos(folder / "set", scenes=2, frames=8), "train", (320, 240), folder / "packed")
    return folder / "packed"


def clips(packed: Path, **options: object) -> Clips:
    return Clips([packed], ClipOptions(**({"config": CONFIG} | options)))  # type: ignore[arg-type]


def test_frames_are_packed_in_order_with_their_poses_in_the_world(packed: Path) -> None:
    video = open_video(packed / "walls_0")
    assert len(video) == 8 and video.image.shape == (8, 240, 320, 3)
    assert np.allclose(video.T_wc[5], pose(5))
    assert video.depth[0].min() > 1500 and video.depth[0].max() < 5500  # millimetres of the two walls


def test_scenes_that_appear_later_are_added_and_the_others_left(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "set", scenes=1, frames=2)
    assert pack_videos(root, "train", (320, 240), tmp_path / "packed") == 1
    written = (tmp_path / "packed" / "walls_0" / "image.npy").stat().st_mtime_ns
    source, other = (root / "occscannet" / part for part in ("gathered_data", "posed_images"))
    for folder in (source, other):
        (folder / "walls_0").rename(folder / "walls_7")
    assert pack_videos(root, "train", (320, 240), tmp_path / "packed") == 1
    assert list(packed_videos(tmp_path / "packed").values()) == [2, 2]
    assert (tmp_path / "packed" / "walls_0" / "image.npy").stat().st_mtime_ns == written


def test_a_list_says_which_scenes_there_are(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "set", scenes=2, frames=2)
    lines = "".join(f"gathered_data/walls_1/{k:05d}.pkl\n" for k in range(2))
    (root / "occscannet" / "train_final.txt").write_text(lines)
    pack_videos(root, "train", (320, 240), tmp_path / "packed")
    assert [path.name for path in packed_videos(tmp_path / "packed")] == ["walls_1"]


def test_a_folder_without_videos_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make some with `sgrocc synth --video`"):
        pack_videos(tmp_path, "train", (320, 240), tmp_path / "packed")
    with pytest.raises(DataError, match="is not a packed video"):
        open_video(tmp_path)


@pytest.mark.parametrize("augment", [False, True])
def test_a_point_of_an_image_lies_at_its_depth_in_its_sources(packed: Path, augment: bool) -> None:
    """The two walls, their mirror image and other lenses: z in the source is what its own depth image says there."""
    checked = 0
    for seed in range(6):
        clip = clips(packed, augment=augment, seed=seed)[(seed % 2, 0, 0)]
        for i, j in ((i, j) for i in range(4) for j in range(MAX_SOURCES) if clip["sources"][i, j] >= 0):
            target, source = clip["depth"][i, 0], clip["depth"][clip["sources"][i, j], 0]
            rows, columns = (part.ravel() for part in np.mgrid[4:56:4, 4:76:4])
            z = target[rows, columns].astype(np.float64)
            known = z > 0
            pixels = np.stack([columns, rows, np.ones(len(rows)), 1 / np.maximum(z, 0.1)])[:, known]
            x, y, share = clip["transforms"][i, j] @ pixels
            u, v = np.rint(x / share).astype(int), np.rint(y / share).astype(int)
            inside = (u >= 0) & (u < 80) & (v >= 0) & (v < 60)
            found, wanted = source[v[inside], u[inside]], (share * z[known])[inside]
            agree = np.abs(found - wanted)[found > 0] < 0.06 * wanted[found > 0]
            assert agree.mean() > 0.85  # the rest is hidden behind the near wall's edge
            checked += 1
    assert checked > 10


def test_clips_depend_on_seed_step_and_place_only(packed: Path) -> None:
    first, again = clips(packed, seed=3)[(1, 7, 2)], clips(packed, seed=3)[(1, 7, 2)]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["image"], clips(packed, seed=3)[(1, 8, 2)]["image"])


def test_sources_are_none_of_the_image_itself_and_numbered_in_the_clip(packed: Path) -> None:
    clip = clips(packed, augment=False)[(0, 0, 0)]
    for i, sources in enumerate(clip["sources"]):
        assert i not in sources and sources.max() < 4
    there = clip["sources"] >= 0
    assert there.any()
    assert (clip["bounds"][~there] == [0, 0, -1, -1]).all() and (clip["bounds"][there] == [0, 0, 79, 59]).all()


def test_noise_moves_the_poses_that_are_told_and_not_the_pictures(packed: Path) -> None:
    noisy = ClipConfig(views=4, translation_noise=0.2, rotation_noise=5.0)
    changed = 0
    for seed in range(5):
        exact, off = (clips(packed, seed=seed, config=config)[(0, 0, 0)] for config in (CONFIG, noisy))
        assert np.array_equal(exact["image"], off["image"])
        changed += not np.allclose(exact["transforms"], off["transforms"])
    assert changed >= 2


def test_batches_are_whole_clips(packed: Path) -> None:
    batch = next(iter(clip_loader(clips(packed), 2, 0, 1, 0)))
    assert batch["image"].shape == (2, 4, 3, 240, 320) and batch["transforms"].shape == (2, 4, MAX_SOURCES, 3, 4)


def test_videos_that_are_too_short_for_a_clip_are_left_out(packed: Path) -> None:
    assert len(clips(packed, config=ClipConfig(views=9))) == 0 and len(clips(packed, config=ClipConfig(views=8))) == 2


@pytest.mark.parametrize("values,message", [({"views": 1}, "views is 1"), ({"occluders": 1.5}, "occluders is 1.5")])
def test_values_that_are_not_allowed_are_named(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"{message}; it must lie between"):
        ClipConfig(**values)
