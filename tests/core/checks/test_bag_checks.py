"""What goes wrong in people's bags: each kind of fault is read as it is meant, refused, or told."""

import json

import cv2
import numpy as np
import pytest

from sgrocc_core.checks.recording import look_at_bag
from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.errors import DataError
from tests.samples.recordings.room_bag import RoomBag
from tests.samples.rooms.box_room import SIZE, K, look, walk

RATE_NS = 10**8
BESIDE = np.eye(4)
BESIDE[0, 3] = -0.05
DEPTH_K = np.array([[85.0, 0, 79.5], [0, 85.0, 59.5], [0, 0, 1]])


def frames_of(path, **options):
    with BagReader(path, BagOptions(**options)) as reader:
        return list(reader), reader


def codes(path, **options):
    with BagReader(path, BagOptions(**options)) as reader:
        return {finding.code: finding.level for finding in look_at_bag(reader).findings()}


def test_a_good_bag_has_no_finding(tmp_path):
    assert codes(RoomBag().write(tmp_path / "bag")) == {}


def test_transforms_of_two_robots_are_not_mixed(tmp_path):
    bag = RoomBag(prefix="/robot1", tf_topic="/robot1/tf")
    bag.extra_tf = [("/robot2/tf", [T @ BESIDE for T in reversed(walk())])]
    frames, reader = frames_of(bag.write(tmp_path / "bag"))
    assert all(np.allclose(f.T_wc, T, atol=1e-6) for f, T in zip(frames, walk())) and not reader.dropped


def test_transforms_of_two_robots_beside_an_image_of_neither_ask_which(tmp_path):
    bag = RoomBag(tf_topic="/robot1/tf")
    bag.extra_tf = [("/robot2/tf", walk())]
    path = bag.write(tmp_path / "bag")
    with pytest.raises(DataError, match=r"several namespaces \(/robot1/tf, /robot2/tf\).*--tf-topic"):
        BagReader(path)
    assert len(frames_of(path, tf_topic="/robot2")[0]) == 12


def test_images_in_a_gap_of_the_poses_are_dropped_and_told(tmp_path):
    path = RoomBag(tf_kept=[0, 1, 2, 8, 9, 10, 11]).write(tmp_path / "bag")
    frames, reader = frames_of(path)
    assert len(frames) == 7 and reader.dropped == {"no_pose": 5}
    assert codes(path) == {"images_no_pose": "warning"}


def test_depth_of_the_camera_beside_is_registered_by_its_camera_info_and_the_transforms(tmp_path):
    bag = RoomBag(depth_frame="depth_eye", depth_K=DEPTH_K, depth_pose=BESIDE, depth_topic="/eye/depth/image")
    path = bag.write(tmp_path / "bag")
    assert codes(path, depth_topic="/eye/depth/image") == {"depth_registered": "note"}
    frames, _ = frames_of(path, depth_topic="/eye/depth/image")
    for frame, T_wc in zip(frames, walk()):
        truth = look(T_wc)[1]
        scaled = cv2.resize(frame.depth, SIZE, interpolation=cv2.INTER_NEAREST)
        seen = scaled > 0
        assert seen.mean() > 0.8
        assert np.mean(np.abs(scaled - truth)[seen] < 0.05 * truth[seen]) > 0.93
    assert codes(path) == {"depth_not_used": "warning"}


def test_depth_of_another_frame_without_camera_info_is_an_error(tmp_path):
    bag = RoomBag(depth_frame="depth_eye", depth_topic="/eye/depth/image", depth_info=False)
    path = bag.write(tmp_path / "bag")
    assert codes(path, depth_topic="/eye/depth/image")["depth_frame"] == "error"
    assert codes(path, depth_topic="/eye/depth/image", depth_registered=True) == {}


def test_depth_that_does_not_lie_on_the_image_is_told_by_its_edges(tmp_path):
    bag = RoomBag(depth_K=DEPTH_K, depth_pose=BESIDE)
    assert codes(bag.write(tmp_path / "bag"))["depth_registration"] == "warning"


def test_stamps_of_zero_are_named(tmp_path):
    found = codes(RoomBag(zero_stamps=True).write(tmp_path / "bag"))
    assert found["stamp_zero"] == "error" and found["images_stamp_zero"] == "error"


def test_two_distortion_coefficients_are_refused_with_their_values(tmp_path):
    path = RoomBag(distortion=(5.0, 0.0)).write(tmp_path / "bag")
    with pytest.raises(DataError, match=r"D has 2 coefficient\(s\) \[5.0, 0.0\]; the model .plumb_bob. takes 4, 5"):
        BagReader(path)


