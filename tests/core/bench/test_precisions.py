"""Rounding of layers: which values bf16, fp16 and int8 leave, and that geometry is not rounded."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.bench.networks.precisions import Ranges, Rounding, by_channel, in_range


def test_int8_has_256_levels_between_the_ends_and_zero_among_them() -> None:
    x = torch.linspace(-1, 2, 10_001)
    found = in_range(x, -1.0, 2.0)
    assert len(found.unique()) == 256 and (found == 0).any()
    assert (found - x).abs().max() < 3 / 255
    assert in_range(torch.tensor([-9.0, 9.0]), 0.0, 2.55).tolist() == pytest.approx([0, 2.55])


def test_each_output_channel_has_a_scale_of_its_own() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.001], [100.0, -50.0, 0.1]])
    steps = torch.tensor([1 / 127, 100 / 127])
    expected = torch.tensor([[127, -64, 0], [127, -64, 0]]) * steps[:, None]
    torch.testing.assert_close(by_channel(weight), expected)


def test_layers_are_rounded_and_products_of_geometry_are_not() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data[:] = 1 + 2**-10  # an eighth of a step of bf16 above 1, a whole one of fp16
    x, ranges = torch.ones(1, 1), Ranges()
    with torch.inference_mode():
        for precision, expected in (("bf16", 1.0), ("fp16", 1 + 2**-10), ("", 1 + 2**-10)):
            with Rounding(precision, "image", ranges):
                assert layer(x).item() == expected
                assert torch.matmul(x, layer.weight).item() == 1 + 2**-10
    assert ranges == {("image", 0): (0.0, 1.0)}
