"""The networks of the second sweep: matching features at stride 2, and what its scores say of the depth in hand.

A cascade of cost volumes, as in multi-view stereo: the second one is finer and narrow. Before it is trained it changes
nothing, so that weights without it can be trained on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.depth.cascade import SMALLEST, offsets
from sgrocc_core.depth.sweep import CHANNELS, MAX_SOURCES
from sgrocc_core.network.image.heads import MAX_SPREAD, MIN_SPREAD, ConvNorm
from sgrocc_core.network.image.small import ResidualBlock
from sgrocc_core.network.stereo.regulariser import MAX_RELATIVE, MIN_RELATIVE

HIDDEN = 24
MAX_RESIDUAL = 0.2
"""Bound of the correction beside the hypotheses, natural logarithm: about their range."""


class FineMatching(nn.Module):
    """Matching features at stride 2.

    Args:
        fine_channels: of the image engine's features at stride 4.
        early_channels: of its map at stride 2; 0 = none, a convolution of our own stands for it.
    """

    def __init__(self, fine_channels: int, early_channels: int = 0) -> None:
        super().__init__()
        self.texture = ConvNorm(3, 16, 3, 2)
        self.fine = nn.Conv2d(fine_channels, 16, 1, bias=False)
        # Without their mean the features tell places apart from the first step; with it all look alike for long.
        self.join = nn.Sequential(
            ConvNorm(32 + early_channels, HIDDEN), ConvNorm(HIDDEN, CHANNELS, activate=False)
        )  # fmt: skip
        self.takes_early = early_channels > 0

    def forward(self, image: Tensor, mask: Tensor, fine: Tensor, early: Tensor | None = None) -> Tensor:
        """Features of unit length.

        Args:
            image: (B, 3, H, W) RGB, 0..1.
            mask: (B, 1, H, W), 0 in the padding.
            fine: (B, F, H/4, W/4), of the image engine.
            early: (B, E, H/2, W/2), where the head was made for one.

        Returns:
            (B, 16, H/2, W/2) float32.
        """
        parts = [
            self.texture((image - 0.45) * 4.0 * mask),
            F.interpolate(self.fine(fine), scale_factor=2.0, mode="nearest"),
        ]
        if self.takes_early and early is not None:
            parts.append(early)
        found = self.join(torch.cat(parts, 1)).float()
        return found / torch.sqrt((found * found).sum(1, keepdim=True) + 1e-6)


class CascadeRegulariser(nn.Module):
    """Corrects depth and spread by the scores of the second sweep.

    Args:
        context_channels: of the image engine's features at the resolution of the depth.
        count: hypotheses of a pixel.
        width: channels at the resolution of the depth, and at half of it.
    """

    offsets: Tensor

    def __init__(self, context_channels: int, count: int, width: int = 40) -> None:
        super().__init__()
        self.context = ConvNorm(context_channels, 16, 1)
        self.join = nn.Sequential(ConvNorm(count + 16 + 3, width, 1), ResidualBlock(width))
        self.down = nn.Sequential(ConvNorm(width, width, 3, 2), ResidualBlock(width))
        self.up = nn.Conv2d(width, width, 1)
        self.smooth = ConvNorm(width, width)
        self.hypotheses = nn.Conv2d(width, count, 1)
        self.shape = nn.Conv2d(width, 3, 1)
        nn.init.zeros_(self.shape.weight)
        nn.init.zeros_(self.shape.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.hypotheses.weight, std=0.01)
        self.sharpness = nn.Parameter(torch.tensor(5.0))
        self.register_buffer(
            "offsets", torch.from_numpy(offsets(count)).float().view(1, -1, 1, 1), persistent=False
        )  # fmt: skip

    def forward(
        self, score: Tensor, count: Tensor, context: Tensor, depth: Tensor, spread: Tensor
    ) -> dict[str, Tensor]:
        """Depth with the second sweep.

        Args:
            score: (B, N, h, w), of the sweep.
            count: (B, N, h, w), of the sweep.
            context: (B, C, h, w) features.
            depth: (B, 1, h, w) m, of the first sweep, around which the second one was made.
            spread: (B, 1, h, w) m, of the first sweep.

        Returns:
            depth (B, 1, h, w), z-depth, m; spread (B, 1, h, w), Laplace scale of depth, m; hypothesis_logits
            (B, N, h, w), for training.
        """
        root, relative = depth.clamp(0.1, 30.0) ** -0.5, (spread / depth.clamp(min=0.1)).clamp(0.005, 1.5)
        logits, shape = self._network(score, count, context, root, relative)
        logits = logits + self.sharpness * score
        # Logarithms of the hypotheses' depths, relative to the depth in hand.
        logs = -2 * torch.log((root + self.offsets).clamp(min=SMALLEST) / root)
        p = F.softmax(logits, 1)
        middle = (p * logs).sum(1, keepdim=True)
        apart = (p * (logs - middle).abs()).sum(1, keepdim=True)

        matched = count.sum((1, 2, 3), keepdim=True).clamp(max=1.0)  # (B, 1, 1, 1): 1 with a source
        trust = torch.tanh(shape[:, :1])
        found = depth * torch.exp(matched * (trust * middle + MAX_RESIDUAL * torch.tanh(shape[:, 1:2])))
        own = (relative + trust.clamp(min=0) * (apart - relative)) * torch.exp(shape[:, 2:])
        off = torch.clamp(found * own.clamp(MIN_RELATIVE, MAX_RELATIVE), MIN_SPREAD, MAX_SPREAD)
        return {"depth": found, "spread": matched * off + (1 - matched) * spread, "hypothesis_logits": logits}

    def _network(
        self, score: Tensor, count: Tensor, context: Tensor, root: Tensor, relative: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of the hypotheses (B, N, h, w), and raw trust, residual and spread (B, 3, h, w)."""
        seen = count.mean(1, keepdim=True) / MAX_SOURCES
        x = self.join(torch.cat([score, self.context(context), root, torch.log(relative), seen], 1))
        below = F.interpolate(self.up(self.down(x)), size=x.shape[-2:], mode="nearest")
        x = self.smooth(x + below)
        return self.hypotheses(x).float(), self.shape(x).float()


class Cascade(nn.Module):
    """Both parts; `matching` runs with the image engine, `regulariser` after the second sweep.

    Args:
        fine_channels: of the image engine's features at stride 4.
        early_channels: of its map at stride 2, 0 = none.
        count: hypotheses of a pixel.
    """

    def __init__(self, fine_channels: int, early_channels: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.matching = FineMatching(fine_channels, early_channels)
        self.regulariser = CascadeRegulariser(fine_channels, count)

    def forward(
        self, score: Tensor, count: Tensor, context: Tensor, depth: Tensor, spread: Tensor
    ) -> dict[str, Tensor]:
        """See `CascadeRegulariser.forward`."""
        found: dict[str, Tensor] = self.regulariser(score, count, context, depth, spread)
        return found
