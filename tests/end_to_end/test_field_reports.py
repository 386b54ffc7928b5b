"""Faults of other people's recordings, each through the commands: the map is right, or the command says what is wrong.

Each kind, from reports of drivers, SLAM systems and data sets; those of a running node are in
`tests/ros/hostile/test_field_reports_live.py` and `test_field_reports_alone.py`.

| kind | what must come |
|---|---|
| transforms of two robots under the same names | the map of one of them, or the question which |
| odometry lost while the camera looks round | no image of the gap, and a warning |
| depth of the camera beside | registered by what the bag has, an error without it, or told by its edges |
| K of another resolution | an error that names the factor |
| JPEGs with an orientation | pixels as stored: the very same map |
| stamps of 0 | an error that says 0; a single one costs its image |
| D of two numbers | an error that names the numbers that the model has |
| depth of metres in millimetres | counted as not used, with its median |
| quaternions of zeros, or of one decimal | refused transforms are named with their length |
| OpenGL poses | an error that names the option; with it, the right map |
| a map frame with z forward | an error; with --level, the right map |
| TUM's layout of another camera | its own intrinsics |
| depth in the colour topic's name; depth as mono16 or RVL; two sizes of camera_info on a topic | the right map |
| a full disk, or no folder | one sentence before mapping where it can be known, and exit code 1 |
"""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.geometry.poses import quaternion_from_rotation
from sgrocc_core.map_files.file import load_map
from tests.end_to_end.conftest import ROOT
from tests.samples.recordings.room_bag import RoomBag
from tests.samples.rooms.box_room import K, walk
from tests.samples.rooms.room_folders import camera, oriented, write_camera_yaml, write_room, write_tum_room
from tests.samples.rooms.room_score import score

pytestmark = pytest.mark.slow
BESIDE = np.eye(4)
BESIDE[0, 3] = -0.05
WIDER = np.array([[85.0, 0, 79.5], [0, 85.0, 59.5], [0, 0, 1]])
FORWARD = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
DEPTH_TOPIC = "/camera/depth/image"
EYE = {"depth_frame": "depth_eye", "depth_topic": DEPTH_TOPIC, "depth_K": WIDER, "depth_pose": BESIDE}
UPRIGHT = (-0.5, 0.5, -0.5, 0.5)


class Desk:
    """Runs `sgrocc map` in a folder and keeps what it said."""

    def __init__(self, folder, model, capsys):
        self.folder, self.out, self._model, self._capsys = folder, folder / "out", model, capsys
        self.said = ""

    def map(self, bag, *options):
        """The command's exit code."""
        code = main(
            ["map", "--bag", str(bag), "--out", str(self.out), "--model", self._model, "--no-progress", *options]
        )
        text = self._capsys.readouterr()
        self.said = text.out + text.err
        return code

    def bag(self, **faults):
        return RoomBag(**faults).write(self.folder / "bag")

    @property
    def figures(self):
        return json.loads((self.out / "report.json").read_text())["figures"]


@pytest.fixture
def desk(tmp_path, model, capsys):
    return Desk(tmp_path, model, capsys)


@pytest.fixture(scope="module")
def good(model, tmp_path_factory):
    """The score of the map of a bag without a fault."""
    folder = tmp_path_factory.mktemp("good")
    bag = RoomBag().write(folder / "bag")
    assert main(["map", "--bag", str(bag), "--out", str(folder / "out"), "--model", model, "--no-progress"]) == 0
    found = score(folder / "out")
    assert found.seen > 0.98 and found.free > 0.995
    return found


def is_right(found, good, seen=0.02):
    """Whether a map fits the room as the map of the good bag does; `seen` is what it may lack of the surface."""
    return found.seen > good.seen - seen and found.free > good.free - 0.005 and found.near > good.near - 0.03


TWO_ROBOTS = {
    "prefix": "/robot1",
    "tf_topic": "/robot1/tf",
    "extra_tf": [("/robot2/tf", [T @ BESIDE for T in walk()[::-1]])],
}
HALF = (np.diag([0.5, 0.5, 1.0]) @ K, (80, 60))


