"""The splat in Triton against PyTorch's, on the CPU through Triton's interpreter; and its compilation for GPUs.

Each test has a process of its own, since Triton decides when it is imported whether it interprets its kernels.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.voxels.splatting import splat_gpu, splat_pairs
from sgrocc_core.voxels.splatting.splat_gpu import largest_difference, splat_of, why_no_triton

with_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: requirements/gpu.txt"
)
COMPARE = """
import numpy as np, torch
from sgrocc_core.voxels.splatting import splat_torch, splat_triton
from tests.samples.random_gaussians import CORNER, SHAPE, random_gaussians

rng = np.random.default_rng(8)
upstream = torch.from_numpy(rng.normal(size=SHAPE)), torch.from_numpy(rng.normal(size=(*SHAPE, 11)))
found = []
for splat in (splat_torch.splat, splat_triton.splat):
    inputs = [torch.from_numpy(a).requires_grad_() for a in random_gaussians(30, seed=7)]
    inputs[2].data[:3] = torch.tensor([1.0, 0.99995, 0.005])  # cut off, cut off, too transparent
    values = splat(*inputs, torch.from_numpy(CORNER), SHAPE)
    found.append([*(v.detach() for v in values), *torch.autograd.grad(values, inputs, upstream)])
for expected, value in zip(*found, strict=True):
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max()))
nothing = splat_triton.splat(*(t[:0] for t in inputs), CORNER, SHAPE)
assert not nothing[0].any() and nothing[1].shape == (*SHAPE, 11)
"""
SINGLE = """
import torch
from sgrocc_core.voxels.splatting import splat_pairs, splat_triton
from sgrocc_core.voxels.splatting.splat_gpu import largest_difference

assert 0 < largest_difference(splat_triton.splat, splat_pairs.splat, torch.device("cpu")) < 1e-6
"""
COMPILE = """
import inspect, torch
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sgrocc_core.geometry.lattice import BOX_VOXELS
from sgrocc_core.voxels.splatting import splat_triton

constants = splat_triton._constants(torch.zeros(1, 11), BOX_VOXELS, 0.08)
for kernel in (splat_triton._forward, splat_triton._backward):
    names = list(inspect.signature(kernel.fn).parameters)
    arrays, fixed = names[: -len(constants)], names[-len(constants) :]
    signature = dict.fromkeys(arrays, "*fp32") | dict.fromkeys(fixed, "constexpr")
    for capability in (80, 90, 120):
        source = ASTSource(kernel, signature, dict(zip(fixed, constants)))
        assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
"""


def run(program: str, interpreted: bool, tmp_path) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1" if interpreted else "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@with_triton
def test_values_and_gradients_agree_with_the_reference(tmp_path) -> None:
    run(COMPARE, True, tmp_path)


@pytest.mark.slow
@with_triton
def test_in_single_precision_they_agree_with_pytorch_to_six_digits(tmp_path) -> None:
    run(SINGLE, True, tmp_path)


@pytest.mark.slow
@with_triton
def test_the_kernels_compile_for_gpus_without_one(tmp_path) -> None:
    run(COMPILE, False, tmp_path)


def test_what_is_missing_for_triton_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert why_no_triton(torch.device("cuda")) == "Triton is not installed; pip install -r requirements/gpu.txt"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert why_no_triton(torch.device("cpu")) == "Triton runs on CUDA devices, not on cpu"
    assert why_no_triton(torch.device("cuda", 1)) is None


def test_a_splat_that_errs_is_told_from_one_that_agrees() -> None:
    cpu = torch.device("cpu")

    def heavier(*arguments):
        log_empty, weights = splat_pairs.splat(*arguments)
        return log_empty, 1.001 * weights

    with torch.inference_mode():
        assert largest_difference(splat_pairs.splat, splat_pairs.splat, cpu) == 0
        assert largest_difference(heavier, splat_pairs.splat, cpu) == pytest.approx(0.001, rel=1e-3)


def test_pytorch_splats_where_triton_fails_and_the_log_has_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(splat_gpu, "why_no_triton", lambda device: None)
    monkeypatch.setattr(splat_gpu, "largest_difference", lambda *inputs: 0.5)
    monkeypatch.setitem(sys.modules, "sgrocc_core.voxels.splatting.splat_triton", splat_pairs)
    splat_of.cache_clear()
    with caplog.at_level(logging.WARNING, "sgrocc"):
        assert splat_of(torch.device("cuda")) is splat_pairs.splat
    splat_of.cache_clear()
    assert "not used on cuda: it differs from PyTorch's by 5.0e-01" in caplog.text
