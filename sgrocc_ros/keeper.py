"""Saves and loads the map: `~/save_map`, `~/load_map`, `load_on_start`, `autosave_period` and the save at shutdown.

Files are read and written by a thread of the keeper; the worker's thread only copies the map or replaces it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from sgrocc_core import __version__
from sgrocc_core.classes import NAMES
from sgrocc_core.errors import DataError, SgroccError
from sgrocc_core.gaussians.address_space import give_back
from sgrocc_core.map_files.file import MapFolder, SavedMap
from sgrocc_core.map_files.format import MapCopy
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.report import memory_mb
from sgrocc_core.share import expanded
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.health.threads import LastingThread
from sgrocc_ros.output.outputs import Outputs
from sgrocc_ros.parameters.values import Parameters
from sgrocc_ros.services import SERVICE_QOS
from sgrocc_ros.worker import Worker

Answer = Callable[[Trigger.Request, Trigger.Response], Awaitable[Trigger.Response]]


STOP_TIMEOUT = 60.0
"""Seconds that a save has at shutdown; a disk that hangs for longer does not keep the node from ending."""


MOST_WAITING = 2
"""Maps of a time before a jump that wait to be written at most."""


class Keeper(LastingThread):
    """Saves and loads the mapper's map. Call `attach` before the worker starts and `stop` after it has ended.

    Args:
        node: owns the services and the timer.
        parameters: parameters of the node.
        mapper: holds the map.
        statistics: counts failed autosaves.

    Attributes:
        on_loaded: called with the stamp (ns) of a map that `~/load_map` has put in use; on the worker's thread.

    Raises:
        SgroccError: `map_path` cannot be used, another node uses it, or with `load_on_start` the map there exists but
            cannot be loaded.
    """

    def __init__(self, node: Node, parameters: Parameters, mapper: OccupancyMapper, statistics: Statistics) -> None:
        super().__init__("keeper", statistics)
        self._node, self._parameters, self._mapper = node, parameters, mapper
        self._folder = MapFolder(expanded(parameters["map_path"])) if parameters["map_path"] else None
        if self._folder is not None:
            self._folder.claim()
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._since: float | None = None
        self._closing = False
        self._copies = 0
        self._on_disk = 0  # `changes` of the worker when the map was last saved or loaded
        self._has_picture = True
        self._autosaving = False
        self.on_loaded: Callable[[int], None] = lambda stamp: None
        self._first = self._load_first() if parameters["load_on_start"] else None

    def attach(self, worker: Worker, outputs: Outputs) -> None:
        """Offer the services, start autosave and publish the map that was loaded at start-up."""
        self._worker, self._outputs = worker, outputs
        if self._first is not None:
            self._publish_loaded(self._first)
            self._on_disk = worker.changes
        # A service that awaits its answer holds its callback group; in the node's own, no image would be received.
        group = ReentrantCallbackGroup()
        for name, job, failed in (
            ("save_map", self._save_map, "nothing was written"),
            ("load_map", self._load_map, "nothing was loaded"),
        ):
            answer = self._serve(job, failed)
            self._node.create_service(Trigger, f"~/{name}", answer, callback_group=group, qos_profile=SERVICE_QOS)
        self.start()
        if period := self._parameters["autosave_period"]:
            self._timer = self._node.create_timer(period, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def step(self) -> bool:
        """Do the next job."""
        job = self._jobs.get()
        self._since = time.monotonic()
        try:
            job()
        finally:
            self._since = None
            give_back()
        return True

    @property
    def doing(self) -> str:
        """What has taken the thread longer than STOP_TIMEOUT, or an empty text."""
        since = self._since
        if since is None or time.monotonic() - since < STOP_TIMEOUT:
            return ""
        path, seconds = self._parameters["map_path"], time.monotonic() - since
        return f"reading or writing {path} has taken {seconds:.0f} s so far; check the disk"

    def stop(self) -> None:
        """Save the map with its picture if it has changed since it was last saved, and end the thread.

        The worker must have ended, or be between two frames.

        Raises:
            SgroccError, OSError: the map cannot be written, or not within STOP_TIMEOUT.
        """
        outcome: list[Exception | None] = []

        def last() -> None:
            try:
                self._save_last()
                outcome.append(None)
            except Exception as error:
                outcome.append(error)
            self._stopping = True

        self._closing = True  # saves that wait are covered by the last one
        self._jobs.put(last)
        self.join(STOP_TIMEOUT)
        if not outcome:
            raise DataError(f"the disk of {self._parameters['map_path']} did not answer within {STOP_TIMEOUT:g} s")
        if outcome[0] is not None:
            raise outcome[0]

    def _save_last(self) -> None:
        changed = self._worker.changes != self._on_disk or not self._has_picture
        if self._folder is not None and self._worker.changes and changed:
            self._node.get_logger().info(
                self._write(SavedMap.of(self._mapper.map, self._frame, self._worker.newest_stamp), picture=True)
            )
        if self._folder is not None:
            self._folder.release()

    @property
    def loaded_stamp(self) -> int | None:
        """Stamp of the map that was loaded at start-up, nanoseconds; None if none was."""
        return None if self._first is None else self._first.stamp_ns

    def save_then(self, then: Callable[[], None]) -> None:
        """Have the map saved without its picture, and something done once it is; called on any thread."""
        self._jobs.put(lambda: self._try_to_save(then))

    def keep_copy(self) -> None:
        """Have the current map written as a numbered copy; called on the worker's thread, before the map is cleared."""
        if self._folder is None or not self._worker.changes:
            return
        if self._copies >= MOST_WAITING:
            self._statistics.notice("copy_failed", "time jumps faster than the maps before are written; one is lost")
            return
        self._copies += 1
        saved = SavedMap.of(self._mapper.map, self._frame, self._worker.newest_stamp)
        folder = self._folder

        def write() -> None:
            try:
                path = folder.save_copy(saved, self._report(saved))
                self._node.get_logger().info(f"kept the map of the time before the jump in {path}")
            except Exception as error:
                self._statistics.notice("copy_failed", f"no copy of the map is kept in {folder.path}: {told(error)}")
            finally:
                self._copies -= 1

        self._jobs.put(write)

    @property
    def _frame(self) -> str:
        return str(self._parameters["map_frame"])

    def _load_first(self) -> SavedMap | None:
        assert self._folder is not None  # checked with the parameters
        log = self._node.get_logger()
        if self._folder.empty:
            log.info(f"no map in {self._folder.path} yet: starting with an empty one")
            return None
        try:
            saved = self._folder.load(
                lambda found: self._check_and(lambda: self._mapper.map.restore(found.gaussians), found)
            )
        except (SgroccError, OSError) as error:
            raise DataError(f"load_on_start, but the map in {self._folder.path} cannot be loaded: {error}") from error
        log.info(self._loaded(saved))
        return saved

    def _check_and(self, take: Callable[[], Any], saved: SavedMap) -> None:
        saved.check_fits(self._mapper.engine.spec, self._frame)
        take()

    def _loaded(self, saved: SavedMap) -> str:
        assert self._folder is not None
        stamp = f"{saved.stamp_ns / 1e9:.3f} s"
        voxels = f"{len(saved.voxels)} occupied and {len(saved.free)} free voxels"
        return f"loaded {voxels}, the newest of {stamp}, from {self._folder.path}"

    def _publish_loaded(self, saved: SavedMap) -> None:
        """Runs on the worker's thread, or before that thread starts."""
        self._worker.begin(saved.stamp_ns)
        self._worker.changes += 1
        self._outputs.replace(saved.stamp_ns, *self._mapper.map.voxel_map.occupied())

    def _save_map(self) -> str:
        assert self._folder is not None
        if not self._worker.changes:
            raise DataError("no image has been mapped yet")
        return self._save(picture=True)

    def _load_map(self) -> str:
        assert self._folder is not None

        def restore(saved: SavedMap) -> int:
            self._mapper.map.restore(saved.gaussians)
            self._publish_loaded(saved)
            self.on_loaded(saved.stamp_ns)
            return self._worker.changes

        def take(saved: SavedMap) -> None:
            self._on_disk = self._worker.result(lambda: restore(saved))

        saved = self._folder.load(lambda found: self._check_and(lambda: take(found), found))
        self._has_picture = True  # a map that had none when it was loaded lost nothing
        return self._loaded(saved)

    def _save(self, picture: bool) -> str:
        """Runs on the keeper's thread; returns a sentence about the saved map."""
        if self._closing:
            raise DataError("the node is stopping; it saves the map at the end")
        copy = MapCopy(self._mapper.map)

        def take() -> int:
            copy.take(self._frame, self._worker.newest_stamp)
            return self._worker.changes

        changes = self._worker.result(take)
        message = self._write(copy.saved(), picture)
        self._on_disk, self._has_picture = changes, picture
        return message

    def _write(self, saved: SavedMap, picture: bool) -> str:
        assert self._folder is not None
        names = ", ".join(
            file.name
            for file in self._folder.save(
                saved, self._report(saved), picture, ply=picture and self._parameters["save_ply"]
            )
        )
        return f"saved {len(saved.voxels)} occupied and {len(saved.free)} free voxels to {self._folder.path}: {names}"

    def _report(self, saved: SavedMap) -> dict[str, Any]:
        return {
            "version": __version__,
            "model": self._mapper.engine.spec.name,
            "engine": self._mapper.engine.description,
            "parameters": self._parameters.as_dict(),
            **self._statistics.summary(),
            "voxels": {NAMES[label]: int((saved.labels == label).sum()) for label in range(1, len(NAMES))},
            "memory_mb": round(memory_mb(), 1),
        }

    def _tick(self) -> None:
        if not self._autosaving and self._worker.changes != self._on_disk:
            self._autosaving = True
            self._jobs.put(self._autosave)

    def _autosave(self) -> None:
        try:
            self._try_to_save(lambda: None)
        finally:
            self._autosaving = False

    def _try_to_save(self, then: Callable[[], None]) -> None:
        try:
            self._save(picture=False)
            then()
        except Exception as error:  # the node keeps running; an autosave tries again at the next tick
            self._statistics.notice(
                "autosave_failed", f"the map is not saved in {self._parameters['map_path']}: {told(error)}"
            )

    def _serve(self, job: Callable[[], str], failed: str) -> Answer:
        """Make a service callback that runs a job on the keeper's thread and answers with its message or its error.

        All calls that came before the job begins are answered by it.
        """
        waiting: list[Future] = []
        lock = threading.Lock()

        def run() -> None:
            with lock:
                answered = waiting[:]
                waiting.clear()
            try:
                outcome = True, job()
            except Exception as error:  # the callers must get an answer
                outcome = False, f"{failed}: {told(error)}"
            self._node.get_logger().info(outcome[1])
            for future in answered:
                future.set_result(outcome)

        async def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            if self._folder is None:
                response.success = False
                response.message = f"{failed}: the parameter map_path is empty; start the node with a folder there"
                return response
            future: Future = Future(executor=self._node.executor)
            with lock:
                waiting.append(future)
                first = len(waiting) == 1
            if first:
                self._jobs.put(run)
            response.success, response.message = await future  # type: ignore[misc]
            return response

        return answer


def told(error: Exception) -> str:
    """Return an error in one sentence: its own where it is one of ours or of the system, else with its type."""
    return str(error) if isinstance(error, (OSError, SgroccError)) else repr(error)
