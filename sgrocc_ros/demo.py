"""The demo: makes or takes a bag, starts the node and the player as processes, shows progress from /diagnostics, saves and sums up."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sgrocc_core.commands.map import bag_options, print_summary
from sgrocc_core.data.bags import BagReader
from sgrocc_core.engines.engine import load_spec
from sgrocc_core.errors import ConfigError
from sgrocc_core.map_file import FILES, load_map, remove_map, rewrite_report
from sgrocc_core.report import class_counts, figure, make_report
from sgrocc_ros import NODE
from sgrocc_ros.processes import BagPlan, ProcessError, latency_stages, prepare_environment, running_process, tail

WALK_SIZE = (480, 360)
START_TIMEOUT = 120.0
"""Seconds until the node must be there: the first start on a machine compiles its kernels."""
SILENCE_TIMEOUT = 20.0
"""Seconds without /diagnostics after which the node counts as hung."""


def run_demo(arguments: argparse.Namespace) -> int:
    """Run it; 0 when the map is saved.

    Raises:
        SgroccError: with what to do, and the last lines of the log of the process that failed.
    """
    started = time.monotonic()
    if not arguments.rate > 0:
        raise ConfigError(f"--rate is {arguments.rate:g}; it must be above 0")
    load_spec(arguments.model)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    bag = Path(arguments.bag) if arguments.bag else generated_walk(arguments.seed, arguments.frames, out.parent)
    with BagReader(bag, bag_options(arguments)) as reader:
        plan = BagPlan(bag, reader, arguments, out)
    prepare_environment(out)
    _discard_earlier_demo(out)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"bag     {bag}: {plan.images} images on {plan.image}, depth {plan.depth or 'none'}", flush=True)
    with _Watcher() as watcher:
        watcher.refuse_a_second_node()
        with running_process(plan.node_command, out / "node.log") as node:
            watcher.wait_for_node(node, out / "node.log")
            with running_process(plan.player_command, out / "player.log") as player:
                status = watcher.follow(node, player, plan.images, out)
            print(watcher.save_map(out / "node.log"), flush=True)
    _sum_up(plan, status, time.monotonic() - started)
    return 0


def generated_walk(seed: int, frames: int, folder: Path) -> Path:
    """The bag of a walk through a generated room; made once."""
    from sgrocc_core.data.synthetic.bag import write_walk

    path = folder / f"walk_{seed}_{frames}"
    if not path.exists():
        print(f"making a walk of {frames} images through generated room {seed} (once)", flush=True)
        write_walk(path, seed=seed, frames=frames, size=WALK_SIZE)
    return path


def _discard_earlier_demo(out: Path) -> None:
    """An earlier demo's map is replaced; any other map there is kept by the node as a numbered copy."""
    import json

    try:
        if json.loads((out / "report.json").read_text()).get("command") == "demo":
            remove_map(out)
    except (OSError, ValueError, AttributeError):
        pass


