"""Export of the networks to a model folder: weights.safetensors, the ONNX graphs and model.yaml.

The graphs use opset 17 and fixed shapes, and are compared with PyTorch. Large tensors are stored once: the graphs refer
into weights.safetensors by offset (ONNX external data), so the files of a model must stay together. Batch norms remain
separate nodes, because folding them would create new weight tensors; runtimes fold them when they load the graph.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import yaml
from torch import Tensor, nn

from sgrocc_core.classes import NAMES
from sgrocc_core.depth.hits import count_hits
from sgrocc_core.engines.engine import (
    CASCADE_OUTPUTS,
    EXPERT_OUTPUTS,
    FINE_OUTPUTS,
    IMAGE_OUTPUTS,
    MATCHING_OUTPUTS,
    STEREO_OUTPUTS,
)
from sgrocc_core.engines.graph import OPSET, check_graph, tidy
from sgrocc_core.engines.model import FORMAT_VERSION, sha256_of
from sgrocc_core.errors import ModelError
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.network.expert.spatial_expert import OUTPUTS, SpatialExpert
from sgrocc_core.network.image.engine import AnyImageEngine
from sgrocc_core.network.stereo.network import ImageWithMatching, StereoNetwork
from sgrocc_core.network.weights_file import save_model

SMALL_GRID = ImageGrid((320, 240), 8, 4)
"""Image and feature sizes of the small model."""
TOLERANCE = 1e-3
"""Maximum difference between ONNX Runtime and PyTorch, relative to an output's largest value."""


