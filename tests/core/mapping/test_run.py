"""Mapping frame by frame: Ctrl-C ends it wherever it comes."""

import subprocess
import sys

PROGRAM = """
import os, signal
from sgrocc_core.engines.open import open_engine
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.mapping.run import map_frames
from tests.samples import scene

class Ended:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

mapper = OccupancyMapper(open_engine("small", "onnxruntime", "cpu", 1), MapperConfig(depth_source="topic"))
result = map_frames(mapper, scene.walk(3), lambda frame, update: Ended() and None)
print(result.interrupted, result.frames, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
"""Presses Ctrl-C in a finaliser, where Python drops the exception, in a process of its own."""


def test_an_interrupt_inside_a_finaliser_is_not_lost():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["True", "1", "True"], done.stderr
    assert done.returncode == 0
