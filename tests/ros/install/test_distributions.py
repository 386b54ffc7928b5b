"""Differences between the distributions: each variant really runs here, whichever distribution runs the tests."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_ros import distributions
from tests.ros.clients import GridClient, MarkerClient
from tests.ros.harness import OFTEN, ROOT, Robot, running_node, save_voxels, spin, wait_until, wall_with_hole

POLLING_NODE = f"from sgrocc_ros import distributions; distributions.MATCHED_EVENTS = False\n{OFTEN}"
"""The node as Humble runs it: publishers are not told of subscribers."""


@pytest.fixture(scope="module")
def polling(ros_context, tmp_path_factory):
    """That node with a map, which it publishes complete only to new subscribers; a robot; the folder it saves to."""
    folder = tmp_path_factory.mktemp("polling")
    parameters = {"depth_source": "topic", "map_path": folder / "map", "full_map_period": 3600.0}
    with running_node(folder, parameters, program=POLLING_NODE) as (node, robot):
        for i in range(4):
            _map_frame(robot, i)
        yield node, robot, folder / "map"


def _map_frame(robot: Robot, i: int) -> None:
    before, stamp = robot.count("processed"), robot.next_stamp()
    robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(i)))
    robot.wait_for("processed", before + 1, 20)


def test_without_events_a_late_subscriber_gets_the_present_map(polling):
    _, robot, folder = polling
    saved = save_voxels(robot, folder)
    late = Robot()
    try:
        # No frame is sent meanwhile: a new snapshot must arrive, not the one latched before the map grew.
        wait_until(lambda: late.map.voxels == saved, 10, "the whole map")
        assert not late.map.updates
    finally:
        late.close()


def test_without_events_a_late_subscriber_gets_all_markers_and_the_grid(polling):
    _, robot, folder = polling
    saved = set(save_voxels(robot, folder))
    grids = GridClient(robot.node)
    for _ in range(4):  # each subscribes just after the previous one has left
        markers = MarkerClient(robot.node)
        wait_until(lambda markers=markers: markers.voxels == saved, 10, "all blocks")
        assert any(m.action == Marker.DELETEALL for message in markers.messages for m in message.markers)
        markers.close()
    _map_frame(robot, 5)
    wait_until(lambda: grids.messages, 10, "a grid")
    grids.close()


@pytest.fixture
def spun(ros_context):
    """A node whose executor runs in a thread."""
    node, executor = rclpy.create_node("publishing"), SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor,), daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(5)
    node.destroy_node()


needs_events = pytest.mark.skipif(not distributions.MATCHED_EVENTS, reason="this distribution has no such events")


@pytest.mark.parametrize("events", [pytest.param(True, marks=needs_events), False], ids=["events", "polling"])
def test_every_newcomer_is_noticed_and_nobody_else(spun, ros_node, monkeypatch, events):
    monkeypatch.setattr(distributions, "MATCHED_EVENTS", events)
    joined: list[float] = []
    publisher = distributions.create_publisher(
        spun, MarkerArray, "~/joined", QoSProfile(depth=1), lambda: joined.append(time.monotonic())
    )
    time.sleep(2 * distributions.POLL_PERIOD)
    assert not joined

    def subscribe():
        return ros_node.create_subscription(MarkerArray, publisher.topic_name, lambda message: None, 1)

    first = subscribe()
    wait_until(lambda: joined, 5, "the first")
    _settle(joined)
    before = len(joined)  # counted first: the executor's thread may be told before this one goes on
    subscribe()
    wait_until(lambda: len(joined) > before, 5, "the second")
    _settle(joined)
    before = len(joined)
    ros_node.destroy_subscription(first)
    wait_until(lambda: publisher.get_subscription_count() == 1, 5, "one to leave")
    time.sleep(3 * distributions.POLL_PERIOD)
    assert len(joined) == before  # there was no subscriber


def _settle(joined: list[float]) -> None:
    """Wait until nothing more is reported: the graph may show a subscriber later than the publisher."""
    while not joined or time.monotonic() - joined[-1] < 4 * distributions.POLL_PERIOD:
        time.sleep(0.05)


@needs_events
def test_one_who_takes_anothers_place_between_two_looks_is_noticed(ros_node):
    joined: list[str] = []
    node, executor = rclpy.create_node("looking_late"), SingleThreadedExecutor()
    executor.add_node(node)

    def told(what: str) -> bool:
        executor.spin_once(timeout_sec=0.05)
        return joined == [what]

    def subscribe():
        return ros_node.create_subscription(MarkerArray, publisher.topic_name, lambda message: None, 1)

    current = "the first"
    publisher = distributions.create_publisher(
        node, MarkerArray, "~/replaced", QoSProfile(depth=1), lambda: joined.append(current)
    )
    old = subscribe()
    wait_until(lambda: told("the first"), 5, "the first")
    joined.clear()
    current = "the second"
    new = subscribe()
    ros_node.destroy_subscription(old)
    wait_until(lambda: publisher.get_subscription_count() == 1, 5, "the first to leave")
    wait_until(lambda: told("the second"), 5, "the second")
    ros_node.destroy_subscription(new)
    node.destroy_node()


def test_polling_notices_one_who_takes_anothers_place_between_two_looks(ros_node, spun, monkeypatch):
    monkeypatch.setattr(distributions, "MATCHED_EVENTS", False)
    monkeypatch.setattr(distributions, "POLL_PERIOD", 3600.0)  # the test polls itself
    publisher = distributions.create_publisher(spun, MarkerArray, "~/replaced", QoSProfile(depth=1), lambda: None)
    joined = distributions._Joined(spun, publisher)

    def subscribers() -> int:
        return len(spun.get_subscriptions_info_by_topic(publisher.topic_name))

    old = ros_node.create_subscription(MarkerArray, publisher.topic_name, lambda message: None, 1)
    wait_until(lambda: publisher.get_subscription_count() == subscribers() == 1, 5, "the old one")
    assert joined() and not joined()
    new = ros_node.create_subscription(MarkerArray, publisher.topic_name, lambda message: None, 1)
    wait_until(lambda: publisher.get_subscription_count() == 2, 5, "the new one")
    ros_node.destroy_subscription(old)
    wait_until(lambda: publisher.get_subscription_count() == subscribers() == 1, 5, "the old one to leave")
    assert joined() and not joined()
    third = ros_node.create_subscription(MarkerArray, publisher.topic_name, lambda message: None, 1)
    wait_until(lambda: publisher.get_subscription_count() == subscribers() == 2, 5, "the third one")
    assert joined() and not joined()
    fourth = ros_node.create_subscription(MarkerArray, publisher.topic_name, lambda message: None, 1)
    for gone in (new, third):
        ros_node.destroy_subscription(gone)
    wait_until(lambda: publisher.get_subscription_count() == subscribers() == 1, 5, "two to leave")
    assert joined() and not joined()  # although there are fewer than before
    ros_node.destroy_subscription(fourth)


def test_a_failure_of_rcl_is_an_rcl_error(ros_node):
    with pytest.raises(distributions.RCLError, match="timer"):
        ros_node.create_timer(-1.0, lambda: None)


def test_no_other_file_names_what_differs():
    """An import or variable that one distribution lacks would fail only for its users."""
    private = (
        "_rclpy_pybind11",
        "event_handler",
        "qos_event",
        "PublisherEventCallbacks",
        "_PROFILES_FILE",
        "ROS_LOCALHOST_ONLY",
        "ROS_AUTOMATIC_DISCOVERY_RANGE",
    )
    for file in (ROOT / "sgrocc_ros").rglob("*.py"):
        if file.name != "distributions.py":
            assert not [word for word in private if word in file.read_text()], file


CONVERTS = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, desired_encoding):
        assert desired_encoding == "rgb8"
        return np.full((message.height, message.width, 3), 7, np.uint8)
"""
BREAKS = {
    "at its import": 'raise SystemError("initialization of cv_bridge_boost raised unreported exception")',
    "at its import, otherwise": 'raise AttributeError("_ARRAY_API not found")',
    "for a module that it needs": "import cv_bridge_needs_this",
    "at its first call": """
class CvBridge:
    def imgmsg_to_cv2(self, *_):
        raise ImportError("numpy.core.multiarray failed to import")
""",
}
READ_TWICE = """
import numpy as np
from sensor_msgs.msg import Image
from sgrocc_core.errors import FrameError
from sgrocc_ros.messages import byte_array, read_image
known = Image(height=1, width=2, encoding="rgb8", step=6, data=byte_array(np.arange(6, dtype=np.uint8)))
print(read_image(known).tolist())
strange = Image(height=1, width=2, encoding="strange", step=6, data=byte_array(np.zeros(6, np.uint8)))
for _ in range(2):
    try:
        print(read_image(strange).tolist())
    except FrameError as error:
        print(error.cause)
"""


