"""An expert and stereo go over to another image engine: its features are fitted to those that they were trained on.

The projection to the expert's features is linear in the pyramid, and what of stereo reads the fine features is linear
in these, so each fit is a problem of least squares with one solution. Both networks then start from what they know
instead of from noise, and train on from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
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
"""Damping of the least squares, as a share of the mean square of the inputs."""
SAME_EARLY = 0.95
"""Share of the variance of the other engine's map at stride 2 that the new one's must have as it is, for stereo."""
READ_FINE = frozenset(
    f"stereo.{part}.weight"
    for part in ("matching.fine", "regulariser.context.0", "cascade.matching.fine", "cascade.regulariser.context.0")
)
"""Weights of stereo, 1 x 1, that are applied to the image engine's fine features."""


def align(
    config: TrainConfig,
    weights: Path,
    like: str | Path,
    data: list[Path],
    out: Path,
    packed: Path | None = None,
    views: int = 256,
) -> Fit:
    """Fit an image engine's features to those of another model, and write them with that model's expert and stereo.

    Args:
        config: of the training; its `image` and `network` are those of the new model.
        weights: file with the new image engine.
        like: name or folder of the model whose expert is taken over.
        data: sets of training views.
        out: file to write.
        packed: see `packed_folder`.
        views: number of views, spread evenly over the sets.

    Returns:
        How much of the variance of the other model's features the fits explain; without `fine` if stereo is not taken
        over, since an engine lacks fine features or their maps at stride 2, which stereo reads as they are, differ
        (`SAME_EARLY`).

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
    fit = fit_features(engine.eval(), on_device(teacher, compute).eval(), chosen, views, compute)
    if fit.early_share < SAME_EARLY:
        fit = dataclasses.replace(fit, fine=None, fine_share=0.0)
    known = weights_file.read_weights(spec.folder / "weights.safetensors") if fit.fine is not None else {}
    stereo = fitted_stereo(known, fit.fine)
    weights_file.save_model(out, {"image.": engine, "expert.": expert}, stereo)
    return fit


class LeastSquares:
    """A linear map y = x A (+ b) from pairs that come in parts, with the least squared error.

    Args:
        inputs: numbers of an x.
        outputs: numbers of a y.
        constant: whether there is a b.
    """

    def __init__(self, inputs: int, outputs: int, constant: bool) -> None:
        self.constant, size = constant, inputs + constant
        self.squares, self.products = torch.zeros(size, size).double(), torch.zeros(size, outputs).double()
        self.mean, self.total, self.count = torch.zeros(outputs).double(), 0.0, 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add pairs: (N, inputs) and (N, outputs) float64."""
        if self.constant:
            x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        self.squares += x.T @ x
        self.products += x.T @ y
        self.total += float((y * y).sum())
        self.mean += y.sum(0)
        self.count += len(y)

    def solve(self) -> tuple[Tensor, float]:
        """The map, (inputs [+ 1 for b, the last row], outputs), and the share of the variance that it explains."""
        inputs = len(self.squares) - self.constant
        ridge = RIDGE * self.squares.diagonal()[:inputs].mean() * torch.eye(len(self.squares), dtype=torch.float64)
        ridge[inputs:, inputs:] = 0
        found = torch.linalg.solve(self.squares + ridge, self.products)
        residual = self.total - 2 * float((found * self.products).sum()) + float((found * (self.squares @ found)).sum())
        return found, 1 - residual / (self.total - float((self.mean * self.mean).sum()) / self.count)


@dataclass(frozen=True)
class Fit:
    """How a new image engine's outputs relate to those of another.

    Attributes:
        features: share of the variance of the other's features that those of the new one explain, at most 1.
        fine: (F, F') float64, the new engine's fine features times this come nearest to the other's; None: an engine
            without them.
        fine_share: as `features`, of the fine features; 0 without.
        early_share: share of the variance of the other's map at stride 2 that the new one's has as it is, at most 1;
            1 if neither has such a map, 0 or below if they are different ones.
    """

    features: float
    fine: Tensor | None = None
    fine_share: float = 0.0
    early_share: float = 1.0


@torch.no_grad()
def fit_features(engine: nn.Module, teacher: nn.Module, data: PackedViews, views: int, compute: Compute) -> Fit:
    """Set an image engine's projection `to_features` so that its features come as near as possible to a teacher's.

    Args:
        engine: to be changed, in eval mode.
        teacher: another engine with features of the same shape, in eval mode.
        data: views that both see.
        views: how many of them, spread evenly.
        compute: device and precision.

    Returns:
        How near they come, and the same of the fine features, of which nothing is set (see `fitted_stereo`).
    """
    projection = engine.get_submodule("to_features")
    assert isinstance(projection, nn.Conv2d)
    features = LeastSquares(projection.in_channels, projection.out_channels, True)
    fine: LeastSquares | None = None
    early = _Likeness()
    samples = fixed_views(data, views, data.options)
    for start in range(0, len(samples), AT_ONCE):
        batch = compute.move(collate(samples[start : start + AT_ONCE]))
        found, wanted = run_image(engine, batch, compute), run_image(teacher, batch, compute)
        features.add(_pixels(found["pyramid"]), _pixels(wanted["features"]))
        if "fine" in found and "fine" in wanted:
            x, y = _pixels(found["fine"]), _pixels(wanted["fine"])
            fine = LeastSquares(x.shape[1], y.shape[1], False) if fine is None else fine
            fine.add(x, y)
        early.add(found.get("early"), wanted.get("early"))
    solution, explained = features.solve()
    projection.weight.copy_(solution[:-1].T.reshape(projection.weight.shape))
    assert projection.bias is not None
    projection.bias.copy_(solution[-1])
    mix, share = fine.solve() if fine else (None, 0.0)
    return Fit(explained, mix, share, early.share())


def fitted_stereo(tensors: Mapping[str, Tensor], fine: Tensor | None) -> dict[str, Tensor]:
    """Stereo's weights for another image engine: its layers that read the fine features read them through a `Fit`.

    Args:
        tensors: weights, of which those of stereo are taken.
        fine: see `Fit`; None: nothing is changed.

    Returns:
        The weights `stereo.*`.
    """
    own = {name: value for name, value in tensors.items() if name.startswith("stereo.")}
    for name in READ_FINE & own.keys() if fine is not None else ():
        weight = own[name]  # (O, F', 1, 1)
        own[name] = torch.einsum("ofij,nf->onij", weight.double(), fine).to(weight.dtype)
    return own


class _Likeness:
    """How much of the variance of maps others have as they are."""

    def __init__(self) -> None:
        self.differ, self.squared, self.count = False, 0.0, 0
        self.sum, self.squares = torch.zeros(()).double(), 0.0

    def add(self, found: Tensor | None, wanted: Tensor | None) -> None:
        """Add a map (B, C, h, w) of each; None: there is none."""
        if found is None or wanted is None or found.shape != wanted.shape:
            self.differ |= found is not None or wanted is not None
            return
        x, y = _pixels(found), _pixels(wanted)
        self.squared += float((x - y).square().sum())
        self.squares += float(y.square().sum())
        self.sum, self.count = self.sum + y.sum(0), self.count + len(y)

    def share(self) -> float:
        """See `Fit.early_share`."""
        if self.differ or not self.count:
            return 0.0 if self.differ else 1.0
        return 1 - self.squared / (self.squares - float(self.sum.square().sum()) / self.count)


def _pixels(values: Tensor) -> Tensor:
    """(B, C, h, w) as (N, C) float64 on the CPU."""
    return values.double().cpu().permute(0, 2, 3, 1).flatten(0, 2)
