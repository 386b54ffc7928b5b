"""A spatial expert goes over to another image engine: the new engine's features are fitted to those it was trained on.

The projection to the features is linear in the pyramid, so the fit is a problem of least squares with one solution.
The expert then starts from what it knows, instead of from noise, and trains on from there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.weights import build_networks, load_weights
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.network import weights_file
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.training.compute import Compute, choose, use_threads
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.dataset import PackedViews
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.local.stage import dataset_options
from sgrocc_core.training.local.step import run_image
from sgrocc_core.training.session import pack_split, packed_folder
from sgrocc_core.training.stage import make_networks, on_device
from sgrocc_core.training.validation import collate, fixed_views

AT_ONCE = 8
"""Views that go through the engines together."""
RIDGE = 1e-4
"""Damping of the least squares, as a share of the mean square of the pyramid's channels."""


def align(
    config: TrainConfig,
    weights: Path,
    like: str | Path,
    data: list[Path],
    out: Path,
    packed: Path | None = None,
    views: int = 256,
) -> float:
    """Fit an image engine's features to those of another model, and write them with that model's expert.

    Args:
        config: of the training; its `image` and `network` are those of the new model.
        weights: file with the new image engine.
        like: name or folder of the model whose expert is taken over.
        data: sets of training views.
        out: file to write.
        packed: see `packed_folder`.
        views: number of views, spread evenly over the sets.

    Returns:
        The share of the features' variance that the fit explains, at most 1.

    Raises:
        ConfigError: the experts of the two models, or the grids of their image engines, differ.
        DataError: there are no views, or the file holds no such image engine.
    """
    use_threads(config.threads)
    spec = load_spec(like)
    teacher, expert = build_networks(spec.networks)
    own, theirs = dataclasses.asdict(config.network), dataclasses.asdict(expert.config)
    differing = sorted(name for name in own if own[name] != theirs[name])
    if differing:
        told = ", ".join(f"{name} {theirs[name]} and {own[name]}" for name in differing)
        raise ConfigError(f"the expert of {like} cannot be taken over, its configuration differs: {told}")
    if teacher.grid != grid_of(config.image):
        raise ConfigError(f"the image engine of {like} has another grid than the new one; the images' sizes must agree")
    load_weights(spec.folder / "weights.safetensors", teacher, expert)
    compute = choose(config.device, amp=False)
    engine, _ = make_networks(config, compute)
    tensors = weights_file.read_weights(weights)
    if not weights_file.load_weights(engine, tensors, "image.", weights):
        raise DataError(f"{weights} has no tensor image.*: it holds no image engine")
    size = view_size(grid_of(config.image))
    folders = [packed_folder(root, "train", packed, size) for root in data]
    for root, folder in zip(data, folders):
        pack_split(root, "train", folder, size=size)
    options = dataclasses.replace(dataset_options(config, grid=False), augment=False)
    chosen = PackedViews(folders, options)
    if not len(chosen):
        raise DataError(f"no views under {', '.join(map(str, data))}; make some with `sgrocc synth`")
    explained = fit_features(engine.eval(), on_device(teacher, compute).eval(), chosen, views, compute)
    weights_file.save_model(out, {"image.": engine, "expert.": expert})
    return explained


@torch.no_grad()
def fit_features(engine: nn.Module, teacher: nn.Module, data: PackedViews, views: int, compute: Compute) -> float:
    """Set an image engine's projection `to_features` so that its features come as near as possible to a teacher's.

    Args:
        engine: to be changed, in eval mode.
        teacher: another engine with features of the same shape, in eval mode.
        data: views that both see.
        views: how many of them, spread evenly.
        compute: device and precision.

    Returns:
        See `align`.
    """
    projection = engine.get_submodule("to_features")
    assert isinstance(projection, nn.Conv2d)
    size = projection.in_channels + 1
    squares, products = (
        torch.zeros(size, size, dtype=torch.float64),
        torch.zeros(size, projection.out_channels).double(),
    )
    total, mean, count = 0.0, torch.zeros(projection.out_channels, dtype=torch.float64), 0
    samples = fixed_views(data, views, data.options)
    for start in range(0, len(samples), AT_ONCE):
        batch = compute.move(collate(samples[start : start + AT_ONCE]))
        found, wanted = run_image(engine, batch, compute), run_image(teacher, batch, compute)["features"]
        x, y = _pixels(found["pyramid"]), _pixels(wanted)
        x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        squares += x.T @ x
        products += x.T @ y
        total += float((y * y).sum())
        mean += y.sum(0)
        count += len(y)
    ridge = RIDGE * squares.diagonal()[:-1].mean() * torch.eye(size, dtype=torch.float64)
    ridge[-1, -1] = 0  # the bias
    solution = torch.linalg.solve(squares + ridge, products)
    projection.weight.copy_(solution[:-1].T.reshape(projection.weight.shape))
    assert projection.bias is not None
    projection.bias.copy_(solution[-1])
    residual = total - 2 * float((solution * products).sum()) + float((solution * (squares @ solution)).sum())
    return 1 - residual / (total - float((mean * mean).sum()) / count)


def _pixels(values: Tensor) -> Tensor:
    """(B, C, h, w) as (N, C) float64 on the CPU."""
    return values.double().cpu().permute(0, 2, 3, 1).flatten(0, 2)
