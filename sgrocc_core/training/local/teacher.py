"""The teacher of views without labels: a slow copy of the network (Tarvainen and Valpola, 2017).

It is the moving average of the weights that the trainer keeps anyway and saves in its checkpoints, so a resumed run has
the same teacher.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class SlowCopy(nn.Module):
    """A copy of the spatial expert and of the projection of features, which no gradient reaches.

    Args:
        to_features: the image engine's projection of features.
        expert: spatial expert.
    """

    def __init__(self, to_features: nn.Module, expert: nn.Module) -> None:
        super().__init__()
        self.to_features, self.expert = copy.deepcopy(to_features), copy.deepcopy(expert)
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(self, average: dict[str, Tensor]) -> None:
        """Take over the moving average of the weights.

        Args:
            average: of `Trainer`, by the names in weights files.
        """
        for prefix, module in (("image.to_features.", self.to_features), ("expert.", self.expert)):
            own = module.state_dict()
            for name, value in own.items():
                if prefix + name in average:
                    value.copy_(average[prefix + name])

    @torch.no_grad()
    def forward(self, pyramid: Tensor, given: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Predict the Gaussians of a batch.

        Args:
            pyramid: (B, P, h, w), of the image engine.
            given: inputs of the expert besides the features.

        Returns:
            See `SpatialExpert.forward`.
        """
        self.expert.eval()
        found: dict[str, Tensor] = self.expert(self.to_features(pyramid.float()), *given)
        return found
