"""The checks of `sgrocc bench gpu`; each runs in a process of its own: `python -m sgrocc_core.bench.gpu.checks NAME`.

A check takes the model, returns figures and raises where something is wrong. The last line of its output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from sgrocc_core.bench.gpu.command import SO_FAR
from sgrocc_core.bench.gpu.splat import measure_splat
from sgrocc_core.bench.gpu.timing import timed
from sgrocc_core.bench.gpu.training import training_step
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.report import figure

EDGE, COPIED = 8192, 1 << 28
"""Edge of the matrices, and elements of the array, by which the card is measured."""
MAP_AGREES = 0.999
"""Smallest share of the voxels of two maps that must have the same label."""
FRAMES = 20
"""Timed runs of everything."""


def card(model: str) -> dict[str, Any]:
    """The card, its driver's and PyTorch's versions, and what it can do: matrix products and copies."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    figures: dict[str, Any] = {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory": figure(round(properties.total_memory / 2**30, 1), "GiB"),
        "pytorch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        a = torch.randn(EDGE, EDGE, device="cuda", dtype=kind)
        seconds = timed(lambda a=a: a @ a, 5)  # type: ignore[misc]
        rate = 2 * EDGE**3 / np.median(seconds) / 1e12
        figures[str(kind).removeprefix("torch.")] = figure(round(float(rate), 1), "TFLOP/s")
    x = torch.zeros(COPIED, device="cuda")
    y = torch.empty_like(x)
    seconds = timed(lambda: y.copy_(x), 5)
    figures["copy"] = figure(round(float(8 * COPIED / np.median(seconds) / 1e9), 1), "GB/s")
    return figures


def engines(model: str) -> dict[str, Any]:
    """Every runtime that runs on CUDA: times, and differences from ONNX Runtime on the CPU."""
    from sgrocc_core.bench.networks.engines import engines_table, measure_engines

    arguments = argparse.Namespace(model=model, engines="", device="cuda", threads=0, frames=FRAMES)
    report = measure_engines(arguments)
    print(engines_table(report))
    return {"engines": report["figures"], "stages": report["stages"]}


def maps(model: str, device: str = "cuda") -> dict[str, Any]:
    """The map of two frames by the device's fastest engine against that of ONNX Runtime on the CPU.

    Args:
        model: name of a model.
        device: `cuda` or `cpu`.

    Raises:
        ModelError: fewer than MAP_AGREES of the voxels have the same label.
    """
    from sgrocc_core.engines.example import example_views
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.frame import Frame
    from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper

    found, described = [], []
    for engine, where in (("onnxruntime", "cpu"), ("auto", device)):
        opened = open_engine(model, engine, where)
        described.append(opened.description)
        mapper = OccupancyMapper(opened, MapperConfig(depth_source="fused"))
        for k, view in enumerate(example_views(opened.spec)):
            mapper.step(Frame(view.image, view.K, view.T_bc, 100_000_000 * k, view.depth))
        voxels, labels, _ = mapper.map.occupied()
        found.append(dict(zip(map(tuple, voxels.tolist()), labels.tolist())))
    either = found[0].keys() | found[1].keys()
    agree = sum(found[0].get(voxel) == found[1].get(voxel) for voxel in either) / max(len(either), 1)
    if agree < MAP_AGREES:
        raise ModelError(f"only {agree:.2%} of {len(either)} voxels have the label that the CPU gives them")
    return {"measure": described[0], "engine": described[1], "agree": figure(round(agree, 5), "share of the voxels")}


def splat(model: str) -> dict[str, Any]:
    """The splats of a box in PyTorch and in Triton, with their gradients, against the kernel of the CPU."""
    return measure_splat("cuda", 4 * NUM_ANCHORS, FRAMES)


def training(model: str) -> dict[str, Any]:
    """Steps of the joint training of a model on one made-up view, in bf16 where the card has it."""
    return training_step(model, FRAMES)


def samples(model: str) -> dict[str, Any]:
    """Frames a second of this model's and the base model's networks at K 4 to 32, fp16 and fp32, in PyTorch.

    Raises:
        ModelError: none of them runs; one that does not is told among the figures.
    """
    from sgrocc_core.bench.networks.samples import measure_samples, samples_table

    found: dict[str, Any] = {}
    for name in dict.fromkeys((model, "base")):
        for precision in ("fp16", "fp32"):
            arguments = argparse.Namespace(
                model=name, counts="4,8,16,24,32", engine="torch", device="cuda", precision=precision, threads=0,
                frames=FRAMES,
            )  # fmt: skip
            try:
                report = measure_samples(arguments)
            except (ModelError, ConfigError, RuntimeError) as error:  # the base model needs a package of its own
                found[f"{name} {precision}"] = {"failed": " ".join(str(error).split())[:300]}
                print(f"{name}, {precision}: failed: {found[f'{name} {precision}']['failed']}", flush=True)
            else:
                print(f"{name}, {precision}\n{samples_table(report)}", flush=True)
                found[f"{name} {precision}"] = report["figures"]
            print(f"{SO_FAR}{json.dumps(found)}", flush=True)
    if all("failed" in figures for figures in found.values()):
        raise ModelError(next(iter(found.values()))["failed"])
    return found


CHECKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "card": card, "splat": splat, "samples": samples, "engines": engines, "maps": maps, "training": training,
}  # fmt: skip
"""The checks in the order in which they run: what matters most comes first."""


def main() -> int:
    """Run one check; exit code 1 with one line of error where it fails."""
    name, model = sys.argv[1:]
    try:
        figures = CHECKS[name](model)
    except Exception as error:  # whatever a driver or a runtime raises
        print(" ".join(f"{type(error).__name__}: {error}".split())[:600], file=sys.stderr)
        return 1
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
