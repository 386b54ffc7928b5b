"""Ruff, mypy and pytest over the whole repository, with one closing line of counts.

Arguments go to pytest; `--fast` runs the quick half of the core's tests only, for every commit. Ruff and mypy count as
one check each. Tests run in groups, two at a time, and none before the kernels are compiled, which each group would do
for itself. The exit code is 0 only when everything passed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
STARTED = time.monotonic()
LEARNING = ("tests/core/ablations", "tests/core/training", "tests/core/training_data")
"""Tests that start worker processes of PyTorch; they have a process without the runtimes that the others load."""
MAPS = tuple(f"tests/core/{room}" for room in ("depth", "gaussians", "map_files", "mapping", "voxels"))
"""Tests of what a map is made of."""
NODE = tuple(f"tests/ros/{room}" for room in ("node", "output", "planners"))
"""Tests of the node once images come."""
GROUPS = (
    NODE,
    ("tests/core", *(f"--ignore={folder}" for folder in (*LEARNING, *MAPS))),
    LEARNING,
    MAPS,
    ("tests/ros", *(f"--ignore={folder}" for folder in NODE)),
    ("tests/end_to_end",),
)
"""Runs of pytest, the longest first: two at a time, each time the next that nobody has taken."""
WARM_UP = [sys.executable, "-m", "sgrocc_core.cli", "warm-up"]
"""Compiles the kernels of mapping, each once."""
FAST = tuple(
    f"tests/core/{room}" for room in ("checks", "depth", "gaussians", "geometry", "house", "mapping", "voxels")
)
"""Rooms whose tests need neither training nor rendered rooms."""


def run_tools() -> tuple[int, int, int]:
    """Run ruff and mypy; checks passed, failed and skipped."""
    passed = 0
    for name, *arguments in (("ruff", "check", "sgrocc_core", "sgrocc_ros", "tests"), ("mypy",)):
        print(f"== {name}", flush=True)
        passed += subprocess.run([sys.executable, "-m", name, *arguments], cwd=ROOT, check=False).returncode == 0
    print(f"ends at {time.monotonic() - STARTED:.0f} s", flush=True)
    return passed, 2 - passed, 0


def run_fast() -> tuple[int, int, int]:
    """Run the quick half of the core's tests; tests passed, failed and skipped."""
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "fast.xml"
        code = subprocess.run(_command(FAST, report, ["-m", "not slow"]), cwd=ROOT, check=False).returncode
        return _counts(report, code)


def run_all(arguments: list[str], ahead: subprocess.Popen[bytes]) -> tuple[int, int, int]:
    """Run ruff, mypy and pytest over all groups, two at a time; the second worker's output comes at the end.

    Args:
        arguments: for pytest.
        ahead: compiles the kernels; no group begins before it has ended.

    Returns:
        checks passed, failed and skipped.
    """
    counts, waiting = [], list(GROUPS)
    with tempfile.TemporaryDirectory() as name, (Path(name) / "later.txt").open("w+") as later:

        def work(output: IO[str]) -> None:
            ahead.wait()  # if it failed, the tests of the command say why
            while True:
                try:
                    group, began = waiting.pop(0), time.monotonic()
                except IndexError:
                    return
                print(f"== pytest {' '.join(group)}", file=output, flush=True)
                report = Path(name) / f"{GROUPS.index(group)}.xml"
                command = _command(group, report, arguments)
                done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
                counts.append(_counts(report, done.returncode))
                if not report.exists():
                    print(f"pytest left no report; its exit code is {done.returncode}", file=output)
                print(f"took {time.monotonic() - began:.0f} s, ends at {time.monotonic() - STARTED:.0f} s", file=output)

        beside = threading.Thread(target=work, args=(later,))
        beside.start()
        try:
            counts.append(run_tools())
            work(sys.stdout)
        finally:
            waiting.clear()  # after an interrupt nothing more is begun
            beside.join()
        later.seek(0)
        print(later.read(), flush=True)
    passed, failed, skipped = (sum(numbers) for numbers in zip(*counts))
    return passed, failed, skipped


def _command(group: tuple[str, ...], report: Path, arguments: list[str]) -> list[str]:
    told = ("-q", "-rsfE", "--durations=8", "-o", "faulthandler_timeout=300")
    return [sys.executable, "-m", "pytest", *told, f"--junitxml={report}", *arguments, *group]


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
    arguments = sys.argv[1:]
    ahead = subprocess.Popen(WARM_UP, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        if arguments == ["--fast"]:
            tools = run_tools()
            ahead.wait()
            passed, failed, skipped = (sum(pair) for pair in zip(tools, run_fast()))
        else:
            passed, failed, skipped = run_all(arguments, ahead)
    finally:
        ahead.kill()
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
