"""The mapping thread: takes the newest complete image, decodes it to a Frame, steps the mapper, passes the update on.

Only this thread uses the mapper. Other threads use `submit` to run something between two frames.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from sgrocc_core.errors import FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.calibration import Calibration
from sgrocc_core.geometry.upright import looks_up
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.input.waiting import Complete, WaitingRoom
from sgrocc_ros.messages import camera_info_key, read_camera_info, read_depth, read_image
from sgrocc_ros.output.outputs import Outputs


class Worker(threading.Thread):
    """Maps images until it is stopped.

    Args:
        mapper: the mapper.
        room: supplies complete images.
        outputs: publishes the updates.
        statistics: counts frames and failures.
        depth_source: value of the parameter `depth_source`.
        depth_scale: metres per unit of 16UC1 depth.
        rectified: whether the images are rectified.
        max_rate: returns the maximum number of frames per second, 0 for no limit; called for each frame.

    Attributes:
        newest_stamp: time stamp of the newest frame in the map, nanoseconds; written by this thread.
        changes: number of changes of the map so far; written by this thread.
    """

    def __init__(
        self,
        mapper: OccupancyMapper,
        room: WaitingRoom,
        outputs: Outputs,
        statistics: Statistics,
        depth_source: str,
        depth_scale: float,
        rectified: bool,
        max_rate: Callable[[], float],
    ) -> None:
        super().__init__(name="worker", daemon=True)
        self._mapper, self._room, self._outputs, self._statistics = mapper, room, outputs, statistics
        self._depth_source, self._depth_scale, self._rectified, self._max_rate = (
            depth_source,
            depth_scale,
            rectified,
            max_rate,
        )
        self._commands: queue.SimpleQueue[tuple[Callable[[], Any], Future]] = queue.SimpleQueue()
        self._stopping = False
        self._calibration: tuple[tuple, Calibration] | None = None
        self.newest_stamp = self.changes = 0

    def submit(self, command: Callable[[], Any]) -> Future:
        """Run a function between two frames; the future receives its return value or its exception."""
        future: Future = Future()
        self._commands.put((command, future))
        self._room.wake()
        return future

    def stop(self) -> None:
        """End the thread after the current frame."""
        self._stopping = True
        self._room.wake()

    def run(self) -> None:
        """Map images until `stop` is called."""
        not_before = 0.0
        while not self._stopping:
            self._run_commands()
            complete = self._room.take(not_before)
            if complete is None:
                continue
            rate = self._max_rate()
            not_before = time.monotonic() + 1 / rate if rate > 0 else 0.0
            try:
                self._map(complete)
            except FrameError as error:
                self._statistics.drop(error.cause, str(error))
            except Exception as error:  # the node keeps running; the traceback is logged
                self._statistics.drop("internal_error", f"{error!r}\n{traceback.format_exc()}")
        self._run_commands()

    def _run_commands(self) -> None:
        while not self._commands.empty():
            command, future = self._commands.get()
            try:
                future.set_result(command())
            except Exception as error:  # is raised again where the result is used
                future.set_exception(error)

    def _map(self, complete: Complete) -> None:
        start = time.monotonic()
        frame = self._frame(complete)
        decoded = time.monotonic()
        update = self._mapper.step(frame)
        gaussians = self._mapper.map.gaussians_in_view() if self._outputs.views.wants_gaussians else None
        self.newest_stamp = frame.stamp_ns
        self.changes += 1
        stages = {"wait": 1e3 * (start - complete.image.arrived), "decode": 1e3 * (decoded - start), **update.timings}
        handed = time.monotonic()
        self._outputs.update(update, complete.image.arrived, stages, complete.image.frame_id, gaussians)
        self._statistics.time("hand_over", 1e3 * (time.monotonic() - handed))

    def _frame(self, complete: Complete) -> Frame:
        key = camera_info_key(complete.info)
        if self._calibration is None or self._calibration[0] != key:
            self._calibration = key, read_camera_info(complete.info, self._rectified)
        calibration = self._calibration[1]
        image = calibration.rectify(read_image(complete.image.message))
        frame = Frame(image, calibration.K, complete.T_wc, complete.image.stamp)
        if looks_up(frame.T_wc):
            self._warn_of_body_frame(complete.image.frame_id, frame.T_wc)
        if complete.depth is None:
            return frame
        try:
            depth = calibration.rectify(read_depth(complete.depth, self._depth_scale), nearest=True)
            return dataclasses.replace(frame, depth=depth)
        except FrameError as error:
            if self._depth_source == "topic":
                raise
            self._statistics.notice(error.cause, f"{error}; the image is mapped without depth")
            return frame

    def _warn_of_body_frame(self, frame_id: str, T_wc: np.ndarray) -> None:
        message = (
            f"the z axis of {frame_id!r} points up in the map; "
            "poses must be of the optical frame (z forward, x right, y down)"
        )
        self._statistics.notice("not_optical_frame", message)
