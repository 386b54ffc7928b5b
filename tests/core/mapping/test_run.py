"""Mapping frame by frame: Ctrl-C ends it wherever it comes."""

import os
import signal

import pytest

from sgrocc_core.engines.open import open_engine
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.mapping.run import map_frames
from tests.samples import scene


class Ended:
    """Presses Ctrl-C in its finaliser, where Python drops the exception."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_inside_a_finaliser_is_not_lost():
    mapper = OccupancyMapper(open_engine("small", "onnxruntime", "cpu", 1), MapperConfig(depth_source="topic"))
    before = signal.getsignal(signal.SIGINT)
    result = map_frames(mapper, scene.walk(3), lambda frame, update: Ended() and None)
    assert result.interrupted and result.frames == 1
    assert signal.getsignal(signal.SIGINT) is before
