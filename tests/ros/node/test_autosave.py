"""Autosave never overwrites a map that was not loaded, and a kill at any moment leaves a complete, recent map."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2

from sgrocc_core.map_files.file import MapFolder, SavedMap, load_map
from sgrocc_core.map_files.format import MapModel
from tests.ros.harness import HEIGHT, OFTEN, WIDTH, NodeProcess, Robot, wait_until

PERIOD = 0.2
"""Seconds between autosaves while the node is killed."""


def _send(robot: Robot, distance: float) -> int:
    stamp = robot.next_stamp()
    robot.send(stamp, depth=robot.depth(stamp, np.full((HEIGHT, WIDTH), distance, np.float32)))
    return stamp


def _foreign() -> SavedMap:
    voxels, none = np.zeros((1, 3), np.int32), np.zeros((0, 3), np.int32)
    return SavedMap(
        voxels, np.ones(1, np.uint8), np.ones(1, np.float32), none, "map", 77, {}, MapModel("another", 4, 32)
    )


def test_autosave_keeps_up_with_the_map_and_never_overwrites_one_that_was_not_loaded(ros_context, tmp_path):
    folder = tmp_path / "map"
    MapFolder(folder).save(_foreign(), picture=False)
    parameters = {"depth_source": "topic", "map_path": folder, "autosave_period": 0.2, "save_ply": True}
    node = NodeProcess(tmp_path, parameters)
    robot = Robot()
    try:
        robot.wait_for_node()
        for distance in (2.0, 2.5, 3.0):
            newest = _send(robot, distance)
            wait_until(lambda newest=newest: load_map(folder).stamp_ns == newest, 15, "the newest frame on disk")
        assert not (folder / "map.png").exists() and not (folder / "map.ply").exists()
    finally:
        robot.close()
        assert node.stop() == 0, node.log
    assert load_map(folder / "previous_1").stamp_ns == 77 and len(list(folder.glob("previous_*"))) == 1
    assert load_map(folder).stamp_ns == newest and (folder / "map.png").exists()  # a clean stop adds the picture
    assert (folder / "map.ply").exists()


def test_a_node_that_can_no_longer_save_maps_on_and_says_so(ros_context, tmp_path):
    folder = tmp_path / "map"
    parameters = {"depth_source": "topic", "map_path": folder, "autosave_period": 0.2}
    node = NodeProcess(tmp_path, parameters, program=OFTEN)
    robot = Robot()
    try:
        robot.wait_for_node()
        shutil.rmtree(folder)
        folder.write_text("no folder can be made here")
        robot.map_good_frame()
        robot.wait_for("noticed.autosave_failed", 2)
        robot.map_good_frame()
    finally:
        robot.close()
        assert node.stop() == 1, node.log
    assert "the map is not saved" in node.log and "Traceback" not in node.log


def test_a_node_whose_map_path_cannot_be_used_does_not_start(tmp_path):
    (tmp_path / "file").write_text("no folder can be made in here")
    node = NodeProcess(tmp_path, {"map_path": tmp_path / "file" / "map"}, ready=False)
    assert node.process.wait(120) == 1
    assert "cannot start: the map cannot be written to" in node.log and "Traceback" not in node.log


def test_a_second_node_on_one_map_path_does_not_start(ros_context, tmp_path):
    first = NodeProcess(tmp_path / "first", {"map_path": tmp_path / "map"})
    second = NodeProcess(tmp_path / "second", {"map_path": tmp_path / "map"}, ready=False)
    try:
        assert second.process.wait(120) == 1
        assert f"another process ({first.process.pid}) saves its maps in {tmp_path / 'map'}" in second.log
    finally:
        assert first.stop() == 0, first.log


class Witness:
    """Determines which mapped frames the files must contain, by the order of events and not by their duration.

    A frame that was mapped while generation n was the newest on disk is in generation n + 2 at the latest, because the
    copy for that generation is made after generation n + 1 was written.
    """

    def __init__(self, robot: Robot, folder: Path) -> None:
        self.mapped: list[tuple[float, int]] = []
        self._folder, self._known_at, self._stopped = folder, {}, False
        robot.node.create_subscription(PointCloud2, "/embodied_occupancy/occupancy_update", self._on_update, 50)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        """The newest generation on disk, 0 before the first."""
        pointer = self._folder / ".current"
        return int(Path(os.readlink(pointer)).name) if pointer.is_symlink() else 0

    def owed(self) -> int:
        """Stamp of a frame that the generation on disk must contain."""
        return self._known_at.get(self.generation - 2, 0)

    def close(self) -> None:
        """End the thread."""
        self._stopped = True
        self._thread.join()

    def _on_update(self, message: PointCloud2) -> None:
        stamp = message.header.stamp
        self.mapped.append((time.monotonic(), stamp.sec * 10**9 + stamp.nanosec))

    def _watch(self) -> None:
        while not self._stopped:
            newest = self.mapped[-1][1] if self.mapped else 0
            self._known_at[self.generation] = newest  # the order matters: first the mapped frames, then the disk
            time.sleep(0.005)


def _killed(robot: Robot, witness: Witness, folder: Path, delay: float) -> str:
    """Start the node on the existing map, send frames, kill it; return its log."""
    node = NodeProcess(
        folder.parent, {"depth_source": "topic", "map_path": folder, "autosave_period": PERIOD, "load_on_start": True}
    )
    try:
        robot.wait_for_node()
        first, end, n = witness.generation, None, 0
        while end is None or time.monotonic() < end:
            _send(robot, 1.5 + 0.1 * (n % 15))
            time.sleep(0.05)
            n += 1
            if end is None and witness.generation >= first + 2:
                end = time.monotonic() + delay
            assert n < 2000, node.log
    finally:
        code = node.stop(signal.SIGKILL)
    assert code == -signal.SIGKILL, node.log
    return node.log


@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_loses_no_more_than_what_was_not_saved_yet(ros_context, tmp_path, kills):
    """Every start continues from what the previous kill left; the stamp tells what a file contains."""
    folder, chance, stamp, losses = tmp_path / "map", random.Random(6), 0, []
    robot = Robot()
    witness = Witness(robot, folder)
    try:
        for _ in range(kills):
            log = _killed(robot, witness, folder, chance.uniform(0.0, 2 * PERIOD))
            end = time.monotonic()
            assert (f"the newest of {stamp / 1e9:.3f} s" if stamp else "starting with an empty one") in log
            saved = load_map(folder)
            stamp = saved.stamp_ns
            assert len(saved.voxels) > 100 and saved.gaussians
            assert stamp >= witness.owed() > 0
            losses.append(max([end - when for when, mapped in witness.mapped if mapped > stamp], default=0.0))
    finally:
        witness.close()
        robot.close()
    print(
        f"\n{kills} kills, none unreadable; lost, seconds of mapping: "
        f"largest {max(losses):.2f}, median {np.median(losses):.2f}"
    )
