"""The network behind the plane sweep: matching scores, image features and one-image depth to depth and spread.

The planes are channels of a 2D network. Its answer leans on the one-image depth as much as it has learned to in a
place like this; where no source saw the image at all it is the one-image depth and its spread, unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.depth.sweep import MAX_SOURCES, PLANES, plane_depths
from sgrocc_core.network.image.heads import MAX_SPREAD, MIN_SPREAD, ConvNorm
from sgrocc_core.network.image.small import ResidualBlock

MAX_RESIDUAL = 0.4
"""Bound of the correction beside the planes, natural logarithm: a factor of 1.5, as a one-image depth may be off."""
MAX_PRIOR = 8.0
"""Bound of the one-image depth's log-likelihood at a plane."""
MIN_RELATIVE, MAX_RELATIVE = 0.005, 1.5
"""Bounds of the spread as a share of the depth."""


class Regulariser(nn.Module):
    """A U-Net over the matching scores.

    Args:
        context_channels: of the image engine's features at the sweep's resolution.
        planes: of the sweep.
        widths: channels at the sweep's resolution, at half and at a quarter of it.
        blocks: further residual blocks at each of the three, which begin as the identity.
    """

    log_depths: Tensor

    def __init__(
        self,
        context_channels: int,
        planes: int = PLANES,
        widths: tuple[int, int, int] = (40, 64, 96),
        blocks: int = 0,
    ) -> None:
        super().__init__()
        fine, half, quarter = widths
        self.context = ConvNorm(context_channels, 24, 1)
        self.join = nn.Sequential(ConvNorm(planes + 24 + 3, fine, 1), ConvNorm(fine, fine))
        self.down = nn.ModuleList(
            [
                nn.Sequential(ConvNorm(fine, half, 3, 2), ResidualBlock(half)),
                nn.Sequential(ConvNorm(half, quarter, 3, 2), ResidualBlock(quarter)),
            ]
        )
        self.more = nn.ModuleList([nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)]) for width in widths])
        self.up = nn.ModuleList([nn.Conv2d(quarter, half, 1), nn.Conv2d(half, fine, 1)])
        self.smooth = nn.ModuleList([ConvNorm(half, half), ConvNorm(fine, fine)])
        self.planes = nn.Conv2d(fine, planes, 1)
        self.shape = nn.Conv2d(fine, 3, 1)
        nn.init.zeros_(self.shape.weight)
        nn.init.zeros_(self.shape.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.planes.weight, std=0.01)
        self.sharpness = nn.Parameter(torch.tensor([5.0, 0.5]))  # of the matching scores and of the one-image depth
        self.register_buffer(
            "log_depths", torch.from_numpy(plane_depths(planes)).log().float().view(1, -1, 1, 1), persistent=False
        )

    def forward(
        self, score: Tensor, count: Tensor, context: Tensor, depth: Tensor, spread: Tensor
    ) -> dict[str, Tensor]:
        """Depth with stereo.

        Args:
            score: (B, P, h, w), of the sweep.
            count: (B, P, h, w), of the sweep.
            context: (B, C, h, w) features.
            depth: (B, 1, h, w) m, of the image alone.
            spread: (B, 1, h, w) m, of the image alone.

        Returns:
            depth (B, 1, h, w), z-depth, m; spread (B, 1, h, w), Laplace scale of depth, m; plane_logits (B, P, h, w),
            for training.
        """
        log_depth, relative = torch.log(depth.clamp(0.1, 30.0)), (spread / depth.clamp(min=0.1)).clamp(0.02, 1.0)
        logits, shape = self._network(score, count, context, log_depth, relative)
        # One-image depth as a likelihood of every plane, beside the matching scores.
        prior = -((self.log_depths - log_depth).abs() / relative).clamp(max=MAX_PRIOR)
        logits = logits + self.sharpness[0] * score + self.sharpness[1] * prior
        p = F.softmax(logits, 1)
        stereo = (p * self.log_depths).sum(1, keepdim=True)
        apart = (p * (self.log_depths - stereo).abs()).sum(1, keepdim=True)

        matched = count.sum((1, 2, 3), keepdim=True).clamp(max=1.0)  # (B, 1, 1, 1): 1 with a source
        trust = torch.sigmoid(shape[:, :1] + 1.0)
        change = trust * (stereo - log_depth) + MAX_RESIDUAL * torch.tanh(shape[:, 1:2])
        found = torch.exp(log_depth + matched * change)
        own = (trust * apart + (1 - trust) * relative + 0.01) * torch.exp(shape[:, 2:])
        off = torch.clamp(found * own.clamp(MIN_RELATIVE, MAX_RELATIVE), MIN_SPREAD, MAX_SPREAD)
        return {
            "depth": matched * found + (1 - matched) * depth,
            "spread": matched * off + (1 - matched) * spread,
            "plane_logits": logits,
        }

    def _network(
        self, score: Tensor, count: Tensor, context: Tensor, log_depth: Tensor, relative: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of the planes (B, P, h, w), and raw trust, residual and spread (B, 3, h, w)."""
        seen = count.mean(1, keepdim=True) / MAX_SOURCES
        beside = torch.cat([self.context(context), log_depth, torch.log(relative), seen], 1)
        fine = self.more[0](self.join(torch.cat([score, beside], 1)))
        half = self.more[1](self.down[0](fine))
        quarter = self.more[2](self.down[1](half))
        half = self.smooth[0](half + F.interpolate(self.up[0](quarter), size=half.shape[-2:], mode="nearest"))
        fine = self.smooth[1](fine + F.interpolate(self.up[1](half), size=fine.shape[-2:], mode="nearest"))
        return self.planes(fine).float(), self.shape(fine).float()