def _read_beside(folder: Path, cv_bridge: str) -> tuple[list[str], str]:
    """Run READ_TWICE with a package cv_bridge of this source; return its output and log."""
    if cv_bridge:
        (folder / "cv_bridge.py").write_text(cv_bridge)
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n{READ_TWICE}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("how", BREAKS)
def test_a_cv_bridge_that_breaks_is_done_without_and_named_once(tmp_path, how):
    printed, log = _read_beside(tmp_path, BREAKS[how])
    assert printed == ["[[[0, 1, 2], [3, 4, 5]]]", "unknown_encoding", "unknown_encoding"]
    assert (
        log.count("cv_bridge does not work here") == 1 and f"NumPy {np.__version__}" in log and "Traceback" not in log
    )


def test_a_cv_bridge_that_works_reads_what_the_package_does_not_know(tmp_path):
    printed, log = _read_beside(tmp_path, CONVERTS)
    assert printed == ["[[[0, 1, 2], [3, 4, 5]]]", *["[[[7, 7, 7], [7, 7, 7]]]"] * 2]
    assert "cv_bridge" not in log


@pytest.mark.skipif(any((Path(place) / "cv_bridge").is_dir() for place in sys.path), reason="cv_bridge is installed")
def test_without_cv_bridge_nothing_is_said(tmp_path):
    printed, log = _read_beside(tmp_path, "")
    assert printed[1:] == ["unknown_encoding"] * 2 and "cv_bridge" not in log