class _Watcher:
    """A ROS client beside the node: reads its /diagnostics, calls its services."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.signals import SignalHandlerOptions

        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("sgrocc_demo")
        self._latest: dict[str, str] = {}
        self._when = 0.0
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def __enter__(self) -> _Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        self._node.destroy_node()
        rclpy.try_shutdown()

    def refuse_a_second_node(self) -> None:
        """Raise ProcessError when a node of this name is running already: its figures would mix with ours."""
        self._spin(1.0)
        if NODE in self._node.get_node_names():
            domain = os.environ.get("ROS_DOMAIN_ID", "0")
            raise ProcessError(f"a node {NODE} is running already in ROS domain {domain}; stop it, or set ROS_DOMAIN_ID to another number")

    def wait_for_node(self, node: subprocess.Popen, log: Path) -> None:
        """Wait for the node's first diagnostics."""
        print("node    starting", end="", flush=True)
        end = time.monotonic() + START_TIMEOUT
        while not self._latest:
            self._spin(0.5)
            if node.poll() is not None:
                print(flush=True)
                raise ProcessError(f"the node stopped with exit code {node.returncode} before the first frame{tail(log)}")
            if time.monotonic() > end:
                print(flush=True)
                raise ProcessError(f"the node said nothing on /diagnostics for {START_TIMEOUT:g} s{tail(log)}")
        print(f"\rnode    {self._latest.get('model', '')}: {self._latest.get('engine', '')}", flush=True)

    def follow(self, node: subprocess.Popen, player: subprocess.Popen, images: int, out: Path) -> dict[str, str]:
        """Show progress until everything that was played is mapped or dropped; the last diagnostics."""
        from tqdm import tqdm

        terminal = sys.stderr.isatty()
        settled, told = 0, time.monotonic()
        seen_at = self._when
        with tqdm(total=images, unit="image", desc="mapping", disable=not terminal, dynamic_ncols=True) as bar:
            while settled < 2:
                self._spin(0.2)
                if node.poll() is not None:
                    log = tail(out / "node.log")
                    raise ProcessError(f"the node stopped with exit code {node.returncode} while the bag was playing{log}")
                if player.poll() not in (None, 0):
                    raise ProcessError(f"the player stopped with exit code {player.returncode}{tail(out / 'player.log')}")
                if time.monotonic() - self._when > SILENCE_TIMEOUT:
                    raise ProcessError(f"the node has said nothing for {SILENCE_TIMEOUT:g} s{tail(out / 'node.log')}")
                if self._when == seen_at:
                    continue
                seen_at, status = self._when, self._latest
                received, done = int(status["received"]), int(status["processed"]) + int(status["dropped"])
                bar.n = received
                bar.set_postfix_str(f"{status['processed']} mapped, {int(status.get('map.voxels', 0)):,} voxels")
                if not terminal and time.monotonic() - told > 5:
                    told = time.monotonic()
                    mapped, voxels = status["processed"], status.get("map.voxels", "0")
                    print(f"        {received} of {images} images, {mapped} mapped, {voxels} voxels", flush=True)
                settled = settled + 1 if player.poll() == 0 and done >= received else 0
        if int(self._latest["processed"]) == 0:
            raise ProcessError(f"no image was mapped: {self._latest.get('last_error') or 'none arrived'}{tail(out / 'node.log')}")
        return self._latest

    def save_map(self, log: Path) -> str:
        """Call ~/save_map; what the node answers."""
        import rclpy
        from std_srvs.srv import Trigger

        client: Any = self._node.create_client(Trigger, f"/{NODE}/save_map")
        if not client.wait_for_service(timeout_sec=10.0):
            raise ProcessError(f"the node does not offer ~/save_map{tail(log)}")
        future = client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=60.0)
        answer = future.result()
        if answer is None:
            raise ProcessError(f"the node did not answer ~/save_map in 60 s{tail(log)}")
        if not answer.success:
            raise ProcessError(f"the map was not saved: {answer.message}")
        return f"node    {answer.message}"

    def _spin(self, seconds: float) -> None:
        import rclpy

        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(NODE):
                self._latest = {pair.key: pair.value for pair in status.values}
                self._when = time.monotonic()


def _sum_up(plan: BagPlan, status: dict[str, str], seconds: float) -> None:
    """Write report.json and print the same for people."""
    saved = load_map(plan.out)
    dropped = {key.removeprefix("dropped."): int(value) for key, value in status.items() if key.startswith("dropped.")}
    figures = {
        "images_in_bag": figure(plan.images, "images"), "frames_in": figure(int(status["received"]), "frames"),
        "frames_mapped": figure(int(status["processed"]), "frames"), "dropped": dropped, "voxels": figure(len(saved.voxels), "voxels"),
        "voxels_free": figure(len(saved.free), "voxels"), "voxels_by_class": class_counts(saved.labels),
        "memory": figure(float(status.get("memory_mb", "nan")), "MB"), "duration": figure(round(seconds, 1), "s"),
    }  # fmt: skip
    configuration = {k: v for k, v in sorted(vars(plan.arguments).items()) if k != "command"} | {"engine": status.get("engine")}
    report = make_report("demo", configuration, figures)
    report["stages"] |= latency_stages(status)
    rewrite_report(plan.out, report)
    print_summary(report, [plan.out / name for name in FILES if (plan.out / name).exists()])
    print(f"done in {seconds:.0f} s; look at {plan.out / 'map.png'}")