@pytest.mark.parametrize(
    ("faults", "options"),
    [
        (TWO_ROBOTS, []),
        (TWO_ROBOTS | {"prefix": ""}, ["--tf-topic", "/robot1/tf"]),
        ({"axes": OPENGL}, ["--axes", "opengl"]),
        ({"image_topic": "/r200_depth/image_raw", "depth_topic": "/r200_depth/depth/image_raw"}, []),
        ({"depth_coding": "mono16", "depth_topic": "/zed/depth/depth_registered"}, []),
        ({"depth_coding": "rvl"}, []),
        ({"second_info": HALF}, []),
        ({"mount": UPRIGHT}, []),
    ],
    ids=["two_robots", "two_robots_named", "opengl", "topic_named_depth", "mono16", "rvl", "two_infos", "static_mount"],
)
def test_what_can_be_read_as_it_is_meant_gives_the_right_map(desk, good, faults, options):
    assert desk.map(desk.bag(**faults), *options) == 0
    assert is_right(score(desk.out), good)
    assert desk.figures["frames_with_depth"]["value"] == 12 and desk.figures["dropped"] == {}


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (TWO_ROBOTS | {"prefix": ""}, ["/robot1/tf, /robot2/tf", "--tf-topic"]),
        ({"told_K": np.diag([2.0, 2.0, 1.0]) @ K}, ["error: the principal point", "2 times"]),
        ({"zero_stamps": True}, ["stamp", "0", "driver"]),
        ({"distortion": (5.0, 0.0)}, ["D has 2 coefficient(s) [5.0, 0.0]", "plumb_bob"]),
        ({"mount": (0.0, 0.0, 0.0, 0.0)}, ["1 transform was refused", "length 0", "'camera_link' to 'camera_optical'"]),
        ({"axes": OPENGL}, ["error: ", "--axes opengl"]),
        ({"world": FORWARD}, ["error: ", "-y of 'map' is up", "--level"]),
    ],
    ids=["two_robots", "scaled_K", "zero_stamps", "D", "zero_quaternion", "opengl", "z_forward"],
)
def test_what_cannot_be_right_is_refused_with_what_is_wrong(desk, faults, words):
    assert desk.map(desk.bag(**faults)) == 1
    for word in words:
        assert word in desk.said, desk.said
    assert "Traceback" not in desk.said and not (desk.out / "map.npz").exists()


def test_quaternions_of_one_decimal_are_told_with_their_length(desk):
    assert desk.map(desk.bag(rounded=True)) == 0
    (found,) = (f for f in json.loads((desk.out / "report.json").read_text())["findings"] if "quaternion" in f["code"])
    lengths = [np.linalg.norm(np.round(quaternion_from_rotation(T[:3, :3]), 1)) for T in walk()]
    first = next(length for length in lengths if abs(length - 1) > 0.01)
    assert found["level"] == "warning" and f"of length {first:.4g}; it must be 1" in found["message"]
    assert found["message"] in desk.said


def test_images_while_the_odometry_is_lost_are_dropped_and_told(desk, good):
    assert desk.map(desk.bag(tf_kept=[0, 1, 2, 8, 9, 10, 11])) == 0
    assert desk.figures["dropped"] == {"no_pose": 5} and desk.figures["frames_mapped"]["value"] == 7
    assert "warning: 5 of 12 images" in desk.said
    assert score(desk.out).free > good.free - 0.005


def test_depth_of_the_camera_beside_is_registered_where_the_bag_says_how(desk, good):
    bag = desk.bag(**EYE)
    assert desk.map(bag, "--depth-topic", DEPTH_TOPIC) == 0
    assert "depth_eye" in desk.said and is_right(score(desk.out), good, seen=0.05)
    assert desk.figures["frames_with_depth"]["value"] == 12
    assert desk.map(bag) == 0
    assert f"warning: {DEPTH_TOPIC}" in desk.said or "--depth-topic" in desk.said


def test_depth_of_the_camera_beside_without_its_calibration_is_refused(desk):
    bag = desk.bag(**EYE | {"depth_info": False, "depth_pose": None})
    assert desk.map(bag, "--depth-topic", DEPTH_TOPIC) == 1
    assert "'depth_eye'" in desk.said and not (desk.out / "map.npz").exists()


