"""Files of imagined rooms: a set in the public layout, and a contact sheet."""

from __future__ import annotations

import shutil
import textwrap
import zlib
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.classes import UNKNOWN, color_table
from sgrocc_core.generation.sampling import Imagined, Views
from sgrocc_core.generation.scores import project_labels
from sgrocc_core.geometry.camera import project
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE, voxel_centres

SCALE = 2
"""Pixels of the contact sheet per pixel of an image."""
GAP, LINE = 8, 22
"""Space between pictures, and height of a line of text, pixels."""
QUALITY = 95
"""Of the JPEG files."""


def scene_name(prompt: str, seed: int) -> str:
    """Returns the folder name of the room of a prompt and a seed."""
    return f"imagined{seed:04d}_{zlib.crc32(prompt.encode()) % 100_000:05d}"


def seen_voxels(views: Views, size: tuple[int, ...]) -> np.ndarray:
    """Returns whether each voxel of the shared box projects into a view, (60, 60, 36) bool."""
    centres = voxel_centres(views.origin).reshape(-1, 3)
    seen = np.zeros(len(centres), bool)
    for K, T_wc in zip(views.K, views.T_wc, strict=True):
        u, v, z = project(centres, K, T_wc)
        seen |= (z > 0) & (u >= -0.5) & (u < size[0] - 0.5) & (v >= -0.5) & (v < size[1] - 0.5)
    return seen.reshape(BOX_VOXELS)


def write_room(out: Path, prompt: str, seed: int, views: Views, room: Imagined) -> str:
    """Write the views of a room in the layout of Occ-ScanNet; lists name all rooms of the folder.

    Voxels that no view shows are unknown.

    Args:
        out: root of the set.
        prompt: written to captions/SCENE.txt.
        seed: of the sampling.
        views: the cameras.
        room: what was generated.

    Returns:
        name of the scene.
    """
    from sgrocc_core.data.synthetic.generate import GeneratedFrame
    from sgrocc_core.data.synthetic.rendering.render import View
    from sgrocc_core.data.synthetic.write import write_frame

    root, scene = out / "occscannet", scene_name(prompt, seed)
    part, final = root / "gathered_data" / f".{scene}.part", root / "gathered_data" / scene
    for folder in (part, root / "posed_images" / scene, root / "labels_2d" / scene):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    size = (room.images.shape[2], room.images.shape[1])
    target = np.where(seen_voxels(views, size), room.voxels, UNKNOWN).astype(np.uint8)
    corner = np.rint(views.origin / VOXEL_SIZE).astype(np.int64)
    for k in range(len(views)):
        view = View(room.images[k], room.depth[k], room.labels[k])
        frame = GeneratedFrame(view, views.K[k], views.T_wc[k], views.origin, target, corner)
        write_frame(root, part, scene, k, frame, QUALITY)
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    (out / "captions").mkdir(exist_ok=True)
    (out / "captions" / f"{scene}.txt").write_text(f"{prompt}\n")
    frames = sorted((root / "gathered_data").glob("imagined*/*.pkl"))
    (root / "train_final.txt").write_text("".join(f"gathered_data/{p.parent.name}/{p.name}\n" for p in frames))
    return scene


def contact_sheet(prompt: str, views: Views, room: Imagined) -> np.ndarray:
    """Draw the views in columns: the image, its depth, its classes, and the classes of the shared voxels.

    Args:
        prompt: title.
        views: the cameras.
        room: what was generated.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = (SCALE * edge for edge in room.images.shape[1:3])
    colours = color_table()
    nearest, farthest = np.percentile(room.depth, [1, 99])
    columns = []
    for k in range(len(views)):
        gray = np.clip((farthest - room.depth[k]) / max(farthest - nearest, 1e-6), 0, 1)
        depth = cv2.applyColorMap((255 * gray).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
        voxels = project_labels(room.voxels, views.K[k], views.T_bc[k], (room.images.shape[2], room.images.shape[1]))
        pictures = [room.images[k], depth, colours[room.labels[k]], colours[voxels]]
        modes = [cv2.INTER_CUBIC, *[cv2.INTER_NEAREST] * 3]
        large = [cv2.resize(p, (width, height), interpolation=m) for p, m in zip(pictures, modes, strict=True)]
        columns.append(np.concatenate([_framed(p) for p in large]))
    sheet = np.concatenate(columns, 1)
    lines = textwrap.wrap(prompt, max(20, sheet.shape[1] // 9))
    title = np.full((LINE * len(lines) + GAP, sheet.shape[1], 3), 255, np.uint8)
    for number, line in enumerate(lines, 1):
        cv2.putText(title, line, (GAP, LINE * number - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([title, sheet])


def _framed(picture: np.ndarray) -> np.ndarray:
    return np.pad(picture, ((0, GAP), (GAP // 2, GAP // 2), (0, 0)), constant_values=255)
