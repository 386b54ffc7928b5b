"""The mapping thread: takes the newest complete image, decodes it to a Frame, steps the mapper, passes the update on.

Only this thread uses the mapper. Other threads use `submit` to run something between two frames.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sgrocc_core.checks.motion import PoseGate
from sgrocc_core.errors import FrameError, SgroccError
from sgrocc_core.frame import Frame
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_ros.correction.share import RebuildShare
from sgrocc_ros.health.camera_statistics import CameraCounts
from sgrocc_ros.health.first_look import FirstLook
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.health.threads import LastingThread, described
from sgrocc_ros.input.clouds import WaitingCloud
from sgrocc_ros.input.frames import FrameMaker
from sgrocc_ros.input.turns import Turns
from sgrocc_ros.input.waiting import Complete
from sgrocc_ros.output.outputs import Outputs

LOOK_PERIOD = 0.5
"""Seconds between two looks whether the worker still lives, while another thread waits for it."""


class WorkerEndedError(SgroccError):
    """The worker's thread has ended, so nothing can be run on it."""


@dataclass(frozen=True)
class CameraWork:
    """What the worker needs of one camera.

    Attributes:
        frames: makes the frames.
        look: looks at the first frames.
        counts: counts its images.
        gate: drops frames whose pose is further from the last one than the camera can have moved.
    """

    frames: FrameMaker
    look: FirstLook
    counts: CameraCounts
    gate: PoseGate = field(default_factory=PoseGate)


