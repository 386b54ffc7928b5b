"""The whole expert in kernels: fp32 on CPUs, and only what the wanted cells depend on.

Most cells of the box are outside the image or have no depth, and the mapper leaves what is predicted there out. Heads
and the last block's convolutions are computed for the other cells alone; Winograd's method takes a quarter of the
multiplications of a convolution. So the kernels need a third of the time of a runtime that computes the graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import config, get_num_threads, set_num_threads
from safetensors import safe_open

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.engines.engine import EXPERT_OUTPUTS
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.engines.split.cells import LOW_PAD, PAD, embed, fuse, go_down, go_up, lift_runs, propose, tabulate
from sgrocc_core.engines.split.code import geometric_code
from sgrocc_core.engines.split.lift import pixel_scales
from sgrocc_core.engines.split.pieces import Arrays, can_be_cut, gates
from sgrocc_core.engines.split.product import PANEL, packed, padded
from sgrocc_core.engines.split.reach import LOW, needs
from sgrocc_core.engines.split.refine import WIDTH, refine
from sgrocc_core.engines.split.winograd import TILE, convolve, transformed
from sgrocc_core.geometry.lattice import BOX_CELLS, NUM_ANCHORS

NORM_EPSILON = 1e-5
"""Of PyTorch's batch norm."""
NOTHING = np.zeros((0, 0, 0, 0), np.float32)
"""A volume of no size: none is added."""


def can_be_whole(spec: ModelSpec) -> bool:
    """Whether the kernels compute all of the expert of a model: its sizes must fill vector registers."""
    given = spec.networks.get("expert", {})
    sizes = (given.get("channels", 32), given.get("wide", 64), given.get("hidden", 96))
    return (
        can_be_cut(spec)
        and all(size % PANEL == 0 for size in sizes)
        and 4 * spec.offsets % PANEL == 0
        and spec.gaussians_per_cell * WIDTH % PANEL == 0
    )


