"""Services that act on the running map: `~/reset`, `~/pause`, `~/clear_view`; each answers once it has taken effect."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future as Done
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from std_srvs.srv import Empty, SetBool, Trigger

from sgrocc_core.errors import FrameError
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_ros.input.inputs import Inputs
from sgrocc_ros.output.outputs import Outputs
from sgrocc_ros.worker import Worker, WorkerEndedError

SERVICE_QOS = QoSProfile(depth=1000)
"""Calls that wait to be taken. ROS keeps ten by default and forgets the oldest without an answer."""


class Services:
    """Offers the services.

    Args:
        node: owns the services.
        mapper: holds the map.
        worker: the mapping thread.
        outputs: publishes the changes.
        inputs: lets images in or drops them.

    Attributes:
        on_cleared: called when the map has been emptied; on the worker's thread.
    """

    def __init__(self, node: Node, mapper: OccupancyMapper, worker: Worker, outputs: Outputs, inputs: Inputs) -> None:
        self._node, self._mapper, self._worker, self._outputs, self._inputs = node, mapper, worker, outputs, inputs
        self.on_cleared: Callable[[], None] = lambda: None
        # A service that awaits its answer must not hold up the inputs.
        how: dict[str, Any] = {"callback_group": ReentrantCallbackGroup(), "qos_profile": SERVICE_QOS}
        node.create_service(Empty, "~/reset", self._reset, **how)
        node.create_service(SetBool, "~/pause", self._pause, **how)
        node.create_service(Trigger, "~/clear_view", self._clear_view, **how)

    def clear(self) -> None:
        """Empty the map; called on the worker's thread."""
        self._worker.changes += bool(len(self._mapper.map.memory))
        self._mapper.map.reset()
        self._worker.restart_gates()
        self._outputs.reset(self._worker.newest_stamp)
        self.on_cleared()

    async def _reset(self, request: Empty.Request, response: Empty.Response) -> Empty.Response:
        try:
            await self._between_frames(self.clear)
            self._node.get_logger().info("the map is reset")
        except WorkerEndedError as error:
            self._node.get_logger().error(f"the map is not reset: {error}")
        return response

    async def _pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        before = self._inputs.paused
        self._inputs.pause(request.data)
        if self._worker.is_alive():
            await self._between_frames(lambda: None)  # waits until the current frame is in the map
        words = "paused: images are dropped and the map stays as it is" if request.data else "images are mapped"
        response.success, response.message = True, f"{words}{', as before' if before == request.data else ''}"
        self._node.get_logger().info(response.message)
        return response

    async def _clear_view(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message, response.success = await self._between_frames(self._forget_view), True
        except (FrameError, WorkerEndedError) as error:
            response.message, response.success = f"nothing was forgotten: {error}", False
        self._node.get_logger().info(response.message)
        return response

    def _forget_view(self) -> str:
        """Runs on the worker's thread."""
        update = self._mapper.map.clear_view()
        self._worker.changes += 1
        self._outputs.change(update)
        forgotten = int((update.labels == 0).sum())
        return f"forgot what the camera saw at {update.stamp_ns / 1e9:.3f} s: {forgotten} occupied voxels"

    async def _between_frames(self, job: Callable[[], Any]) -> Any:
        """Run a job on the worker's thread and return its result or raise its exception.

        Raises:
            WorkerEndedError: the thread has ended.
        """
        if not self._worker.is_alive():
            raise WorkerEndedError("the mapping thread has ended; restart the node")
        outcome: Future = Future(executor=self._node.executor)

        def done(future: Done) -> None:
            error = future.exception()
            if isinstance(error, Exception):
                outcome.set_exception(error)
            else:
                outcome.set_result(future.result())

        self._worker.submit(job).add_done_callback(done)
        return await outcome
