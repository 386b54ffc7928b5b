"""`sgrocc warm-up` leaves nothing to be compiled, neither by the next start nor by the frames after it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MAPPED = """
import sys
import numpy as np
from sgrocc_core.engines.open import open_engine
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.mapping.warm_up import compile_kernels, kernels
from numba.core.dispatcher import Dispatcher

def signatures():
    modules = [module for name, module in sys.modules.items() if name.startswith("sgrocc_core.")]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)]
    return {f"{f.__module__}.{f.py_func.__name__}": set(map(str, f.signatures)) for f in found}

engine = open_engine("small", "onnxruntime", "cpu")
compile_kernels(engine, MapperConfig())
before = signatures()
for source, motion in (("mono", "tracks"), ("topic", "none"), ("fused", "stereo")):
    mapper = OccupancyMapper(engine, MapperConfig(depth_source=source, motion_depth=motion))
    for k in range(3):
        draw = np.random.default_rng(k)
        image = np.kron(draw.integers(0, 256, (60, 80, 3)), np.ones((6, 6, 1))).astype(np.uint8)
        depth = np.full((120, 160), 2.5 - 0.5 * k, np.float32)
        depth[:40] = 0
        K = np.array([[430.0, 0, 239.5], [0, 430, 179.5], [0, 0, 1]])
        T_wc = make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0.02 * k, 0]))
        mapper.step(Frame(image, K, T_wc, 100_000_000 * k, None if source == "mono" else depth))
after = signatures()
print({name: after[name] - before.get(name, set()) for name in after if after[name] != before.get(name, set())})
"""


def python(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_frame_after_it_compiles_anything() -> None:
    assert python("-c", MAPPED).strip() == "{}"


@pytest.mark.slow
def test_the_second_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    places = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    first, second = (python("-m", "sgrocc_core.cli", "warm-up", **places) for _ in range(2))
    assert re.search(rf"^kernels +[\d.]+ s  [1-9]\d* compiled, kept in {tmp_path}/numba, 0 loaded$", first, re.M), first
    assert re.search(rf"^kernels +[\d.]+ s  0 compiled, [1-9]\d* loaded from {tmp_path}/numba$", second, re.M), second
    assert [line.split()[0] for line in second.splitlines()] == ["imports", "networks", "kernels", "together"]
    if "OpenVINO" in first:
        assert "; compiled, kept in " in first and "; compiled before, loaded from " in second


def test_it_takes_the_options_of_the_model() -> None:
    said = python("-m", "sgrocc_core.cli", "warm-up", "--engine", "onnxruntime", "--device", "cpu", "--threads", "1")
    assert "small: ONNX Runtime " in said and "CPU, 1 threads, fp32; this runtime keeps nothing" in said
