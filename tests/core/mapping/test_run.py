"""Mapping frame by frame: Ctrl-C ends it wherever it comes, and images looked at ahead change nothing."""

import subprocess
import sys

import numpy as np
import pytest

from sgrocc_core.errors import FrameError
from sgrocc_core.mapping.look import LooksAhead
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.mapping.run import map_frames
from tests.samples.engines import small_engine
from tests.samples.rooms import scene

PROGRAM = """
import os, signal
from tests.samples.engines import small_engine
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.mapping.run import map_frames
from tests.samples.rooms import scene

class Ended:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

mapper = OccupancyMapper(small_engine(), MapperConfig(depth_source="topic"))
result = map_frames(mapper, scene.walk(3), lambda frame, update: Ended() and None)
print(result.interrupted, result.frames, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
"""Presses Ctrl-C in a finaliser, where Python drops the exception, in a process of its own."""


def test_an_interrupt_inside_a_finaliser_is_not_lost():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["True", "1", "True"], done.stderr
    assert done.returncode == 0


@pytest.fixture(scope="module")
def engine():
    return small_engine()


@pytest.mark.parametrize("source", ["fused", "mono"])
def test_images_looked_at_ahead_give_the_same_map_bit_by_bit(engine, source: str) -> None:
    walk, maps = list(scene.walk(3)), []
    for ahead in (False, True):
        mapper = OccupancyMapper(engine, MapperConfig(depth_source=source))
        result = map_frames(mapper, iter(walk), ahead=ahead)
        assert result.frames == 3
        maps.append(mapper.map.arrays())
    assert maps[0].keys() == maps[1].keys() and len(maps[0]["blocks"]) > 0
    assert all(np.array_equal(maps[0][name], maps[1][name]) for name in maps[0])


def test_a_frame_that_was_begun_and_not_mapped_is_left_out(engine) -> None:
    first, second = list(scene.walk(2))

    class Refusing:
        spec = engine.spec

        def image(self, *inputs):
            raise FrameError("spoilt", "the image of the frame that is never mapped")

    looks = LooksAhead()
    looks.begin(Refusing(), first)
    found, expected = looks.take(engine, second), LooksAhead().take(engine, second)
    assert all(np.array_equal(value, getattr(expected.seen, name)) for name, value in vars(found.seen).items())
    looks.begin(Refusing(), first)
    with pytest.raises(FrameError, match="never mapped"):
        looks.take(engine, first)
