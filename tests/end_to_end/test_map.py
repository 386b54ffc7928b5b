"""`sgrocc map` makes a map and its files from a bag, and the same ones every time."""

import json

import cv2
import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.map_files.file import FILES, load_map
from tests.samples.recordings.two_cameras import FRONT, REAR, write_two_cameras


@pytest.fixture(scope="module")
def mapped(model, walk, tmp_path_factory):
    out = tmp_path_factory.mktemp("maps") / "fused"
    assert main(["map", "--bag", str(walk), "--model", model, "--out", str(out), "--ply", "--no-progress"]) == 0
    return out


def test_all_files_are_written_and_the_report_says_what_was_done(mapped):
    assert all((mapped / name).stat().st_size > 0 for name in FILES)
    report = json.loads((mapped / "report.json").read_text())
    assert report["figures"]["frames_in"] == {"value": 12, "unit": "frames"} and report["figures"]["dropped"] == {}
    assert report["figures"]["frames_with_depth"]["value"] == 12
    assert report["figures"]["voxels"]["value"] == sum(report["figures"]["voxels_by_class"].values()) > 1000
    assert report["configuration"]["read"]["image"] == "/camera/color/image_raw/compressed"
    for stage in ("image", "slice", "expert", "memory", "splat", "total"):
        assert (
            0 < report["stages"][stage]["p50"] <= report["stages"][stage]["p95"]
            and report["stages"][stage]["count"] == 12
        )
    assert report["machine"]["cores"] >= 1 and report["versions"]["numpy"] == np.__version__


def test_the_map_lies_where_the_depth_camera_saw_surfaces(mapped, walk):
    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.geometry.camera import back_project

    saved = load_map(mapped)
    occupied = {tuple(voxel) for voxel in saved.voxels.tolist()}
    with BagReader(walk) as reader:
        points = np.concatenate([back_project(np.where(f.depth < 4.0, f.depth, 0), f.K, f.T_wc) for f in reader])
    voxels, counts = np.unique(np.floor(points / saved.voxel_size).astype(int), axis=0, return_counts=True)
    surface = voxels[counts > 60]
    hit = np.mean([tuple(voxel) in occupied for voxel in surface.tolist()])
    assert len(surface) > 300 and hit > 0.85


def test_free_space_and_occupied_space_do_not_overlap(mapped):
    saved = load_map(mapped)
    assert len(saved.free) > 1000
    assert not {tuple(v) for v in saved.voxels.tolist()} & {tuple(v) for v in saved.free.tolist()}


def test_the_picture_can_be_opened_and_is_not_blank(mapped):
    picture = cv2.imread(str(mapped / "map.png"))
    assert picture.shape == (1240, 2000, 3) and picture.std() > 10


def test_the_same_bag_gives_the_same_map(mapped, model, walk, tmp_path):
    assert main(["map", "--bag", str(walk), "--model", model, "--out", str(tmp_path / "again"), "--no-progress"]) == 0
    first, second = load_map(mapped), load_map(tmp_path / "again")
    for name in ("voxels", "labels", "probability", "free"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.gaussians.keys() == second.gaussians.keys()
    for name, values in first.gaussians.items():
        np.testing.assert_array_equal(values, second.gaussians[name])


def test_a_saved_memory_gives_the_same_voxels_again(mapped, model):
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper

    saved = load_map(mapped)
    mapper = OccupancyMapper(open_engine(model), MapperConfig(depth_source="fused"))
    mapper.map.restore(saved.gaussians)
    voxels, labels, _ = mapper.map.voxel_map.occupied()
    order, wanted = np.lexsort(voxels.T), np.lexsort(saved.voxels.T)
    np.testing.assert_array_equal(voxels[order], saved.voxels[wanted])
    np.testing.assert_array_equal(labels[order], saved.labels[wanted])


def test_mono_uses_no_depth_and_every_second_image(model, walk, tmp_path, capsys):
    arguments = [
        "map",
        "--bag",
        str(walk),
        "--model",
        model,
        "--out",
        str(tmp_path / "m"),
        "--depth-source",
        "mono",
        "--every",
        "2",
    ]
    assert main([*arguments, "--no-progress"]) == 0
    report = json.loads((tmp_path / "m/report.json").read_text())
    assert report["figures"]["frames_mapped"]["value"] == 6 and report["figures"]["frames_with_depth"]["value"] == 0
    assert report["configuration"]["read"]["depth"] is None
    assert "6 in, 6 mapped (0 with depth)" in capsys.readouterr().out


def test_poses_of_a_body_frame_instead_of_the_optical_one_are_warned_about(model, tmp_path, capsys):
    from sgrocc_core.data.bags import BagWriter

    K, level = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]]), np.eye(4)  # x forward, z up
    with BagWriter(tmp_path / "walk") as writer:
        writer.write(10**9, np.full((48, 64, 3), 90, np.uint8), np.full((48, 64), 2.0), K, level)
    assert (
        main(
            ["map", "--bag", str(tmp_path / "walk"), "--model", model, "--out", str(tmp_path / "out"), "--no-progress"]
        )
        == 0
    )
    assert "warning: the z axis of 'camera_color_optical_frame' points up in 'map'" in capsys.readouterr().err


def test_a_map_from_before_is_kept_beside_the_new_one(model, walk, tmp_path):
    for every in ("12", "6"):
        assert (
            main(
                ["map", "--bag", str(walk), "--model", model, "--out", str(tmp_path), "--every", every, "--no-progress"]
            )
            == 0
        )
    assert json.loads((tmp_path / "previous_1/report.json").read_text())["configuration"]["every"] == 12
    assert json.loads((tmp_path / "report.json").read_text())["configuration"]["every"] == 6


@pytest.mark.slow
def test_two_cameras_of_a_bag_make_one_map(model, tmp_path, capsys):
    bag = write_two_cameras(tmp_path / "bag")
    common = ["map", "--bag", str(bag), "--model", model, "--no-progress", "--force"]
    for name, topics in (("both", f"{FRONT},{REAR}"), ("front", FRONT), ("rear", REAR)):
        assert main([*common, "--image-topic", topics, "--out", str(tmp_path / name)]) == 0
    report = json.loads((tmp_path / "both/report.json").read_text())
    assert report["figures"]["frames_mapped"]["value"] == 24
    assert {name: found["frames_mapped"] for name, found in report["figures"]["cameras"].items()} == {
        FRONT: 12,
        REAR: 12,
    }
    assert f"{REAR}: 12 in, 12 mapped, dropped: none" in capsys.readouterr().out
    both, front, rear = (set(map(tuple, load_map(tmp_path / name).free.tolist())) for name in ("both", "front", "rear"))
    assert len(front - both) < 0.05 * len(front) and len(rear - both) < 0.05 * len(rear)
    assert len(both) > len(front) + 0.5 * len(rear)  # the rear camera stands before a wall
