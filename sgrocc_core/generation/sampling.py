"""Sampling: views of one room from a sentence, and the occupancy that they share.

Every denoising step decodes its estimate of the images; the spatial expert reads the shared occupancy from them, which
conditions the next step. The first step has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sgrocc_core.generation.joint import Framework, read_occupancy
from sgrocc_core.generation.network.alignment import Cameras
from sgrocc_core.generation.network.perception import INPUT, Perception, one_hot
from sgrocc_core.geometry.lattice import CELL_SIZE, box_corner, box_pose
from sgrocc_core.geometry.poses import gravity_aligned_rotation, make_pose

HEIGHT, PITCH, TURN, ASIDE = 1.45, 14.0, 18.0, 0.35
"""Height of the cameras, metres; how far they look down, degrees; largest turn to a side, degrees, and step to that
side, metres (round guesses, within those of the generated rooms' walks)."""
FOCAL = 0.9
"""Focal length as a share of the image's width, that of ScanNet's camera."""


@dataclass(frozen=True)
class Views:
    """Cameras of one scene.

    Attributes:
        K: (V, 3, 3) intrinsics, pixels.
        T_wc: (V, 4, 4) poses, camera to world, metres.
        origin: (3,) lowest corner of the shared box, metres.
    """

    K: np.ndarray
    T_wc: np.ndarray
    origin: np.ndarray

    def __len__(self) -> int:
        return len(self.K)

    @property
    def T_bc(self) -> np.ndarray:
        """(V, 4, 4) poses, camera to the shared box, metres."""
        return np.stack([box_pose(T, self.origin) for T in self.T_wc])

    def batch(self, device: torch.device) -> dict[str, Tensor]:
        """K (1, V, 4), pose (1, V, 4, 4) and gravity (1, V, 3, 3), as the networks take them."""
        pose = self.T_bc
        K = np.stack([self.K[:, 0, 0], self.K[:, 1, 1], self.K[:, 0, 2], self.K[:, 1, 2]], 1)
        gravity = np.stack([gravity_aligned_rotation(T[:3, :3]) for T in pose])
        values = {"K": K, "pose": pose, "gravity": gravity}
        return {name: torch.from_numpy(value.astype(np.float32))[None].to(device) for name, value in values.items()}


@dataclass(frozen=True)
class Imagined:
    """What was generated.

    Attributes:
        images: (V, H, W, 3) uint8 RGB.
        depth: (V, H, W) float32, metres, as the image engine reads it.
        labels: (V, H, W) uint8, classes of the pixels, as the image engine reads them.
        probabilities: (12, 60, 60, 36) float32, of the labels in the shared box, 0 = empty.
    """

    images: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def voxels(self) -> np.ndarray:
        """(60, 60, 36) uint8, occupied where that is at least as likely as empty, then the likeliest class."""
        occupied = self.probabilities[0] <= 0.5
        return np.where(occupied, 1 + self.probabilities[1:].argmax(0), 0).astype(np.uint8)


def look_around(count: int, size: tuple[int, ...]) -> Views:
    """Cameras side by side that look into the same part of a room.

    Args:
        count: number of cameras.
        size: (width, height) of the images, pixels.
    """
    focal = FOCAL * size[0]
    K = np.array([[focal, 0, size[0] / 2 - 0.5], [0, focal, size[1] / 2 - 0.5], [0, 0, 1]])
    places = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    pitch = np.radians(PITCH)
    poses = []
    for place in places:
        yaw = -np.radians(TURN) * place
        ahead = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
        right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
        rotation = np.stack([right, np.cross(ahead, right), ahead], 1)
        poses.append(make_pose(rotation, np.array([0.0, ASIDE * place, HEIGHT])))
    middle = make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.0, 0, HEIGHT]))
    # The lattice is shifted so that the floor, at z = 0, is the border of a cell.
    return Views(np.repeat(K[None], count, 0), np.stack(poses), box_corner(middle) * CELL_SIZE)


@torch.no_grad()
def imagine(
    framework: Framework, perception: Perception, prompt: str, views: Views, seed: int, steps: int | None = None,
    guidance: float | None = None, given: np.ndarray | None = None, after: Callable[[int], None] | None = None,
) -> Imagined:  # fmt: skip
    """Generate views of one room.

    Args:
        framework: trained networks.
        perception: the spatial expert on images.
        prompt: what the room is to be.
        views: the cameras.
        seed: of the noise; the same seed gives the same views on one machine.
        steps: denoising steps; None: the configuration's.
        guidance: scale of classifier-free guidance; None: the configuration's.
        given: (60, 60, 36) uint8 labels that condition every step in place of the expert's reading.
        after: called after each step with the number of steps done.
    """
    config = framework.config
    steps, guidance = steps or config.steps, config.guidance if guidance is None else guidance
    framework.eval()
    perception.eval()
    device = next(framework.unet.parameters()).device
    batch = views.batch(device)
    cameras = Cameras(batch["K"], batch["pose"])
    texts = np.stack([framework.text.read(prompt), framework.text.read("")])
    tokens = framework.text(torch.from_numpy(texts).to(device))
    shape = (len(views), config.latents, *config.latent_size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    scheduler = framework.noise.scheduler
    scheduler.set_timesteps(steps)
    occupancy = None if given is None else one_hot(torch.from_numpy(given)[None].to(device))
    for done, level in enumerate(scheduler.timesteps, 1):
        levels = torch.full((len(views),), int(level), device=device)
        predicted = framework.predict(latents, levels, tokens[:1], occupancy, cameras)
        if guidance != 1:
            without = framework.predict(latents, levels, tokens[1:], occupancy, cameras)
            predicted = without + guidance * (predicted - without)
        clean = framework.noise.clean(latents, predicted, levels)
        if given is None and framework.config.aligned and done < steps:
            occupancy = read_occupancy(framework, perception, clean, batch)[0]
        latents = scheduler.step(predicted, level, latents).prev_sample
        if after is not None:
            after(done)
    found, images, seen = read_occupancy(framework, perception, latents, batch)
    return Imagined(*as_arrays(images, seen, config.size), found[0].float().cpu().numpy())


def as_arrays(
    images: Tensor, seen: dict[str, Tensor], size: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert the image engine's reading to arrays of the size of the images.

    Args:
        images: (V, 3, H, W), 0 to 1.
        seen: the image engine's outputs.
        size: (W, H), of the aspect ratio 4:3.

    Returns:
        images (V, H, W, 3) uint8; depth (V, H, W) float32, metres; labels (V, H, W) uint8.
    """
    shape = (size[1], size[0])
    assert INPUT[0] * size[0] == INPUT[1] * size[1], "images have the aspect ratio of the expert's input"
    depth = torch.nn.functional.interpolate(seen["depth"].float(), shape, mode="nearest")[:, 0]
    if "semantics" in seen:
        scores = torch.nn.functional.interpolate(seen["semantics"].float(), shape, mode="bilinear", align_corners=False)
        labels = 1 + scores[:, 1:].argmax(1)
    else:
        labels = torch.full(depth.shape, 255)
    pixels = (images.permute(0, 2, 3, 1) * 255).round().clamp(0, 255)
    return pixels.cpu().numpy().astype(np.uint8), depth.cpu().numpy(), labels.cpu().numpy().astype(np.uint8)
