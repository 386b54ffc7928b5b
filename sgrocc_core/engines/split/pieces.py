"""The expert's graph cut into pieces of layers between which the kernels compute the geometry.

Piece 0 makes the cells' first features, the lifters' feature maps and the first block's query; piece n is block n with
the query of the next. The places of the cuts are found by the names of the network's modules in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, get_num_threads, set_num_threads
from safetensors import safe_open

from sgrocc_core.engines.engine import EXPERT_OUTPUTS
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.engines.split.code import geometric_code
from sgrocc_core.engines.split.lift import lift
from sgrocc_core.engines.split.refine import refine

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]
"""Runs a piece: its inputs by name to its outputs by name."""
SUPPORTED = {"encoder": "context", "lifter": "soft", "gate": "one_sided", "refinement": "ray", "head": "gaussians"}
"""The variant of the expert that the kernels compute; others run as one graph."""


@dataclass(frozen=True)
class Cut:
    """Where a piece begins and ends.

    Attributes:
        inputs: names of the piece's inputs by the tensors that they replace; inputs of the graph stay.
        outputs: names of the piece's outputs by the tensors that they are.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]


def can_be_cut(spec: ModelSpec) -> bool:
    """Whether the kernels compute what the expert of a model does between its layers."""
    given = spec.networks.get("expert")
    return given is not None and all(given.get(key, value) == value for key, value in SUPPORTED.items())


def cuts(model: Any, blocks: int) -> list[Cut]:
    """Find the places of the cuts.

    Args:
        model: the expert's graph, read by OpenVINO.
        blocks: number of blocks of the expert.

    Raises:
        KeyError: a module is not found by its name: the graph was exported by other means.
    """
    ops = {op.get_friendly_name(): op for op in model.get_ordered_ops()}

    def source(name: str, number: int = 0) -> Any:
        """The output that an operation takes as its input of this number."""
        return ops[name].input(number).get_source_output()

    if not blocks:
        raise KeyError("no block")
    code = _tensor(source("/network/code/code.0/MatMul"))
    queries = [_tensor(ops[f"/network/lifters.{b}/query/Add"].output(0)) for b in range(blocks)]
    tables = {_tensor(ops[f"/network/lifters.{b}/value/Add"].output(0)): f"table{b}" for b in range(blocks)}
    currents, lifts = zip(*(_sum_of(source(f"/network/encoders.{b}/Reshape"), b) for b in range(blocks)))
    found = [Cut({code: "code"}, {currents[0]: "current0", queries[0]: "query0"} | tables)]
    for b in range(blocks):
        outputs = {
            _tensor(ops[f"/network/refinements.{b}/{layer}/Add"].output(0)): f"{name}{b}"
            for layer, name in (("each", "each"), ("cell_logits", "shared"))
        }
        if b + 1 < blocks:
            outputs |= {currents[b + 1]: f"current{b + 1}", queries[b + 1]: f"query{b + 1}"}
        else:
            outputs |= {_tensor(model.output(EXPERT_OUTPUTS[-1]).get_node().input(0).get_source_output()): "anchors"}
        found.append(Cut({code: "code", currents[b]: f"current{b}", lifts[b]: f"lifted{b}"}, outputs))
    return found


def _sum_of(output: Any, block: int) -> tuple[str, str]:
    """The two tensors that are added before a block's encoder: the cells' features, and what was lifted."""
    given = [port.get_source_output() for port in output.get_node().inputs()]
    from_lifter = [value.get_node().get_friendly_name().startswith(f"/network/lifters.{block}/") for value in given]
    if sorted(from_lifter) != [False, True]:
        raise KeyError(f"no sum of features and samples before encoder {block}")
    return _tensor(given[from_lifter.index(False)]), _tensor(given[from_lifter.index(True)])


def _tensor(output: Any) -> str:
    return str(min(output.get_names()))


