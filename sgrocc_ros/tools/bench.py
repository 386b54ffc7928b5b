"""`sgrocc bench ros`: measures the node between a player and a subscriber, each a separate process connected by DDS.

Latency is the time from the publication of an image's camera_info, which is published together with the image, to the
arrival of the update, both by DDS's time stamps.
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
from sgrocc_core.report import configuration_of, figure, make_report
from sgrocc_ros import NODE
from sgrocc_ros.messages import read_cloud, stamp_ns
from sgrocc_ros.tools.processes import BagPlan, latency_stages, prepare_environment, running_process
from sgrocc_ros.tools.watcher import Watcher

WARMING = 2000
"""Images after which the growth of memory is measured; before that the map still grows."""
SLOPE_OVER = 5000
"""Number of images for which the growth of memory is reported."""


@dataclass
class Sample:
    """One sample of the node's process: images received so far, resident memory (MB), threads, voxels of the map."""

    received: int
    rss_mb: float
    threads: int
    voxels: int


@dataclass
class Received:
    """Everything that the subscriber has received.

    Attributes:
        published: time at which an image's camera_info was published, seconds by stamp.
        latencies: time from there to the arrival of the update, milliseconds.
        clouds: (complete map or not, points) in the order of arrival; kept only if they are to be compared.
        samples: samples of the node's process.
    """

    published: dict[int, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    clouds: list[tuple[bool, np.ndarray]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


class Listener(Watcher):
    """Subscribes to all topics of the node."""

    def __init__(self, plan: BagPlan, keep_clouds: bool) -> None:
        super().__init__("sgrocc_bench", plan.out)
        self.data, self._keep = Received(), keep_clouds
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node = self.node
        node.create_subscription(CameraInfo, plan.info, self._on_info, 100)
        node.create_subscription(PointCloud2, f"/{NODE}/occupancy_update", self._on_update, 50)
        node.create_subscription(PointCloud2, f"/{NODE}/occupancy", lambda m: self._on_cloud(m, True), latched)
        # Received as bytes, because decoding markers in Python is not to be measured.
        node.create_subscription(MarkerArray, f"/{NODE}/markers", lambda m: None, latched, raw=True)
        node.create_subscription(OccupancyGrid, f"/{NODE}/grid", lambda m: None, latched, raw=True)

    def look(self, node: subprocess.Popen) -> None:
        """Record memory and threads of the process."""
        self.data.samples.append(
            Sample(self.count("received"), *memory_and_threads(node.pid), self.count("map.voxels"))
        )

    def _on_info(self, message: Any, info: Any) -> None:
        self.data.published[stamp_ns(message.header.stamp)] = info["source_timestamp"] / 1e9

    def _on_update(self, message: Any, info: Any) -> None:
        published = self.data.published.get(stamp_ns(message.header.stamp))
        if published is not None:  # None for an update of the previous round of a repeated bag
            self.data.latencies.append(1e3 * (info["received_timestamp"] / 1e9 - published))
        self._on_cloud(message, False)

    def _on_cloud(self, message: Any, whole: bool) -> None:
        if self._keep:
            self.data.clouds.append((whole, read_cloud(message)))


def bench_ros(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the measurement and return its report.

    Raises:
        SgroccError: the bag cannot be read, or a process stopped; the message has the end of its log.
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
            listener.spin(2.0)  # wait until start-up is over
            idle = _busy_while(node.pid, lambda: listener.spin(arguments.idle))
            started = time.monotonic()
            with running_process([*plan.player_command, "--loop", str(loops)], out / "player.log") as player:
                listener.follow(node, player, plan.images * loops)
            seconds = time.monotonic() - started
    return _report(arguments, plan.images * loops, listener, idle, seconds, (out / "node.log").read_text())


def exact_snapshots(clouds: list[tuple[bool, np.ndarray]]) -> tuple[int, int]:
    """Compare complete maps with the sum of the updates before them.

    Args:
        clouds: (complete map or update, points) in the order of arrival. A complete map may arrive before updates that
            it already contains.

    Returns:
        Number of complete maps after the first, and how many of them equal the sum of the updates.
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
    """Fit a line to resident memory after WARMING images.

    Returns:
        Growth over SLOPE_OVER images as a share of the median, or None with too few samples.
    """
    later = [s for s in samples if s.received > WARMING]
    if len(later) < 10:
        return None
    rise, _ = np.polyfit([s.received for s in later], [s.rss_mb for s in later], 1)
    return float(rise * SLOPE_OVER / np.median([s.rss_mb for s in later]))


def _report(
    arguments: argparse.Namespace, sent: int, listener: Listener, idle: float, seconds: float, log: str
) -> dict[str, Any]:
    values, samples = listener.values, listener.data.samples
    received, lost, processed, dropped = (listener.count(key) for key in ("received", "lost", "processed", "dropped"))
    compared, equal = exact_snapshots(listener.data.clouds)
    growth = slope(samples)
    figures: dict[str, Any] = {
        "sent": figure(sent, "images"), "received": figure(received, "images"), "lost": figure(lost, "images"),
        "mapped": figure(processed, "images"),
        "dropped": {k.removeprefix("dropped."): int(v) for k, v in values.items() if k.startswith("dropped.")},
        "lost_without_a_count": figure(sent - processed - dropped - lost, "images"),
        "seconds": figure(round(seconds, 1), "s"), "voxels": figure(listener.count("map.voxels"), "voxels"),
        "idle_share_of_a_core": figure(round(idle, 4), "cores"),
        "snapshots_compared": figure(compared, "maps"), "snapshots_exact": figure(equal, "maps"),
        "errors_logged": figure(len(re.findall(r"\[(?:ERROR|FATAL)\]|Traceback", log)), "lines"),
        "threads": sorted({s.threads for s in samples if s.received > WARMING} or {s.threads for s in samples[-1:]}),
        "rss_slope": None if growth is None else figure(round(growth, 5), f"share per {SLOPE_OVER} images"),
        "rss_at_the_end": figure(round(samples[-1].rss_mb, 1), "MB"),
    }  # fmt: skip
    latencies = listener.data.latencies
    stages: dict[str, list[float]] = {"publish_to_update_received": latencies} if latencies else {}
    configuration = configuration_of(arguments, "json") | {"runs_on": values.get("engine")}
    report = make_report("bench ros", configuration, figures, stages)
    report["stages"] |= {f"node.{name}": stage for name, stage in latency_stages(values).items()}
    report["samples"] = [vars(s) for s in samples[:: max(1, len(samples) // 200)]]
    return report


def memory_and_threads(pid: int) -> tuple[float, int]:
    """Return resident memory, MB, and number of threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    numbers = {key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1]) for key in ("VmRSS", "Threads")}  # type: ignore[index]
    return numbers["VmRSS"] / 1024, numbers["Threads"]


def _busy_while(pid: int, wait: Any) -> float:
    """Return the CPU seconds per second that a process uses while `wait` runs."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    start, before = time.monotonic(), used()
    wait()
    return (used() - before) / (time.monotonic() - start)
