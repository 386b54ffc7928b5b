"""Floor plan of a voxel map: seen from above without the ceiling, coloured by class, with cast shadows.

Higher voxels are lighter.
"""

from __future__ import annotations

import cv2
import numpy as np

from sgrocc_core.classes import color_table
from sgrocc_core.drawing.room import BACKGROUND, floor_level, open_ceiling
from sgrocc_core.drawing.surface import VoxelBox

FREE_COLOR = np.array([238.0, 237.0, 232.0])
SHADOW_STEPS = 7
"""Largest length of a cast shadow, voxels."""


def draw_plan(
    grid: VoxelBox, free: np.ndarray | None, size: tuple[int, int], cut: int = 24
) -> tuple[np.ndarray, float]:
    """Draw the plan, with the long side of the map along the long side of the image.

    Args:
        grid: The map.
        free: (M, 3) int32 indices of the voxels observed free, or None.
        size: (width, height) of the image, pixels.
        cut: Height above the floor from which voxels are removed, voxels.

    Returns:
        (height, width, 3) float32 RGB, and the size of a voxel in pixels.
    """
    opened = open_ceiling(grid, cut)
    top, label = _highest(opened.labels)
    seen = np.zeros(top.shape, bool)
    if free is not None and len(free):
        columns = free[:, :2] - opened.origin[:2]
        inside = ((columns >= 0) & (columns < top.shape)).all(1)
        seen[tuple(columns[inside].T)] = True
    colors = color_table()[label].astype(np.float64) * _light(top, floor_level(grid))[..., None]
    colors[label == 0] = BACKGROUND
    colors[(label == 0) & seen] = FREE_COLOR
    colors, top, label = _trim(colors, top, label)
    if (colors.shape[0] > colors.shape[1]) != (size[0] > size[1]):
        colors, top, label = (np.rot90(a) for a in (colors, top, label))
    # Image rows run along -y, so that x points right and y up, or the plan is turned by 90 degrees.
    colors, top, label = (np.swapaxes(a, 0, 1)[::-1] for a in (colors, top, label))
    pixels = min(size[0] / colors.shape[1], size[1] / colors.shape[0])
    return _enlarge(colors, top, label, size, pixels), pixels


def _highest(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y) height index and label of the highest voxel of each column; -1 and label 0 in an empty column."""
    filled = labels > 0
    top = labels.shape[2] - 1 - np.argmax(filled[:, :, ::-1], 2)
    label = np.take_along_axis(labels, top[:, :, None], 2)[:, :, 0]
    return np.where(filled.any(2), top, -1), label


def _light(top: np.ndarray, floor: int) -> np.ndarray:
    """Brightness of each column: it rises with height and falls in the shadow of higher columns."""
    light = 1.05 + 0.12 * np.clip((top - floor) / 24.0, 0, 1)
    shadow = np.zeros(top.shape)
    for step in range(1, SHADOW_STEPS):
        higher = np.full(top.shape, -(10**6))
        higher[step:, : -step or None] = top[:-step, step:]
        shadow = np.maximum(shadow, np.clip((higher - top - 2.0 * step) / 6.0, 0, 1))
    around = cv2.blur(top.astype(np.float32), (5, 5), borderType=cv2.BORDER_REPLICATE)
    hollow = np.clip((around - top) / 14.0, 0, 1)
    return light * (1 - 0.20 * cv2.blur(shadow, (3, 3))) * (1 - 0.12 * hollow)


def _trim(colors: np.ndarray, top: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(label)
    if len(rows) == 0:
        return colors, top, label
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    return colors[box], top[box], label[box]


def _enlarge(
    colors: np.ndarray, top: np.ndarray, label: np.ndarray, size: tuple[int, int], pixels: float
) -> np.ndarray:
    """Enlarge each column to a square and draw lines where the height or the class changes."""
    width, height = max(1, int(colors.shape[1] * pixels)), max(1, int(colors.shape[0] * pixels))
    big = cv2.resize(np.ascontiguousarray(colors).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    line = np.zeros((height, width), bool)
    thick = max(1, round(pixels / 8))
    for axis in (0, 1):
        step = (np.abs(np.diff(top, axis=axis)) > 2) | (np.diff(label.astype(int), axis=axis) != 0)
        for i, j in np.argwhere(step):
            at, across = (i + (axis == 0), j + (axis == 1)), (i, j)
            y, x = round(at[0] * pixels), round(at[1] * pixels)
            if axis == 0:
                line[max(y - thick, 0) : y + thick, round(across[1] * pixels) : round((across[1] + 1) * pixels)] = True
            else:
                line[round(across[0] * pixels) : round((across[0] + 1) * pixels), max(x - thick, 0) : x + thick] = True
    big = np.minimum(big, np.float32(255))
    big[line] = big[line] * np.float32(0.62)
    out = np.empty((size[1], size[0], 3), np.float32)
    out[:] = BACKGROUND
    y, x = size[1] - height, 0
    out[y : y + height, x : x + width] = big
    return out