def test_depth_in_millimetres_is_counted_as_unused_with_its_median(tmp_path):
    path = RoomBag(depth_coding="32FC1", depth_factor=1000.0).write(tmp_path / "bag")
    frames, reader = frames_of(path)
    assert len(frames) == 12 and reader.depth_unused == {"depth_without_readings": 12}
    found = codes(path)
    assert found["depth_unit"] == "warning" and found["depth_unused_depth_without_readings"] == "warning"


def test_depth_coded_as_mono16_is_found_and_read(tmp_path):
    frames, _ = frames_of(RoomBag(depth_coding="mono16").write(tmp_path / "bag"))
    np.testing.assert_allclose(frames[0].depth, look(walk()[0])[1], atol=1e-3)


def test_a_colour_topic_with_depth_in_its_name_is_found_by_its_encoding(tmp_path):
    bag = RoomBag(image_topic="/r200_depth/image_raw", depth_topic="/r200_depth/depth/image_raw")
    assert len(frames_of(bag.write(tmp_path / "bag"))[0]) == 12


def test_of_two_sizes_on_one_camera_info_topic_that_of_the_image_counts(tmp_path):
    half = K.copy()
    half[:2] /= 2
    path = RoomBag(second_info=(half, (SIZE[0] // 2, SIZE[1] // 2))).write(tmp_path / "bag")
    frames, reader = frames_of(path)
    assert len(frames) == 12 and not reader.dropped and np.allclose(frames[5].K, K)
    assert codes(path) == {"camera_info_sizes": "note"}


@pytest.mark.parametrize(
    ("quaternion", "text"), [((0.0, 0.0, 0.0, 0.0), "length 0"), ((0.0, 0.0, 0.0, 0.5), "length 0.5")]
)
def test_refused_transforms_are_named_where_they_leave_no_pose(tmp_path, quaternion, text):
    with pytest.raises(DataError, match=f"transforms were refused: .*{text}"):
        BagReader(RoomBag(quaternion=quaternion).write(tmp_path / "bag"))


def test_a_world_with_z_forward_is_refused_by_the_command_and_levelled_on_request(tmp_path, capsys):
    forward = np.eye(4)
    forward[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    path = RoomBag(world=forward).write(tmp_path / "bag")
    out = tmp_path / "out"
    assert main(["map", "--bag", str(path), "--out", str(out)]) == 1
    assert "-y of 'map' is up" in capsys.readouterr().err and not (out / "map.npz").exists()
    frames, reader = frames_of(path, level=True)
    assert reader.map_frame == "map_levelled" and codes(path, level=True) == {}
    assert np.mean([-f.T_wc[2, 1] for f in frames]) > 0.8


def test_poses_of_opengl_axes_are_refused_and_read_with_the_option(tmp_path):
    path = RoomBag(axes=np.diag([1.0, -1.0, -1.0, 1.0])).write(tmp_path / "bag")
    assert codes(path)["camera_axes"] == "error"
    assert codes(path, axes="opengl") == {}


def test_check_prints_a_table_and_writes_findings_and_a_picture(tmp_path, capsys):
    path = RoomBag(tf_kept=[0, 1, 2, 8, 9, 10, 11]).write(tmp_path / "bag")
    picture, found = tmp_path / "look" / "check.png", tmp_path / "found.json"
    assert main(["check", str(path), "--picture", str(picture), "--json", str(found)]) == 0
    text = capsys.readouterr().out
    assert "up direction" in text and "depth on image" in text and "5 of 12 images" in text
    assert json.loads(found.read_text())["findings"][0]["code"] == "images_no_pose"
    assert cv2.imread(str(picture)).shape[0] == 480


def test_an_output_folder_that_cannot_be_made_is_refused_before_mapping(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    bag = RoomBag().write(tmp_path / "bag")
    assert main(["map", "--bag", str(bag), "--out", str(tmp_path / "file" / "map")]) == 1
    text = capsys.readouterr()
    assert "cannot be written to" in text.err and "image " not in text.out


def test_one_pose_beyond_reason_costs_its_image_and_no_other(tmp_path):
    frames, reader = frames_of(RoomBag(far_pose=5).write(tmp_path / "bag"))
    assert len(frames) == 11 and reader.dropped == {"pose_jump": 1}
    assert max(np.abs(f.T_wc[:3, 3]).max() for f in frames) < 10
