"""What is not used of a stream is counted under the same names, as often, by the node and by `sgrocc map`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sgrocc_core.cli import main
from tests.ros.harness import ROOT, NodeProcess, Robot, model_folder, wait_until
from tests.samples.recordings.room_bag import RoomBag

FAULTS = {
    3: "nan_transform",
    4: "nan_transform",
    6: "zero_stamp",
    7: "encoding",
    8: "no_depth",
    9: "empty_depth",
    10: "loop",
}
IMAGE, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"
GROUPS = ("dropped", "depth_unused", "transforms_refused", "without_source")


def _of_the_command(bag: Path, out: Path) -> dict:
    assert main(["map", "--bag", str(bag), "--out", str(out), "--force", "--model", str(model_folder())]) == 0
    figures = json.loads((out / "report.json").read_text())["figures"]
    return {group: figures[group] for group in GROUPS}


def _of_the_node(bag: Path, out: Path) -> dict:
    node = NodeProcess(out, {"depth_source": "fused", "map_path": out / "map"}, {"image": IMAGE, "depth": DEPTH})
    robot = Robot()
    try:
        player = [
            sys.executable,
            "-m",
            "sgrocc_ros.tools.player",
            str(bag),
            "--rate",
            "0.08",
            "--wait-for",
            IMAGE,
            DEPTH,
        ]
        subprocess.run(player, cwd=ROOT, check=True, timeout=120)
        wait_until(lambda: robot.count("processed") + robot.count("dropped") == 12, 20, f"all: {robot.values}")
        for group in GROUPS[1:3]:
            assert any(key.startswith(f"{group}.") for key in robot.values)
    finally:
        robot.close()
        assert node.stop() == 0, node.log
    report = json.loads((out / "map" / "report.json").read_text())
    return {group: report.get(group, report["frames"].get(group)) for group in GROUPS}


@pytest.mark.slow
def test_the_node_counts_what_the_command_counts(ros_context, tmp_path):
    bag = RoomBag(faults=FAULTS).write(tmp_path / "bag")
    told = _of_the_command(bag, tmp_path / "command")
    assert told["dropped"] == {"bad_pose": 2, "stamp_zero": 1, "unknown_encoding": 1}
    assert told["depth_unused"] == {"depth_stamp": 1, "no_depth": 1, "depth_without_readings": 1}
    assert told["transforms_refused"] == {"bad_transform": 2, "tf_loop": 1}
    assert 1 <= told["without_source"] <= 2  # the first of the two without depth has no earlier image
    assert _of_the_node(bag, tmp_path / "node") == told
