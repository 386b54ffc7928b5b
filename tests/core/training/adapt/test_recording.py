"""Recordings that a model is adapted to: what is refused, with which sentence, and what is held out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.cli import main
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.training.adapt.recording import RecordedView, read_recording, split_frames
from tests.samples.recordings.room_bag import RoomBag
from tests.samples.rooms.round_walk import FRAMES

SIZE = (160, 120)


def test_frames_are_read_with_depth_at_the_network_s_size() -> None:
    recording = read_recording(FRAMES, 60, (320, 240), "walk")
    assert len(recording.frames) == recording.with_depth == 60 and recording.dark == 0
    assert recording.distance == pytest.approx(np.hypot(1.0, 1.0), rel=0.01)
    view = recording.views[7]
    assert view.image.shape == (240, 320, 3) and view.depth.shape == (240, 320)
    seen, there = (back_project(f.depth, f.K, f.T_wc) for f in (view, FRAMES[7]))
    assert np.abs(seen.reshape(240, 320, 3)[100, 200] - there.reshape(120, 160, 3)[50, 100]).max() < 0.05


def test_an_image_of_another_aspect_keeps_its_aspect() -> None:
    wide = dataclasses.replace(FRAMES[0], image=FRAMES[0].image[20:100], depth=FRAMES[0].depth[20:100])
    assert RecordedView.of(wide, (320, 240)).as_frame().image.shape == (160, 320, 3)


def test_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="walk has 20 images; a model is adapted to at least 50"):
        read_recording(FRAMES[:20], 20, SIZE, "walk")


def test_black_images_are_left_out_and_a_covered_lens_is_refused() -> None:
    black = [dataclasses.replace(f, image=np.full_like(f.image, 3)) for f in FRAMES]
    assert read_recording([*black[:8], *FRAMES[8:]], 60, SIZE, "walk").dark == 8
    with pytest.raises(DataError, match="31 of 60 images are black or of one tone; is the lens covered"):
        read_recording([*black[:31], *FRAMES[31:]], 60, SIZE, "walk")
    with pytest.raises(DataError, match="49 of 60 images can be used"):
        read_recording([*black[:11], *FRAMES[11:]], 60, SIZE, "walk")


def test_a_camera_that_stood_still_is_refused() -> None:
    still = []
    for frame in FRAMES:
        T_wc = frame.T_wc.copy()
        T_wc[:3, 3] *= 0.2
        still.append(dataclasses.replace(frame, T_wc=T_wc))
    with pytest.raises(DataError, match=r"the camera moved over 0\.28 m only"):
        read_recording(still, 60, SIZE, "walk")


def test_a_bag_of_few_images_is_refused_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = RoomBag().write(tmp_path / "bag")
    assert main(["adapt", "--bag", str(bag), "--out", str(tmp_path / "mine"), "--work", str(tmp_path / "work")]) == 1
    assert "bag has 12 images; a model is adapted to at least 50" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_bag_without_poses_is_refused_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = RoomBag(tf_kept=[]).write(tmp_path / "bag")
    assert main(["adapt", "--bag", str(bag), "--out", str(tmp_path / "mine"), "--work", str(tmp_path / "work")]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "tf" in said


def test_a_model_folder_that_exists_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.yaml").write_text("")
    assert main(["adapt", "--bag", str(tmp_path / "absent"), "--out", str(tmp_path / "mine")]) == 1
    assert "mine exists; an adapted model never replaces another" in capsys.readouterr().err


def test_a_tenth_is_held_out_in_blocks_with_gaps_on_both_sides() -> None:
    split = split_frames(200)
    assert [len(block) for block in split.blocks] == [10, 10]
    assert all(block == list(range(block[0], block[-1] + 1)) for block in split.blocks)
    assert min(abs(t - h) for t in split.train for h in split.held_out) == 5  # four frames are left out between them
    assert len(split.train) == 200 - 20 - 16
    assert [len(block) for block in split_frames(60).blocks] == [6]
