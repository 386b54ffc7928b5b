"""Short videos of two textured walls whose depth is known, in the layout of Occ-ScanNet, to train stereo on."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.geometry.poses import make_pose

SIZE = (320, 240)
K = np.array([[250.0, 0, 159.5], [0, 250.0, 119.5], [0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""The optical axis along the world's x."""


def texture(seed: int) -> np.ndarray:
    grey = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (800, 800)).astype(np.float32), (0, 0), 2.0)
    return np.clip((grey - grey.mean()) * 8 + 128, 0, 255).astype(np.float32)


def look(T_wc: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image (240, 320, 3) uint8 and depth (240, 320) float32 m: walls 2 m ahead on the left, 4 m on the right."""
    v, u = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    d = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], -1) @ T_wc[:3, :3].T
    near, far = ((wall - T_wc[0, 3]) / d[..., 0] for wall in (2.0, 4.0))
    left = T_wc[1, 3] + near * d[..., 1] > 0
    depth = np.where(left, near, far)
    at = T_wc[:3, 3] + depth[..., None] * d
    scale = np.where(left, 200, 100)
    column, row = ((c * scale + 400).astype(np.float32) for c in (at[..., 1] + np.where(left, 0, 1.7), at[..., 2]))
    grey = cv2.remap(picture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2), depth.astype(np.float32)


def pose(k: int) -> np.ndarray:
    """Of frame k: 6 cm to the side and 1 degree of turn a frame."""
    yaw = 0.018 * k
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])
    return make_pose(turn @ FORWARD, np.array([0.01 * k, 0.06 * k, 1.2]))


def write_videos(root: Path, scenes: int, frames: int, seed: int = 0) -> Path:
    """Videos `walls_0`, `walls_1`, ... under a folder; no lists, as while a set is being made. Returns the folder."""
    for scene in range(scenes):
        name, picture = f"walls_{scene}", texture(seed + scene)
        gathered, images = root / "occscannet" / "gathered_data" / name, root / "occscannet" / "posed_images" / name
        for folder in (gathered, images):
            folder.mkdir(parents=True)
        for k in range(frames):
            image, depth = look(pose(k), picture)
            cv2.imwrite(str(images / f"{k:05d}.jpg"), image)
            cv2.imwrite(str(images / f"{k:05d}.png"), (depth * 1000 + 0.5).astype(np.uint16))
            content = {
                "cam_pose": pose(k), "intrinsic": K, "voxel_origin": np.zeros(3),
                "target_1_4": np.zeros((60, 60, 36), np.uint8), "img": "", "depth_gt": "",
            }  # fmt: skip
            (gathered / f"{k:05d}.pkl").write_bytes(pickle.dumps(content, protocol=4))
    return root
