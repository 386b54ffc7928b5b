"""Points over real DDS are the depth of the images; clouds that cannot be used are counted, and their images mapped."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2, PointField
from tf2_msgs.msg import TFMessage

from sgrocc_ros.messages import byte_array
from tests.ros.harness import Robot, running_node, wait_until
from tests.samples.recordings.point_clouds import packed

WALL = np.stack(np.meshgrid(np.linspace(-2, 2, 160), np.linspace(-1.4, 1.4, 120), [2.0]), -1).reshape(-1, 3)
"""A wall 2 m ahead, in the frame of a sensor that looks along its z axis."""


class _Lidar(Robot):
    """A robot whose depth camera is a LiDAR, in a frame of its own 10 cm above the camera."""

    def __init__(self) -> None:
        super().__init__()
        self.node.destroy_publisher(self.depths)
        self.depths = self.node.create_publisher(PointCloud2, "points", 20)

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "camera") -> TFMessage:
        message = super().transform(stamp, norm, y, frame)
        lidar = super().transform(stamp, norm, message.transforms[0].transform.translation.y, "lidar")
        lidar.transforms[0].transform.translation.z = 0.1
        return TFMessage(transforms=[*message.transforms, *lidar.transforms])

    def depth(self, stamp: int, metres: np.ndarray | None = None) -> PointCloud2:
        return self.cloud(stamp, WALL)

    def cloud(self, stamp: int, points: np.ndarray, frame: str = "lidar", names: str = "xyz") -> PointCloud2:
        layout, data = packed(points, 16)
        fields = [PointField(name=n, offset=o, datatype=k, count=1) for n, (_, o, k) in zip(names, layout.fields)]
        return PointCloud2(
            header=self.header(stamp, frame), height=1, width=layout.width, fields=fields, is_bigendian=False,
            point_step=16, row_step=layout.row_step, data=byte_array(np.frombuffer(data, np.uint8)), is_dense=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node and the robot with the LiDAR."""
    with running_node(
        tmp_path_factory.mktemp("points"), {"depth_source": "cloud", "map_points": True}, robot=_Lidar
    ) as bench:
        yield bench


def _unused(robot: Robot) -> dict[str, str]:
    """The numbers of images whose cloud was not used, by cause."""
    return {key: value for key, value in robot.values.items() if key.startswith("depth_unused.")}


def test_the_wall_that_the_points_show_is_in_the_map(bench):
    _, robot = bench
    for _ in range(4):
        robot.map_good_frame()
    wait_until(lambda: robot.map.voxels, 10, "a map")
    assert not _unused(robot) and robot.values["without_source"] == "0", robot.values
    seen = np.array([voxel for voxel, (_, p) in robot.map.voxels.items() if p > 0.6])
    x = (seen[:, 0] + 0.5) * 0.08
    assert ((x > 1.9) & (x < 2.2)).sum() > 100


@pytest.mark.parametrize(
    ("cause", "make"),
    [
        ("cloud_without_points", lambda robot, stamp: robot.cloud(stamp, np.full((50, 3), np.nan))),
        ("bad_cloud", lambda robot, stamp: robot.cloud(stamp, WALL, names="xyw")),
        ("cloud_not_in_view", lambda robot, stamp: robot.cloud(stamp, -WALL)),
        ("cloud_pose", lambda robot, stamp: robot.cloud(stamp, WALL, frame="nowhere")),
        ("no_cloud", lambda robot, stamp: None),
    ],
)
def test_a_cloud_that_cannot_be_used_costs_no_image(bench, cause, make):
    node, robot = bench
    before, unused = robot.count("processed"), robot.count(f"depth_unused.{cause}")
    stamp = robot.next_stamp(300_000_000)  # no other cloud within cloud_slop
    while robot.node.get_clock().now().nanoseconds < stamp:
        pass
    robot.send(stamp, depth=make(robot, stamp))
    robot.wait_for(f"depth_unused.{cause}", unused + 1)
    robot.wait_for("processed", before + 1)
    assert node.warnings(cause) == 1


def test_what_lies_behind_every_camera_is_mapped_from_the_points_alone(bench):
    _, robot = bench
    before, images = robot.count("clouds.processed"), robot.count("processed")
    for _ in range(3):
        stamp = robot.next_stamp(300_000_000)
        robot.transforms.publish(robot.transform(stamp))
        robot.depths.publish(robot.cloud(stamp, -WALL))
        robot.wait_for("clouds.processed", before + 1)
        before += 1
    assert robot.count("processed") == images
    behind = [
        (voxel[0], label) for voxel, (label, p) in robot.map.voxels.items() if -2.2 < voxel[0] * 0.08 < -1.9 and p > 0.6
    ]
    assert len(behind) > 100 and {label for _, label in behind} == {255}
    assert robot.count("clouds.received") > robot.count("clouds.processed") > 3
    assert {"clouds.dropped.bad_cloud", "clouds.dropped.cloud_pose", "latency.cloud.p50_ms"} <= set(robot.values)


def test_points_that_come_before_the_poses_of_their_time_are_waited_for(bench):
    _, robot = bench
    before, unused = robot.count("processed"), _unused(robot)
    stamp = robot.next_stamp(300_000_000)
    robot.send(stamp, transform=None)
    robot.transforms.publish(robot.transform(stamp))
    robot.wait_for("processed", before + 1)
    assert _unused(robot) == unused
