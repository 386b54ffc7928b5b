"""Time from the start of a process to its first update: imports, model, kernels and first frame."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from sgrocc_core.errors import DataError

PROGRAM = """
import json, sys, time
start = time.perf_counter()
from sgrocc_core.engines.open import open_engine
from sgrocc_core.mapping.mapper import MapperConfig
from sgrocc_core.mapping.warm_up import warm_up
laps = {"imports": time.perf_counter() - start}
def lap(name, since):
    now = time.perf_counter()
    laps[name] = now - since
    return now
now = time.perf_counter()
engine = open_engine(*sys.argv[1:4], int(sys.argv[4]))
now = lap("model", now)
warm_up(engine, MapperConfig())
now = lap("warm_up", now)
warm_up(engine, MapperConfig())
lap("next_frame", now)
print(json.dumps(laps))
"""


def startup(model: str, engine: str, device: str, threads: int) -> dict[str, float]:
    """Measure one start, in a new process.

    Args:
        model: a name under models/, or a model's folder.
        engine: as of `open_engine`.
        device: as of `open_engine`.
        threads: as of `open_engine`.

    Returns:
        milliseconds of each part, and of the whole `process`.

    Raises:
        DataError: the process failed; with the last line of its error.
    """
    started = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, model, engine, device, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - started
    if done.returncode != 0:
        raise DataError(f"the start failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    laps = json.loads(done.stdout.splitlines()[-1]) | {"process": whole}
    return {name: 1000 * seconds for name, seconds in laps.items()}
