"""The outputs' thread ends before the node's publishers do, however much waits for it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sgrocc_core.voxels.voxel_map import VoxelMap
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.output import outputs as module
from sgrocc_ros.output.columns import Feed
from sgrocc_ros.output.objects import ObjectsOutput
from sgrocc_ros.output.outputs import Outputs
from sgrocc_ros.output.views import Views


@pytest.fixture
def opened(ros_node):
    warnings: list[str] = []
    told = threading.Event()

    def warn(text: str) -> None:
        warnings.append(text)
        told.set()

    values = {"map_frame": "map", "full_map_period": 1.0, "publish_objects": False}
    statistics = Statistics(warn, lambda: 0.0)
    views = Views(ros_node, lambda: False, ObjectsOutput(ros_node, values, statistics))
    nothing = (np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    outputs = Outputs(
        ros_node,
        "map",
        statistics,
        lambda: 1.0,
        Feed(values, VoxelMap, []),
        views,
        lambda job: None,
        [1],
        lambda: nothing,
    )
    yield outputs, warnings, told
    outputs.close()


def test_everything_that_waits_is_done_before_the_end(opened):
    outputs, warnings, _ = opened
    done = []
    for number in range(20):
        outputs._jobs.put(lambda number=number: done.append(number))
    outputs.close()
    assert done == list(range(20)) and not outputs.is_alive() and warnings == []


def test_what_takes_too_long_is_left_out_and_told_and_the_thread_ends(opened, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.2)
    outputs, warnings, told = opened
    begun, done = threading.Event(), []

    def slow() -> None:
        begun.set()
        told.wait(20)
        done.append("slow")

    outputs._jobs.put(slow)
    outputs._jobs.put(lambda: done.append("after"))
    assert begun.wait(20)
    outputs.close()
    outputs.join(20)
    assert not outputs.is_alive()
    assert done == ["slow"]
    (text,) = warnings
    assert "0.2 s" in text and "left out" in text
