"""Upper bound of the local head: Gaussians fitted to the ground truth of single views, without a network.

`python -m sgrocc_core.bench.head_capacity --packed DIR` prints, for several G and kinds of refinement, the SC-IoU and
mIoU of the best Gaussians within the bounds of the refinement (method, section 2.4). Where they are near 1, the
errors of a trained network are not due to the head.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgrocc_core.classes import NUM_CLASSES, UNKNOWN
from sgrocc_core.evaluation.metrics import OccupancyCounts
from sgrocc_core.gaussians.gaussians import constrain_scales, covariance
from sgrocc_core.geometry.lattice import BOX_VOXELS
from sgrocc_core.network.expert.lattice_encoder import cell_centres
from sgrocc_core.network.expert.refinement import MAX_STEP, bound_to_cell, move_along_ray, start_offsets
from sgrocc_core.network.expert.spatial_expert import cells_of
from sgrocc_core.training.data.packed import open_scene, packed_scenes
from sgrocc_core.training.losses import voxels as losses
from sgrocc_core.voxels.splatting.equations import labels_from
from sgrocc_core.voxels.splatting.splat_autograd import splat

HEADS = ((1, "none"), (1, "free"), (1, "ray"), (2, "ray"), (4, "none"), (4, "free"), (4, "ray"), (8, "ray"))
"""G and refinement of the printed heads."""
REACH = 1.5 * MAX_STEP
"""Maximum distance by which two blocks of refinement can move a mean, metres."""
RATE = 0.1
"""Learning rate of the fit; a round guess."""


@dataclass(frozen=True)
class Head:
    """Gaussians of the occupied cells, fitted to a view.

    Attributes:
        gaussians: G, Gaussians per cell.
        refinement: `ray`, `free` or `none`.
        steps: number of steps of the optimizer.
    """

    gaussians: int
    refinement: str
    steps: int = 60

    def fit(self, target: np.ndarray, camera: np.ndarray) -> np.ndarray:
        """Fit the Gaussians to a view's ground truth.

        Args:
            target: (60, 60, 36) uint8 labels.
            camera: (3,) camera centre in the box frame, metres.

        Returns:
            (60, 60, 36) uint8, the labels of the fitted Gaussians.
        """
        cells = cells_of(torch.from_numpy(target)[None])[0]
        centres = cell_centres()[((cells > 0) & (cells < UNKNOWN)).any(1)]
        count, moves = len(centres), {"ray": 1, "free": 3, "none": 0}[self.refinement]
        raw = torch.zeros(count, self.gaussians, moves + 8 + NUM_CLASSES)
        raw[..., moves + 3] = raw[..., moves + 7] = 1.0  # w of the rotation, and opacity
        raw.requires_grad_(True)
        optimiser = torch.optim.Adam([raw], RATE)
        labels = torch.from_numpy(target).flatten().long()
        known = labels != UNKNOWN
        for step in range(self.steps + 1):
            log_empty, class_weights = self._splat(raw, centres, torch.as_tensor(camera, dtype=torch.float32), moves)
            if step == self.steps:
                break
            empty, weights = log_empty.flatten()[known], class_weights.flatten(0, 2)[known]
            labelled = losses.target_log_probability(empty, weights, labels[known])
            optimiser.zero_grad()
            (2 * losses.occupancy(empty, labels[known]) - labelled.mean()).backward()  # type: ignore[no-untyped-call]
            optimiser.param_groups[0]["lr"] = RATE * (1 - 0.9 * step / self.steps)
            optimiser.step()
        return labels_from(log_empty.detach().numpy(), class_weights.detach().numpy())

    def _splat(self, raw: Tensor, centres: Tensor, camera: Tensor, moves: int) -> tuple[Tensor, Tensor]:
        move, scales, rotations, opacities, logits = raw.split([moves, 3, 4, 1, NUM_CLASSES], -1)
        means = (centres[:, None] + start_offsets(self.gaussians))[None]
        if self.refinement == "ray":
            means = move_along_ray(means, move[None], camera[None], REACH)
        elif self.refinement == "free":
            means = means + REACH * torch.tanh(move[None])
        means = bound_to_cell(means, centres)
        turned = rotations / rotations.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        covariances = covariance(constrain_scales(scales.reshape(-1, 3)), turned.reshape(-1, 4))
        classes = torch.softmax(logits.reshape(-1, NUM_CLASSES), -1)
        return splat(
            means.reshape(-1, 3),
            covariances,
            torch.sigmoid(opacities.reshape(-1)),
            classes,
            means.new_zeros(3),
            BOX_VOXELS,
        )


def capacity(head: Head, folder: Path, views: int) -> dict[str, float]:
    """Compute the figures of a head's best Gaussians.

    Args:
        head: to fit.
        folder: of packed scenes.
        views: maximum number of scenes, spread evenly; one view of each is used.
    """
    scenes = packed_scenes(folder)
    counts = OccupancyCounts()
    for i in np.unique(np.linspace(0, len(scenes) - 1, min(views, len(scenes))).round().astype(int)):
        scene = open_scene(scenes[i])
        target, pose = np.array(scene.target[len(scene) // 2]), np.array(scene.T_bc[len(scene) // 2])
        counts.add(head.fit(target, pose[:3, 3]), target, np.ones(target.shape, bool))
    figures = counts.figures()
    return {name: figures[name] for name in ("sc_iou", "miou", "boundary_f1")}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Fit the local head's Gaussians to the ground truth of views.")
    parser.add_argument(
        "--packed", type=Path, required=True, metavar="DIR", help="packed scenes, as `sgrocc train` keeps them"
    )
    parser.add_argument(
        "--views", type=int, default=3, help="number of scenes, one view of each (default: %(default)s)"
    )
    arguments = parser.parse_args()
    print("| G | refinement | SC-IoU | mIoU | boundary F1 |\n|---|---|---|---|---|")
    for gaussians, refinement in HEADS:
        found = capacity(Head(gaussians, refinement), arguments.packed, arguments.views)
        print(
            f"| {gaussians} | {refinement} | " + " | ".join(f"{value:.3f}" for value in found.values()) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