class _Ordered(nn.Module):
    """Wrapper that returns a network's outputs as a tuple in a fixed order."""

    def __init__(self, network: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.outputs = network, outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = self.network(*inputs)
        return tuple(values[name] for name in self.outputs)


def example_inputs(
    grid: ImageGrid = SMALL_GRID, channels: int = 32, anchor_channels: int = 32, seed: int = 0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Make plausible inputs of both graphs: a textured image, a camera at 1.5 m that looks down, and four surfaces.

    Depth and thickness are constant within each quarter of the image. They are sampled at the nearest pixel, so a
    rounding error that moves a sample to the next pixel must not count as a disagreement between the networks.

    Args:
        grid: sizes of the image engine.
        channels: number of channels of the image engine's features.
        anchor_channels: number of channels of the anchors' features.
        seed: of the random image, features and history.

    Returns:
        Inputs of image.onnx and of expert.onnx by name.
    """
    draw = np.random.default_rng(seed)
    tilt = 0.3
    forward = np.array([np.cos(tilt), 0.0, -np.sin(tilt)])
    right = np.array([0.0, -1.0, 0.0])
    R = np.stack([right, np.cross(forward, right), forward], 1)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R, (0.03, 2.41, 1.47)
    width, height = grid.image_size
    focal = 289.0 * width / 320
    intrinsics = torch.tensor([[focal, focal, (width - 1) / 2, (height - 1) / 2]])
    calibration = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    depth = _quarters([[3.1, 2.3], [1.5, 1.8]], grid.image_shape)
    spread = _quarters([[0.3, 0.06], [0.05, 0.8]], grid.image_shape)
    thickness = _quarters([[0.2, 0.5], [0.9, 0.3]], grid.head_shape)
    image = {
        "image": torch.from_numpy(draw.random((1, 3, height, width), np.float32)),
        "mask": torch.ones(1, 1, height, width),
        "intrinsics": intrinsics,
        "gravity": torch.from_numpy(R.astype(np.float32))[None],
    }
    expert = {
        "features": torch.from_numpy(draw.standard_normal((1, channels, *grid.feature_shape)).astype(np.float32)),
        "depth": torch.from_numpy(depth.astype(np.float32))[None, None],
        "spread": torch.from_numpy(spread.astype(np.float32))[None, None],
        "hits": torch.from_numpy(count_hits(depth, calibration, pose))[None],
        "thickness": torch.from_numpy(thickness.astype(np.float32))[None, None],
        "intrinsics": intrinsics,
        "pose": torch.from_numpy(pose.astype(np.float32))[None],
        "history": torch.from_numpy(draw.standard_normal((1, NUM_ANCHORS, anchor_channels)).astype(np.float32)),
        "past": torch.from_numpy(draw.random((1, NUM_ANCHORS, 3), np.float32)),
    }
    return image, expert


def stereo_example(grid: ImageGrid, channels: int, planes: int) -> dict[str, Tensor]:
    """Plausible inputs of stereo.onnx or cascade.onnx: scores of two sources, one of which sees the left half only.

    Args:
        grid: sizes of the image engine.
        channels: of its fine features.
        planes: of the sweep, or hypotheses of the second one.
    """
    draw = np.random.default_rng(0)
    shape = 1, planes, *grid.head_shape
    count = np.ones(shape, np.float32)
    count[..., : shape[-1] // 2] = 2
    arrays: dict[str, np.ndarray] = {
        "score": draw.uniform(-0.2, 0.9, shape),
        "count": count,
        "context": draw.standard_normal((1, channels, *grid.head_shape)),
        "depth": _quarters([[3.1, 2.3], [1.5, 1.8]], grid.head_shape)[None, None],
        "spread": _quarters([[0.3, 0.06], [0.05, 0.8]], grid.head_shape)[None, None],
    }
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


def _quarters(values: list[list[float]], shape: tuple[int, int]) -> np.ndarray:
    """Make an array of the given shape (rows, columns) with one value in each quarter."""
    rows, columns = (np.arange(n) * 2 // n for n in shape)
    return np.array(values)[rows[:, None], columns]


@dataclass(frozen=True)
class _Graph:
    """A graph to write: network, example inputs, outputs' names in network and graph, and prefixes of its weights."""

    file: str
    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    names: tuple[str, ...]
    prefixes: dict[str, str]


def _graphs(image: AnyImageEngine, expert: SpatialExpert, stereo: StereoNetwork | None) -> list[_Graph]:
    image_inputs, expert_inputs = example_inputs(image.grid, image.channels, expert.config.channels)
    graphs = [_Graph("expert.onnx", expert, expert_inputs, OUTPUTS, EXPERT_OUTPUTS, {"network.": "expert."})]
    if stereo is None:
        return [
            _Graph("image.onnx", image, image_inputs, IMAGE_OUTPUTS, IMAGE_OUTPUTS, {"network.": "image."}),
            *graphs,
        ]
    cascade = stereo.cascade
    names = (*IMAGE_OUTPUTS, *MATCHING_OUTPUTS, *(FINE_OUTPUTS if cascade else ()))
    parts = {"image.": "image.", "matching.": "stereo.matching.", "finer.": "stereo.cascade.matching."}
    parts = {f"network.{name}": prefix for name, prefix in parts.items()}
    inputs = stereo_example(image.grid, stereo.fine_channels, stereo.config.planes)
    graphs = [
        _Graph("image.onnx", ImageWithMatching(image, stereo), image_inputs, names, names, parts),
        *graphs,
        _Graph("stereo.onnx", stereo, inputs, ("depth", "spread"), STEREO_OUTPUTS, {"network.": "stereo."}),
    ]
    if cascade is not None:
        inputs, prefix = stereo_example(image.grid, stereo.fine_channels, cascade.count), "stereo.cascade."
        graphs.append(
            _Graph("cascade.onnx", cascade, inputs, ("depth", "spread"), CASCADE_OUTPUTS, {"network.": prefix})
        )
    return graphs


def export_model(
    image: AnyImageEngine,
    expert: SpatialExpert,
    networks: dict[str, dict[str, Any]],
    name: str,
    folder: Path,
    stereo: StereoNetwork | None = None,
) -> dict[str, float]:
    """Write a model folder and check it.

    Args:
        image: the image engine; it is put into eval mode.
        expert: the spatial expert; it is put into eval mode.
        networks: arguments that the networks were built with; stored in model.yaml.
        name: name of the model.
        folder: output folder; created if necessary.
        stereo: the stereo network; it is put into eval mode. None: a model without stereo.

    Returns:
        For every output, the largest relative difference between ONNX Runtime and PyTorch.

    Raises:
        ModelError: a graph uses something that engines do not support, or differs from PyTorch by more than TOLERANCE.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"image.": image, "expert.": expert, **({} if stereo is None else {"stereo.": stereo})}
    weights = folder / "weights.safetensors"
    save_model(weights, parts)
    weights.chmod(0o644)  # safetensors makes it private
    graphs = _graphs(image, expert, stereo)
    differences: dict[str, float] = {}
    for graph in graphs:
        path, inputs = folder / graph.file, graph.inputs
        graph.network.eval()
        _write_graph(graph.network, inputs, graph.outputs, graph.names, path)
        tidy(path, weights, graph.prefixes, {key: tuple(value.shape) for key, value in inputs.items()})
        check_graph(path)
        found = compare(path, graph.network, inputs, graph.outputs, graph.names)
        differences |= {f"{graph.file}:{key}": difference for key, difference in found.items()}
    worst = max(differences, key=lambda key: differences[key])
    if not differences[worst] <= TOLERANCE:
        raise ModelError(
            f"{worst} differs from PyTorch by {differences[worst]:.1e} of its largest value; "
            f"at most {TOLERANCE:g} is allowed"
        )
    for file in {"stereo.onnx", "cascade.onnx"} - {graph.file for graph in graphs}:
        (folder / file).unlink(missing_ok=True)
    files = [*(graph.file for graph in graphs), weights.name]
    _write_description(image, expert, networks, name, folder, files)
    return differences


def _write_graph(
    network: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], names: tuple[str, ...], path: Path
) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of every constant; shapes are fixed intentionally
        torch.onnx.export(
            _Ordered(network, outputs),
            tuple(inputs.values()),
            str(path),
            opset_version=OPSET,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=list(inputs),
            output_names=list(names),
        )


def compare(
    path: Path, network: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, float]:
    """Run a graph and its network on the same inputs.

    Returns:
        For every output the largest difference, relative to the output's largest value.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = session.run(list(names), {key: value.numpy() for key, value in inputs.items()})
    with torch.inference_mode():
        expected = network(*inputs.values())
    differences = {}
    for key, name, got in zip(outputs, names, found, strict=True):
        wanted = expected[key].float().numpy()
        differences[name] = float(np.abs(got - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))
    return differences


def _write_description(
    image: AnyImageEngine,
    expert: SpatialExpert,
    networks: dict[str, dict[str, Any]],
    name: str,
    folder: Path,
    files: list[str],
) -> None:
    values = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "image_size": list(image.grid.image_size),
        "feature_stride": image.grid.feature_stride,
        "head_stride": image.grid.head_stride,
        "feature_channels": expert.config.channels,
        "gaussians_per_cell": expert.config.gaussians,
        "offsets": expert.config.offsets,
        "canonical_focal": image.canonical_focal,
        "classes": list(NAMES),
        "files": {file: sha256_of(folder / file) for file in files},
        "networks": networks,
    }
    (folder / "model.yaml").write_text("# Written by `sgrocc export`.\n" + yaml.safe_dump(values, sort_keys=False))
