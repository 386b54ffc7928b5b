"""The launch plan follows from the arguments, the parameter file and the bag; wrong arguments are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context
from rosgraph_msgs.msg import Clock

from sgrocc_core.errors import ConfigError, DataError, SgroccError
from sgrocc_core.map_files.file import load_map
from sgrocc_ros.distributions import PROFILE_VARIABLES
from sgrocc_ros.tools.bag_playing import wait_for_subscriber
from sgrocc_ros.tools.launching import (
    ARGUMENTS,
    Plan,
    find_executable,
    make_plan,
    profile_environment,
    refuse_unknown,
)
from sgrocc_ros.tools.parameter_file import read_parameters
from tests.ros.harness import ROOT, model_folder, wait_until
from tests.samples.recordings.bag_samples import Recipe, write_bag
from tests.samples.recordings.point_clouds import LidarBag
from tests.samples.recordings.two_cameras import FRONT as FRONT_IMAGE
from tests.samples.recordings.two_cameras import REAR as REAR_IMAGE
from tests.samples.recordings.two_cameras import write_two_cameras

FRONT = Recipe(image_topic="/front/rgb/image_raw", depth_topic="/front/registered/depth")


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    """A bag whose topics are not the launch file's defaults."""
    return write_bag(tmp_path_factory.mktemp("bag") / "front", FRONT)


