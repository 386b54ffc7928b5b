"""A ROS client that follows the node's /diagnostics: the base of the demo and of the benchmark."""

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
from sgrocc_ros.tools.processes import LONG_START, START_TIMEOUT, ProcessError, tail

SILENCE_TIMEOUT = 30.0
"""Time without /diagnostics after which the node is considered hung, seconds."""
PROGRESS_PERIOD = 5.0
"""Seconds between two lines of progress without a terminal."""
W = TypeVar("W", bound="Watcher")


class Watcher:
    """Follows one node; used in a `with` statement.

    Args:
        name: name of the ROS node that subscribes.
        out: folder of node.log and player.log, whose last lines are part of error messages.

    Attributes:
        values: values of the newest diagnostics.
        heard: arrival of the newest diagnostics on the steady clock, seconds; 0 before the first.
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
        """Process messages for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=left)

    def count(self, key: str) -> int:
        """Return a number of the newest diagnostics, 0 if it is missing."""
        return int(self.values.get(key, "0"))

    def refuse_a_second_node(self) -> None:
        """Raise ProcessError if a node of this name is running already: its figures would mix with ours."""
        self.spin(1.0)
        if NODE in self.node.get_node_names():
            domain = os.environ.get("ROS_DOMAIN_ID", "0")
            raise ProcessError(
                f"a node {NODE} is running already in ROS domain {domain}; "
                "stop it, or set ROS_DOMAIN_ID to another number"
            )

    def wait_for_node(self, node: subprocess.Popen) -> None:
        """Wait for the node's first diagnostics; a start that takes long is explained once.

        Raises:
            ProcessError: the node stopped, or did not start within START_TIMEOUT.
        """
        began, told = time.monotonic(), False
        while not self.heard:
            self.spin(0.2)
            if not told and time.monotonic() - began > LONG_START:
                told = True
                print(" (the first start compiles its kernels: minutes, once)", end="", flush=True)
            if node.poll() is not None:
                raise ProcessError(
                    f"the node stopped with exit code {node.returncode} before the first frame{self._tail('node')}"
                )
            if time.monotonic() - began > START_TIMEOUT:
                raise ProcessError(f"the node said nothing on /diagnostics for {START_TIMEOUT:g} s{self._tail('node')}")

    def follow(self, node: subprocess.Popen, player: subprocess.Popen, images: int) -> None:
        """Show progress until all images are mapped or dropped; `values` are then the final ones.

        Raises:
            ProcessError: a process stopped, or there were no diagnostics for SILENCE_TIMEOUT.
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
                if not terminal and time.monotonic() - told > PROGRESS_PERIOD:
                    told = time.monotonic()
                    print(f"        {received} of {images} images, {mapped} mapped, {voxels} voxels", flush=True)
                settled = settled + 1 if player.poll() == 0 and mapped + self.count("dropped") >= received else 0

    def look(self, node: subprocess.Popen) -> None:
        """Called for each diagnostics message while the bag plays."""

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
