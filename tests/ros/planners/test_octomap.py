"""`~/octomap` is the saved map, voxel for voxel, as OctoMap's own library reads it."""

from __future__ import annotations

import numpy as np
import pytest
from std_srvs.srv import Empty, Trigger

from tests.ros.clients import LatchedClient
from tests.ros.harness import Robot, running_node, wait_until, wall_with_hole
from tests.ros.planners.message_packages import provide

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node with octomap_msgs after two frames, the folder it saves to, and the type of messages."""
    pytest.importorskip("pyoctomap")
    folder = tmp_path_factory.mktemp("octomap")
    provide("octomap_msgs", folder)
    from octomap_msgs.msg import Octomap

    parameters = {"depth_source": "topic", "map_path": folder / "map", "full_map_period": 0.5}
    with running_node(folder, parameters) as (_, robot):
        _walk(robot, 2)
        yield robot, folder, Octomap


def _walk(robot: Robot, frames: int) -> None:
    for n in range(frames):
        processed, stamp = robot.count("processed"), robot.next_stamp()
        robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(n)))
        robot.wait_for("processed", processed + 1, 20)


def _read(message, file) -> dict[tuple[int, int, int], bool]:
    """Whether each known voxel of a message is occupied, by OctoMap's reader of its files."""
    import pyoctomap

    assert message.binary and message.id == "OcTree" and message.resolution == 0.08
    if not len(message.data):
        return {}
    data = np.array(message.data, np.int8).tobytes()
    # The file states the number of nodes: the root, and one for each pair of bits that is not 0.
    nodes = 1 + np.count_nonzero(np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, 2).any(1))
    header = f"# Octomap OcTree binary file\nid {message.id}\nsize {nodes}\nres {message.resolution}\ndata\n"
    file.write_bytes(header.encode() + data)
    tree, found = pyoctomap.OcTree(0.08), {}
    assert tree.readBinary(str(file))
    for leaf in tree.begin_leafs():
        size, centre = leaf.getSize(), np.array(leaf.getCoordinate())
        edge, low = round(size / 0.08), np.rint((centre - size / 2) / 0.08).astype(int)
        inside = np.stack(np.meshgrid(*[np.arange(edge)] * 3), -1).reshape(-1, 3) + low
        found |= dict.fromkeys(map(tuple, inside.tolist()), bool(tree.isNodeOccupied(leaf)))
    return found


def _saved(robot: Robot, folder) -> dict[tuple[int, int, int], bool]:
    assert robot.call(Trigger, "save_map").success
    with np.load(folder / "map" / "map.npz") as arrays:
        free, voxels = arrays["free"].tolist(), arrays["voxels"].tolist()
    return dict.fromkeys(map(tuple, free), False) | dict.fromkeys(map(tuple, voxels), True)


def test_the_octree_follows_the_map_for_a_late_subscriber_and_is_empty_after_a_reset(bench):
    robot, folder, kind = bench
    client = LatchedClient(robot.node, kind, "octomap", 1, lambda _: None)
    for frames in (0, 3):
        _walk(robot, frames)
        expected = _saved(robot, folder)

        def is_there(expected: dict = expected) -> bool:
            return bool(client.messages) and _read(client.messages[-1], folder / "x.bt") == expected

        wait_until(is_there, 10, "the map")
        assert set(expected.values()) == {True, False}
    assert client.messages[-1].header.frame_id == "map" and client.messages[-1].header.stamp.sec > 0
    robot.call(Empty, "reset")
    wait_until(lambda: not len(client.messages[-1].data), 10, "an empty octree")
    _walk(robot, 1)
    assert float(robot.values["latency.octomap.p95_ms"]) > 0
    client.close()
