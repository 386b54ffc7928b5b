"""Perspective view of a voxel map without its ceiling and with the near walls cut low, with soft ambient shadows.

Faces are painted back to front into an image of face numbers. For cubes of one lattice, the order by L1 distance from
the eye's cell is exact. Each pixel is then shaded once from its face, so that edges, shadow and colour are smooth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sgrocc_core.classes import STRUCTURAL, color_table
from sgrocc_core.drawing.surface import CORNERS, NORMALS, VoxelBox, exposed_faces

CEILING, FLOOR, WALL = 1, 2, 3
STUB = 3
"""Remaining height of a cut wall above the floor, voxels."""
ELEVATION = np.radians(47.0)
FIELD_OF_VIEW = np.radians(26.0)
SIDE_LIGHT = np.array([0.86, 0.86, 0.97, 0.97, 0.66, 1.15])
"""Brightness of the faces to -x, +x, -y, +y, -z, +z: light comes from above and slightly from the side."""
BACKGROUND = np.array([250.0, 249.0, 246.0])
PIXELS_AT_ONCE = 4096
"""Pixels that are shaded together: so few that what is computed of them stays in the processor's cache."""


@dataclass(frozen=True)
class View:
    """The camera of the perspective view.

    Attributes:
        eye: (3,) position, voxels of the grid.
        R: (3, 3) rotation; its rows are the right, down and forward directions.
        focal: Focal length, pixels.
        centre: (2,) principal point, pixels.
    """

    eye: np.ndarray
    R: np.ndarray
    focal: float
    centre: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project points (..., 3) in voxels to (..., 2) pixels."""
        camera = (points - self.eye) @ self.R.T
        return camera[..., :2] / camera[..., 2:] * self.focal + self.centre


def floor_level(grid: VoxelBox) -> int:
    """The z index just above the floor: from the floor voxels, else from the 2nd percentile of all heights."""
    heights = np.nonzero(grid.labels == FLOOR)[2]
    if len(heights) > 20:
        return int(np.median(heights)) + 1
    filled = np.nonzero(grid.labels)[2]
    return int(np.percentile(filled, 2)) + 1 if len(filled) else 1


def open_ceiling(grid: VoxelBox, height: int) -> VoxelBox:
    """A copy without the ceiling and without voxels from `height` voxels above the floor upwards."""
    labels = grid.labels.copy()
    labels[labels == CEILING] = 0
    labels[:, :, min(floor_level(grid) + height, labels.shape[2]) :] = 0
    return VoxelBox(grid.origin, labels)


def cut_near_walls(grid: VoxelBox, azimuth: float) -> VoxelBox:
    """A copy in which the walls between the viewer and the inside of the room are cut to STUB voxels.

    Args:
        grid: The map.
        azimuth: Direction from the room to the viewer, radians.
    """
    floor = floor_level(grid)
    inside = _inside(grid)
    behind = np.zeros(inside.shape, np.float32)
    away = -np.array([np.cos(azimuth), np.sin(azimuth)])
    steps = np.arange(2, 20, 1.5)
    for step in steps:
        shift = np.array([[1, 0, -away[1] * step], [0, 1, -away[0] * step]], np.float32)
        behind += cv2.warpAffine(inside.astype(np.float32), shift, inside.shape[::-1], flags=cv2.INTER_NEAREST)
    cut = behind > 0.45 * len(steps)
    labels = grid.labels.copy()
    structural = np.isin(labels, STRUCTURAL) & (labels != FLOOR)
    above = np.arange(labels.shape[2]) >= floor + STUB
    labels[structural & above & cut[:, :, None]] = 0
    return VoxelBox(grid.origin, labels)


def _inside(grid: VoxelBox) -> np.ndarray:
    """(X, Y) bool: columns with floor, furniture or objects, with small gaps closed."""
    inside = np.asarray(((grid.labels > 0) & ~np.isin(grid.labels, (1, 3, 4))).any(2), np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    return cv2.morphologyEx(inside, cv2.MORPH_CLOSE, kernel).astype(bool)


def choose_azimuth(grid: VoxelBox) -> float:
    """The azimuth, of 16 tried, that shows the most voxels of furniture and objects and the broad side of the room."""
    inside = np.argwhere(_inside(grid)).astype(np.float64)
    if len(inside) < 3:
        return np.radians(-60.0)
    best, best_score = 0.0, -np.inf
    things = (grid.labels > 0) & ~np.isin(grid.labels, STRUCTURAL)
    for k in range(16):
        azimuth = 2 * np.pi * (k + 0.5) / 16
        opened = cut_near_walls(grid, azimuth)
        kept = opened.labels > 0
        direction = np.array([np.cos(azimuth), np.sin(azimuth), np.tan(ELEVATION)])
        hidden = np.zeros(kept.shape, bool)
        for step in (3, 6, 10, 15):
            offset = np.rint(direction / np.linalg.norm(direction[:2]) * step).astype(int)
            hidden |= _shifted(kept & ~things, offset)
        right = np.array([-np.sin(azimuth), np.cos(azimuth)])
        spread = np.ptp(inside @ right) / (np.ptp(inside @ np.array([np.cos(azimuth), np.sin(azimuth)])) + 1)
        walls = np.count_nonzero(np.isin(opened.labels, (3, 4)))
        score = np.count_nonzero(things & ~hidden) / (np.count_nonzero(things) + 1) + 0.3 * min(spread, 1.6)
        score += 0.3 * walls / (np.count_nonzero(np.isin(grid.labels, (3, 4))) + 1)
        if score > best_score:
            best, best_score = azimuth, score
    return best


def _shifted(mask: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """mask[i + offset] inside the array, False elsewhere."""
    out = np.zeros_like(mask)
    to = tuple(slice(max(-o, 0), n - max(o, 0)) for o, n in zip(offset, mask.shape, strict=True))
    of = tuple(slice(max(o, 0), n - max(-o, 0)) for o, n in zip(offset, mask.shape, strict=True))
    if all(s.start < s.stop for s in to):
        out[to] = mask[of]
    return out


def fit_view(grid: VoxelBox, azimuth: float, size: tuple[int, int], margin: float = 0.05) -> View:
    """The view from an azimuth in which the voxels fill an image of `size` (width, height) pixels."""
    cells = np.argwhere(grid.labels > 0) + 0.5
    if len(cells) == 0:
        cells = np.array([[0.0, 0, 0], [1, 1, 1]])
    low, high = np.percentile(cells, 0.3, axis=0) - 1, np.percentile(cells, 99.7, axis=0) + 1
    keep = cells[((cells >= low) & (cells <= high)).all(1)]
    if not len(keep):  # a few voxels, far apart
        keep = cells
    centre = (low + high) / 2
    back = np.array([np.cos(azimuth) * np.cos(ELEVATION), np.sin(azimuth) * np.cos(ELEVATION), np.sin(ELEVATION)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    R = np.stack([right, np.cross(-back, right), -back])
    distance = np.linalg.norm(high - low) / 2 / np.sin(FIELD_OF_VIEW / 2)
    view = View(centre + back * distance, R, 1.0, np.zeros(2))
    seen = view.project(np.concatenate([keep - 0.5, keep + 0.5]))
    low2, high2 = seen.min(0), seen.max(0)
    focal = float(((1 - 2 * margin) * np.array(size) / (high2 - low2)).min())
    return View(view.eye, R, focal, np.array(size) / 2 - focal * (low2 + high2) / 2)


def draw_room(grid: VoxelBox, size: tuple[int, int], wall_height: int = 30) -> np.ndarray:
    """Draw the perspective view.

    Args:
        grid: The map.
        size: (width, height) of the image, pixels.
        wall_height: Height above the floor from which voxels are removed, voxels.

    Returns:
        (height, width, 3) float32 RGB, 0..255, with BACKGROUND where there is no voxel.
    """
    opened = open_ceiling(grid, wall_height)
    azimuth = choose_azimuth(opened)
    opened = cut_near_walls(opened, azimuth)
    view = fit_view(opened, azimuth, size)
    cells, sides = exposed_faces(opened)
    facing = ((view.eye - cells - 0.5 - 0.5 * NORMALS[sides]) * NORMALS[sides]).sum(1) > 0
    cells, sides = cells[facing], sides[facing]
    order = np.argsort(-np.abs(cells + 0.5 - np.floor(view.eye) - 0.5).sum(1), kind="stable")
    cells, sides = cells[order], sides[order]
    quads = np.rint(view.project((cells[:, None] + CORNERS[sides]).astype(np.float64)) * 16).astype(np.int32)
    numbers = np.full((size[1], size[0]), -1, np.int32)
    for number, quad in enumerate(quads):
        cv2.fillConvexPoly(numbers, quad, number, cv2.LINE_8, 4)
    return _shade(opened, cells, sides, numbers, view)


def _shade(grid: VoxelBox, cells: np.ndarray, sides: np.ndarray, numbers: np.ndarray, view: View) -> np.ndarray:
    """Shade every pixel from its face: colour of the class, side, interpolated ambient shadow, outline of the voxel."""
    image = np.empty((*numbers.shape, 3), np.float32)
    image[:] = BACKGROUND
    axis, normal = sides // 2, NORMALS[sides]
    planes = cells[np.arange(len(cells)), axis] + (normal.sum(1) > 0)
    light = _corner_light(grid, cells, sides)
    colors = color_table()[grid.labels[tuple(cells.T)]].astype(np.float32)
    tint = SIDE_LIGHT[sides] * (1 + 0.035 * (_hash(cells) - 0.5))
    all_rows, all_columns = np.nonzero(numbers >= 0)
    for first in range(0, len(all_rows), PIXELS_AT_ONCE):
        rows, columns = (a[first : first + PIXELS_AT_ONCE] for a in (all_rows, all_columns))
        face = numbers[rows, columns]
        pixel = np.stack([columns, rows], 1).astype(np.float64) - view.centre
        rays = np.concatenate([pixel / view.focal, np.ones((len(pixel), 1))], 1) @ view.R
        along, index = axis[face], np.arange(len(face))
        distance = (planes[face] - view.eye[along]) / rays[index, along]
        local = view.eye + rays * distance[:, None] - cells[face]
        u = np.clip(local[index, (along + 1) % 3], 0, 1)
        v = np.clip(local[index, (along + 2) % 3], 0, 1)
        a, b, c, d = light[face].T
        shadow = (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v
        brightness = tint[face] * shadow
        edge = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v)) * view.focal / (distance + 1e-6)
        brightness *= 1 - 0.10 * np.clip(1.4 - edge, 0, 1)
        image[rows, columns] = np.clip(colors[face] * brightness[:, None].astype(np.float32), 0, 255)
    return image


def _corner_light(grid: VoxelBox, cells: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Ambient light at the corners (u, v) = (0,0), (1,0), (0,1), (1,1) of each face: (F, 4), about 1 = unoccluded."""
    occupied = np.pad((grid.labels > 0).astype(np.float32), 8)
    near, far = _blurred(occupied, 3), _blurred(occupied, 9)
    out = np.empty((len(cells), 4), np.float64)
    axis, normal = sides // 2, NORMALS[sides]
    index = np.arange(len(cells))
    for corner, (u, v) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        point = cells + 0.5 * (1 + normal)
        point[index, (axis + 1) % 3], point[index, (axis + 2) % 3] = (
            cells[index, (axis + 1) % 3] + u,
            cells[index, (axis + 2) % 3] + v,
        )
        close = _sampled(near, point + 0.9 * normal + 7.5)
        wide = _sampled(far, point + 3.5 * normal + 7.5)
        out[:, corner] = np.clip(1.04 - 0.8 * close, 0.5, 1.0) * np.clip(1.08 - 0.75 * wide, 0.62, 1.0)
    return out


