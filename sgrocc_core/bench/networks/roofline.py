"""`sgrocc bench roofline`: operations and bytes of each stage against what this machine can do at most.

The operations of the networks are counted in their graphs; the bytes of a stage are those that it has to read and write
once, if nothing is read twice. The ceilings are measured: matrix products in fp32, and a sum of two large arrays.

An engine may do less than its graph says: the expert's kernels need a quarter of the products of a 3x3 convolution
(Winograd's F(4x4, 3x3)) and leave out cells that nobody uses. Its share may then be above 1, and a line says so.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange, set_num_threads

from sgrocc_core.engines.runtimes.openvino_engine import shared_core
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BOX_CELLS, BOX_VOXELS, NUM_ANCHORS
from sgrocc_core.report import configuration_of, figure, make_report

EDGE = 1536
"""Edge of the matrices of the ceiling, elements."""
STREAM = 1 << 25
"""Elements of the arrays of the other ceiling: 128 MiB each, more than a cache holds."""
TRIES = 5
"""Measurements of a ceiling; the fastest counts."""
FREE = frozenset("Parameter Constant Result Reshape Squeeze Unsqueeze".split())  # noqa: SIM905
"""Operations of a graph that compute and move nothing."""


@dataclass(frozen=True)
class Work:
    """What a stage has to do for one frame.

    Attributes:
        operations: floating-point operations, a multiplication and an addition counting as two; 0 = not counted.
        least_bytes: bytes read and written once: inputs, weights and outputs.
        passed_bytes: bytes that pass between the operations of a graph, if none are fused; 0 for other stages.
    """

    operations: float
    least_bytes: float
    passed_bytes: float = 0.0


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at most.

    Attributes:
        operations: fp32 operations per second.
        bytes: bytes per second between memory and the cores.
    """

    operations: float
    bytes: float

    def least_ms(self, work: Work) -> float:
        """Milliseconds below which a stage cannot be."""
        return 1000 * max(work.operations / self.operations, work.least_bytes / self.bytes)


def measure_roofline(arguments: argparse.Namespace, frames: list[Any]) -> dict[str, Any]:
    """Measure the ceilings and the stages.

    Args:
        arguments: of the command.
        frames: to map.

    Returns:
        the report.

    Raises:
        ConfigError: OpenVINO, which reads the graphs, is not installed.
    """
    from sgrocc_core.bench.step import back_to_back
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.frame import depth_source_of_input
    from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
    from sgrocc_core.mapping.warm_up import warm_up

    engine = open_engine(arguments.model, arguments.engine, "cpu", arguments.threads)
    graphs = {name: graph_work(engine.spec.folder / name) for name in engine.spec.graphs}
    mapper = OccupancyMapper(engine, MapperConfig(depth_source=depth_source_of_input(arguments.depth_source)))
    warm_up(engine, mapper.config)
    blocks: list[int] = []
    timings = back_to_back(_Counted(mapper, blocks), frames)  # type: ignore[arg-type]
    timings.pop("whole_step")
    top = ceilings(arguments.threads)
    image = graphs["image.onnx"]
    if arguments.depth_source == "mono" and "stereo.onnx" in graphs:
        parts = (image, *(graphs[name] for name in ("stereo.onnx", "cascade.onnx") if name in graphs))
        image = Work(*(sum(values) for values in zip(*((w.operations, w.least_bytes, w.passed_bytes) for w in parts))))
    work = {"image": image, "expert": graphs["expert.onnx"]} | back_end_work(mapper, float(np.median(blocks)))
    stages = {stage: _figures(work[stage], top, float(np.median(timings[stage]))) for stage in work}
    figures = {
        "ceilings": {
            "operations": figure(round(top.operations / 1e9, 1), "GFLOP/s"),
            "bytes": figure(round(top.bytes / 1e9, 1), "GB/s"),
        },
        "stages": stages,
    }
    configuration = configuration_of(arguments, "json")
    return make_report("bench roofline", configuration | {"runs_on": engine.description}, figures, timings)


def roofline_table(report: dict[str, Any]) -> str:
    """Returns the ceilings and a line for each stage."""
    top = report["figures"]["ceilings"]
    head = ("p50 ms", "GFLOP", "GFLOP/s", "MB at least", "GB/s", "least ms", "share", "limited by")
    lines = [
        f"ceilings: {top['operations']['value']:.0f} GFLOP/s in fp32, {top['bytes']['value']:.1f} GB/s",
        f"{'stage':<10}" + "".join(f"{title:>13}" for title in head),
    ]
    for stage, found in report["figures"]["stages"].items():
        time, operations = found["time"]["value"], found["operations"]["value"]
        rate = f"{1000 * operations / time:.1f}" if operations else ""
        cells = [f"{time:.1f}", f"{operations:.2f}" if operations else "", rate, f"{found['least_bytes']['value']:.1f}"]
        cells += [f"{found['least_bytes']['value'] / time:.2f}", f"{found['least_time']['value']:.1f}"]
        cells += [f"{found['share']['value']:.2f}", found["limited_by"]]
        lines.append(f"{stage:<10}" + "".join(f"{cell:>13}" for cell in cells))
    faster = [stage for stage, found in report["figures"]["stages"].items() if found["share"]["value"] > 1]
    if faster:
        lines.append(
            f"a share above 1 ({', '.join(faster)}): fewer operations are done than the graph has (Winograd, "
            "cells that are left out)"
        )
    return "\n".join(lines)


