"""`sgrocc bag info`: what of a bag would be mapped, counted without decoding images, and the QoS of its topics."""

import pytest
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.data.bags.file import describe_topics, open_reader
from tests.samples.recordings.bag_samples import Recipe, write_bag


def test_frames_with_a_pose_and_with_depth_are_counted(tmp_path):
    path = write_bag(tmp_path / "walk", Recipe(tf_stamps=[1, 2, 3], depth_delay=20_000_000))
    with BagReader(path) as bag:
        found = bag.outlook()
    assert (found.images, found.with_pose, found.with_depth, found.seconds) == (6, 3, 3, 5.0)
    with BagReader(path, BagOptions(sync_slop=0.01)) as bag:
        assert bag.outlook().with_depth == 0
    with BagReader(path, BagOptions(depth_source="mono", every=2)) as bag:
        found = bag.outlook()
    assert (found.images, found.with_pose, found.with_depth) == (3, 1, 0)


def test_what_is_counted_is_what_a_pass_yields(tmp_path):
    with BagReader(write_bag(tmp_path / "walk", Recipe(tf_stamps=[0, 2, 4])), BagOptions(max_pose_gap=2)) as bag:
        found, frames = bag.outlook(), list(bag)
    assert (
        (found.with_pose, found.with_depth) == (len(frames), sum(frame.depth is not None for frame in frames)) == (5, 5)
    )


def test_the_camera_and_the_counts_are_said(tmp_path, capsys):
    assert main(["bag", "info", str(write_bag(tmp_path / "walk", Recipe(tf_stamps=[1, 2, 3])))]) == 0
    text = capsys.readouterr().out
    assert "camera: 64 x 48 pixels, fx 60, fy 60, cx 31.5, cy 23.5, no lens distortion" in text
    assert "frames: 6 images at 1.0 Hz, 3 with a pose, 3 of them with depth" in text


def _qos(reliability: QosReliability, durability: QosDurability) -> Qos:
    never, alive = QosTime(0, 0), QosLiveliness.AUTOMATIC
    return Qos(QosHistory.KEEP_LAST, 5, reliability, durability, never, never, alive, never, False)


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_the_qos_that_was_offered_is_said_where_the_bag_has_it(tmp_path, plugin):
    store = get_typestore(Stores.ROS2_HUMBLE)
    time = store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    offered = {
        "/a": [_qos(QosReliability.BEST_EFFORT, QosDurability.VOLATILE)],
        "/b": [_qos(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)],
        "/c": [],
    }
    with Writer(tmp_path / "bag", version=8, storage_plugin=plugin) as writer:
        for topic, profiles in offered.items():
            connection = writer.add_connection(topic, time.__msgtype__, typestore=store, offered_qos_profiles=profiles)
            writer.write(connection, 1, store.serialize_cdr(time, time.__msgtype__))
    reader = open_reader(tmp_path / "bag")
    try:
        qos = {topic.name: topic.qos for topic in describe_topics(reader)}
    finally:
        reader.close()
    assert qos == {"/a": "best effort, volatile", "/b": "reliable, transient local", "/c": ""}