def _blurred(grid: np.ndarray, size: int) -> np.ndarray:
    """Mean over cubes of `size`^3 voxels."""
    out = grid
    for axis in range(3):
        moved = np.moveaxis(out, axis, 0)
        flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
        blurred = cv2.blur(flat, (1, size), borderType=cv2.BORDER_CONSTANT)
        out = np.moveaxis(blurred.reshape(moved.shape), 0, axis)
    return np.ascontiguousarray(out)


def _sampled(grid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Trilinear interpolation of a grid at (N, 3) points, in indices of its elements."""
    points = np.clip(points, 0, np.array(grid.shape) - 1.001)
    low = points.astype(np.int32)
    a = points - low
    value = np.zeros(len(points))
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                weight = np.abs(1 - dx - a[:, 0]) * np.abs(1 - dy - a[:, 1]) * np.abs(1 - dz - a[:, 2])
                value += weight * grid[low[:, 0] + dx, low[:, 1] + dy, low[:, 2] + dz]
    return value


def _hash(cells: np.ndarray) -> np.ndarray:
    """A pseudo-random number in [0, 1) for each cell, the same in every run."""
    mixed = (cells.astype(np.uint64) * np.array([73856093, 19349663, 83492791], np.uint64)).sum(1)
    return ((mixed * np.uint64(2654435761)) >> np.uint64(8)).astype(np.float64) % 1024 / 1024