def test_depth_of_the_camera_beside_under_the_images_frame_is_told_by_its_edges(desk):
    assert desk.map(desk.bag(depth_K=WIDER, depth_pose=BESIDE)) == 0
    assert "warning: the edges of depth and image agree better" in desk.said
    assert "the edges of depth and image" in (desk.out / "report.json").read_text()


def test_one_image_of_stamp_zero_costs_itself(desk, good):
    assert desk.map(desk.bag(faults={5: "zero_stamp"})) == 0
    assert desk.figures["dropped"] == {"stamp_zero": 1} and desk.figures["frames_mapped"]["value"] == 11
    assert is_right(score(desk.out), good)


def test_depth_in_millimetres_is_counted_as_unused_with_its_median(desk):
    assert desk.map(desk.bag(depth_coding="32FC1", depth_factor=1000.0)) == 0
    assert desk.figures["depth_unused"] == {"depth_without_readings": 12}
    assert "millimetres?" in desk.said and desk.figures["frames_with_depth"]["value"] == 0


def test_a_world_with_z_forward_is_levelled_on_request(desk, good):
    bag = desk.bag(world=FORWARD)
    assert desk.map(bag, "--level") == 0
    with BagReader(bag, BagOptions(level=True)) as reader:
        move = walk()[0] @ np.linalg.inv(next(iter(reader)).T_wc)
    assert is_right(score(desk.out, move=move), good, seen=0.03)


def test_the_orientation_of_jpegs_changes_nothing_of_the_map(desk):
    maps = []
    for orientation in (1, 3, 6):
        folder = write_room(desk.folder / f"{orientation}/room")
        for path in (folder / "images").iterdir():
            path.write_bytes(oriented(path.read_bytes(), orientation))
        bag = folder.parent / "bag"
        assert main(["bag", "from-frames", str(folder), "--out", str(bag), "--no-progress"]) == 0
        assert desk.map(bag) == 0
        maps.append(load_map(desk.out))
    assert len(maps[0].voxels) > 1000
    for other in maps[1:]:
        np.testing.assert_array_equal(other.voxels, maps[0].voxels)
        np.testing.assert_array_equal(other.labels, maps[0].labels)


def test_a_folder_of_opengl_poses_in_a_world_with_y_up_is_mapped_in_the_room(desk, good):
    folder = write_room(desk.folder / "room", "opengl", count=12)
    convert = ["bag", "from-frames", str(folder), "--out", str(desk.folder / "bag"), "--no-progress"]
    assert main(convert) == 1
    assert main([*convert, "--axes", "opengl"]) == 0
    assert desk.map(desk.folder / "bag") == 0
    assert is_right(score(desk.out), good)


def test_a_tum_folder_of_another_camera_is_mapped_with_its_own_intrinsics(desk, good):
    folder = write_tum_room(desk.folder / "room", (160, 120), 130.0, 12)
    write_camera_yaml(folder, (160, 120), 130.0)
    np.savetxt(folder / "intrinsics.txt", camera((160, 120), 130.0))
    bag = desk.folder / "bag"
    assert main(["bag", "from-frames", str(folder), "--out", str(bag), "--no-progress"]) == 0
    assert desk.map(bag) == 0
    assert is_right(score(desk.out), good)


def test_a_folder_that_cannot_be_made_is_refused_before_mapping(desk):
    (desk.folder / "file").write_text("")
    desk.out = desk.folder / "file/map"
    assert desk.map(desk.bag()) == 1
    assert "cannot be written to" in desk.said and "image topic" not in desk.said


def test_a_disk_that_fills_up_is_one_sentence(desk, model):
    command = [sys.executable, "-m", "sgrocc_core.cli", "map", "--bag", str(desk.bag()), "--out", str(desk.out)]
    done = subprocess.run(
        [*command, "--model", model, "--no-progress"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and str(desk.out) in errors[0], done.stderr
    assert "Traceback" not in done.stderr and not (desk.out / "map.npz").exists()