def _parameter_file(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_no_argument_is_required_and_the_parameter_file_decides_then():
    plan = make_plan({})
    assert dict(plan.remappings) == {
        "image": "/camera/color/image_raw",
        "depth": "/camera/aligned_depth_to_color/image_raw",
    }
    assert plan.parameters == {} and plan.params_file == ROOT / "config" / "embodied.yaml"
    assert (plan.namespace, plan.use_sim_time, plan.player, plan.rviz, plan.lines) == ("/", False, [], "", [])


def test_a_bag_alone_gives_topics_frame_depth_and_time(bag):
    plan = make_plan({"bag": str(bag)})
    topics = {
        "image": "/front/rgb/image_raw",
        "camera_info": "/front/rgb/camera_info",
        "depth": "/front/registered/depth",
    }
    assert dict(plan.remappings) == topics
    wanted = {
        "image_transport": "raw",
        "depth_source": "fused",
        "depth_transport": "raw",
        "map_frame": "map",
        "use_sim_time": True,
    }
    assert plan.parameters == wanted and plan.use_sim_time
    assert plan.player[1:] == [
        "-m", "sgrocc_ros.tools.player", str(bag), "--clock", "--rate", "1",
        "--wait-for", "/front/rgb/camera_info", "--wait-timeout", "900",
    ]  # fmt: skip
    assert "6 images on /front/rgb/image_raw" in plan.lines[0] and "fused" in plan.lines[1]


def test_a_bag_without_depth_leaves_the_depth_source_alone(tmp_path):
    plan = make_plan({"bag": str(write_bag(tmp_path / "walk", Recipe(depth_topic="")))})
    assert not {"depth_source", "depth_transport"} & set(plan.parameters)


def test_arguments_go_before_the_file_and_the_file_before_the_bag(bag, tmp_path):
    file = _parameter_file(
        tmp_path / "mine.yaml", "/**:\n  ros__parameters: {map_frame: earth, depth_source: mono, use_sim_time: false}\n"
    )
    parameters = make_plan({"bag": str(bag), "params_file": file}).parameters
    assert parameters == {"image_transport": "raw", "use_sim_time": True}
    parameters = make_plan(
        {"bag": str(bag), "params_file": file, "map_frame": "odom", "use_sim_time": "false"}
    ).parameters
    assert parameters == {"image_transport": "raw", "map_frame": "odom", "use_sim_time": False}


def test_topics_that_are_named_are_looked_up_in_the_bag(tmp_path):
    path = write_bag(tmp_path / "walk", Recipe(extra={"/other/image_raw": "rgb8"}))
    with pytest.raises(DataError, match=r"name one of /camera/color/camera_info as camera_info"):
        make_plan({"bag": str(path), "image": "/other/image_raw"})
    plan = make_plan({"bag": str(path), "image": "/other/image_raw", "camera_info": "/camera/color/camera_info"})
    assert (
        dict(plan.remappings)["image"] == "/other/image_raw"
        and dict(plan.remappings)["camera_info"] == "/camera/color/camera_info"
    )
    with pytest.raises(DataError, match="the bag has no topic /nothing for the depth"):
        make_plan({"bag": str(path), "depth_topic": "/nothing"})
    with pytest.raises(
        DataError, match=r"image_transport is compressed, but .* has /camera/color/image_raw as raw only"
    ):
        make_plan({"bag": str(path), "image_transport": "compressed"})


def test_a_bag_whose_camera_does_not_move_on_tf_leaves_the_map_frame_to_others(tmp_path):
    still = write_bag(tmp_path / "still", Recipe(camera_frame="webcam"))
    plan = make_plan({"bag": str(still)})
    assert "map_frame" not in plan.parameters and "no poses" in plan.lines[-1]


def test_poses_that_are_not_on_tf_have_a_map_frame_and_a_topic_of_their_own(bag):
    plan = make_plan({"bag": str(bag), "pose_source": "odometry", "pose_topic": "/vio/odometry"})
    assert "map_frame" not in plan.parameters and plan.parameters["pose_source"] == "odometry"
    assert dict(plan.remappings)["odometry"] == "/vio/odometry" and len(plan.lines) == 2


def test_names_are_put_into_the_namespace_unless_they_are_absolute():
    plan = make_plan(
        {"namespace": "front", "image": "camera/image", "depth_topic": "/depth"}, outer_namespace="/robot1"
    )
    assert plan.namespace == "/robot1/front"
    assert dict(plan.remappings) == {"image": "/robot1/front/camera/image", "depth": "/depth"}
    assert make_plan({"namespace": "/front/"}, outer_namespace="/robot1").namespace == "/front"


def test_a_compressed_image_topic_says_its_transport():
    assert make_plan({"image": "/cam/image/compressed"}).parameters == {"image_transport": "compressed"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("depth_source", "foo", "parameter depth_source is 'foo'; it must be mono or topic or fused"),
        ("image_transport", "theora", "parameter image_transport is 'theora'; it must be raw or compressed"),
        ("use_sim_time", "maybe", "use_sim_time is 'maybe'; it must be true or false"),
        ("rviz", "yes", "rviz is 'yes'; it must be true or false"),
        ("end_with_bag", "2", "end_with_bag is '2'; it must be true or false"),
        ("bag", "/no/such/bag", "no such file or folder: /no/such/bag"),
        ("bag", str(ROOT / "README.md"), "is not a bag that can be read"),
        ("bag_rate", "0", "bag_rate is '0'; it must be a number above 0"),
        ("bag_rate", "fast", "bag_rate is 'fast'; it must be a number above 0"),
        ("params_file", "/no/such.yaml", "params_file is '/no/such.yaml'; there is no such file"),
        ("params_file", str(ROOT / "README.md"), "README.md"),
        ("model", "nothing", "no model named 'nothing'"),
        ("namespace", "robot 1", "namespace is '/robot 1'; it must be parts of letters, digits and _"),
        ("image", "/camera//image", "image is '/camera//image'"),
        ("fastdds_profile", "/no/such.xml", "fastdds_profile is '/no/such.xml'; there is no such file"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_sentence(monkeypatch, name, value, words):
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SgroccError) as caught:
        make_plan({name: value})
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_argument_that_there_is_not_is_refused_with_what_may_be_meant():
    refuse_unknown(["ros2", "launch", "sgrocc_ros", "embodied.launch.py", *(f"{name}:=x" for name in ARGUMENTS)])
    with pytest.raises(ConfigError, match="there is no argument image_topic; is image meant"):
        refuse_unknown(["image_topic:=/camera"])
    with pytest.raises(ConfigError, match="there is no argument zzz; there are image, camera_info, "):
        refuse_unknown(["zzz:=1"])


FILES = {
    "wildcards": "/robot1/*:\n  ros__parameters: {a: 1, b: 1, c: 1}\n"
    "/**/embodied_occupancy:\n  ros__parameters: {b: 2}\n"
    "/**:\n  ros__parameters: {a: 3}\n"
    "/*/embodied_occupancy:\n  ros__parameters: {d: 4}\n"
    "/other/*:\n  ros__parameters: {e: 5}\n",
    "a wildcard after a full name": "/robot1/embodied_occupancy:\n  ros__parameters: {a: 1}\n"
    "/**:\n  ros__parameters: {a: 2, b: 2}\n",
    "nested": "robot1:\n  embodied_occupancy:\n    ros__parameters: {a: 1}\n"
    "  other:\n    ros__parameters: {a: 2, b: 2}\n",
    "without a slash": "robot1/embodied_occupancy:\n  ros__parameters: {a: 1}\n"
    "embodied_occupancy:\n  ros__parameters: {a: 2, b: 2}\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
@pytest.mark.parametrize("namespace", ["/robot1", "/", "/hall/robot1"])
def test_a_parameter_file_says_to_a_node_what_ros_takes_from_it(tmp_path, text, namespace):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    context = Context()
    rclpy.init(args=["--ros-args", "--params-file", str(file)], context=context)
    try:
        node = rclpy.create_node(
            "embodied_occupancy",
            namespace=namespace,
            context=context,
            automatically_declare_parameters_from_overrides=True,
        )
        taken = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix("") if len(name) == 1}
        full_name = node.get_fully_qualified_name()
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    assert read_parameters(file, full_name) == taken


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "is not a parameter file"),
        ("a: [", "cannot be read"),
        ("/**:\n  ros__parameters: 3\n", "must be names with values"),
    ],
)
def test_a_file_that_is_no_parameter_file_is_named(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        make_plan({"params_file": _parameter_file(tmp_path / "mine.yaml", text)})


def test_the_profile_is_set_under_both_names_unless_the_user_has_set_either(monkeypatch):
    profile = ROOT / "config" / "fastdds.xml"
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    wanted = {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile), "FASTRTPS_DEFAULT_PROFILES_FILE": str(profile)}
    assert make_plan({}).environment == profile_environment(profile) == wanted
    assert make_plan({"fastdds_profile": ""}).environment == {}
    for variable in PROFILE_VARIABLES:
        with monkeypatch.context() as changed:
            changed.setenv(variable, "/mine.xml")
            assert make_plan({}).environment == {}


