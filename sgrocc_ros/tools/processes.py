"""The node and the bag player as processes: how the demo and the benchmark start and end them."""

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

from sgrocc_core.data.bags import BagReader
from sgrocc_core.data.bags.topics import COMPRESSED, base_name
from sgrocc_core.errors import SgroccError
from sgrocc_core.share import find_shared

START_TIMEOUT = 900.0
"""Maximum time for the node to start, seconds; the first start on a machine compiles its kernels, for minutes."""
LONG_START = 15.0
"""Time after which it is said what the node is doing, seconds."""
STOP_TIMEOUT = 30.0
"""Maximum time for a process to end after SIGINT, seconds."""
PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal that a process receives when its parent ends."""


class ProcessError(SgroccError):
    """A process that failed."""


class BagPlan:
    """The bag to play and the commands of the two processes.

    Args:
        bag: path of the bag.
        reader: reader of the bag.
        arguments: options of `sgrocc demo` or `sgrocc bench ros`.
        out: folder of the saved map.
        more: parameters of the node that take precedence over the options.
    """

    def __init__(
        self, bag: Path, reader: BagReader, arguments: argparse.Namespace, out: Path, more: dict[str, Any] | None = None
    ) -> None:
        chosen = reader.selection
        self.out, self.images, self.arguments = out, chosen.image.count, arguments
        self.image, self.depth = chosen.image.name, chosen.depth.name if chosen.depth else None
        self.info, self.map_frame = chosen.info.name, reader.map_frame
        parameters = {
            "model": arguments.model,
            "map_frame": reader.map_frame,
            "camera_frame": reader.camera_frame,
            "map_path": str(out.resolve()),
            "depth_source": arguments.depth_source,
            "depth_scale": float(arguments.depth_scale),
            "sync_slop": float(arguments.sync_slop),
            "rectified": arguments.rectified,
            "image_transport": "compressed" if chosen.image.kind == COMPRESSED else "raw",
        } | (more or {})
        remaps = {"image": base_name(self.image), "camera_info": chosen.info.name}
        if self.depth:
            remaps["depth"] = base_name(self.depth)
        self.node_command = [sys.executable, "-m", "sgrocc_ros.start", "--ros-args"]
        for name, value in parameters.items():
            # An empty text must be quoted, or YAML reads it as null.
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
    """Return the stages of a report from the values of the node's diagnostics."""
    ends = "latency.", ".p50_ms"
    names = [
        key.removeprefix(ends[0]).removesuffix(ends[1])
        for key in values
        if key.startswith(ends[0]) and key.endswith(ends[1])
    ]
    percentiles = {name: [float(values[f"latency.{name}.{p}_ms"]) for p in ("p50", "p95")] for name in names}
    return {name: {"p50": p50, "p95": p95, "unit": "ms"} for name, (p50, p95) in percentiles.items()}


def prepare_environment(out: Path) -> None:
    """Restrict DDS to this machine, make room for big messages and keep logs in `out`, also for child processes."""
    from sgrocc_ros.distributions import PROFILE_VARIABLE, STAY_HERE

    os.environ.update([STAY_HERE])
    os.environ["ROS_LOG_DIR"] = str((out / "log").resolve())
    profile = find_shared("config/fastdds.xml")
    if profile.exists():
        os.environ.setdefault(PROFILE_VARIABLE, str(profile))


@contextmanager
def running_process(command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a process with its output in a file; it ends with the block, even after an error."""
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
    """Return the last lines of a log, after its name."""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return f"; the end of {log}: " + " | ".join(line.strip() for line in text if line.strip())
