"""RViz's configuration shows topics that the node really publishes, with compatible quality of service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from sgrocc_core.errors import ConfigError, DataError
from sgrocc_ros.output.outputs import MARKERS_QOS, UPDATES_QOS
from sgrocc_ros.tools.launching import make_plan
from sgrocc_ros.tools.rviz import for_this_launch
from tests.ros.harness import ROOT, NodeProcess, wait_until

FILE = ROOT / "config" / "embodied.rviz"
KINDS = {
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "Map": "nav_msgs/msg/OccupancyGrid",
    "Image": "sensor_msgs/msg/Image",
}
"""Message type of each kind of display with a topic."""
COMMON = {"Class", "Name", "Enabled", "Value"}
TOPIC = {"Value", "Depth", "Durability Policy", "History Policy", "Reliability Policy"}
PROPERTIES = {
    "Grid": {"Cell Size", "Color", "Plane Cell Count", "Reference Frame"},
    "TF": {"Marker Scale", "Show Arrows", "Show Axes", "Show Names"},
    "Image": {"Topic", "Max Value", "Min Value", "Normalize Range"},
    "MarkerArray": {"Topic"},
    "PointCloud2": {
        "Topic", "Alpha", "Color", "Color Transformer", "Decay Time",
        "Position Transformer", "Selectable", "Size (m)", "Style",
    },
    "Map": {"Topic", "Alpha", "Color Scheme", "Draw Behind", "Use Timestamp"},
}  # fmt: skip
"""Names of properties as the displays of rviz_default_plugins have them; RViz ignores others without a word."""


def _displays(text: str) -> dict[str, dict[str, Any]]:
    return {display["Name"]: display for display in yaml.safe_load(text)["Visualization Manager"]["Displays"]}


def _kind(display: dict[str, Any]) -> str:
    package, _, kind = display["Class"].partition("/")
    assert package == "rviz_default_plugins"
    return kind


def _qos(topic: dict[str, Any]) -> QoSProfile:
    assert topic["History Policy"] == "Keep Last"
    reliability = {"Reliable": ReliabilityPolicy.RELIABLE, "Best Effort": ReliabilityPolicy.BEST_EFFORT}
    durability = {"Transient Local": DurabilityPolicy.TRANSIENT_LOCAL, "Volatile": DurabilityPolicy.VOLATILE}
    return QoSProfile(
        depth=topic["Depth"],
        reliability=reliability[topic["Reliability Policy"]],
        durability=durability[topic["Durability Policy"]],
    )


def test_the_displays_have_only_properties_that_rviz_knows():
    for display in _displays(FILE.read_text()).values():
        kind = _kind(display)
        assert set(display) <= COMMON | PROPERTIES[kind], display["Name"]
        if "Topic" in display:
            filtered = {"Filter size"} if kind in ("PointCloud2", "Map") else set()
            assert set(display["Topic"]) <= TOPIC | filtered, display["Name"]
            assert display["Topic"]["Depth"] >= 1


def test_image_map_changes_grid_and_frames_are_shown():
    shown = {(_kind(d), d.get("Topic", {}).get("Value")) for d in _displays(FILE.read_text()).values() if d["Enabled"]}
    node = "/embodied_occupancy"
    wanted = {
        ("Image", "/camera/color/image_raw"),
        ("MarkerArray", f"{node}/markers"),
        ("PointCloud2", f"{node}/occupancy_update"),
    }
    assert wanted | {("Map", f"{node}/grid"), ("TF", None)} <= shown


def test_every_display_receives_what_the_node_publishes(ros_node, tmp_path):
    """Names, types and quality of service come from DDS, for a running node in a namespace."""
    text = for_this_launch(FILE, "/robot1/embodied_occupancy", "/front/image", "odom")
    node = NodeProcess(tmp_path, {"map_frame": "odom"}, {"__ns": "/robot1", "image": "/front/image"})
    try:
        topics = [(_kind(display), display["Topic"]) for display in _displays(text).values() if "Topic" in display]
        published = [(kind, topic) for kind, topic in topics if topic["Value"] != "/front/image"]
        assert {topic["Value"].rpartition("/")[0] for _, topic in published} == {"/robot1/embodied_occupancy"}
        for kind, topic in published:
            name = topic["Value"]
            (publisher,) = wait_until(lambda name=name: ros_node.get_publishers_info_by_topic(name), 10, name)
            assert publisher.topic_type == KINDS[kind]
            wanted = _qos(topic)
            assert (wanted.reliability, wanted.durability) == (
                publisher.qos_profile.reliability,
                publisher.qos_profile.durability,
            ), name
        (image,) = [topic for _, topic in topics if topic["Value"] == "/front/image"]

        def named() -> list:  # discovery tells of a subscription before it tells the name of its node
            found = ros_node.get_subscriptions_info_by_topic(image["Value"])
            return [each for each in found if each.node_namespace != "_NODE_NAMESPACE_UNKNOWN_"]

        (subscription,) = wait_until(named, 10, image["Value"])
        assert (subscription.node_namespace, subscription.topic_type) == ("/robot1", KINDS["Image"])
    finally:
        node.stop()


def test_the_image_is_shown_whatever_reliability_the_camera_offers():
    image = _displays(FILE.read_text())["Camera"]["Topic"]
    for reliability in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
        offered = QoSProfile(depth=5, reliability=reliability)
        assert qos_check_compatible(offered, _qos(image))[0] != QoSCompatibility.ERROR


def test_no_display_drops_what_the_node_keeps_for_it():
    depths = {
        display["Topic"]["Value"]: display["Topic"]["Depth"]
        for display in _displays(FILE.read_text()).values()
        if "Topic" in display
    }
    assert (
        depths["/embodied_occupancy/markers"] == MARKERS_QOS.depth
        and depths["/embodied_occupancy/occupancy_update"] == UPDATES_QOS.depth
    )


def test_fixed_frame_image_and_node_are_those_of_the_launch_and_the_rest_stays():
    text = for_this_launch(FILE, "/a/b/embodied_occupancy", "/front/image/compressed", "odom")
    changed, shipped = yaml.safe_load(text), yaml.safe_load(FILE.read_text())
    assert changed["Visualization Manager"]["Global Options"]["Fixed Frame"] == "odom"
    for after, before in zip(
        changed["Visualization Manager"]["Displays"], shipped["Visualization Manager"]["Displays"], strict=True
    ):
        if "Topic" in before:
            name = before["Topic"]["Value"]
            wanted = "/front/image/compressed" if name == "/camera/color/image_raw" else "/a/b" + name
            assert after["Topic"].pop("Value") == wanted and before["Topic"].pop("Value")
        assert after == before
    changed["Visualization Manager"]["Global Options"] = shipped["Visualization Manager"]["Global Options"]
    assert changed == shipped


def test_topics_in_groups_and_update_topics_are_changed_and_foreign_ones_are_not(tmp_path):
    grid = {"Class": "rviz_default_plugins/Map", "Topic": {"Value": "/embodied_occupancy/grid"}}
    grid["Update Topic"] = {"Value": "/embodied_occupancy/grid_updates"}
    other = {"Class": "rviz_default_plugins/Image", "Topic": {"Value": "/embodied_occupancy_2/image"}}
    group = {"Class": "rviz_common/Group", "Displays": [grid, other]}
    file = tmp_path / "mine.rviz"
    file.write_text(yaml.safe_dump({"Visualization Manager": {"Displays": [group], "Global Options": {}}}))
    (after,) = yaml.safe_load(for_this_launch(file, "/r/embodied_occupancy", "/i", "map"))["Visualization Manager"][
        "Displays"
    ]
    assert [d["Topic"]["Value"] for d in after["Displays"]] == [
        "/r/embodied_occupancy/grid",
        "/embodied_occupancy_2/image",
    ]
    assert after["Displays"][0]["Update Topic"]["Value"] == "/r/embodied_occupancy/grid_updates"


@pytest.mark.parametrize("text", ["", "a: [", "Visualization Manager: {Displays: 3}", "- 1"])
def test_a_file_that_is_not_rvizs_is_named(tmp_path, text):
    file = tmp_path / "mine.rviz"
    file.write_text(text)
    with pytest.raises(DataError, match=r"mine\.rviz is not a configuration of RViz"):
        for_this_launch(file, "/embodied_occupancy", "/image", "map")


def test_the_plan_has_rvizs_configuration_where_rviz_is_installed(tmp_path, monkeypatch):
    """The installation is imitated by an entry of ROS's package index; RViz itself does not run."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"rviz is true, but RViz \(package rviz2\) is not installed here"):
        make_plan({"rviz": "true"})
    _list_package(tmp_path, "rviz2")
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters: {map_frame: odom, image_transport: compressed, use_sim_time: true}\n")
    plan = make_plan({"rviz": "true", "namespace": "robot1", "image": "image", "params_file": str(file)})
    manager = yaml.safe_load(plan.rviz)["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "odom" and plan.use_sim_time
    topics = {display["Topic"]["Value"] for display in manager["Displays"] if "Topic" in display}
    assert {"/robot1/image/compressed", "/robot1/embodied_occupancy/markers"} <= topics
    with pytest.raises(ConfigError, match="rviz_config is '/no/such'; there is no such file"):
        make_plan({"rviz": "true", "rviz_config": "/no/such"})


def _list_package(prefix: Path, name: str) -> None:
    index = prefix / "share/ament_index/resource_index/packages"
    os.makedirs(index)
    (index / name).touch()
