"""The language-aware prior: a coefficient for every anchor that weighs the geometric regularisation (appendix D).

An attribute MLP sees what the frozen model says of an anchor's pixel and of the whole scene, and the anchor's own
feature in the spatial expert, and answers with a coefficient in 0..1. Nothing else of the language part learns: the
model is frozen, and no gradient runs from the coefficient into the networks.

Weighing a loss alone would teach the MLP to answer 0 everywhere, which the paper does not discuss. Here the misfit r of
an anchor's Gaussians (distance to the plane in sigma_g, and misalignment) is taken to be exponentially distributed with
the coefficient a as its rate: -log p(r) = a r - log a. The first part is the weighted regularisation, and the second
keeps a from 0. The best answer is a = min(1, 1 / E[r]) given the features: 1 where Gaussians follow the surface as far
as the depth allows to tell, less where they do not, as on plants and clutter. Normalising the coefficients to a mean of
1 was rejected, because it rewards weighing only the anchors that fit already; and so was learning them from the true
classes, because it repeats what `regularisation_kind: semantic` does without a network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.network.expert.projection import Projection, project, to_camera
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.language.config import LanguageConfig
from sgrocc_core.training.language.published import VisionLanguageModel
from sgrocc_core.training.language.towers import Seen
from sgrocc_core.training.losses.regularisation import cell_weights

WIDTHS = (512, 256)
"""Widths of the MLP's hidden layers (the paper's)."""
START = 2.0
"""Initial logit of every coefficient: 0.88, so that training begins close to that without language; a round guess."""


class AttributeMLP(nn.Module):
    """Logits of the coefficients from features.

    Args:
        channels: of the local, the visual and the global features together.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in WIDTHS:
            layers += [nn.Linear(channels, width), nn.LayerNorm(width), nn.ReLU()]
            channels = width
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Linear(channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, START)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C) to logits (N,); a coefficient is the sigmoid of its logit."""
        logits: Tensor = self.last(self.hidden(features))
        return logits[:, 0]


def probe(maps: Tensor, where: Projection, size: tuple[int, int]) -> Tensor:
    """Sample maps bilinearly at projected points.

    Args:
        maps: (B, C, h, w) over the whole image, of any resolution.
        where: N points in the image.
        size: (height, width) of that image, pixels.

    Returns:
        (B, N, C); beyond the border the border's features.
    """
    column, row = (2 * where.u + 1) / size[1] - 1, (2 * where.v + 1) / size[0] - 1
    grid = torch.stack([column, row], -1)[:, None].to(maps.dtype)
    sampled = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0].transpose(1, 2)


class LanguagePrior(nn.Module):
    """Adds the logits of the coefficients to the expert's outputs.

    Args:
        config: with a language-aware prior.
        pyramid: channels of the image engine's `pyramid`, the features that `own` takes for the model's.
        expert: channels of the anchors' features.
        compute: device and precision.

    Raises:
        ConfigError: the folder of the embeddings cannot be written.
        ModelError: the published model is not there or cannot be used.
    """

    def __init__(self, config: LanguageConfig, pyramid: int, expert: int, compute: Compute) -> None:
        super().__init__()
        # No module: neither its weights nor their average belong to what is trained and saved.
        self.model = VisionLanguageModel(config, compute.device) if config.published else None
        local, scene = (pyramid, pyramid) if self.model is None else self.model.channels
        self.mlp = AttributeMLP(local + expert + scene).to(compute.device)

    def seen(self, batch: Mapping[str, Tensor], image: Mapping[str, Tensor]) -> tuple[Seen, Tensor]:
        """What the model sees in a batch, and the intrinsics of the images that it saw.

        A published model sees the images as they were before augmentation, whose embeddings can be kept.

        Args:
            batch: with `plain` and `plain_intrinsics` for a published model; see `dataset.item`.
            image: outputs of the image engine, for `own`.
        """
        if self.model is not None:
            return self.model.look(batch["plain"]), batch["plain_intrinsics"]
        local = image["pyramid"].detach().float()
        normalised = F.layer_norm(local.movedim(1, -1), local.shape[1:2]).movedim(-1, 1)
        return Seen(normalised, normalised.mean((2, 3))), batch["intrinsics"]

    def forward(
        self,
        outputs: dict[str, Tensor],
        image: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
        centres: Tensor,
        kind: str,
    ) -> Tensor:
        """Compute the logits of the coefficients.

        Args:
            outputs: of `SpatialExpert`, with `features` (B, 16200, C).
            image: outputs of the image engine.
            batch: the views, with `pose` and `target`.
            centres: (16200, 3) of the anchors, metres, box frame.
            kind: of the regularisation; anchors without weight in it are left out.

        Returns:
            (B, 16200); START for anchors without weight or outside the image.
        """
        seen, intrinsics = self.seen(batch, image)
        size = batch["image"].shape[-2], batch["image"].shape[-1]
        with torch.no_grad():
            where = project(to_camera(centres, batch["pose"].float()), intrinsics.float(), size)
            counts = where.inside & (cell_weights(batch["target"], kind) > 0)
        logits = outputs["features"].new_full(counts.shape, START, dtype=torch.float32)
        rows, features = [], []
        for b in range(len(counts)):
            chosen = counts[b].nonzero()[:, 0]
            u, v, z, inside = (value[b : b + 1, chosen] for value in (where.u, where.v, where.z, where.inside))
            local = probe(seen.local[b : b + 1], Projection(u, v, z, inside), size)[0]
            visual = outputs["features"][b, chosen].detach().float()
            features.append(torch.cat([local, visual, seen.scene[b].expand(len(chosen), -1)], 1))
            rows.append(b * counts.shape[1] + chosen)
        with torch.autocast(logits.device.type, enabled=False):
            found = self.mlp(torch.cat(features))
        return logits.flatten().index_copy(0, torch.cat(rows), found).view_as(logits)
