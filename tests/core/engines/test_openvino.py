"""OpenVINO computes what ONNX Runtime computes, on frames of a generated walk as the mapper feeds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.engines.open import open_engine
from sgrocc_core.frame import Frame
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper

pytest.importorskip("openvino", reason="OpenVINO is not installed: requirements/openvino.txt")
pytest.importorskip("trimesh", reason="the generator of rooms is not installed: requirements/rooms.txt")


SIGNALS = """
import gc, os, signal
from sgrocc_core.engines.open import open_engine

signal.signal(signal.SIGUSR1, lambda number, frame: print("heard", flush=True))
engines = [open_engine("small", "openvino", "cpu", 1) for _ in range(2)]
while engines:
    del engines[0]
    gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""
"""Releases two engines in the order in which they were opened, and hears a signal."""


def test_a_signal_after_engines_were_released_does_not_end_the_process():
    done = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


class Recorder:
    """An engine that remembers what it was given and what it answered."""

    def __init__(self, engine) -> None:
        self._engine, self.spec, self.description = engine, engine.spec, engine.description
        self.images: list = []
        self.experts: list = []

    def image(self, *given):
        self.images.append((given, self._engine.image(*given)))
        return self.images[-1][1]

    def expert(self, *given):
        self.experts.append((given, self._engine.expert(*given)))
        return self.experts[-1][1]

    def stereo(self, *given):
        return self._engine.stereo(*given)


@pytest.fixture(scope="module")
def walked() -> Recorder:
    """Three frames of a walk, mapped with ONNX Runtime: the later ones have a history."""
    from sgrocc_core.data.synthetic.generate import prepare, render_frames

    recorder = Recorder(open_engine("small", "onnxruntime", "cpu", 1))
    mapper = OccupancyMapper(recorder, MapperConfig(depth_source="fused"))
    for k, frame in enumerate(render_frames(prepare("test", 3, 0, 3, (320, 240)), (320, 240))):
        mapper.step(Frame(frame.view.image, frame.K, frame.T_wc, 100_000_000 * k, frame.view.depth))
    assert recorder.experts[-1][0][-2].past[:, 0].sum() > 1000
    return recorder


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return open_engine("small", "openvino", "cpu", 1)


def relative(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    assert found.shape == wanted.shape and found.dtype == wanted.dtype == np.float32
    return np.abs(found - wanted) / np.abs(wanted).max()


@pytest.mark.slow
def test_features_and_depth_are_those_of_onnxruntime(walked: Recorder, engine) -> None:
    for given, expected in walked.images:
        found = engine.image(*given)
        for name in ("features", "depth", "spread", "thickness"):
            assert relative(getattr(found, name), getattr(expected, name)).max() < 1e-5, name


@pytest.mark.slow
def test_gaussians_are_those_of_onnxruntime(walked: Recorder, engine) -> None:
    for given, expected in walked.experts:
        every, some, used = engine.expert(*given[:-1]), engine.expert(*given), given[-1]
        assert 500 < used.sum() < len(used)
        for name, wanted in vars(expected).items():
            assert relative(getattr(every, name), wanted).max() < 1e-4, name
            assert relative(getattr(some, name), wanted)[used].max() < 1e-4, name


@pytest.mark.slow
def test_outputs_are_the_callers_own(walked: Recorder, engine) -> None:
    (first, _), (second, _) = walked.images[:2]
    seen = engine.image(*first)
    before = seen.features.copy()
    engine.image(*second)
    assert np.array_equal(seen.features, before)


@pytest.mark.slow
def test_a_loaded_graph_gives_the_values_of_a_compiled_one(walked: Recorder, engine) -> None:
    again = open_engine("small", "openvino", "cpu", 1)
    assert again.from_cache and not engine.from_cache
    given, _ = walked.experts[-1]
    found, wanted = again.expert(*given), engine.expert(*given)
    assert all(np.array_equal(value, getattr(found, name)) for name, value in vars(wanted).items())
