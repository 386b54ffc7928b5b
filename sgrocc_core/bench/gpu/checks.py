"""The checks of `sgrocc bench gpu`; each runs in a process of its own: `python -m sgrocc_core.bench.gpu.checks NAME`.

A check takes the model, returns figures and raises where something is wrong. The last line of its output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from sgrocc_core.bench.gpu.command import SO_FAR
from sgrocc_core.bench.gpu.training import training_step
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.geometry.lattice import BOX_VOXELS, NUM_ANCHORS
from sgrocc_core.report import figure

EDGE, COPIED = 8192, 1 << 28
"""Edge of the matrices, and elements of the array, by which the card is measured."""
SPLAT_ERROR = 1e-4
"""Largest difference of the splat from its reference."""
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


def splat(model: str, device: str = "cuda", count: int = 4 * NUM_ANCHORS, runs: int = FRAMES) -> dict[str, Any]:
    """The splat of a box as GPUs compute it, with its gradient, against the kernel of the CPU.

    Args:
        model: not used.
        device: `cuda` or `cpu`.
        count: number of Gaussians.
        runs: number of timed runs.

    Raises:
        ModelError: a value differs by more than SPLAT_ERROR.
    """
    import torch

    from sgrocc_core.voxels.splatting import splat_pairs
    from sgrocc_core.voxels.splatting.splat_numba import splat as splat_on_cpu

    rng = np.random.default_rng(0)
    means = rng.uniform(0, np.array(BOX_VOXELS) * 0.08, (count, 3)).astype(np.float32)
    covariances = np.tile(np.diag([0.0025, 0.0036, 0.0016]).astype(np.float32), (count, 1, 1))
    opacities = rng.uniform(0.02, 0.9, count).astype(np.float32)
    classes = rng.dirichlet(np.ones(11), count).astype(np.float32)
    expected = splat_on_cpu(means, covariances, opacities, classes, np.zeros(3), BOX_VOXELS)
    arrays = (means, covariances, opacities, classes)
    m, c, o, p = (torch.from_numpy(array).to(device).requires_grad_() for array in arrays)

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        return splat_pairs.splat(m, c, o, p, np.zeros(3), BOX_VOXELS)

    found = forward()
    worst = max(
        float(np.abs(value.detach().cpu().numpy() - wanted).max() / np.abs(wanted).max())
        for value, wanted in zip(found, expected)
    )
    if not worst <= SPLAT_ERROR:
        raise ModelError(f"the splat differs from the CPU's by {worst:.1e} of its largest value")

    def both() -> None:
        outputs = forward()
        (outputs[0].sum() + outputs[1].sum()).backward()

    with torch.no_grad():
        alone = timed(forward, runs)
    return {
        "error": figure(worst, "of the largest value"),
        "forward": milliseconds(alone),
        "forward_and_backward": milliseconds(timed(both, runs)),
        "memory": figure(round(torch.cuda.max_memory_allocated() / 1e6), "MB"),
    }


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


def timed(call: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of some runs on the GPU, after two that are not timed."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    seconds = []
    for k in range(-2, runs):
        wait()
        started = perf_counter()
        call()
        wait()
        if k >= 0:
            seconds.append(perf_counter() - started)
    return seconds


def milliseconds(seconds: list[float]) -> dict[str, Any]:
    """The median as a figure."""
    return figure(round(1000 * float(np.median(seconds)), 2), "ms")


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
