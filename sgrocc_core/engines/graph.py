"""Post-processing of exported ONNX graphs.

Constants are folded, large weights are replaced by references into weights.safetensors, and the graph is checked for
compatibility with every engine.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
from onnx import numpy_helper
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.optimizer import fold_constants, remove_unused_nodes

from sgrocc_core.errors import ModelError

OPSET = 17
SHARED_BYTES = 1024
"""Minimum size, in bytes, of tensors that are stored only in weights.safetensors."""
TRANSPOSED_BYTES = 1 << 18
"""Minimum size, in bytes, of transposed matrices that are stored only in weights.safetensors.

The tracer transposes matrices of linear layers; the graph transposes the stored matrix back once, when it is loaded.
"""
OPERATORS = frozenset(
    """Abs Add And AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose Div Erf Exp Expand Flatten
    Floor Gather GatherElements Gemm GlobalAveragePool Greater Identity LayerNormalization Less Log MatMul Max
    Min Mul Neg Pad Pow Reciprocal ReduceL2 ReduceMean ReduceSum Relu Reshape Resize Sigmoid Slice Softmax
    Softplus Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where""".split()  # noqa: SIM905
)
"""Operators that graphs may use; none has data-dependent shapes or sub-graphs.

TensorRT's ONNX parser supports all of them.
"""


def tidy(path: Path, weights: Path, prefixes: dict[str, str], inputs: dict[str, tuple[int, ...]]) -> None:
    """Fold constants, store large tensors once, and declare all inputs, including those that the network does not read.

    Args:
        path: the graph, rewritten in place.
        weights: the safetensors file in the same folder.
        prefixes: prefixes of the network's tensors in that file (`image.`) by their prefixes in the graph (`network.`).
        inputs: shapes of the float32 inputs by name, in order. They are the same for every model.
    """
    model = onnx.load(str(path))
    model = _fold_constants(model)
    _declare_inputs(model, inputs)
    for node in model.graph.node:
        node.doc_string = ""  # the tracer records source paths of the exporting machine
    _share_weights(model, weights, prefixes)
    path.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path))


def _declare_inputs(model: onnx.ModelProto, inputs: dict[str, tuple[int, ...]]) -> None:
    """Declare these inputs in this order; the tracer omits inputs that are not read."""
    traced = {value.name: onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in model.graph.input}
    del model.graph.input[:]
    for name, shape in inputs.items():
        model.graph.input.append(
            traced.get(name) or onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        )


def _fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold shapes and everything else that depends on constants only; the network's own weights stay as they are."""
    folded = onnx_ir.from_proto(model)
    fold_constants(folded, onnx_shape_inference=True, should_fold=_without_weights)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(folded)
    remove_unused_nodes(folded)
    result = onnx_ir.to_proto(folded)
    result.graph.ClearField("value_info")  # inferred shapes, which every runtime infers again
    return result


def _without_weights(node: onnx_ir.Node) -> bool:
    return not any(value is not None and str(value.name).startswith("network.") for value in node.inputs)


def _fixed_shape(value: onnx.ValueInfoProto) -> list[int] | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return (
        [dim.dim_value for dim in dims]
        if all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims)
        else None
    )


def _share_weights(model: onnx.ModelProto, weights: Path, prefixes: dict[str, str]) -> None:
    """Replace large tensors that weights.safetensors also holds by references into it (ONNX external data)."""
    data = weights.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    # By their names in the graph.
    entries = {
        graph + name.removeprefix(file): entry
        for name, entry in header.items()
        for graph, file in prefixes.items()
        if name.startswith(file)
    }
    places = {
        name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
        for name, entry in entries.items()
    }
    matrices = _transposes(data, places, {name: entry["shape"] for name, entry in entries.items()})
    turned = []
    for tensor in model.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        begin, end = places.get(tensor.name, (0, 0))
        if len(raw) >= SHARED_BYTES and data[begin:end] == raw:
            _refer(tensor, weights.name, begin, end)
        elif len(raw) >= TRANSPOSED_BYTES and (source := matrices.get(hashlib.sha256(raw).digest())) is not None:
            stored = f"{tensor.name}_stored"
            turned.append(
                onnx.helper.make_node("Transpose", [stored], [tensor.name], f"{tensor.name}_turned", perm=[1, 0])
            )
            tensor.name, shape = stored, list(reversed(tensor.dims))
            tensor.ClearField("dims")
            tensor.dims.extend(shape)
            _refer(tensor, weights.name, *places[source])
    nodes = [*turned, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _transposes(data: bytes, places: dict[str, tuple[int, int]], shapes: dict[str, list[int]]) -> dict[bytes, str]:
    """Map the SHA-256 of each large matrix's transpose to the matrix's name."""
    found = {}
    for name, (begin, end) in places.items():
        if len(shapes[name]) == 2 and end - begin >= TRANSPOSED_BYTES:
            matrix = np.frombuffer(data, np.float32, (end - begin) // 4, begin).reshape(shapes[name])
            found[hashlib.sha256(matrix.T.tobytes()).digest()] = name
    return found


def _refer(tensor: onnx.TensorProto, file: str, begin: int, end: int) -> None:
    """Make a tensor refer to a range of bytes in a file beside the graph."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", begin), ("length", end - begin)):
        tensor.external_data.add(key=key, value=str(value))


def check_graph(path: Path) -> None:
    """Check that every engine supports a graph: opset 17, known operators, fixed shapes, no sub-graphs.

    Raises:
        ModelError: the graph does not satisfy this; the message names the cause.
    """
    model = onnx.load(str(path), load_external_data=False)
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if versions != {"ai.onnx": OPSET}:
        raise ModelError(f"{path} uses the operator sets {versions}; only ai.onnx {OPSET} is allowed")
    strange = sorted({node.op_type for node in model.graph.node} - OPERATORS)
    if strange:
        raise ModelError(
            f"{path} uses the operators {', '.join(strange)}, which are not in the list that all engines take"
        )
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value in [*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info]:
        if _fixed_shape(value) is None:
            raise ModelError(f"{path}: {value.name} has no fixed shape")
