"""Counters of several cameras add up to those of the node, and a camera that falls silent is told."""

from __future__ import annotations

from sgrocc_ros.health.camera_statistics import CameraStatistics
from sgrocc_ros.health.silence import Silence
from sgrocc_ros.health.statistics import Statistics


class _Two:
    """Counters of two cameras with a simulated clock."""

    def __init__(self) -> None:
        self.now, self.warnings = 0.0, []
        self.total = Statistics(self.warnings.append, lambda: 10.0, lambda: self.now)
        names = ("front", "left")
        self.cameras = {name: CameraStatistics(name, self.total, lambda: self.now) for name in names}
        self.silence = Silence(self.cameras, lambda name, s: f"nothing in {s:.0f} s", 5.0, lambda: self.now)

    def hear(self, *names: str) -> None:
        for name in names:
            self.cameras[name].receive()


def test_each_count_is_that_of_its_camera_and_of_the_node():
    two = _Two()
    two.hear("front", "front", "left")
    two.cameras["front"].process({})
    two.cameras["front"].drop("no_pose", "no transform")
    two.cameras["left"].drop("no_pose", "no transform")
    two.cameras["left"].leave_out_depth("no_depth", "no depth")
    two.cameras["left"].lose(3)
    assert two.total.counts()[:3] == (3, 1, {"no_pose": 2}) and two.total.lost == 3
    front, left = (two.cameras[name].values() for name in ("front", "left"))
    assert front["camera.front.received"] == "2" and front["camera.front.processed"] == "1"
    assert front["camera.front.dropped"] == front["camera.front.dropped.no_pose"] == "1"
    assert left["camera.left.depth_unused.no_depth"] == "1" and left["camera.left.lost"] == "3"


def test_one_cause_is_warned_about_once_for_each_camera():
    two = _Two()
    for name in ("front", "left", "front", "left"):
        two.cameras[name].drop("no_pose", "no transform")
    assert len(two.warnings) == 2
    assert "camera front: no transform" in two.warnings[0] and "camera left: no transform" in two.warnings[1]


def test_a_silent_camera_is_told_while_another_is_heard_and_noticed_once_a_silence():
    two = _Two()
    for two.now in range(12):
        two.hear("front", *(["left"] if two.now < 3 else []))
        said = two.silence.look()
        assert bool(said) == (two.now >= 7), two.now
    assert said == "camera left: nothing in 9 s" and two.total.noticed == {"camera_silent": 1}
    two.hear("left")
    assert two.silence.look() == ""
    for two.now in range(12, 20):
        two.hear("front")
        two.silence.look()
    assert two.total.noticed == {"camera_silent": 2}


def test_all_cameras_silent_is_no_matter_of_one_camera():
    two = _Two()
    two.now = 60.0
    assert two.silence.look() == "" and not two.total.noticed
