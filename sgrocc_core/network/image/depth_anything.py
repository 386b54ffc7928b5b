"""The base model's image engine: a frozen Depth-Anything-V2 with trained heads on its DPT neck.

First stage of the spatial expert (method, section 2.1, "Base"). The depth is the prior's metric depth multiplied by the
ratio of focal lengths; features, spread and thickness are learned from the neck's maps. The engine does not use
gravity, because the prior was trained without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.network.image.heads import ConvNorm, focal_scale, spread_and_thickness
from sgrocc_core.network.image.priors import CANONICAL_FOCAL, PATCH, build_prior, find_prior, load_prior, prior_size

STRIDE = PATCH // 2
"""Input pixels per pixel of the feature map and of the heads.

The neck's second map has exactly this stride, which divides every input size that is a multiple of the patch size.
"""
NEAREST = 0.1
"""Minimum canonical depth, metres."""


class DepthAnythingEngine(nn.Module):
    """Features, depth, spread and thickness from an RGB image and its camera; same interface as `small.ImageEngine`.

    Args:
        channels: C, channels of the features passed to the expert.
        image_size: (width, height) of the input, pixels, multiples of 14.
        size: of the prior, `small` or `base`.
        hidden: channels of the heads.
        canonical_focal: focal length for which the prior's depth was learned, pixels.
        semantic_head: build the 2D class head, which only training uses.
        architecture: replaces fields of `priors.PriorSize`, for priors of the same architecture and other widths.
    """

    def __init__(
        self,
        channels: int = 96,
        image_size: tuple[int, int] | list[int] = (644, 490),
        size: str = "small",
        hidden: int = 64,
        canonical_focal: float = CANONICAL_FOCAL,
        semantic_head: bool = True,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        width, height = image_size
        if width < 3 * PATCH or height < 3 * PATCH or width % PATCH or height % PATCH:
            raise ConfigError(
                f"image_size is {width} x {height}; both must be multiples of {PATCH}, at least {3 * PATCH}"
            )
        if not canonical_focal > 0:
            raise ConfigError(f"canonical_focal is {canonical_focal}; it must be positive, in pixels")
        self.channels, self.semantic_head, self.canonical_focal = channels, semantic_head, float(canonical_focal)
        self.grid = ImageGrid((width, height), STRIDE, STRIDE)
        self.tokens = (height // PATCH, width // PATCH)
        self.size = prior_size(size, architecture)
        self.prior: Any = build_prior(self.size, self.tokens)
        pyramid = 3 * self.size.fusion
        self.to_features = nn.Conv2d(pyramid, channels, 1)
        self.trunk = nn.Sequential(ConvNorm(pyramid, hidden, 1), ConvNorm(hidden, hidden))
        self.shape_head = nn.Conv2d(hidden, 2, 1)
        if semantic_head:
            self.class_head = nn.Conv2d(hidden, 12, 1)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.deviation: Tensor

    def load_prior(self, folder: Path | None = None) -> Path:
        """Load the prior's published weights.

        Args:
            folder: folder with config.json and model.safetensors; None: the user's Hugging Face cache.

        Returns:
            The folder from which the weights were read.

        Raises:
            ModelError: the weights are missing or belong to another network.
        """
        found = find_prior(self.size, folder)
        load_prior(self.prior, self.size, self.tokens, found)
        return found

    def train(self, mode: bool = True) -> DepthAnythingEngine:
        """Set the training mode of the heads; the prior always stays in eval mode."""
        super().train(mode)
        self.prior.eval()
        return self

    @torch.no_grad()
    def neck(self, x: Tensor) -> list[Tensor]:
        """Run the prior's transformer and neck.

        Args:
            x: (B, 3, H, W), normalised.

        Returns:
            The neck's four maps, (B, fusion, H / s, W / s) with strides s = 14, 7, 3.5 and 1.75.
        """
        backbone = self.prior.backbone
        # Fused attention is twice as fast; exported graphs use plain products, which every engine supports.
        backbone.set_attn_implementation("eager" if torch.onnx.is_in_onnx_export() else "sdpa")
        patches = backbone.embeddings.patch_embeddings(x)
        begin = backbone.embeddings.cls_token.expand(x.shape[0], -1, -1)
        tokens = torch.cat([begin, patches], 1) + backbone.embeddings.position_embeddings
        taken = []
        for number, layer in enumerate(backbone.encoder.layer, 1):
            tokens = layer(tokens)
            if number in self.size.taps:
                taken.append(backbone.layernorm(tokens))
        maps: list[Tensor] = self.prior.neck(taken, *self.tokens)
        return maps

    @torch.no_grad()
    def metric_depth(self, maps: list[Tensor]) -> Tensor:
        """The prior's depth for the canonical camera, metres, (B, 1, H / 7, W / 7).

        Each value is that of the cell's middle pixel; depths are not averaged.
        """
        depth: Tensor = self.prior.head(maps, *self.tokens)
        return depth[:, None, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].float().clamp(min=NEAREST)

    def forward(self, image: Tensor, mask: Tensor, intrinsics: Tensor, gravity: Tensor) -> dict[str, Tensor]:
        """Process one batch of images.

        Args:
            image: (B, 3, H, W) RGB, 0 to 1.
            mask: (B, 1, H, W), 0 in the letterbox's padding.
            intrinsics: (B, 4) fx, fy, cx, cy, pixels.
            gravity: (B, 3, 3), not used.

        Returns:
            features (B, C, H / 7, W / 7); depth, spread, thickness (B, 1, H / 7, W / 7), metres; pyramid (B, 3 fusion,
            H / 7, W / 7), from which the features are computed; with the semantic head also semantics (B, 12, H / 7, W
            / 7), logits of the labels 0 to 11.
        """
        maps = self.neck((image - self.mean) / self.deviation * mask)
        pyramid = torch.cat([maps[1], F.avg_pool2d(maps[2], 2), F.avg_pool2d(maps[3], 4)], 1)
        depth = self.metric_depth(maps) * focal_scale(intrinsics, self.canonical_focal)
        hidden = self.trunk(pyramid)
        spread, thickness = spread_and_thickness(self.shape_head(hidden).float(), depth)
        outputs = {
            "features": self.to_features(pyramid).float(),
            "depth": depth,
            "spread": spread,
            "thickness": thickness,
        }
        outputs["pyramid"] = pyramid
        if self.semantic_head:
            outputs["semantics"] = self.class_head(hidden).float()
        return outputs
