"""A bag, the node and the player as processes: what the demo and the benchmark start, and how they end it."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sgrocc_core.data.bag_topics import COMPRESSED, base_name
from sgrocc_core.data.bags import BagReader
from sgrocc_core.errors import SgroccError
from sgrocc_core.share import find_shared

START_TIMEOUT = 120.0
"""Seconds that the node may take to start: the first start on a machine compiles its kernels."""
STOP_TIMEOUT = 30.0
"""Seconds that a process has to end after SIGINT."""
PR_SET_PDEATHSIG = 1


class ProcessError(SgroccError):
    """A process that did not do its work."""


class BagPlan:
    """What is played, and with what the two processes are started.

    Args:
        bag: its path. reader: of it. arguments: the options of `sgrocc demo`. out: where the map goes.
        more: parameters of the node over those of the options.
    """

    def __init__(
        self, bag: Path, reader: BagReader, arguments: argparse.Namespace, out: Path, more: dict[str, Any] | None = None
    ) -> None:
        chosen = reader.selection
        self.out, self.images, self.arguments = out, chosen.image.count, arguments
        self.image, self.depth = chosen.image.name, chosen.depth.name if chosen.depth else None
        self.info, self.map_frame = chosen.info.name, reader.map_frame
        parameters = {
            "model": arguments.model, "map_frame": reader.map_frame, "camera_frame": reader.camera_frame, "map_path": str(out.resolve()),
            "depth_source": arguments.depth_source, "depth_scale": float(arguments.depth_scale), "sync_slop": float(arguments.sync_slop),
            "rectified": arguments.rectified, "image_transport": "compressed" if chosen.image.kind == COMPRESSED else "raw",
        } | (more or {})  # fmt: skip
        remaps = {"image": base_name(self.image), "camera_info": chosen.info.name}
        if self.depth:
            remaps["depth"] = base_name(self.depth)
        self.node_command = [sys.executable, "-m", "sgrocc_ros.node", "--ros-args"]
        for name, value in parameters.items():
            # An empty text must be quoted, or the command line's YAML takes it for nothing.
            self.node_command += ["-p", f"{name}:={value!r}" if isinstance(value, str) else f"{name}:={value}"]
        for name, topic in remaps.items():
            self.node_command += ["-r", f"{name}:={topic}"]
        topics = [self.image, chosen.info.name, *([self.depth] if self.depth else [])]
        topics += [t.name for t in reader.topics if t.name in ("/tf", "/tf_static")]
        self.player_command = [
            sys.executable,
            "-m",
            "sgrocc_ros.tools.player",
            str(bag),
            "--rate",
            f"{arguments.rate:g}",
            "--topics",
            *topics,
        ]
        self.player_command += ["--wait-for", self.image]


def latency_stages(values: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The stages of a report, out of the values of the node's diagnostics."""
    ends = "latency.", ".p50_ms"
    names = [
        key.removeprefix(ends[0]).removesuffix(ends[1])
        for key in values
        if key.startswith(ends[0]) and key.endswith(ends[1])
    ]
    percentiles = {name: [float(values[f"latency.{name}.{p}_ms"]) for p in ("p50", "p95")] for name in names}
    return {name: {"p50": p50, "p95": p95, "unit": "ms"} for name, (p50, p95) in percentiles.items()}


def prepare_environment(out: Path) -> None:
    """DDS on this machine only, room for big messages, logs under a folder of the run's; for this process and those it starts."""
    from sgrocc_ros.distributions import PROFILE_VARIABLE, STAY_HERE

    os.environ.update([STAY_HERE])
    os.environ["ROS_LOG_DIR"] = str((out / "log").resolve())
    profile = find_shared("config/fastdds.xml")
    if profile.exists():
        os.environ.setdefault(PROFILE_VARIABLE, str(profile))


@contextmanager
def running_process(command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """A process with its output in a file, which is ended with the block, however that ends."""
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, behind a heading."""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return f"; the end of {log}: " + " | ".join(line.strip() for line in text if line.strip())