class Worker(LastingThread):
    """Maps images until it is stopped.

    Args:
        mapper: the mapper.
        room: supplies complete images.
        outputs: publishes the updates.
        statistics: counts failures.
        cameras: what belongs to each camera, by its name.
        max_rate: returns the maximum number of frames per second, 0 for no limit; called for each frame.
        between: returns the (4, 4) pose of a frame (second) in another (first) at a stamp (ns); None if unknown.

    Attributes:
        keep: called with each mapped frame and the frame of its image on /tf, if keyframes are kept; else None.
        share: the share of the time that a rebuild has, if keyframes are kept; else None.
        newest_stamp: time stamp of the newest frame in the map, nanoseconds; written by this thread.
        changes: number of changes of the map so far; written by this thread.
    """

    def __init__(
        self,
        mapper: OccupancyMapper,
        room: Turns,
        outputs: Outputs,
        statistics: Statistics,
        cameras: Mapping[str, CameraWork],
        max_rate: Callable[[], float],
        between: Callable[[str, str, int], np.ndarray | None],
    ) -> None:
        super().__init__("worker", statistics)
        self._mapper, self._room, self._outputs = mapper, room, outputs
        self._cameras, self._max_rate, self._between = cameras, max_rate, between
        self._commands: queue.SimpleQueue[tuple[Callable[[], Any], Future]] = queue.SimpleQueue()
        self._taken_at = -math.inf
        self._busy: tuple[str, float] | None = None
        self.keep: Callable[[Frame, str], None] | None = None
        self.share: RebuildShare | None = None
        self.newest_stamp = self.changes = 0
        self._begins = True  # the next stamp may be of an earlier time

    def submit(self, command: Callable[[], Any]) -> Future:
        """Run a function between two frames; the future receives its return value or its exception."""
        future: Future = Future()
        self._commands.put((command, future))
        self._room.wake()
        return future

    def result(self, command: Callable[[], Any]) -> Any:
        """Run a function between two frames and wait for its return value or its exception.

        Raises:
            WorkerEndedError: the thread has ended.
        """
        future = self.submit(command)
        while True:
            alive = self.is_alive()
            try:
                return future.result(LOOK_PERIOD)
            except NotYet:
                if future.done():
                    raise  # the command's own
                if not alive:
                    raise WorkerEndedError("the mapping thread has ended; the map can no longer be read") from None

    def stop(self) -> None:
        """End the thread after the current frame."""
        self._stopping = True
        self._room.wake()

    def begin(self, stamp: int) -> None:
        """Take the stamp (ns) of a map that was loaded, until the next frame, which may be of an earlier time."""
        self.newest_stamp, self._begins = stamp, True

    def restart_gates(self) -> None:
        """Forget the last pose of every camera and the time: after a jump of time, or where another map begins."""
        for camera in self._cameras.values():
            camera.gate.restart()
        if self._room.clouds is not None:
            self._room.clouds.restart_gate()
        self._begins = True

    def wake(self) -> None:
        """Look at the parameters again."""
        self._room.wake()

    @property
    def doing(self) -> str:
        """What the thread has been doing for more than a second, or an empty text."""
        busy = self._busy
        if busy is None or time.monotonic() - busy[1] < 1.0:
            return ""
        return f"{busy[0]} has taken {time.monotonic() - busy[1]:.0f} s so far"

    def run(self) -> None:
        """Map images until `stop` is called."""
        super().run()
        self._run_commands()

    def step(self) -> bool:
        """Run the commands that wait and map the next image."""
        self._run_commands()
        rate = self._max_rate()
        not_before = self._taken_at + 1 / rate if rate > 0 else 0.0
        if self.share is not None:
            not_before = max(not_before, self.share.before_frame())
        complete = self._room.take(not_before)
        if complete is None:
            return False
        self._taken_at = time.monotonic()
        try:
            return self._map_cloud(complete) if isinstance(complete, WaitingCloud) else self._map_image(complete)
        finally:
            if self.share is not None:
                self.share.mapped(time.monotonic() - self._taken_at)

    def _map_image(self, complete: Complete) -> bool:
        """Map an image; what is wrong with it is counted."""
        self._busy = f"the image of {complete.image.stamp / 1e9:.3f} s", self._taken_at
        try:
            self._map(complete)
        except FrameError as error:
            self._cameras[complete.camera].counts.drop(error.cause, str(error))
        except Exception as error:
            self._cameras[complete.camera].counts.drop("internal_error", described("worker", error))
            self.failures += 1
            return False
        finally:
            self._busy = None
        return True

    def _run_commands(self) -> None:
        while not self._commands.empty():
            command, future = self._commands.get()
            self._busy = "a command between two frames", time.monotonic()
            try:
                future.set_result(command())
            except Exception as error:  # is raised again where the result is used
                future.set_exception(error)
            finally:
                self._busy = None

    def _map_cloud(self, cloud: WaitingCloud) -> bool:
        """Map a cloud by itself; what is wrong with it is counted where the clouds are."""
        room = self._room.clouds
        assert room is not None
        self._busy = f"the cloud of {cloud.stamp / 1e9:.3f} s", self._taken_at
        try:
            update = self._mapper.observe_points(*room.read(cloud), cloud.stamp)
        except FrameError as error:
            room.drop(error)
            return True
        finally:
            self._busy = None
        room.count_mapped()
        self._follow(cloud.stamp, in_order=False)
        self.changes += 1
        self._outputs.change(update)
        self._statistics.time("cloud", update.timings["total"])
        return True

    def _map(self, complete: Complete) -> None:
        start, camera = time.monotonic(), self._cameras[complete.camera]
        frame = camera.frames.make(complete)
        camera.gate.check(frame.T_wc, frame.stamp_ns)
        if camera.look.is_due:
            self._look_at(complete, frame, camera)
        decoded = time.monotonic()
        update = self._mapper.step(frame)
        if not update.has_source:
            camera.counts.map_without_source()
        for note in update.notes:
            camera.counts.notice("motion_depth", note)
        gaussians = self._mapper.map.gaussians_in_view() if self._outputs.views.wants_gaussians else None
        self._follow(frame.stamp_ns, in_order=not complete.camera)
        self.changes += 1
        if self.keep is not None:
            self.keep(frame, complete.image.frame_id)
        stages = {"wait": 1e3 * (start - complete.image.arrived), "decode": 1e3 * (decoded - start), **update.timings}
        handed = time.monotonic()
        self._outputs.update(
            update, complete.image.arrived, stages, complete.image.frame_id, gaussians, camera.counts.process
        )
        self._statistics.time("hand_over", 1e3 * (time.monotonic() - handed))

    def _follow(self, stamp: int, in_order: bool) -> None:
        """Note the stamp of what is in the map now; several cameras and clouds do not come in the order of theirs."""
        self.newest_stamp = stamp if in_order or self._begins else max(stamp, self.newest_stamp)
        self._begins = False

    def _look_at(self, complete: Complete, frame: Frame, camera: CameraWork) -> None:
        """Look at one of the first frames; what is wrong with the look itself is counted and costs no frame."""
        try:
            depth, image = complete.depth, complete.image
            readings = camera.frames.readings(complete)
            looked = frame if readings is not None else replace(frame, depth=None)  # projected points are sparse
            camera.look.see(looked, image.frame_id, readings)
            if depth is not None and readings is not None:
                other = depth.header.frame_id
                camera.look.see_depth_frame(
                    image.frame_id, other, lambda: self._between(image.frame_id, other, image.stamp)
                )
        except Exception as error:
            camera.counts.notice("internal_error", described("the look at the first frames", error))
