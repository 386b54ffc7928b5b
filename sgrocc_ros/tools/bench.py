"""`sgrocc bench ros`: the node as others meet it: player, node and subscriber are processes of their own that talk over DDS.

Times go from the publication of an image's camera_info, with which the image is published, to the arrival of its update, both by DDS.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, PointCloud2
from visualization_msgs.msg import MarkerArray

from sgrocc_core.commands.map import bag_options
from sgrocc_core.data.bags import BagReader
from sgrocc_core.report import figure, make_report
from sgrocc_ros import NODE
from sgrocc_ros.messages import read_cloud, stamp_ns
from sgrocc_ros.tools.processes import BagPlan, latency_stages, prepare_environment, running_process
from sgrocc_ros.tools.watcher import Watcher

WARMING = 2000
"""Images after which the growth of memory counts: until then the map grows."""
SLOPE_OVER = 5000
"""Images over which the growth of memory is told."""


@dataclass
class Sample:
    """One look at the node's process: images received so far, resident memory (MB), threads, voxels of the map."""

    received: int
    rss_mb: float
    threads: int
    voxels: int


@dataclass
class Ears:
    """What a subscriber heard.

    Attributes:
        published: when an image's camera_info was published, seconds by stamp. latencies: from then to the arrival of its update,
            milliseconds. clouds: points, in their order, with whether they are a whole map; kept only where they are to be checked.
    """

    published: dict[int, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    clouds: list[tuple[bool, np.ndarray]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


class Listener(Watcher):
    """Subscribes to everything that the mapping node publishes."""

    def __init__(self, plan: BagPlan, keep_clouds: bool) -> None:
        super().__init__("sgrocc_bench", plan.out)
        self.ears, self._keep = Ears(), keep_clouds
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node = self.node
        node.create_subscription(CameraInfo, plan.info, self._on_info, 100)
        node.create_subscription(PointCloud2, f"/{NODE}/occupancy_update", self._on_update, 50)
        node.create_subscription(PointCloud2, f"/{NODE}/occupancy", lambda m: self._on_cloud(m, True), latched)
        # Taken as bytes: what is measured is the node, not how fast Python reads markers.
        node.create_subscription(MarkerArray, f"/{NODE}/markers", lambda m: None, latched, raw=True)
        node.create_subscription(OccupancyGrid, f"/{NODE}/grid", lambda m: None, latched, raw=True)

    def look(self, node: subprocess.Popen) -> None:
        """Note the process's memory and threads."""
        self.ears.samples.append(
            Sample(self.count("received"), *memory_and_threads(node.pid), self.count("map.voxels"))
        )

    def _on_info(self, message: Any, info: Any) -> None:
        self.ears.published[stamp_ns(message.header.stamp)] = info["source_timestamp"] / 1e9

    def _on_update(self, message: Any, info: Any) -> None:
        published = self.ears.published.get(stamp_ns(message.header.stamp))
        if published is not None:  # of this time round, where a bag is played again and again
            self.ears.latencies.append(1e3 * (info["received_timestamp"] / 1e9 - published))
        self._on_cloud(message, False)

    def _on_cloud(self, message: Any, whole: bool) -> None:
        if self._keep:
            self.ears.clouds.append((whole, read_cloud(message)))


def bench_ros(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; the report.

    Raises:
        SgroccError: a bag that cannot be read, or a process that stopped, with the end of its log.
    """
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    more = {"reset_on_time_jump": arguments.reset, "warn_period": 3600.0, "map_path": ""}
    with BagReader(arguments.bag, bag_options(arguments)) as reader:
        plan = BagPlan(Path(arguments.bag), reader, arguments, out, more)
    loops = max(1, -(-arguments.images // plan.images)) if arguments.images else 1
    prepare_environment(out)
    with Listener(plan, keep_clouds=loops == 1) as listener:
        listener.refuse_a_second_node()
        with running_process(plan.node_command, out / "node.log") as node:
            listener.wait_for_node(node)
            listener.spin(2.0)  # the start itself is over
            idle = _busy_while(node.pid, lambda: listener.spin(arguments.idle))
            started = time.monotonic()
            with running_process([*plan.player_command, "--loop", str(loops)], out / "player.log") as player:
                listener.follow(node, player, plan.images * loops)
            seconds = time.monotonic() - started
    return _report(arguments, plan.images * loops, listener, idle, seconds, (out / "node.log").read_text())


def exact_snapshots(clouds: list[tuple[bool, np.ndarray]]) -> tuple[int, int]:
    """How many whole maps came, and how many of them are what the updates before them gave.

    Args:
        clouds: (whole map or update, points) in the order in which they came. A whole map may come before updates that it holds.
    """
    known: dict[tuple[float, float, float], tuple[int, float]] = {}
    at, compared, equal = None, 0, 0
    waiting: list[tuple[int, dict]] = []
    for whole, points in clouds:
        sequence = int(points["sequence"][0]) if len(points) else None
        values = {
            tuple(p[:3]): (int(p[3]), float(p[4])) for p in points[["x", "y", "z", "label", "probability"]].tolist()
        }
        if whole and at is None and sequence is not None:
            known, at = values, sequence
        elif whole and sequence is not None:
            waiting.append((sequence, values))
        elif not whole and sequence is not None and (at is None or sequence > at):
            for voxel, value in values.items():
                known.pop(voxel, None)
                if value[0]:
                    known[voxel] = value
            at = sequence
        for entry in [e for e in waiting if e[0] == at]:
            waiting.remove(entry)
            compared, equal = compared + 1, equal + (entry[1] == known)
    return compared + len(waiting), equal


def slope(samples: list[Sample]) -> float | None:
    """Growth of resident memory over SLOPE_OVER images, as a share: a line through the samples after WARMING images. None for too few."""
    later = [s for s in samples if s.received > WARMING]
    if len(later) < 10:
        return None
    rise, _ = np.polyfit([s.received for s in later], [s.rss_mb for s in later], 1)
    return float(rise * SLOPE_OVER / np.median([s.rss_mb for s in later]))


def _report(
    arguments: argparse.Namespace, sent: int, listener: Listener, idle: float, seconds: float, log: str
) -> dict[str, Any]:
    values, ears = listener.values, listener.ears
    received, lost, processed, dropped = (listener.count(key) for key in ("received", "lost", "processed", "dropped"))
    compared, equal = exact_snapshots(ears.clouds)
    growth = slope(ears.samples)
    figures: dict[str, Any] = {
        "sent": figure(sent, "images"), "received": figure(received, "images"), "lost": figure(lost, "images"),
        "mapped": figure(processed, "images"),
        "dropped": {k.removeprefix("dropped."): int(v) for k, v in values.items() if k.startswith("dropped.")},
        "lost_without_a_count": figure(sent - processed - dropped - lost, "images"),
        "seconds": figure(round(seconds, 1), "s"), "voxels": figure(listener.count("map.voxels"), "voxels"),
        "idle_share_of_a_core": figure(round(idle, 4), "cores"),
        "snapshots_compared": figure(compared, "maps"), "snapshots_exact": figure(equal, "maps"),
        "errors_logged": figure(len(re.findall(r"\[(?:ERROR|FATAL)\]|Traceback", log)), "lines"),
        "threads": sorted({s.threads for s in ears.samples if s.received > WARMING} or {s.threads for s in ears.samples[-1:]}),
        "rss_slope": None if growth is None else figure(round(growth, 5), f"share per {SLOPE_OVER} images"),
        "rss_at_the_end": figure(round(ears.samples[-1].rss_mb, 1), "MB"),
    }  # fmt: skip
    stages: dict[str, list[float]] = {"publish_to_update_received": ears.latencies} if ears.latencies else {}
    configuration = {k: v for k, v in sorted(vars(arguments).items()) if k not in ("command", "json")} | {
        "runs_on": values.get("engine")
    }
    report = make_report("bench ros", configuration, figures, stages)
    report["stages"] |= {f"node.{name}": stage for name, stage in latency_stages(values).items()}
    report["samples"] = [vars(s) for s in ears.samples[:: max(1, len(ears.samples) // 200)]]
    return report


def memory_and_threads(pid: int) -> tuple[float, int]:
    """Resident memory, MB, and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    numbers = {key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1]) for key in ("VmRSS", "Threads")}  # type: ignore[index]
    return numbers["VmRSS"] / 1024, numbers["Threads"]


def _busy_while(pid: int, wait: Any) -> float:
    """CPU seconds a second that a process takes while `wait` runs."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    start, before = time.monotonic(), used()
    wait()
    return (used() - before) / (time.monotonic() - start)