def ceilings(threads: int = 0) -> Ceilings:
    """Measure the machine; the fastest of TRIES counts.

    Args:
        threads: number of threads; 0 = all cores.
    """
    count = threads or len(os.sched_getaffinity(0))
    before = get_num_threads()
    set_num_threads(min(count, before))
    a, b = (np.random.default_rng(k).random((EDGE, EDGE), np.float32) for k in (0, 1))
    outputs = [np.empty((EDGE, EDGE), np.float32) for _ in range(count)]
    x, y, z = np.ones(STREAM, np.float32), np.ones(STREAM, np.float32), np.zeros(STREAM, np.float32)
    _sum(x[:16], y[:16], z[:16])
    products, streams = [], []
    # One product on each core: NumPy's own threads may be switched off.
    with ThreadPoolExecutor(count) as pool:
        for _ in range(TRIES):
            started = perf_counter()
            list(pool.map(lambda out: np.matmul(a, b, out=out), outputs))
            products.append(perf_counter() - started)
            started = perf_counter()
            _sum(x, y, z)
            streams.append(perf_counter() - started)
    set_num_threads(before)
    return Ceilings(count * 2 * EDGE**3 / min(products), 3 * 4 * STREAM / min(streams))


@njit(parallel=True, cache=True)
def _sum(x, y, z):
    for k in prange(len(x)):
        z[k] = x[k] + y[k]


def graph_work(path: Path) -> Work:
    """Count operations and bytes of a graph: products of convolutions and matrices, and one for each other element.

    Args:
        path: an ONNX graph with fixed shapes.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            f"the graphs are read with OpenVINO ({error}); pip install -r requirements/openvino.txt"
        ) from error
    operations, least, passed = 0.0, 0.0, 0.0
    for op in shared_core(openvino).read_model(path).get_ordered_ops():
        kind = op.get_type_name()
        given = [_elements(port) for port in op.inputs()]
        made = [_elements(port) for port in op.outputs()]
        if kind in ("Parameter", "Constant", "Result"):
            least += 4 * sum(made if kind != "Result" else given)
        if kind in FREE:
            continue
        passed += 4 * (sum(given) + sum(made))
        operations += sum(made) * _per_element(op, kind)
    return Work(operations, least, passed)


def _per_element(op: Any, kind: str) -> float:
    """Operations for each element of an operation's output."""
    if kind in ("Convolution", "GroupConvolution"):  # weights: (groups,) outputs, inputs, kernel
        shape = list(op.input(1).get_shape())
        return 2.0 * float(np.prod(shape[2 if kind == "GroupConvolution" else 1 :]))
    if kind == "ConvolutionBackpropData":  # weights: inputs, outputs, kernel
        shape, strides = list(op.input(1).get_shape()), op.get_attributes()["strides"]
        return 2.0 * shape[0] * float(np.prod(shape[2:])) / float(np.prod(strides))
    if kind == "MatMul":
        columns = op.get_attributes()["transpose_a"]
        return 2.0 * float(list(op.input(0).get_shape())[-2 if columns else -1])
    return 1.0


def _elements(port: Any) -> int:
    return int(np.prod(list(port.get_shape())))


def back_end_work(mapper: Any, changed_blocks: float) -> dict[str, Work]:
    """Bytes that the stages without a network have to move; their operations depend on the scene and are not counted.

    Args:
        mapper: after some frames.
        changed_blocks: blocks that a frame changes.
    """
    spec, memory, voxels = mapper.engine.spec, mapper.map.memory, mapper.map.voxel_map
    width, height = spec.image_size
    per_block, voxels_per_block = memory.nbytes / len(memory), voxels.nbytes / len(memory)
    box_blocks = float(np.prod(BOX_CELLS)) / BLOCK_CELLS**3
    history = 4 * NUM_ANCHORS * (spec.feature_channels + 3)
    gaussians = 4 * NUM_ANCHORS * (spec.gaussians_per_cell * (3 + 3 + 4 + 1 + 11) + spec.feature_channels)
    return {
        "slice": Work(0, 4 * width * height + 2 * history),
        "memory": Work(0, gaussians + 2 * box_blocks * per_block + 2 * 4 * float(np.prod(BOX_VOXELS))),
        "splat": Work(0, changed_blocks * (per_block + 2 * voxels_per_block)),
    }


class _Counted:
    """A mapper that notes how many blocks each frame changed."""

    def __init__(self, mapper: Any, blocks: list[int]) -> None:
        self.map, self._mapper, self._blocks = mapper.map, mapper, blocks

    def step(self, frame: Any, following: Any = None) -> Any:
        update = self._mapper.step(frame, following)
        self._blocks.append(len(update.changed_blocks))
        return update


def _figures(work: Work, top: Ceilings, milliseconds: float) -> dict[str, Any]:
    least = top.least_ms(work)
    arithmetic = work.operations / top.operations > work.least_bytes / top.bytes
    return {
        "time": figure(round(milliseconds, 2), "ms"),
        "operations": figure(round(work.operations / 1e9, 3), "GFLOP"),
        "least_bytes": figure(round(work.least_bytes / 1e6, 2), "MB"),
        "passed_bytes": figure(round(work.passed_bytes / 1e6, 2), "MB"),
        "least_time": figure(round(least, 3), "ms"),
        "share": figure(round(least / milliseconds, 4), "of the ceiling"),
        "limited_by": "arithmetic" if arithmetic else "memory",
    }
