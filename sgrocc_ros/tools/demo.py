"""The demo: maps a given or generated bag with node and player as processes, saves the map and prints a summary."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from std_srvs.srv import Trigger

from sgrocc_core.commands.map import bag_options, print_summary
from sgrocc_core.data.bags import BagReader
from sgrocc_core.engines.model import load_spec
from sgrocc_core.errors import ConfigError
from sgrocc_core.map_files.file import FILES, load_map, remove_map, rewrite_report
from sgrocc_core.report import class_counts, figure, make_report
from sgrocc_ros import NODE
from sgrocc_ros.tools.processes import BagPlan, ProcessError, latency_stages, prepare_environment, running_process
from sgrocc_ros.tools.watcher import Watcher

WALK_SIZE = (480, 360)


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the demo; returns 0 once the map is saved.

    Raises:
        SgroccError: something failed; the message has the last lines of the failed process's log.
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
    with _Demo("sgrocc_demo", out) as demo:
        demo.refuse_a_second_node()
        with running_process(plan.node_command, out / "node.log") as node:
            demo.wait_for_node(node)
            with running_process(plan.player_command, out / "player.log") as player:
                demo.follow(node, player, plan.images)
            status = demo.values
            print(demo.save_map(), flush=True)
    _sum_up(plan, status, time.monotonic() - started)
    return 0


def generated_walk(seed: int, frames: int, folder: Path) -> Path:
    """Return the bag of a walk through a generated room, made on first use."""
    from sgrocc_core.data.synthetic.bag import write_walk

    path = folder / f"walk_{seed}_{frames}"
    if not path.exists():
        print(f"making a walk of {frames} images through generated room {seed} (once)", flush=True)
        write_walk(path, seed=seed, frames=frames, size=WALK_SIZE)
    return path


def _discard_earlier_demo(out: Path) -> None:
    """Remove the map of an earlier demo; the node keeps any other map there as a numbered copy."""
    import json

    try:
        if json.loads((out / "report.json").read_text()).get("command") == "demo":
            remove_map(out)
    except (OSError, ValueError, AttributeError):
        pass


class _Demo(Watcher):
    """Shows the start of the node and has the map saved."""

    def wait_for_node(self, node: subprocess.Popen) -> None:
        """Wait for the node's first diagnostics, then print its model and engine."""
        print("node    starting", end="", flush=True)
        try:
            super().wait_for_node(node)
        except BaseException:
            print(flush=True)
            raise
        print(f"\rnode    {self.values.get('model', '')}: {self.values.get('engine', '')}", flush=True)

    def save_map(self) -> str:
        """Call ~/save_map and return the node's answer.

        Raises:
            ProcessError: no image was mapped, or the map was not saved.
        """
        if not self.count("processed"):
            raise ProcessError(
                f"no image was mapped: {self.values.get('last_error') or 'none arrived'}{self._tail('node')}"
            )
        client: Any = self.node.create_client(Trigger, f"/{NODE}/save_map")
        if not client.wait_for_service(timeout_sec=10.0):
            raise ProcessError(f"the node does not offer ~/save_map{self._tail('node')}")
        future = client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=60.0)
        answer = future.result()
        if answer is None:
            raise ProcessError(f"the node did not answer ~/save_map in 60 s{self._tail('node')}")
        if not answer.success:
            raise ProcessError(f"the map was not saved: {answer.message}")
        return f"node    {answer.message}"


def _sum_up(plan: BagPlan, status: dict[str, str], seconds: float) -> None:
    """Write report.json and print a summary."""
    saved = load_map(plan.out)
    dropped = {key.removeprefix("dropped."): int(value) for key, value in status.items() if key.startswith("dropped.")}
    figures = {
        "images_in_bag": figure(plan.images, "images"), "frames_in": figure(int(status["received"]), "frames"),
        "frames_mapped": figure(int(status["processed"]), "frames"), "dropped": dropped,
        "voxels": figure(len(saved.voxels), "voxels"),
        "voxels_free": figure(len(saved.free), "voxels"), "voxels_by_class": class_counts(saved.labels),
        "memory": figure(float(status.get("memory_mb", "nan")), "MB"), "duration": figure(round(seconds, 1), "s"),
    }  # fmt: skip
    configuration = {k: v for k, v in sorted(vars(plan.arguments).items()) if k != "command"} | {
        "engine": status.get("engine")
    }
    report = make_report("demo", configuration, figures)
    report["stages"] |= latency_stages(status)
    rewrite_report(plan.out, report)
    print_summary(report, [plan.out / name for name in FILES if (plan.out / name).exists()])
    print(f"done in {seconds:.0f} s; look at {plan.out / 'map.png'}")