def piece(openvino: Any, model: Any, cut: Cut) -> Any:
    """Make a piece out of a graph, which is changed: read it again for the next piece.

    Args:
        openvino: the module.
        model: the expert's graph.
        cut: where the piece begins and ends.

    Returns:
        a graph whose inputs have the cut's names, and its outputs the cut's order.
    """
    ops = [op for op in model.get_ordered_ops() if op.get_type_name() != "Result"]
    tensors = {name: port for op in ops for port in op.outputs() for name in port.get_names()}
    results = []
    for tensor, name in cut.outputs.items():
        results.append(openvino.opset13.result(tensors[tensor], name=name))
    begins = list(model.get_parameters())
    for tensor, name in cut.inputs.items():
        parameter = openvino.opset13.parameter(tensors[tensor].get_shape(), np.float32, name)
        parameter.output(0).set_names({name})
        for target in list(tensors[tensor].get_target_inputs()):
            target.replace_source_output(parameter.output(0))
        begins.append(parameter)
    used = _ancestors(results)
    return openvino.Model(results, [begin for begin in begins if begin.get_friendly_name() in used], "piece")


def _ancestors(results: list[Any]) -> set[str]:
    """Names of all operations that results depend on."""
    found: set[str] = set()
    waiting = list(results)
    while waiting:
        op = waiting.pop()
        if op.get_friendly_name() not in found:
            found.add(op.get_friendly_name())
            waiting += [port.get_source_output().get_node() for port in op.inputs()]
    return found


def gates(weights: Path, blocks: int) -> list[float]:
    """Sharpness alpha / (2 sigma^2) of each block's lifter (Eq. 2), 1 / m^2.

    Args:
        weights: the model's weights.safetensors.
        blocks: number of blocks of the expert.
    """
    with safe_open(str(weights), "numpy") as file:
        raw = [
            [float(file.get_tensor(f"expert.lifters.{b}.raw_{key}")) for key in ("alpha", "sigma")]
            for b in range(blocks)
        ]
    softplus = np.logaddexp(0.0, np.array(raw))
    return [float(alpha / (2 * sigma * sigma)) for alpha, sigma in softplus]


class SplitExpert:
    """Runs the pieces and the kernels between them.

    Args:
        pieces: as many as `cuts` gives.
        gates: of each block, see `gates`.
        threads: of the kernels; 0 = all cores.
    """

    def __init__(self, pieces: Sequence[Run], gates: list[float], threads: int) -> None:
        self._pieces, self._gates = pieces, gates
        self._threads = min(threads, int(config.NUMBA_NUM_THREADS)) or get_num_threads()  # type: ignore[attr-defined]

    def run(self, outputs: tuple[str, ...], feed: Arrays) -> list[np.ndarray]:
        """Compute outputs of expert.onnx from its inputs by name; new arrays in the order of the outputs' names."""
        before = get_num_threads()
        set_num_threads(self._threads)
        try:
            found = self._run(feed)
            return [found[name] for name in outputs]
        finally:
            set_num_threads(before)

    def _run(self, feed: Arrays) -> Arrays:
        depth, spread, thickness = (feed[name][0, 0] for name in ("depth", "spread", "thickness"))
        K, T_bc = feed["intrinsics"][0], feed["pose"][0]
        code = geometric_code(depth, spread, feed["hits"][0], thickness, K, T_bc)
        known = {"features": feed["features"], "history": feed["history"], "past": feed["past"], "code": code[None]}
        known |= self._pieces[0](known)
        for b, gate in enumerate(self._gates):
            lifted = lift(
                known[f"query{b}"][0], known[f"table{b}"][0], feed["features"].shape[3], depth, thickness, K, T_bc, gate
            )
            known |= self._pieces[b + 1](known | {f"lifted{b}": lifted[None]})
        each, shared = (tuple(known[f"{name}{b}"][0] for b in range(len(self._gates))) for name in ("each", "shared"))
        return dict(zip(EXPERT_OUTPUTS, (*refine(each, shared, T_bc), known["anchors"].copy())))
