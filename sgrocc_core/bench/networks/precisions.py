"""Accuracy of a model whose layers compute in fewer bits: `python -m sgrocc_core.bench.networks.precisions --data DIR`.

The networks run in PyTorch, and what goes into and comes out of each convolution and linear layer is rounded as a
runtime of that precision would; sums, activations and geometry stay in fp32. So a CPU without such instructions tells
the accuracy, not the speed. int8 has one scale for each output channel of the weights and one range for each layer's
inputs, the smallest and largest value over the calibration views.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.engines.model import load_spec
from sgrocc_core.evaluation.local import SOURCES, evaluate_local, spread_evenly
from sgrocc_core.evaluation.models import NetworkModel, open_weights
from sgrocc_core.report import figure, make_report

VARIANTS = {
    "fp32": {}, "bf16": {"image": "bf16", "expert": "bf16"}, "fp16": {"image": "fp16", "expert": "fp16"},
    "int8": {"image": "int8", "expert": "int8"}, "int8, image engine": {"image": "int8"},
    "int8, expert": {"expert": "int8"},
}  # fmt: skip
"""Precision of the layers of each network; the others stay in fp32."""
LAYERS: tuple[Any, ...] = (torch.conv2d, torch.conv3d, functional.linear)
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
LEVELS = 255
"""Steps of int8 between the two ends of a range."""
Ranges = dict[tuple[str, int], tuple[float, float]]


class Rounding(TorchFunctionMode):
    """Rounds inputs, weights and outputs of the layers of one run of a network.

    Args:
        precision: `bf16`, `fp16`, `int8`, or `` to round nothing.
        network: its name in `ranges`.
        ranges: smallest and largest input of each layer; read by int8, widened otherwise.
    """

    def __init__(self, precision: str, network: str, ranges: Ranges) -> None:
        super().__init__()
        self.precision, self.network, self.ranges = precision, network, ranges
        self._layer = 0

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        if function not in LAYERS:
            return function(*arguments, **(keywords or {}))
        key, self._layer = (self.network, self._layer), self._layer + 1
        x, weight, *rest = arguments
        if self.precision == "":
            low, high = self.ranges.get(key, (0.0, 0.0))
            self.ranges[key] = min(low, float(x.min())), max(high, float(x.max()))
            return function(x, weight, *rest, **(keywords or {}))
        if self.precision == "int8":
            return function(in_range(x, *self.ranges[key]), by_channel(weight), *rest, **(keywords or {}))
        half = HALVES[self.precision]
        return function(x.to(half).float(), weight.to(half).float(), *rest, **(keywords or {})).to(half).float()


def in_range(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Values rounded to one of 256 levels from `low` to `high`, one of which is 0; those outside go to the ends."""
    step = max(high - low, 1e-12) / LEVELS
    zero = round(-low / step)
    return ((x / step).round() + zero).clamp(0, LEVELS).sub(zero) * step


def by_channel(weight: torch.Tensor) -> torch.Tensor:
    """Weights rounded to one of 255 levels for each output channel, the first axis, symmetrically around 0."""
    step = weight.abs().flatten(1).amax(1).clamp(min=1e-12) / (LEVELS // 2)
    step = step.view(-1, *[1] * (weight.dim() - 1))
    return (weight / step).round() * step


class RoundedModel(NetworkModel):
    """A `NetworkModel` with rounded layers.

    Attributes:
        precisions: `bf16`, `fp16` or `int8` by network, `image` and `expert`; fp32 where it has none.
        ranges: see `Rounding`; every run in fp32 widens them.
    """

    precisions: dict[str, str]
    ranges: Ranges

    def _run(self, network: torch.nn.Module, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        name = "image" if network is self._image else "expert"
        with Rounding(self.precisions.get(name, ""), name, self.ranges):
            return super()._run(network, feed)


def measure(model: RoundedModel, data: OccScanNet, chosen: list[int], calibration: OccScanNet, views: int) -> Any:
    """Score every variant on the same views.

    Args:
        model: its layers are rounded.
        data: the set.
        chosen: views of it.
        calibration: set of other rooms, for the ranges of int8.
        views: how many of its views.

    Returns:
        by variant: SC-IoU and mIoU in view, in per cent, with predicted and with sensor depth.
    """
    model.precisions, model.ranges = {}, {}
    evaluate_local(model, (calibration[i] for i in spread_evenly(list(range(len(calibration))), views)), None)
    ranges, found = dict(model.ranges), {}
    for name, precisions in VARIANTS.items():
        model.precisions, model.ranges = precisions, dict(ranges)
        report = evaluate_local(model, (data[i] for i in chosen), None)
        found[name] = {
            f"{source}_{key}": figure(round(100 * report[source][key], 2), "%")
            for source in SOURCES
            for key in ("sc_iou", "miou")
        }
        print(line(name, found[name], found["fp32"]), flush=True)
    return found


def line(name: str, found: dict[str, Any], fp32: dict[str, Any]) -> str:
    """A variant's figures, and their differences from fp32."""
    cells = [f"{cell['value']:.2f} ({cell['value'] - fp32[key]['value']:+.2f})" for key, cell in found.items()]
    return f"{name:<22}" + "".join(f"{cell:>18}" for cell in cells)


def main(arguments: list[str] | None = None, opened: Callable[..., NetworkModel] = open_weights) -> int:
    """Measure and print a table; `--json` receives the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="set in the layout of Occ-ScanNet; its test views")
    parser.add_argument("--calibration", type=Path, required=True, help="set of other rooms, for the ranges of int8")
    parser.add_argument("--calibration-views", type=int, default=12, metavar="N", help="(default 12)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="views, spread evenly (default: all)")
    parser.add_argument("--model", default="small", help="name or folder of a model (default small)")
    parser.add_argument("--json", type=Path, help="file for the report")
    args = parser.parse_args(arguments)
    spec = load_spec(args.model)
    model = opened(spec.folder / "weights.safetensors", spec.name, spec.networks, "cpu", RoundedModel)
    assert isinstance(model, RoundedModel)
    size = (320, 240) if model.image_size[0] <= 320 else None
    data, calibration = OccScanNet(args.data, "test", size), OccScanNet(args.calibration, "test", size)
    chosen = spread_evenly(list(range(len(data))), args.limit)
    print(f"{len(chosen)} views\n{'':<22}" + "".join(f"{f'{s} {k}':>18}" for s in SOURCES for k in ("SC-IoU", "mIoU")))
    figures = measure(model, data, chosen, calibration, args.calibration_views)
    if args.json is not None:
        configuration = {name: str(value) for name, value in vars(args).items() if name != "json"}
        args.json.write_text(json.dumps(make_report("precisions", configuration, figures), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
