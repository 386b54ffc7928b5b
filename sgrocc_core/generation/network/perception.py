"""The spatial expert as the perception model: images of several views to one occupancy of the box that they share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.generation.network.alignment import Cameras
from sgrocc_core.geometry.lattice import BOX_VOXELS, voxel_centres
from sgrocc_core.network.expert.projection import count_hits, project, to_camera
from sgrocc_core.network.expert.spatial_expert import local_head

INPUT = (240, 320)
"""(height, width) of the expert's input, pixels."""
UNSEEN = 0.05
"""Weight of a view's opinion of a voxel outside its image, beside 1 inside (round guess)."""


class Perception(nn.Module):
    """Image engine and spatial expert on images of any size.

    Args:
        engine: image engine.
        expert: spatial expert.
    """

    centres: Tensor

    def __init__(self, engine: nn.Module, expert: nn.Module) -> None:
        super().__init__()
        self.engine, self.expert = engine, expert
        centres = torch.from_numpy(voxel_centres(torch.zeros(3).numpy()).reshape(-1, 3)).float()
        self.register_buffer("centres", centres, persistent=False)
        if hasattr(engine, "tune"):
            engine.tune = 1.0  # type: ignore[assignment]  # gradients pass through the frozen backbone to the image

    def forward(
        self, images: Tensor, K: Tensor, pose: Tensor, gravity: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Perceive each view on its own.

        Args:
            images: (N, 3, H, W) RGB, 0 to 1, of the aspect ratio 4:3.
            K: (N, 4) fx, fy, cx, cy, pixels of these images.
            pose: (N, 4, 4) T_bc.
            gravity: (N, 3, 3) R_gc.

        Returns:
            the image engine's and the expert's outputs.
        """
        scale = INPUT[1] / images.shape[-1]
        large = F.interpolate(images, INPUT, mode="bilinear", align_corners=False)
        large = large.contiguous(memory_format=torch.channels_last)
        mask = torch.ones_like(large[:, :1])
        offset = torch.tensor([0.0, 0.0, 0.5, 0.5], device=K.device)
        intrinsics = (K + offset) * scale - offset
        seen = self.engine(large, mask, intrinsics, gravity)
        depth, spread = (F.interpolate(seen[name].detach(), INPUT, mode="nearest") for name in ("depth", "spread"))
        hits = count_hits(depth, intrinsics, pose)
        found = self.expert(seen["features"], depth, spread, hits, seen["thickness"].detach(), intrinsics, pose)
        return seen, found

    def shared(self, found: dict[str, Tensor], cameras: Cameras, size: tuple[int, int]) -> Tensor:
        """Combine the views of each scene: a weighted mean of their probabilities.

        Args:
            found: the expert's outputs for B V views.
            cameras: of B scenes.
            size: (height, width) of the images, pixels.

        Returns:
            (B, 12, 60, 60, 36), probabilities of the labels, 0 = empty.
        """
        batch, views = cameras.K.shape[:2]
        opinions = torch.stack([probabilities(found, b) for b in range(batch * views)])
        points = to_camera(self.centres, cameras.pose.flatten(0, 1))
        inside = project(points, cameras.K.flatten(0, 1), size).inside.view(batch, views, 1, *BOX_VOXELS)
        weights = torch.where(inside, 1.0, UNSEEN)
        opinions = opinions.unflatten(0, (batch, views))
        return (opinions * weights).sum(1) / weights.sum(1)


def probabilities(found: dict[str, Tensor], b: int) -> Tensor:
    """Returns the probabilities of the labels, (12, 60, 60, 36), of view b of the expert's outputs."""
    log_empty, weights = local_head(found, b)
    empty = log_empty.exp()[None]
    classes = (weights + 1e-6 / NUM_CLASSES) / (weights.sum(-1, keepdim=True) + 1e-6)
    return torch.cat([empty, (1 - empty) * classes.permute(3, 0, 1, 2)])


def one_hot(target: Tensor) -> Tensor:
    """Returns labels (B, 60, 60, 36), 0 to 11 or unknown, as probabilities (B, 12, 60, 60, 36); unknown is empty."""
    labels = torch.where(target > NUM_CLASSES, 0, target).long()
    return F.one_hot(labels, NUM_CLASSES + 1).movedim(-1, 1).float()
