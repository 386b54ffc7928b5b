"""Saves and loads the map: `~/save_map`, `~/load_map`, `load_on_start`, `autosave_period` and the save at shutdown.

Files are read and written by a thread of the keeper; the worker's thread only copies the map or replaces it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.output.outputs import Outputs
from sgrocc_ros.parameters import Parameters
from sgrocc_ros.worker import Worker

Answer = Callable[[Trigger.Request, Trigger.Response], Awaitable[Trigger.Response]]


class Keeper:
    """Saves and loads the mapper's map. Call `attach` before the worker starts and `stop` before the worker stops.

    Args:
        node: owns the services and the timer.
        parameters: parameters of the node.
        mapper: holds the map.
        statistics: counts failed autosaves.

    Raises:
        SgroccError: with `load_on_start`, the map exists but cannot be loaded.
    """

    def __init__(self, node: Node, parameters: Parameters, mapper: OccupancyMapper, statistics: Statistics) -> None:
        self._node, self._parameters, self._mapper, self._statistics = node, parameters, mapper, statistics
        self._folder = MapFolder(Path(parameters["map_path"]).expanduser()) if parameters["map_path"] else None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keeper")
        self._on_disk = 0  # `changes` of the worker when the map was last saved or loaded
        self._has_picture = True
        self._autosaving = False
        self._first = self._load_first() if parameters["load_on_start"] else None

    def attach(self, worker: Worker, outputs: Outputs) -> None:
        """Offer the services, start autosave and publish the map that was loaded at start-up."""
        self._worker, self._outputs = worker, outputs
        if self._first is not None:
            self._publish_loaded(self._first)
            self._on_disk = worker.changes
        self._node.create_service(Trigger, "~/save_map", self._serve(self._save_map, "nothing was written"))
        self._node.create_service(Trigger, "~/load_map", self._serve(self._load_map, "nothing was loaded"))
        if period := self._parameters["autosave_period"]:
            self._timer = self._node.create_timer(period, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self) -> None:
        """Stop after the current job. The worker must still be running, because the job may wait for it."""
        self._thread.shutdown(cancel_futures=True)

    def save_last(self) -> None:
        """Save the map with its picture if it has changed since; called after `stop` and after the worker has ended.

        Raises:
            OSError: the map cannot be written.
        """
        changed = self._worker.changes != self._on_disk or not self._has_picture
        if self._folder is not None and self._worker.changes and changed:
            self._node.get_logger().info(
                self._write(SavedMap.of(self._mapper.map, self._frame, self._worker.newest_stamp), picture=True)
            )

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
        self._worker.newest_stamp = saved.stamp_ns
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
            return self._worker.changes

        def take(saved: SavedMap) -> None:
            self._on_disk = self._worker.submit(lambda: restore(saved)).result()

        saved = self._folder.load(lambda found: self._check_and(lambda: take(found), found))
        self._has_picture = True  # a map that had none when it was loaded lost nothing
        return self._loaded(saved)

    def _save(self, picture: bool) -> str:
        """Runs on the keeper's thread; returns a sentence about the saved map."""
        copy = MapCopy(self._mapper.map)

        def take() -> int:
            copy.take(self._frame, self._worker.newest_stamp)
            return self._worker.changes

        changes = self._worker.submit(take).result()
        message = self._write(copy.saved(), picture)
        self._on_disk, self._has_picture = changes, picture
        return message

    def _write(self, saved: SavedMap, picture: bool) -> str:
        assert self._folder is not None
        report = {
            "version": __version__,
            "model": self._mapper.engine.spec.name,
            "engine": self._mapper.engine.description,
            "parameters": self._parameters.as_dict(),
            **self._statistics.summary(),
            "voxels": {NAMES[label]: int((saved.labels == label).sum()) for label in range(1, len(NAMES))},
            "memory_mb": round(memory_mb(), 1),
        }
        names = ", ".join(file.name for file in self._folder.save(saved, report, picture))
        return f"saved {len(saved.voxels)} occupied and {len(saved.free)} free voxels to {self._folder.path}: {names}"

    def _tick(self) -> None:
        if not self._autosaving and self._worker.changes != self._on_disk:
            self._autosaving = True
            self._thread.submit(self._autosave)

    def _autosave(self) -> None:
        try:
            self._save(picture=False)
        except Exception as error:  # the node keeps running and tries again at the next tick
            self._statistics.notice(
                "autosave_failed", f"the map is not saved in {self._parameters['map_path']}: {error!r}"
            )
        finally:
            self._autosaving = False
            give_back()

    def _serve(self, job: Callable[[], str], failed: str) -> Answer:
        """Make a service callback that runs a job on the keeper's thread and answers with its message or its error."""

        async def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            if self._folder is None:
                response.success = False
                response.message = f"{failed}: the parameter map_path is empty; start the node with a folder there"
                return response
            outcome: Future = Future(executor=self._node.executor)

            def run() -> None:
                try:
                    outcome.set_result((True, job()))
                except (OSError, SgroccError) as error:
                    outcome.set_result((False, f"{failed}: {error}"))
                except Exception as error:  # the caller must get an answer
                    outcome.set_result((False, f"{failed}: {error!r}"))
                give_back()

            self._thread.submit(run)
            response.success, response.message = await outcome  # type: ignore[misc]
            self._node.get_logger().info(response.message)
            return response

        return answer
