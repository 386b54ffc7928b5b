"""Ruff, mypy and pytest over the whole repository, with one closing line of counts; arguments go to pytest.

Ruff and mypy count as one check each. The exit code is 0 only when everything passed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_tool(name: str, *arguments: str) -> bool:
    """Run a Python module as a tool; whether it was content."""
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, "-m", name, *arguments], cwd=ROOT, check=False).returncode == 0


def run_pytest(arguments: list[str]) -> tuple[int, int, int]:
    """Run pytest; tests passed, failed (errors among them) and skipped."""
    print("== pytest", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-rsfE", "--durations=8", f"--junitxml={report}", *arguments]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if not report.exists():
            return 0, 1, 0
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (sum(int(s.get(key, 0)) for s in suites) for key in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    if code != 0 and failed == 0:
        failed = 1
    return max(total - failed - skipped, 0), failed, skipped


def main() -> int:
    """Run all checks and print the counts."""
    tools = [run_tool("ruff", "check", "sgrocc_core", "sgrocc_ros", "tests"), run_tool("mypy")]
    passed, failed, skipped = run_pytest(sys.argv[1:])
    passed, failed = passed + sum(tools), failed + tools.count(False)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
