"""A rebuild ends although images come without pause and the machine's cores are busy, over real DDS."""

from __future__ import annotations

import os

import pytest
from std_srvs.srv import Trigger

from sgrocc_ros.correction.share import AHEAD, PER_FRAME
from tests.ros.correction.beside_images import Walker, busy_cores
from tests.ros.harness import running_node, wait_until

KEYFRAMES = 10
AT_THE_ENDS = 40
"""Frames that may be mapped while the process starts and while the map is written, each held up to half of the time."""


@pytest.mark.slow
def test_a_rebuild_beside_images_without_pause_ends_within_a_bound_of_frames(ros_context, tmp_path):
    """Fails at the bound: a rebuild that starves does not hold up the test for hours."""
    parameters = {"depth_source": "topic", "map_path": tmp_path / "map", "keep_keyframes": 50.0, "tf_timeout": 1.0}
    with running_node(tmp_path, parameters, robot=Walker) as (_, robot):
        with robot.camera(10.0):
            robot.wait_for("keyframes", KEYFRAMES, 300)
            robot.walks = False
            with busy_cores(os.cpu_count() or 1):
                before = robot.count("processed")
                assert robot.call(Trigger, "rebuild").success

                def ended_or_late() -> bool:
                    frames = robot.count("processed") - before
                    most = max(robot.count("rebuild.total"), KEYFRAMES) / PER_FRAME + AHEAD + AT_THE_ENDS
                    assert frames <= most, robot.values
                    return robot.count("rebuild.count") > 0

                wait_until(ended_or_late, 900, lambda: str(robot.values))
        assert robot.count("rebuild.failed") == 0
        assert float(robot.values["rebuild.held_s"]) > 0