def test_ros2_bag_play_is_taken_where_it_is_installed_and_can_read_the_bag(bag, tmp_path, monkeypatch):
    """The installation is imitated: a program `ros2`, a module `ros2bag` and entries of ROS's package index."""
    index = tmp_path / "share/ament_index/resource_index/packages"
    for file in (tmp_path / "bin/ros2", tmp_path / "python/ros2bag/__init__.py", index / "rosbag2_storage_mcap"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert "sgrocc_ros.tools.player" in make_plan({"bag": str(bag)}).player
    monkeypatch.syspath_prepend(tmp_path / "python")
    command = make_plan({"bag": str(bag), "bag_rate": "0.5"}).player
    assert command[1:5] == ["-m", "sgrocc_ros.tools.bag_playing", "/front/rgb/camera_info", "--"]
    assert command[5:] == [
        "ros2",
        "bag",
        "play",
        str(bag),
        "--rate",
        "0.5",
        "--clock",
        "100",
        "--disable-keyboard-controls",
    ]
    for kind, suffix in (("db3", ""), ("bag", ".bag")):
        path = write_bag(tmp_path / f"{kind}{suffix}", Recipe(kind=kind))
        assert "sgrocc_ros.tools.player" in make_plan({"bag": str(path)}).player
    (index / "rosbag2_storage_default_plugins").touch()
    assert "play" in make_plan({"bag": str(tmp_path / "db3")}).player


def test_a_command_that_cannot_wait_starts_when_somebody_listens(ros_node, bag):
    clock = "/clock_of_another_domain"
    command = [
        sys.executable,
        "-m",
        "sgrocc_ros.tools.bag_playing",
        clock,
        "--",
        sys.executable,
        "-c",
        "print('begun')",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: "sgrocc_waiting" in ros_node.get_node_names(), 20, "the process that waits")
        assert process.poll() is None
        ros_node.create_subscription(Clock, clock, print, 10)
        assert process.communicate(timeout=20) == ("begun\n", "") and process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_nobody_who_listens_is_an_error():
    with pytest.raises(DataError, match=r"nobody has subscribed to /nothing in 0\.1 s"):
        wait_for_subscriber("/nothing", 0.1)


def test_the_executables_are_found_beside_the_interpreter():
    assert find_executable("bag_player") == Path(sys.prefix) / "bin" / "bag_player"
    with pytest.raises(ConfigError, match="the executable nothing_like_it is not installed"):
        find_executable("nothing_like_it")


@pytest.mark.parametrize("namespace", [pytest.param("", marks=pytest.mark.slow), "robot1"])
def test_a_bag_alone_becomes_a_map(bag, tmp_path, namespace):
    """Start the same processes as the launch file."""
    values = {
        "bag": str(bag),
        "bag_rate": "4",
        "map_path": str(tmp_path / "map"),
        "namespace": namespace,
        "model": str(model_folder()),
    }
    plan = make_plan(values)
    with (tmp_path / "node.log").open("w") as log:
        node = subprocess.Popen(_node_command(plan), env=os.environ | plan.environment, stdout=log, stderr=log)
    try:
        played = subprocess.run(
            plan.player, cwd=ROOT, env=os.environ | plan.environment, capture_output=True, text=True, timeout=120
        )
        assert played.returncode == 0, played.stderr
        node.send_signal(signal.SIGINT)
        assert node.wait(30) == 0, (tmp_path / "node.log").read_text()
    finally:
        node.kill()
        node.wait()
    saved = load_map(tmp_path / "map")
    assert saved.frame_id == "map" and len(saved.voxels) > 100


def _node_command(plan: Plan) -> list[str]:
    command = [
        str(plan.executable),
        "--ros-args",
        "--params-file",
        str(plan.params_file),
        "-r",
        f"__ns:={plan.namespace}",
    ]
    for name, value in plan.parameters.items():
        command += ["-p", f"{name}:={value}"]
    for name, topic in plan.remappings:
        command += ["-r", f"{name}:={topic}"]
    return command


def test_several_cameras_have_a_topic_each_under_their_names():
    plan = make_plan({"cameras": "front, left", "image": "/a/image,/b/image/compressed"})
    assert plan.parameters == {"cameras": "front, left", "left.image_transport": "compressed"}
    assert dict(plan.remappings) == {
        "front/image": "/a/image",
        "front/depth": "/front/aligned_depth_to_color/image_raw",
        "left/image": "/b/image/compressed",
        "left/depth": "/left/aligned_depth_to_color/image_raw",
    }
    assert dict(make_plan({"cameras": "front,left"}).remappings)["left/image"] == "/left/color/image_raw"


def test_the_topics_of_several_cameras_are_found_in_a_bag(tmp_path):
    bag = write_two_cameras(tmp_path / "bag")
    plan = make_plan({"cameras": "front,rear", "image": f"{FRONT_IMAGE},{REAR_IMAGE}", "bag": str(bag)})
    assert plan.parameters["rear.depth_source"] == plan.parameters["front.depth_source"] == "fused"
    assert plan.parameters["map_frame"] == "map" and plan.parameters["use_sim_time"]
    assert dict(plan.remappings)["rear/depth"] == "/rear/depth"
    assert "12 images on /front/image_raw" in plan.lines[0] and "12 images on /rear/image_raw" in plan.lines[2]
    with pytest.raises(DataError, match="the bag has no topic /front/color/image_raw for the image"):
        make_plan({"cameras": "front,rear", "bag": str(bag)})


def test_one_topic_for_two_cameras_is_refused():
    with pytest.raises(ConfigError, match="it must be one topic for each of the cameras front, left, separated by"):
        make_plan({"cameras": "front,left", "image": "/a/image"})
    with pytest.raises(ConfigError, match="image is '/a/image,/b/image'; it must be one topic"):
        make_plan({"image": "/a/image,/b/image"})


def test_a_cameras_own_parameters_may_be_nested_in_the_file(tmp_path):
    text = "/**:\n  ros__parameters: {cameras: [front, left], left: {image_transport: compressed}}\n"
    plan = make_plan({"params_file": _parameter_file(tmp_path / "mine.yaml", text), "image": "/a,/b/compressed"})
    assert plan.parameters == {} and "left/image" in dict(plan.remappings)


def test_points_are_found_in_a_bag_or_named(tmp_path):
    bag = LidarBag().write(tmp_path / "bag")
    plan = make_plan({"bag": str(bag), "depth_source": "cloud"})
    assert dict(plan.remappings)["points"] == "/points" and plan.parameters["depth_source"] == "cloud"
    assert "depth_transport" not in plan.parameters and "depth on /points" in plan.lines[0]
    plan = make_plan({"cameras": "front,left", "points_topic": "/lidar,/lidar", "corrected_poses_topic": "/slam/path"})
    named = dict(plan.remappings)
    assert (
        named["front/points"] == named["left/points"] == named["points"] == "/lidar"
        and named["~/poses"] == "/slam/path"
    )
    with pytest.raises(DataError, match=r"the bag has no points on /lidar \(PointCloud2\)"):
        make_plan({"bag": str(bag), "depth_source": "cloud", "points_topic": "/lidar"})
