"""The ROS 2 node `embodied_occupancy`: declares parameters, connects inputs, mapper and outputs, shuts down cleanly.

A frame passes `input/inputs.py` (topics), `input/waiting.py` (joins image, depth and pose), `worker.py` (maps it) and
`output/outputs.py` (topics).
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sgrocc_core.classes import NAMES
from sgrocc_core.engines.open import open_engine
from sgrocc_core.errors import DataError, SgroccError
from sgrocc_core.geometry.transforms import TransformLookupError
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.mapping.warm_up import warm_up
from sgrocc_core.share import expanded
from sgrocc_ros import NODE
from sgrocc_ros.cameras import Cameras
from sgrocc_ros.correction.keeping import KeyframeKeeper
from sgrocc_ros.correction.rebuilding import Rebuilder
from sgrocc_ros.health.advice import advised
from sgrocc_ros.health.diagnostics import Diagnostics
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.health.threads import PAUSE, Watch, described
from sgrocc_ros.input.inputs import Inputs
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.input.stamps import JUMP_NS
from sgrocc_ros.keeper import Keeper, told
from sgrocc_ros.output.columns import Feed, FromColumns
from sgrocc_ros.output.distance import DistanceOutput
from sgrocc_ros.output.grid import GridOutput
from sgrocc_ros.output.objects import ObjectsOutput
from sgrocc_ros.output.octomap import OctomapOutput
from sgrocc_ros.output.outputs import Outputs
from sgrocc_ros.output.views import Views
from sgrocc_ros.parameters.values import Parameters, labels_of, mapper_config
from sgrocc_ros.services import Services
from sgrocc_ros.stop import Stop
from sgrocc_ros.worker import Worker

SPIN_PERIOD = 0.1
"""Maximum time until a stop signal is noticed, seconds."""
FRAME_TIMEOUT = 60.0
"""Seconds that the current frame has at shutdown."""
MOST_FAILURES = 200
"""Callbacks that fail in a row before the node gives up: something lasting is wrong with ROS itself."""
SWITCH_INTERVAL = 0.001
"""Switch interval of Python's threads, seconds; the default of 5 ms delays the callbacks of a frame's messages."""


class EmbodiedOccupancy(Node):
    """The node.

    Raises:
        SgroccError: a parameter, the model or the engine cannot be used; the message says what to do.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NODE, **options)
        self._started = time.monotonic()
        self.parameters = Parameters(self, self._on_parameters)
        p = self.parameters
        self.statistics = Statistics(self.get_logger().warning, lambda: p["warn_period"])
        self._engine = open_engine(
            p["model"], p["engine"], p["device"], p["threads"], p["precision"], self.get_logger().warning
        )
        self._mapper = OccupancyMapper(self._engine, mapper_config(p))
        warm_up(self._engine, self._mapper.config)
        self.keeper = Keeper(self, p, self._mapper, self.statistics)
        topics = (
            "/tf or /tf_static"
            if p["pose_source"] == "tf"
            else f"{self.resolve_topic_name(p['pose_source'])} or /tf_static"
        )
        self.poses = Poses(self.statistics, topics, p["max_pose_gap"], lambda: self.get_clock().now().nanoseconds)
        self.cameras = Cameras(self, p, self.poses, self.statistics)
        self.room = self.cameras.turns
        views = Views(self, lambda: p["publish_gaussians"], ObjectsOutput(self, p, self.statistics))
        self.outputs = Outputs(
            self, p["map_frame"], self.statistics, lambda: p["full_map_period"], self._feed(), views,
            lambda job: self.worker.submit(job), labels_of(p["classes"]), lambda: self._mapper.map.voxel_map.occupied(),
        )  # fmt: skip
        self.inputs = Inputs(self, p, self.cameras.ports, self.poses, self.statistics, self._on_time_jump)
        self.worker = Worker(
            self._mapper,
            self.room,
            self.outputs,
            self.statistics,
            self.cameras.work(self.inputs),
            lambda: p["max_rate"],
            self._between,
        )
        spec = self._engine.spec
        self.watch = Watch(
            (self.worker, self.outputs, self.keeper), self._stall_timeout, self._progress, self._what_holds_up
        )
        self.diagnostics = Diagnostics(
            self,
            self.statistics,
            self._facts,
            f"{spec.name}: {self._engine.description}",
            self.inputs,
            self.watch,
            lambda: self.cameras.findings,
            self.cameras.counts,
        )
        self.keeper.attach(self.worker, self.outputs)
        self.services_of_map = Services(self, self._mapper, self.worker, self.outputs, self.inputs)
        self.rebuilder = self._keep_keyframes() if p["keep_keyframes"] else None
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-JUMP_NS), on_clock_change=False)
        self._jump_handle = self.get_clock().create_jump_callback(
            back, post_callback=lambda jump: self.inputs.clock_jumped_back()
        )
        self._say_what_runs()
        self.worker.start()

    def _body_at(self, stamp: int) -> np.ndarray | None:
        """The pose of `base_frame` in the map at a stamp, nanoseconds; None if it is not known."""
        return self._between(self.parameters["map_frame"], self.parameters["base_frame"], stamp)

    def _keep_keyframes(self) -> Rebuilder:
        """Keep keyframes, and build the map again from them when its past is corrected."""
        p = self.parameters
        keeping = KeyframeKeeper(
            expanded(p["map_path"]), p["keep_keyframes"], self.statistics, self._body_at if p["base_frame"] else None,
            self.keeper.loaded_stamp,
        )  # fmt: skip
        rebuilder = Rebuilder(
            self, p, self._mapper, keeping, self.poses, self.statistics, self.worker, self.outputs, self.keeper
        )
        self.inputs.others.append(rebuilder.follower)
        self.worker.keep = keeping.offer
        self.services_of_map.on_cleared = lambda: rebuilder.forget(None)
        self.keeper.on_loaded = rebuilder.forget
        self.watch.add(keeping, rebuilder)
        keeping.start()
        rebuilder.start()
        self._keeping = keeping
        return rebuilder

    def close(self) -> None:
        """Finish the current frame, save the map if `map_path` is set, and end the threads.

        Raises:
            SgroccError, OSError: the map cannot be written.
        """
        if self.rebuilder is not None:
            self.rebuilder.stop()
        self.worker.stop()
        self.worker.join(FRAME_TIMEOUT)
        if self.rebuilder is not None:
            self._keeping.stop()
        self.outputs.close()
        if self.worker.is_alive():
            raise DataError(f"{self.worker.doing}; without its end the map cannot be copied")
        self.keeper.stop()
        received, processed, dropped, _ = self.statistics.counts()
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(dropped.items())) or "none"
        self.get_logger().info(f"stopped: {received} images received, {processed} mapped, dropped: {causes}")

    def _say_what_runs(self) -> None:
        p, spec, log = self.parameters, self._engine.spec, self.get_logger()
        log.info(f"engine: {self._engine.description}")
        log.info(f"device: {p['device']}, threads: {p['threads'] or 'all'}, precision: {p['precision']}")
        log.info(f"model: {spec.name} in {spec.folder}, images of {spec.image_size[0]} x {spec.image_size[1]} pixels")
        log.info(f"classes: {', '.join(NAMES[1:])}")
        for name, port in self.cameras.ports.items():
            log.info(f"{f'camera {name}, ' if name else ''}depth: {port.parameters['depth_source']}")
        log.info(f"map frame: {p['map_frame']}")
        log.info(f"subscribed to {', '.join(str(follower) for follower in self.inputs.followers)}")
        log.info(f"publishing {self.outputs.topics}, /diagnostics")
        if without := self.outputs.not_offered:
            log.info(without)
        log.info(f"map: {p['map_path'] or 'not saved (map_path is empty)'}")

    def _feed(self) -> Feed:
        """The way of the map's columns to the outputs that are made from them."""
        users: list[FromColumns] = [
            kind(self, self.parameters, self.statistics, lambda: feed)
            for kind in (GridOutput, DistanceOutput, OctomapOutput)
        ]
        feed = Feed(self.parameters, lambda: self._mapper.map.voxel_map, users)
        return feed

    def _stall_timeout(self) -> float:
        rate = self.parameters["max_rate"]
        return max(self.parameters["stall_timeout"], 2 / rate if rate > 0 else 0.0)

    def _progress(self) -> tuple[int, int]:
        received, processed, _, _ = self.statistics.counts()
        return received, processed

    def _between(self, target: str, source: str, stamp: int) -> np.ndarray | None:
        try:
            return self.poses.lookup(target, source, stamp)
        except TransformLookupError:
            return None

    def _what_holds_up(self) -> str:
        """Return why no image is mapped, for diagnostics."""
        if doing := self.worker.doing or self.keeper.doing:
            return doing
        cause, error = self.statistics.last_cause, self.statistics.last_error
        return (
            advised(cause, error) if cause else f"{self.room.waiting} images wait for their pose, depth or camera_info"
        )

    def _facts(self) -> dict[str, str]:
        published = self.outputs.published
        facts = {
            "engine": self._engine.description,
            "model": self._engine.spec.name,
            "map.voxels": str(published.voxel_count),
        }
        facts |= {
            "map.blocks": str(published.block_count),
            "map.sequence": str(published.sequence),
            "waiting": str(self.room.waiting),
        }
        facts |= {f"finding.{found.code}": str(found) for found in self.cameras.findings}
        facts |= self.cameras.values()
        if self.rebuilder is not None:
            facts |= self.rebuilder.facts()
        facts["paused"] = str(self.inputs.paused).lower()
        return facts | {"up_time_s": f"{time.monotonic() - self._started:.0f}"}

    def _on_parameters(self, names: set[str]) -> None:
        if "max_rate" in names:
            self.worker.wake()
        if names & {"occupancy_threshold", "max_distance", "motion_depth"}:
            self.worker.submit(self._configure)
        if "publish_distance" in names:
            self.outputs.serve_columns()
        if "classes" in names:
            self.worker.submit(self._show_classes)

    def _configure(self) -> None:
        """Runs on the worker's thread."""
        self._mapper.config = mapper_config(self.parameters)

    def _show_classes(self) -> None:
        """Runs on the worker's thread."""
        whole = self._mapper.map.voxel_map.occupied()
        self.outputs.show(labels_of(self.parameters["classes"]), self.worker.newest_stamp, *whole)

    def _on_time_jump(self) -> None:
        if self.parameters["reset_on_time_jump"]:
            self.worker.submit(self._begin_another_time)
        else:
            self.worker.submit(self.worker.restart_gates)

    def _begin_another_time(self) -> None:
        """Runs on the worker's thread."""
        self.keeper.keep_copy()
        self.services_of_map.clear()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM, in a process that has imported it already; `start.py` is for all others.

    Returns:
        Exit code, see `run`.
    """
    return run(Stop(), arguments)


def run(stop: Stop, arguments: Sequence[str] | None = None) -> int:
    """Run the node until `stop` is set.

    Returns:
        Exit code: 0 after a clean stop, 1 when the node cannot start or the map cannot be saved.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        rclpy.init(args=None if arguments is None else list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # of types that rclpy does not name: arguments and parameter files that rcl cannot read
        said = " ".join(str(error).split())[:500]
        print(f"error: cannot start: ROS does not take these arguments: {said}", file=sys.stderr)
        return 1
    try:
        return _run(stop)
    finally:
        rclpy.try_shutdown()


def _run(stop: Stop) -> int:
    logger = rclpy.logging.get_logger(NODE)
    try:
        node = EmbodiedOccupancy()
    except (SgroccError, ParameterException) as error:
        logger.fatal(f"cannot start: {error}")
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        _spin(node, executor, stop)
        node.close()
    except (SgroccError, OSError) as error:
        node.get_logger().error(f"the map is not saved: {told(error)}")
        return 1
    finally:
        executor.shutdown()
        node.destroy_node()
    return 0


def _of_clock(error: Exception) -> bool:
    """Whether an exception was raised by rclpy's own callback of /clock, which refuses times before 0."""
    return any(frame.name == "clock_callback" for frame in traceback.extract_tb(error.__traceback__))


def _spin(node: EmbodiedOccupancy, executor: SingleThreadedExecutor, stop: Stop) -> None:
    """Run callbacks until `stop` is set; an exception in one is counted, and the others go on."""
    failures = 0
    while not stop:
        try:
            executor.spin_once(timeout_sec=SPIN_PERIOD)
            failures = 0
        except Exception as error:
            failures += 1
            if isinstance(error, ValueError) and _of_clock(error):
                node.statistics.notice("bad_clock", f"a message on /clock is no time: {error}")
                continue
            node.statistics.notice("internal_error", described("a callback", error))
            if failures >= MOST_FAILURES:
                node.get_logger().fatal(f"{failures} callbacks failed in a row; the node saves the map and ends")
                return
            time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main())
