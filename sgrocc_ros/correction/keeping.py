"""Keeps keyframes on disk beside the map; a thread of its own codes and writes them."""

from __future__ import annotations

import queue
import shutil
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sgrocc_core.frame import Frame
from sgrocc_core.geometry.correction import CorrectionField
from sgrocc_core.map_files.keyframes import KeyframeStore
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.health.threads import LastingThread

FOLDER, BEFORE = "keyframes", "keyframes_before"
"""Folders in `map_path`: the keyframes of this map, and those of the map before, if that was not loaded."""
MOST_WAITING = 8
"""Frames that wait to be written at most; an image of 640 x 480 with depth is 2 MB."""
TRAIL = 50_000
"""Poses of mapped frames that are remembered: 10 MB, hours at a few frames a second."""
PAUSE = 0.2
"""Seconds after which the thread looks whether it is to end."""


class KeyframeKeeper(LastingThread):
    """Writes keyframes.

    Args:
        map_path: folder of the map.
        limit_mb: size of the keyframes at most, MB.
        statistics: counts keyframes that are lost.
        body_at: returns the pose of the body whose corrected poses come, (4, 4) in the map, at a stamp (ns), or None
            where it is not known; None instead: the body is the camera.
        loaded_stamp: stamp of the map that was loaded at start-up, nanoseconds, whose keyframes are kept; None: it was
            not loaded, and the keyframes that are there become those of the map before.

    Attributes:
        store: the keyframes.
        lost: number of keyframes that could not be written.
    """

    def __init__(
        self,
        map_path: Path,
        limit_mb: float,
        statistics: Statistics,
        body_at: Callable[[int], np.ndarray | None] | None,
        loaded_stamp: int | None,
    ) -> None:
        super().__init__("keyframes", statistics)
        folder = map_path / FOLDER
        if loaded_stamp is None and folder.is_dir():
            shutil.rmtree(map_path / BEFORE, ignore_errors=True)
            folder.rename(map_path / BEFORE)
        self.store = KeyframeStore(folder, limit_mb)
        if loaded_stamp is not None:
            self.store.keep(loaded_stamp)
        self.lost, self._body_at = 0, body_at
        self._trail: deque[tuple[int, np.ndarray]] = deque(maxlen=TRAIL)
        self._lock = threading.Lock()
        self._frames: queue.Queue[tuple[Frame, str]] = queue.Queue(MOST_WAITING)

    def offer(self, frame: Frame, frame_id: str) -> None:
        """Keep a frame that was mapped if it is a keyframe; called on the worker's thread, which does not wait."""
        body = frame.T_wc if self._body_at is None else self._body_at(frame.stamp_ns)
        if body is not None:
            with self._lock:
                self._trail.append((frame.stamp_ns, body))
        if not self.store.wants(frame.T_wc, frame.camera):
            return
        try:
            self._frames.put_nowait((frame, frame_id))
        except queue.Full:
            self._lose("keyframes come faster than they are written")

    def trail(self) -> list[tuple[int, np.ndarray]]:
        """Stamp (ns) and pose, (4, 4) in the map, of the body at the last TRAIL frames that were mapped.

        Between two keyframes the body may have stood and moved.
        """
        with self._lock:
            return list(self._trail)

    def step(self) -> bool:
        """Write the next keyframe."""
        try:
            frame, frame_id = self._frames.get(timeout=PAUSE)
        except queue.Empty:
            return False
        try:
            self.store.add(frame, frame_id)
        except OSError as error:
            self._lose(f"it cannot be written to {self.store.folder}: {error}")
        finally:
            self._frames.task_done()
        return True

    def flush(self) -> None:
        """Wait until the keyframes that were offered so far are written."""
        self._frames.join()

    def forget(self, until_ns: int | None) -> None:
        """Remove the keyframes after a stamp, nanoseconds; None: all, those that wait to be written included."""
        while until_ns is None:
            try:
                self._frames.get_nowait()
            except queue.Empty:
                break
            self._frames.task_done()
        with self._lock:
            self._trail.clear()
        self.store.keep(until_ns)

    def correct(self, field: CorrectionField, until_ns: int) -> None:
        """Correct the trail up to a stamp, nanoseconds; what was added since has the poses of after the correction."""
        past = self.trail()
        corrected = [(at, field.apply(at, pose) if at <= until_ns else pose) for at, pose in past]
        with self._lock:
            newer = [entry for entry in self._trail if entry[0] > until_ns]
            self._trail.clear()
            self._trail.extend([*(entry for entry in corrected if entry[0] <= until_ns), *newer])

    def stop(self) -> None:
        """Write what waits, then end the thread."""
        if self.is_alive():
            self.flush()
        self._stopping = True
        self.join(10 * PAUSE)

    def _lose(self, why: str) -> None:
        self.lost += 1
        self._statistics.notice("keyframe_lost", f"a keyframe is not kept: {why}")
