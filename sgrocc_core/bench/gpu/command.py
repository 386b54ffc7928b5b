"""`sgrocc bench gpu`: runs the checks one after the other, each in a process of its own with the time that is left."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

SO_FAR = "so far: "
"""Beginning of a line in which a check prints the figures that it has already, as JSON."""
SECONDS = 450.0
"""Time of the whole command, seconds, unless another is given: below eight minutes with the start of Python."""
LEAST = 30.0
"""Seconds that a check may take in any case: where they never ran, PyTorch's start and the compilation of the CPU's
kernels take about that long."""
SHARES = {"card": 0.15, "splat": 0.15, "samples": 0.45, "engines": 0.45, "maps": 0.2, "training": 0.25}
"""Most of the whole time that a check may take, so that one that hangs leaves time for the others."""


def add_gpu(actions: Any) -> argparse.ArgumentParser:
    """Add the options of `sgrocc bench gpu`."""
    about = (
        "Check and time everything that needs an NVIDIA GPU: the card, the splat in PyTorch and in Triton against the "
        "CPU's, the base model's frames a second at K 4 to 32, every runtime against ONNX Runtime on the CPU, a map "
        "against the CPU's, and training steps. Each check has a process of its own; one that fails or takes too long "
        "does not end the others."
    )
    parser: argparse.ArgumentParser = actions.add_parser("gpu", help="all checks on a GPU", description=about)
    parser.add_argument("--model", default="small", metavar="NAME", help="name of a model (default small)")
    parser.add_argument(
        "--checks", default=",".join(SHARES), metavar="A,B", help=f"which, in this order (default {','.join(SHARES)})"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help=f"for all together (default {SECONDS:g})"
    )
    parser.add_argument("--out", default="runs/bench_gpu", metavar="DIR", help="folder of report.json")
    return parser


def measure_gpu(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the checks; the report is written after each, so that a machine that is taken away leaves what was measured.

    Returns:
        the report; its figures hold those of each check, or `failed` with the reason.

    Raises:
        ConfigError: an unknown check, or there is no CUDA device.
    """
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.report import configuration_of, make_report

    names = arguments.checks.split(",")
    if strange := [name for name in names if name not in SHARES]:
        raise ConfigError(f"--checks has {strange[0]!r}; it must be some of {', '.join(SHARES)}")
    if not arguments.seconds > 0:
        raise ConfigError(f"--seconds is {arguments.seconds:g}; it must be above 0")
    require_cuda()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    configuration = configuration_of(arguments, "json")
    figures: dict[str, Any] = {}
    report: dict[str, Any] = {}
    started = perf_counter()
    for name in names:
        left = arguments.seconds - (perf_counter() - started)
        begun = perf_counter()
        figures[name] = run_check(name, arguments.model, min(left, max(LEAST, SHARES[name] * arguments.seconds)))
        figures[name]["seconds"] = round(perf_counter() - begun, 1)
        said = figures[name].get("failed", "ok")
        print(f"{name:<10}{figures[name]['seconds']:>7.1f} s  {said}", flush=True)
        report = make_report("bench gpu", configuration, figures)
        (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def require_cuda() -> None:
    """Check that PyTorch finds a CUDA device.

    Raises:
        ConfigError: it does not, or is not installed; says what is missing.
    """
    from sgrocc_core.errors import ConfigError

    if importlib.util.find_spec("torch") is None:
        raise ConfigError("bench gpu needs PyTorch; pip install -r requirements/gpu.txt")
    import torch

    if torch.version.cuda is None:
        raise ConfigError(
            f"no CUDA device: this PyTorch ({torch.__version__}) is a build for CPUs; "
            "pip install -r requirements/gpu.txt on a machine with an NVIDIA GPU"
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            f"no CUDA device: PyTorch {torch.__version__} finds none; does `nvidia-smi` list a GPU, and is its driver "
            f"new enough for CUDA {torch.version.cuda}?"
        )


def run_check(name: str, model: str, seconds: float) -> dict[str, Any]:
    """Run one check in a new process.

    Args:
        name: of the check.
        model: name of a model.
        seconds: after which it is ended.

    Returns:
        its figures, or `failed` with the reason; `output` holds what it printed before them.
    """
    if seconds <= 1:
        return {"failed": "not run: no time was left"}
    command = [sys.executable, "-m", "sgrocc_core.bench.gpu.checks", name, model]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        return _so_far(error.stdout) | {"failed": f"ended after {seconds:.0f} s"}
    *said, last = [line for line in done.stdout.splitlines() if not line.startswith(SO_FAR)] or [""]
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"failed": reason, "output": [*said, last]}
    try:
        figures: dict[str, Any] = json.loads(last)
    except ValueError:
        return {"failed": "printed no figures", "output": [*said, last]}
    return figures | ({"output": said} if said else {})


def _so_far(output: bytes | str | None) -> dict[str, Any]:
    """The figures that a check had printed when it was ended, and its other lines as `output`."""
    lines = (output.decode(errors="replace") if isinstance(output, bytes) else output or "").splitlines()
    figures: dict[str, Any] = {}
    for line in lines:
        if line.startswith(SO_FAR):
            with contextlib.suppress(ValueError):  # cut off
                figures = json.loads(line.removeprefix(SO_FAR))
    said = [line for line in lines if not line.startswith(SO_FAR)]
    return figures | ({"output": said} if said else {})


def gpu_table(report: dict[str, Any]) -> str:
    """Returns the figures of each check on a line, and what the checks printed themselves."""
    lines = []
    for name, found in report["figures"].items():
        lines += found.get("output", [])
        if "failed" in found:
            lines.append(f"{name}: failed: {found['failed']}")
        elif name not in ("engines", "samples"):  # they print tables
            lines.append(
                f"{name}: " + ", ".join(_readable(key, value) for key, value in found.items() if key != "output")
            )
    return "\n".join(lines)


def _readable(key: str, value: Any) -> str:
    if isinstance(value, dict) and "value" in value:
        number = value["value"]
        return f"{key} {number:.4g} {value['unit']}" if isinstance(number, float) else f"{key} {number} {value['unit']}"
    return f"{key} {value}"