class WholeExpert:
    """Runs the kernels of all layers.

    Args:
        weights: the model's weights.safetensors.
        blocks: number of blocks of the expert.
        threads: of the kernels; 0 = all cores.

    Raises:
        KeyError: a weight has another name.
        SafetensorError: the file cannot be read.
    """

    def __init__(self, weights: Path, blocks: int, threads: int) -> None:
        self._threads = min(threads, int(config.NUMBA_NUM_THREADS)) or get_num_threads()  # type: ignore[attr-defined]
        with safe_open(str(weights), "numpy") as file:
            given = {
                key.removeprefix("expert."): file.get_tensor(key).astype(np.float32)
                for key in file.keys()  # noqa: SIM118, since the file is no mapping
                if key.startswith("expert.")
            }
        self._gates = [np.float32(gate) for gate in gates(weights, blocks)]
        self._embedding = (*_linear(given, "code.0"), *_linear(given, "code.2"))
        self._fusion = _fusion(given) if "fusion.current.weight" in given else None
        self._blocks = [_Block(given, block) for block in range(blocks)]
        channels, wide = self._embedding[-1].size, self._blocks[0].down[1].size
        high = [TILE * -(-n // TILE) + 2 * PAD for n in BOX_CELLS[:2]]
        low = [2 * TILE * -(-n // (2 * TILE)) + 2 * LOW_PAD for n in LOW[:2]]
        self._high = [np.zeros((*high, BOX_CELLS[2] + 2 * PAD, channels), np.float32) for _ in range(2)]
        self._low = [np.zeros((*low, LOW[2] + 2 * LOW_PAD, wide), np.float32) for _ in range(2)]
        each = self._blocks[0].heads[-3].size
        self._each = tuple(np.zeros((NUM_ANCHORS, each), np.float32) for _ in range(blocks))
        self._shared = tuple(np.zeros((NUM_ANCHORS, PANEL), np.float32) for _ in range(blocks))

    def run(self, outputs: tuple[str, ...], feed: Arrays, wanted: np.ndarray | None = None) -> list[np.ndarray]:
        """Compute outputs of expert.onnx from its inputs by name.

        Args:
            outputs: names.
            feed: inputs by name.
            wanted: (16200,) bool, cells whose outputs are computed; the others' are silent. None for all.

        Returns:
            new arrays in the order of the names.
        """
        before = get_num_threads()
        set_num_threads(self._threads)
        try:
            found = self._run(feed, wanted)
            return [found[name] for name in outputs]
        finally:
            set_num_threads(before)

    def _run(self, feed: Arrays, wanted: np.ndarray | None) -> Arrays:
        depth, spread, thickness = (feed[name][0, 0] for name in ("depth", "spread", "thickness"))
        K, T_bc = feed["intrinsics"][0], feed["pose"][0]
        features = feed["features"][0]
        pixels = np.ascontiguousarray(features.reshape(len(features), -1).T)
        width, scales = features.shape[2], pixel_scales(depth, features.shape[2], thickness)
        code = geometric_code(depth, spread, feed["hits"][0], thickness, K, T_bc)
        needed = needs(wanted, len(self._blocks))
        x = self._high[0]
        x.fill(0)
        embed(needed[0].given, code, self._embedding, x)
        for number, (need, block, gate) in enumerate(zip(needed, self._blocks, self._gates)):
            if number + 1 == len(self._blocks) and self._fusion is not None:
                fuse(need.given, feed["history"][0], feed["past"][0], self._fusion, x)
            table = tabulate(pixels, block.value)
            lift_runs(need.given, block.query, table, width, depth, thickness, K, T_bc, gate, scales, x)
            self._encode(need, block)
            propose(needed[-1].made, x, code, block.heads, self._each[number], self._shared[number])
        made = refine(self._each, self._shared, T_bc, wanted)
        inner = x[PAD : PAD + BOX_CELLS[0], PAD : PAD + BOX_CELLS[1], PAD : PAD + BOX_CELLS[2]]
        anchors = np.ascontiguousarray(inner).reshape(1, NUM_ANCHORS, -1)
        if wanted is not None:
            anchors[0, ~wanted] = 0
        return dict(zip(EXPERT_OUTPUTS, (*made, anchors)))

    def _encode(self, need: Any, block: _Block) -> None:
        """The block's convolutions, in place."""
        (x, between), (low, low_between) = self._high, self._low
        for volume in (between, low, low_between):  # what is not computed must not depend on frames before
            volume.fill(0)
        go_down(need.down, x, block.down, low)
        convolve(LOW[:2], low, LOW_PAD, 1, need.low1, *block.low1, NOTHING, True, low_between, LOW_PAD)
        convolve(LOW[:2], low_between, LOW_PAD, 2, need.low2, *block.low2, low, True, low, LOW_PAD)
        convolve(BOX_CELLS[:2], x, PAD, 1, need.first, *block.first, NOTHING, True, between, PAD)
        convolve(BOX_CELLS[:2], between, PAD, 1, need.second, *block.second, x, False, x, PAD)
        go_up(need.made, low, block.up, block.feed, x)


class _Block:
    """Packed weights of one block; see `cells` and `winograd` for their order."""

    def __init__(self, given: Arrays, block: int) -> None:
        encoder, lifter, head = f"encoders.{block}", f"lifters.{block}", f"refinements.{block}"
        self.query = _linear(given, f"{lifter}.query")
        self.value = _linear(given, f"{lifter}.value")
        self.first, self.second, self.low1, self.low2 = (
            (transformed(weights), bias)
            for weights, bias in (_normed(given, f"{encoder}.{name}") for name in ("first", "second", "low1", "low2"))
        )
        weights, bias = _normed(given, f"{encoder}.down")
        wide, channels = weights.shape[:2]
        self.down = (packed(weights.transpose(2, 3, 4, 1, 0).reshape(9, 3 * channels, wide)), bias)
        up, rise = given[f"{encoder}.up.weight"], given[f"{encoder}.up.bias"]
        self.up = (packed(up.reshape(4, 2 * channels, wide).swapaxes(1, 2)), rise.reshape(4, 2 * channels))
        self.feed = (*_linear(given, f"{encoder}.feed.0"), *_linear(given, f"{encoder}.feed.2"))
        first, bias = given[f"{head}.hidden.0.weight"].T, given[f"{head}.hidden.0.bias"]
        self.heads = (
            packed(first[:channels]), packed(first[channels:]), bias, *_linear(given, f"{head}.hidden.2"),
            *_linear(given, f"{head}.each"), *_linear(given, f"{head}.cell_logits"),
        )  # fmt: skip
        if self.heads[-1].size != PANEL or given[f"{head}.cell_logits.bias"].size != NUM_CLASSES:
            raise KeyError(f"{head}.cell_logits of {NUM_CLASSES} classes")


def _linear(given: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    return packed(given[f"{name}.weight"].T), padded(given[f"{name}.bias"])


def _normed(given: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights (N, C, 3, 3, 3) and bias (N,) of a convolution with its batch norm."""
    scale = given[f"{name}.1.weight"] / np.sqrt(given[f"{name}.1.running_var"] + np.float32(NORM_EPSILON))
    weights = given[f"{name}.0.weight"] * scale[:, None, None, None, None]
    return weights, given[f"{name}.1.bias"] - given[f"{name}.1.running_mean"] * scale


def _fusion(given: Arrays) -> tuple[np.ndarray, ...]:
    """Layers of `cells.fuse`; the matrix of the history and phi's last layer make one."""
    first, channels = given["fusion.phi.0.weight"].T, len(given["fusion.current.weight"])
    matrix = given["fusion.history.weight"].astype(np.float64)
    last, bias = matrix @ given["fusion.phi.2.weight"], matrix @ given["fusion.phi.2.bias"]
    return (
        packed(first[:channels]), packed(first[channels:]), given["fusion.phi.0.bias"], packed(last.T), padded(bias),
        packed(given["fusion.current.weight"].T),
    )  # fmt: skip
