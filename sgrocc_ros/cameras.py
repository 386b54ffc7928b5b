"""Connects the cameras of the node: what each needs before its subscriptions, and what the worker needs of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from rclpy.node import Node

from sgrocc_core.checks.findings import Finding, Findings
from sgrocc_core.geometry.calibration import is_rectified
from sgrocc_core.mapping.warm_up import warm_up_points
from sgrocc_ros.health.camera_statistics import CameraStatistics
from sgrocc_ros.health.first_look import FirstLook
from sgrocc_ros.health.statistics import Statistics, of_camera
from sgrocc_ros.input.clouds import CloudRoom
from sgrocc_ros.input.frames import FrameMaker
from sgrocc_ros.input.inputs import CameraPort, Inputs, pose_frame
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.input.turns import Turns
from sgrocc_ros.input.waiting import WaitingRoom
from sgrocc_ros.parameters.values import Parameters
from sgrocc_ros.worker import CameraWork


class Cameras:
    """The cameras of the node: one without a name, or several with a name each.

    Args:
        node: owns the subscription of the clouds.
        parameters: parameters of the node.
        poses: looks up poses.
        statistics: counters of the node.

    Attributes:
        ports: where the messages of each camera go, by its name.
        turns: supplies complete images.
        counts: counters of each camera that has a name.
        clouds: clouds that are mapped by themselves; None without `map_points`.
    """

    def __init__(self, node: Node, parameters: Parameters, poses: Poses, statistics: Statistics) -> None:
        self._map_frame, self._poses = parameters["map_frame"], poses
        self.counts = {name: CameraStatistics(name, statistics) for name in parameters.cameras if name}
        self.ports: dict[str, CameraPort] = {}
        changed = threading.Condition()
        for name in parameters.cameras:
            p, counts = parameters.of_camera(name), self.counts.get(name, statistics)
            room = WaitingRoom(
                poses, counts, self._map_frame, pose_frame(p), p["depth_source"], p["tf_timeout"],
                p["cloud_slop" if p["depth_source"] == "cloud" else "sync_slop"],
                camera=name, changed=changed,
            )  # fmt: skip
            self.ports[name] = CameraPort(p, room, counts)
        alone = parameters["map_points"]
        self.clouds = CloudRoom(node, parameters, poses, statistics, changed) if alone else None
        if alone or any(port.parameters["depth_source"] == "cloud" for port in self.ports.values()):
            warm_up_points()
        self.turns = Turns([port.room for port in self.ports.values()], changed)
        self.turns.clouds = self.clouds
        self._work: dict[str, CameraWork] = {}

    def work(self, inputs: Inputs) -> Mapping[str, CameraWork]:
        """Return what the worker needs of each camera, once its topics are known."""
        inputs.clouds = self.clouds
        for name, port in self.ports.items():
            p = port.parameters
            rectified = is_rectified(p["rectified"], inputs.cameras[name].image_topic)
            frames = FrameMaker(
                port.counts, p["depth_source"], p["depth_scale"], rectified, name,
                lambda frame, stamp: self._poses.lookup(self._map_frame, frame, stamp),
            )  # fmt: skip
            self._work[name] = CameraWork(frames, FirstLook(self._map_frame), port.counts)
        return self._work

    @property
    def findings(self) -> Findings:
        """What the looks at the first frames have found; of several cameras each names its own."""
        found = ((name, finding) for name, work in self._work.items() for finding in work.look.findings)
        return Findings(
            Finding(f.level, f"{name}.{f.code}" if name else f.code, of_camera(name, f.message), f.advice)
            for name, f in found
        )

    def values(self) -> dict[str, str]:
        """Return the counters of the cameras that have a name, and of the clouds, for /diagnostics."""
        found: dict[str, str] = {}
        for name, counts in self.counts.items():
            found |= counts.values() | {f"camera.{name}.waiting": str(self.ports[name].room.waiting)}
        return found | (self.clouds.values() if self.clouds is not None else {})
