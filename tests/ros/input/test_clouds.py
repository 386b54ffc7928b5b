"""Clouds that wait for poses are dropped when the node pauses or time jumps back, each counted; those of now stay."""

from __future__ import annotations

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from sgrocc_ros.cameras import Cameras
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.input.inputs import Inputs
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.messages import byte_array
from sgrocc_ros.parameters.values import Parameters
from tests.ros.harness import model_folder, wait_until
from tests.samples.recordings.point_clouds import packed


class _Waiting:
    """The inputs of a node that maps clouds and knows no pose, and who sends it clouds."""

    def __init__(self) -> None:
        values = {"map_points": True, "model": str(model_folder()), "warn_period": 3600.0}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = rclpy.create_node("takes_clouds", parameter_overrides=overrides)
        parameters, self.statistics = Parameters(self.node), Statistics(self.node.get_logger().info, lambda: 3600.0)
        poses = Poses(self.statistics)
        cameras = Cameras(self.node, parameters, poses, self.statistics)
        self.inputs = Inputs(self.node, parameters, cameras.ports, poses, self.statistics, lambda: None)
        cameras.work(self.inputs)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.points = self.node.create_publisher(PointCloud2, "points", 10)
        wait_until(self.points.get_subscription_count, 10, "the node's subscription")

    def come(self, *seconds: int) -> None:
        """Send clouds of these stamps, and have them received."""
        layout, data = packed(np.array([[0.0, 0, 1]]), 16)
        fields = [PointField(name=n, offset=o, datatype=k, count=1) for n, o, k in layout.fields]
        wanted = int(self.counts()["received"]) + len(seconds)
        for second in seconds:
            header = Header(stamp=Time(sec=second), frame_id="lidar")
            self.points.publish(
                PointCloud2(
                    header=header, height=1, width=1, fields=fields, point_step=16, row_step=16,
                    data=byte_array(np.frombuffer(data, np.uint8)),
                )
            )  # fmt: skip

        def received() -> bool:
            self.executor.spin_once(timeout_sec=0.05)
            return int(self.counts()["received"]) == wanted

        wait_until(received, 10, "the clouds")

    def counts(self) -> dict[str, str]:
        return {name.removeprefix("clouds."): value for name, value in self.inputs.clouds.values().items()}


@pytest.fixture
def waiting(ros_context):
    waiting = _Waiting()
    yield waiting
    waiting.executor.shutdown()
    waiting.node.destroy_node()


def test_a_pause_drops_the_clouds_that_wait_and_those_that_come(waiting):
    waiting.come(100, 101)
    assert waiting.inputs.clouds.waiting == 2
    waiting.inputs.pause(True)
    waiting.come(102)
    assert waiting.inputs.clouds.waiting == 0 and waiting.counts()["dropped.paused"] == "3"
    waiting.inputs.pause(False)
    waiting.come(103)
    assert waiting.inputs.clouds.waiting == 1 and waiting.counts()["dropped"] == "3"
    assert not waiting.statistics.noticed  # a pause is no trouble


def test_after_a_jump_of_time_only_the_clouds_of_the_other_time_are_dropped(waiting):
    waiting.come(100, 101, 50)
    waiting.inputs._jump(50 * 10**9, "an image's stamp jumped back")
    assert waiting.inputs.clouds.waiting == 1 and waiting.counts()["dropped.time_jump"] == "2"
    assert waiting.statistics.noticed == {"time_jump": 1}  # the jump, not each cloud
