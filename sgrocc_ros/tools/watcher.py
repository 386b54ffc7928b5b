"""A ROS client beside the node that follows its /diagnostics: the base of the demo and of the benchmark."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

from sgrocc_ros import NODE
from sgrocc_ros.tools.processes import START_TIMEOUT, ProcessError, tail

SILENCE_TIMEOUT = 30.0
"""Seconds without /diagnostics after which the node counts as hung."""
TELL_PERIOD = 5.0
"""Seconds between two lines of progress where there is no terminal."""
W = TypeVar("W", bound="Watcher")


class Watcher:
    """Follows one node, in a `with`.

    Args:
        name: of the ROS node that listens.
        out: holds node.log and player.log, whose ends errors carry.

    Attributes:
        values: the newest diagnostics. heard: when they came, seconds on the steady clock; 0 before any.
    """

    def __init__(self, name: str, out: Path) -> None:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node, self._out = rclpy.create_node(name), out
        self.values: dict[str, str] = {}
        self.heard = 0.0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, *_: object) -> None:
        self.node.destroy_node()
        rclpy.try_shutdown()

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=left)

    def count(self, key: str) -> int:
        """A number of the newest diagnostics; 0 where there is none."""
        return int(self.values.get(key, "0"))

    def refuse_a_second_node(self) -> None:
        """Raise ProcessError when a node of this name is running already: its figures would mix with ours."""
        self.spin(1.0)
        if NODE in self.node.get_node_names():
            domain = os.environ.get("ROS_DOMAIN_ID", "0")
            raise ProcessError(
                f"a node {NODE} is running already in ROS domain {domain}; stop it, or set ROS_DOMAIN_ID to another number"
            )

    def wait_for_node(self, node: subprocess.Popen) -> None:
        """Wait for the node's first diagnostics.

        Raises:
            ProcessError: it stopped, or was not there in START_TIMEOUT.
        """
        end = time.monotonic() + START_TIMEOUT
        while not self.heard:
            self.spin(0.2)
            if node.poll() is not None:
                raise ProcessError(
                    f"the node stopped with exit code {node.returncode} before the first frame{self._tail('node')}"
                )
            if time.monotonic() > end:
                raise ProcessError(f"the node said nothing on /diagnostics for {START_TIMEOUT:g} s{self._tail('node')}")

    def follow(self, node: subprocess.Popen, player: subprocess.Popen, images: int) -> None:
        """Show progress until all that was played is mapped or dropped; the values are then the last ones.

        Raises:
            ProcessError: a process stopped, or the node has been silent for SILENCE_TIMEOUT.
        """
        settled, seen_at, told = 0, self.heard, time.monotonic()
        terminal = sys.stderr.isatty()
        with tqdm(total=images, unit="image", desc="mapping", disable=not terminal, dynamic_ncols=True) as bar:
            while settled < 2:
                self.spin(0.2)
                self._check(node, player)
                if self.heard == seen_at:
                    continue
                seen_at, received, mapped, voxels = (
                    self.heard,
                    self.count("received"),
                    self.count("processed"),
                    self.count("map.voxels"),
                )
                self.look(node)
                bar.n = received
                bar.set_postfix_str(f"{mapped} mapped, {voxels:,} voxels")
                if not terminal and time.monotonic() - told > TELL_PERIOD:
                    told = time.monotonic()
                    print(f"        {received} of {images} images, {mapped} mapped, {voxels} voxels", flush=True)
                settled = settled + 1 if player.poll() == 0 and mapped + self.count("dropped") >= received else 0

    def look(self, node: subprocess.Popen) -> None:
        """Called at each diagnostics that come while the bag plays."""

    def _check(self, node: subprocess.Popen, player: subprocess.Popen) -> None:
        if node.poll() is not None:
            raise ProcessError(
                f"the node stopped with exit code {node.returncode} while the bag was playing{self._tail('node')}"
            )
        if player.poll() not in (None, 0):
            raise ProcessError(f"the player stopped with exit code {player.returncode}{self._tail('player')}")
        if time.monotonic() - self.heard > SILENCE_TIMEOUT:
            raise ProcessError(f"the node has said nothing for {SILENCE_TIMEOUT:g} s{self._tail('node')}")

    def _tail(self, name: str) -> str:
        return tail(self._out / f"{name}.log")

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(NODE):
                self.values = {pair.key: pair.value for pair in status.values}
                self.heard = time.monotonic()
