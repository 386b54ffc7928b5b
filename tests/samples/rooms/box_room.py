"""A room of 4 x 5 x 2.6 m with three boxes in it, ray-cast exactly: textured images, z-depth and a walk of poses."""

from __future__ import annotations

import numpy as np

from sgrocc_core.frame import Frame

LOW, HIGH = np.zeros(3), np.array([4.0, 5.0, 2.6])
BOXES = (([1.5, 2.0, 0.0], [2.4, 3.2, 0.7]), ([0.0, 4.2, 0.0], [1.2, 5.0, 1.7]), ([3.3, 0.4, 0.0], [4.0, 1.6, 1.0]))
SIZE = (160, 120)
K = np.array([[130.0, 0.0, 79.5], [0.0, 130.0, 59.5], [0.0, 0.0, 1.0]])


def pose(x: float, y: float, yaw: float, down: float = 0.25, height: float = 1.4) -> np.ndarray:
    """(4, 4) optical frame to a world with z up; yaw and down in radians."""
    forward = np.array([np.cos(yaw) * np.cos(down), np.sin(yaw) * np.cos(down), -np.sin(down)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = np.stack([right, np.cross(forward, right), forward], 1), (x, y, height)
    return T


def walk(count: int = 12) -> list[np.ndarray]:
    """Poses of a walk that turns by a third of a circle."""
    return [pose(0.7 + 0.09 * i, 0.7 + 0.05 * i, 0.3 + 0.17 * i) for i in range(count)]


def look(T_wc: np.ndarray, intrinsics: np.ndarray = K, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 and z-depth (H, W) float32 metres from a pose."""
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rays = np.stack(
        [(u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1], np.ones(u.shape)], -1
    )
    direction, origin = rays @ T_wc[:3, :3].T, T_wc[:3, 3]
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    exits = np.maximum((LOW - origin) / direction, (HIGH - origin) / direction)
    depth, surface = exits.min(-1), exits.argmin(-1)
    for number, (low, high) in enumerate(BOXES, 3):
        first, second = (np.array(low) - origin) / direction, (np.array(high) - origin) / direction
        enter, leave = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
        hit = (enter < leave) & (enter > 0.05) & (enter < depth)
        depth, surface = (
            np.where(hit, enter, depth),
            np.where(hit, number * 3 + np.minimum(first, second).argmax(-1), surface),
        )
    points = origin + direction * depth[..., None]
    tone = np.random.default_rng(3).uniform(60, 220, (20, 3))[surface]
    shade = 1 + 0.15 * np.sin(7 * points).sum(-1, keepdims=True) / 3
    return np.clip(tone * shade, 0, 255).astype(np.uint8), depth.astype(np.float32)


def frames(count: int = 12) -> list[Frame]:
    """Good frames of the walk, ten a second."""
    made = []
    for i, T_wc in enumerate(walk(count)):
        image, depth = look(T_wc)
        made.append(Frame(image, K, T_wc, 10**18 + i * 10**8, depth))
    return made
