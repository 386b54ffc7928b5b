"""Ruff, mypy and pytest over the whole repository, with one closing line of counts.

Arguments go to pytest; `--fast` runs the quick half of the core's tests only, for every commit. Ruff and mypy count as
one check each. The tests of the core and those of the node, which mostly wait, run beside each other. The exit code is
0 only when everything passed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEARNING = ("tests/core/ablations", "tests/core/training", "tests/core/training_data")
"""Tests that start worker processes of PyTorch; they have a process without the runtimes that the others load."""
LANES = (
    (("tests/core", *(f"--ignore={folder}" for folder in LEARNING)), LEARNING),
    (("tests/ros", "tests/end_to_end"),),
)
"""Runs of pytest: the lanes go beside each other, the runs of a lane one after the other."""
FAST = tuple(
    f"tests/core/{room}" for room in ("checks", "depth", "gaussians", "geometry", "house", "mapping", "voxels")
)
"""Rooms whose tests need neither training nor rendered rooms."""


def run_tool(name: str, *arguments: str) -> bool:
    """Run a Python module as a tool; whether it was content."""
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, "-m", name, *arguments], cwd=ROOT, check=False).returncode == 0


def run_fast() -> tuple[int, int, int]:
    """Run the quick half of the core's tests; tests passed, failed and skipped."""
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "fast.xml"
        code = subprocess.run(_command(FAST, report, ["-m", "not slow"]), cwd=ROOT, check=False).returncode
        return _counts(report, code)


def run_pytest(arguments: list[str]) -> tuple[int, int, int]:
    """Run pytest over both lanes at once and print the output of the second after that of the first.

    Returns:
        tests passed, failed and skipped.
    """
    with tempfile.TemporaryDirectory() as name:
        first, second = ([Path(name) / f"{lane}{run}.xml" for run in range(len(LANES[lane]))] for lane in (0, 1))
        with (Path(name) / "later.txt").open("w+") as later:
            beside = subprocess.Popen(
                _command(LANES[1][0], second[0], arguments), cwd=ROOT, stdout=later, stderr=subprocess.STDOUT
            )
            codes, began = [], time.monotonic()
            for group, report in zip(LANES[0], first):
                print(f"== pytest {' '.join(group)}", flush=True)
                codes.append(subprocess.run(_command(group, report, arguments), cwd=ROOT, check=False).returncode)
                print(f"after {time.monotonic() - began:.0f} s", flush=True)
            codes.append(beside.wait())
            print(f"both lanes after {time.monotonic() - began:.0f} s", flush=True)
            later.seek(0)
            print(f"== pytest {' '.join(LANES[1][0])}\n{later.read()}", flush=True)
        counts = [_counts(report, code) for report, code in zip([*first, *second], codes)]
    passed, failed, skipped = (sum(numbers) for numbers in zip(*counts))
    return passed, failed, skipped


def _command(group: tuple[str, ...], report: Path, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-rsfE", "--durations=8", f"--junitxml={report}", *arguments, *group]


def _counts(report: Path, code: int) -> tuple[int, int, int]:
    """Tests passed, failed (errors among them) and skipped, by a report and pytest's exit code."""
    if not report.exists():
        return 0, 1, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(s.get(key, 0)) for s in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    if code != 0 and failed == 0:
        failed = 1
    return max(total - failed - skipped, 0), failed, skipped


def main() -> int:
    """Run all checks and print the counts."""
    tools = [run_tool("ruff", "check", "sgrocc_core", "sgrocc_ros", "tests"), run_tool("mypy")]
    arguments = sys.argv[1:]
    passed, failed, skipped = run_fast() if arguments == ["--fast"] else run_pytest(arguments)
    passed, failed = passed + sum(tools), failed + tools.count(False)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
