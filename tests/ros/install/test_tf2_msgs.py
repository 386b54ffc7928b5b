"""For any other ROS 2 node the generated tf2_msgs equals the ordinary one."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[3] / "support" / "tf2_msgs"
TYPE_HASH = "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"


def _generator():
    spec = importlib.util.spec_from_file_location("tf2_msgs_generate", SUPPORT / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_type_hash_on_the_wire_is_that_of_every_other_ros_2_node(ros_node):
    from tf2_msgs.msg import TFMessage

    ros_node.create_publisher(TFMessage, "/hash_probe", 1)
    info = ros_node.get_publishers_info_by_topic("/hash_probe")[0]
    assert str(info.topic_type_hash) == TYPE_HASH


def test_endpoints_of_it_leave_no_error_behind():
    code = (
        "import rclpy; from sensor_msgs.msg import Image; from tf2_msgs.msg import TFMessage; "
        "rclpy.init(); node = rclpy.create_node('probe'); "
        "node.create_subscription(TFMessage, '/tf', print, 1); node.create_subscription(Image, '/image', print, 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_transform_survives_serialization():
    from geometry_msgs.msg import TransformStamped
    from rclpy.serialization import deserialize_message, serialize_message
    from tf2_msgs.msg import TFMessage

    transform = TransformStamped(child_frame_id="camera")
    transform.header.frame_id = "map"
    transform.transform.translation.y = 2.5
    message = TFMessage(transforms=[transform, transform])
    assert deserialize_message(serialize_message(message), TFMessage) == message


def test_the_generator_makes_the_same_hash_anew(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(SUPPORT)!r}); import generate; from pathlib import Path; "
        f"generate.generate(Path({str(SUPPORT)!r}), Path({str(tmp_path)!r}) / 'tf2_msgs', generate.wheels_prefix())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert TYPE_HASH in (tmp_path / "tf2_msgs" / "msg" / "TFMessage.json").read_text()


def test_it_refuses_beside_a_sourced_ros(tmp_path, monkeypatch):
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/rclpy").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    generator = _generator()
    with pytest.raises(RuntimeError, match=f"{tmp_path}.*only for machines that have ROS as wheels"):
        generator.refuse_beside_a_real_ros(generator.wheels_prefix())


def test_it_refuses_where_ros_distro_is_set(monkeypatch):
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    generator = _generator()
    with pytest.raises(RuntimeError, match="ROS_DISTRO=kilted"):
        generator.refuse_beside_a_real_ros(generator.wheels_prefix())


def test_it_installs_where_only_the_wheels_are(monkeypatch):
    generator = _generator()
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.fspath(generator.wheels_prefix()))
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    generator.refuse_beside_a_real_ros(generator.wheels_prefix())
