"""The expert's layers in kernels: products, convolutions, and what may be left out if only some cells are wanted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.engines.engine import EXPERT_OUTPUTS
from sgrocc_core.engines.export import example_inputs, export_model
from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.split.product import PANEL, packed, padded, product
from sgrocc_core.engines.split.reach import needs
from sgrocc_core.engines.split.whole import WholeExpert, can_be_whole
from sgrocc_core.engines.split.winograd import convolve, transformed
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.gaussians.gaussians import SILENT_OPACITY

NONE = np.zeros((0, 0, 0, 0), np.float32)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 13])
def test_a_product_is_that_of_numpy(rows: int) -> None:
    draw = np.random.default_rng(rows)
    a, b, bias = (draw.standard_normal(shape).astype(np.float32) for shape in ((rows, 44), (44, 27), 27))
    right, start, c = packed(b), padded(bias), np.full((rows, 2 * PANEL), 7, np.float32)
    product(a, 0, 44, rows, 44, right, 0, 44 * PANEL, 2, start, 0, 0, c, 0, 2 * PANEL)
    assert np.abs(c[:, :27] - (a @ b + bias)).max() < 1e-4
    assert (c[:, 27:] == 0).all()
    product(a, 0, 44, rows, 44, right, 0, 44 * PANEL, 2, c, 0, 2 * PANEL, c, 0, 2 * PANEL)
    assert np.abs(c[:, :27] - (2 * (a @ b) + bias)).max() < 2e-4


@pytest.mark.parametrize("step", [1, 2])
def test_a_convolution_is_that_of_pytorch(step: int) -> None:
    draw = np.random.default_rng(step)
    x, weights = draw.standard_normal((1, 16, 9, 7, 6)), draw.standard_normal((32, 16, 3, 3, 3)) / 20
    bias, more = draw.standard_normal(32), draw.standard_normal((9, 7, 6, 32))
    expected = torch.nn.functional.conv3d(*map(torch.tensor, (x, weights, bias)), padding=step, dilation=step)
    expected = torch.relu(expected[0].permute(1, 2, 3, 0) + torch.tensor(more)).numpy()
    volume, out = np.zeros((20, 20, 10, 16), np.float32), np.zeros((13, 11, 10, 32), np.float32)
    volume[2:11, 2:9, 2:8] = x[0].transpose(1, 2, 3, 0)
    out[2:11, 2:9, 2:8] = more
    places = [(i + p, j + q) for i in range(0, 9, 4 * step) for j in range(0, 7, 4 * step)
              for p in range(step) for q in range(step)]  # fmt: skip
    tiles = np.array([(i, j, 0, 6) for i, j in places], np.int64)
    turned = transformed(weights)
    convolve((9, 7), volume, 2, step, tiles, turned, bias.astype(np.float32), out, True, out, 2)
    assert np.abs(out[2:11, 2:9, 2:8] - expected).max() < 1e-5 * np.abs(expected).max()
    out[2:11, 2:9, 2:8] = 0
    assert (out == 0).all()  # nothing is written around the volume


def test_all_cells_need_all_cells_and_one_cell_needs_those_around_it() -> None:
    everything = needs(None, 2)
    assert [int((need.given[..., 1] - need.given[..., 0]).sum()) for need in everything] == [16_200, 16_200]
    wanted = np.zeros((30, 30, 18), np.bool_)
    wanted[0, 0, 0] = True
    first, last = needs(wanted.ravel(), 2)
    assert (last.made[..., 1] - last.made[..., 0]).sum() == 1
    assert last.second.tolist() == [[0, 0, 0, 6]]
    # Of half the resolution: two cells for the dilated convolution, one for each of the two others.
    assert last.down[:4, :4].all() and last.down.sum() == 16
    assert (last.given[:8, :8] == (0, 18)).all() and last.given[8:].max() == last.given[:, 8:].max() == 0
    assert first.given[..., 1].astype(bool).sum() > 64


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, small and of three blocks, that the kernels take."""
    torch.manual_seed(6)
    options = {"channels": 16, "wide": 16, "hidden": 16, "feature_channels": 8, "gaussians": 4, "offsets": 4}
    networks = {
        "image": {"channels": 8, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
        "expert": options | {"blocks": 3, "fusion": "random"},
    }
    image, expert = build_networks(networks)
    for name, parameter in expert.named_parameters():  # residual branches that do something
        if name.endswith(("second.1.weight", "low2.1.weight")):
            torch.nn.init.constant_(parameter, 0.5)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    export_model(image, expert, networks, "tiny", folder)
    return folder


@pytest.mark.slow
def test_the_kernels_give_the_networks_values_where_they_are_wanted(tiny: Path) -> None:
    from sgrocc_core.engines.choice import open_runtime

    spec = load_spec(tiny)
    assert can_be_whole(spec)
    kernels = WholeExpert(tiny / "weights.safetensors", 3, 1)
    given = [dict(zip(made, map(torch.Tensor.numpy, made.values()))) for made in example_inputs(spec.grid, 8, 16)][1]
    expected = open_runtime(spec, "torch", "cpu", 1, "fp32")._run("expert.onnx", EXPERT_OUTPUTS, given)
    wanted = np.zeros((30, 30, 18), np.bool_)
    wanted[3:9, 12:15, 2:11] = wanted[20, 4, 17] = True
    wanted = wanted.ravel()
    once = kernels.run(EXPERT_OUTPUTS, given, wanted)
    every = kernels.run(EXPERT_OUTPUTS, given)
    again = kernels.run(EXPERT_OUTPUTS, given, wanted)
    for name, value, some, same, right in zip(EXPERT_OUTPUTS, every, once, again, expected):
        most = np.abs(right).max()
        assert value.shape == some.shape == right.shape and np.isfinite(some).all(), name
        assert np.abs(value - right).max() <= 1e-4 * most, name
        assert np.abs(some - right)[0, wanted].max() <= 1e-4 * most, name
        assert np.array_equal(some, same), name  # whatever was computed before
    assert (once[EXPERT_OUTPUTS.index("opacities")][0, ~wanted] == SILENT_OPACITY).all()


def test_other_sizes_are_left_to_the_runtime() -> None:
    spec = load_spec("small")
    assert can_be_whole(spec)
    for change in ({"channels": 24}, {"wide": 40}, {"hidden": 90}, {"encoder": "dual_mamba"}):
        networks = spec.networks | {"expert": spec.networks["expert"] | change}
        assert not can_be_whole(type(spec)(**(vars(spec) | {"networks": networks})))


FOUND = """
from sgrocc_core.engines.choice import open_runtime
from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.trial import disagreements, run_trial

names = ("openvino", "onnxruntime")
kernels, graphs = (run_trial(open_runtime(load_spec("small"), name, "cpu", 2, "fp32")) for name in names)
print(len(kernels), disagreements(kernels, graphs, "fp32"))
"""


@pytest.mark.parametrize("byte", [42, 213])
def test_no_kernel_reads_memory_that_was_freed_or_never_written(byte: int) -> None:
    """The C library fills what is freed with a byte, and what is new with its complement."""
    environment = os.environ | {"MALLOC_PERTURB_": str(byte)}
    run = subprocess.run([sys.executable, "-c", FOUND], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    count, said = run.stdout.split(maxsplit=1)
    assert int(count) >= 10 and said.strip() == "{}", said
