"""Export of the networks to a model folder: weights.safetensors, image.onnx, expert.onnx and model.yaml.

The graphs use opset 17 and fixed shapes, and are compared with PyTorch. Large tensors are stored once: the graphs refer
into weights.safetensors by offset (ONNX external data), so the files of a model must stay together. Batch norms remain
separate nodes, because folding them would create new weight tensors; runtimes fold them when they load the graph.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from sgrocc_core.classes import NAMES
from sgrocc_core.depth.hits import count_hits
from sgrocc_core.engines.engine import EXPERT_OUTPUTS, IMAGE_OUTPUTS
from sgrocc_core.engines.graph import OPSET, check_graph, tidy
from sgrocc_core.engines.model import FORMAT_VERSION, sha256_of
from sgrocc_core.errors import ModelError
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.network.expert.spatial_expert import OUTPUTS, SpatialExpert
from sgrocc_core.network.image.engine import AnyImageEngine

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


def _quarters(values: list[list[float]], shape: tuple[int, int]) -> np.ndarray:
    """Make an array of the given shape (rows, columns) with one value in each quarter."""
    rows, columns = (np.arange(n) * 2 // n for n in shape)
    return np.array(values)[rows[:, None], columns]


def export_model(
    image: AnyImageEngine, expert: SpatialExpert, networks: dict[str, dict[str, Any]], name: str, folder: Path
) -> dict[str, float]:
    """Write a model folder and check it.

    Args:
        image: the image engine; it is put into eval mode.
        expert: the spatial expert; it is put into eval mode.
        networks: arguments that the networks were built with; stored in model.yaml.
        name: name of the model.
        folder: output folder; created if necessary.

    Returns:
        For every output, the largest relative difference between ONNX Runtime and PyTorch.

    Raises:
        ModelError: a graph uses something that engines do not support, or differs from PyTorch by more than TOLERANCE.
    """
    image.eval()
    expert.eval()
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"image.{k}": v for k, v in image.state_dict().items()} | {
        f"expert.{k}": v for k, v in expert.state_dict().items()
    }
    weights = folder / "weights.safetensors"
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in state.items() if not k.endswith("num_batches_tracked")},
        str(weights),
    )
    weights.chmod(0o644)  # safetensors makes it private
    image_inputs, expert_inputs = example_inputs(image.grid, image.channels, expert.config.channels)
    differences: dict[str, float] = {}
    given = (*IMAGE_OUTPUTS, "matching") if getattr(image, "matching", None) is not None else IMAGE_OUTPUTS
    for file, prefix, network, inputs, outputs, names in (
        ("image.onnx", "image", image, image_inputs, given, given),
        ("expert.onnx", "expert", expert, expert_inputs, OUTPUTS, EXPERT_OUTPUTS),
    ):
        _write_graph(network, inputs, outputs, names, folder / file)
        tidy(folder / file, weights, prefix, {key: tuple(value.shape) for key, value in inputs.items()})
        check_graph(folder / file)
        differences |= {f"{file}:{k}": d for k, d in compare(folder / file, network, inputs, outputs, names).items()}
    worst = max(differences, key=lambda key: differences[key])
    if not differences[worst] <= TOLERANCE:
        raise ModelError(
            f"{worst} differs from PyTorch by {differences[worst]:.1e} of its largest value; "
            f"at most {TOLERANCE:g} is allowed"
        )
    _write_description(image, expert, networks, name, folder)
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
    image: AnyImageEngine, expert: SpatialExpert, networks: dict[str, dict[str, Any]], name: str, folder: Path
) -> None:
    files = ("image.onnx", "expert.onnx", "weights.safetensors")
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
