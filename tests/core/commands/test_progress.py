"""Progress without a terminal."""

from __future__ import annotations

import subprocess
import sys


def test_a_log_gets_the_beginning_and_the_end_not_a_line_a_step() -> None:
    code = (
        "import time\nfrom sgrocc_core.progress import progress\n"
        "for _ in progress(range(300), desc='work'): time.sleep(0.002)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    assert 1 <= len(told) <= 3
    assert "300/300" in told[-1] and "work" in told[-1]
