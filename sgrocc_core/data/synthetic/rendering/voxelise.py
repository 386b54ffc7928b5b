"""Exact voxel labels of a scene.

Every voxel that a solid reaches is occupied and has the class that fills most of it; voxels outside the rooms are 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from sgrocc_core.classes import EMPTY, NAMES, STRUCTURAL, UNKNOWN, label_of
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.data.synthetic.solids.meshes import count_model
from sgrocc_core.data.synthetic.solids.primitives import BOX, CYLINDER, ELLIPSOID, MESH, ROUNDNESS, Solids
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE

SUB = 4
"""Samples along a voxel's edge, that is 2 cm apart."""
GROW = 0.01
"""Solids are grown by half the distance of the samples, so that none falls between them, metres."""


@dataclass(frozen=True)
class LabelGrid:
    """Labels of a whole scene.

    Attributes:
        labels: (X, Y, Z) uint8, 255 = unknown.
        origin: (3,) origin of the lattice, metres.
        low: (3,) int, first voxel of the grid on the lattice.
    """

    labels: np.ndarray
    origin: np.ndarray
    low: np.ndarray

    def crop(self, corner: np.ndarray, shape: tuple[int, int, int] = BOX_VOXELS) -> np.ndarray:
        """Labels of the box whose first voxel on the lattice is `corner` (3,) int; 255 outside the grid."""
        out = np.full(shape, UNKNOWN, np.uint8)
        start = np.asarray(corner) - self.low
        a, b = np.maximum(start, 0), np.minimum(start + shape, self.labels.shape)
        if (b > a).all():
            to = a - start
            part = self.labels[a[0] : b[0], a[1] : b[1], a[2] : b[2]]
            out[to[0] : to[0] + part.shape[0], to[1] : to[1] + part.shape[1], to[2] : to[2] + part.shape[2]] = part
        return out


@njit(cache=True, fastmath=True)
def _inside(kind, x, y, z, h, taper):  # type: ignore[no-untyped-def]
    """Whether a local point is inside a solid with (grown) half extents h."""
    if abs(x) > h[0] * max(1.0, taper) or abs(y) > h[1] * max(1.0, taper) or abs(z) > h[2]:
        return False
    if kind == BOX:
        return True
    a, b, c = abs(x) / h[0], abs(y) / h[1], abs(z) / h[2]
    if kind == CYLINDER:
        width = 0.5 * ((1 - z / h[2]) + taper * (1 + z / h[2]))
        return a * a + b * b <= width * width
    if kind == ELLIPSOID:
        return a * a + b * b + c * c <= 1.0
    return a**ROUNDNESS + b**ROUNDNESS + c**ROUNDNESS <= 1.0


@njit(cache=True, fastmath=True)
def _count(counts, low, kinds, rotations, centres, halves, tapers, labels, weights, size):  # type: ignore[no-untyped-def]
    """Add to counts (X, Y, Z, 12) the number of samples of each voxel inside each solid, weighted by class."""
    step, near, full = size / SUB, size * 0.87, 0
    h = np.empty(3)
    for s in range(len(kinds)):
        R, c = rotations[s], centres[s]
        first, last = np.zeros(3, np.int64), np.zeros(3, np.int64)
        for a in range(3):
            h[a] = halves[s, a] + GROW * (abs(R[0, a]) + abs(R[1, a]) + abs(R[2, a]))
        wide = max(1.0, tapers[s])
        for a in range(3):
            reach = abs(R[a, 0]) * h[0] * wide + abs(R[a, 1]) * h[1] * wide + abs(R[a, 2]) * h[2]
            first[a] = max(0, int(np.floor((c[a] - reach - low[a]) / size)))
            last[a] = min(counts.shape[a] - 1, int(np.floor((c[a] + reach - low[a]) / size)))
        for i in range(first[0], last[0] + 1):
            for j in range(first[1], last[1] + 1):
                for k in range(first[2], last[2] + 1):
                    px, py, pz = (
                        low[0] + (i + 0.5) * size - c[0],
                        low[1] + (j + 0.5) * size - c[1],
                        low[2] + (k + 0.5) * size - c[2],
                    )
                    x, y, z = (
                        R[0, 0] * px + R[1, 0] * py + R[2, 0] * pz,
                        R[0, 1] * px + R[1, 1] * py + R[2, 1] * pz,
                        R[0, 2] * px + R[1, 2] * py + R[2, 2] * pz,
                    )
                    if abs(x) > h[0] * wide + near or abs(y) > h[1] * wide + near or abs(z) > h[2] + near:
                        continue
                    full = 0
                    if kinds[s] == BOX and abs(x) < h[0] - near and abs(y) < h[1] - near and abs(z) < h[2] - near:
                        full = SUB * SUB * SUB
                    else:
                        for q in range(SUB * SUB * SUB):
                            dx, dy, dz = (
                                (q // (SUB * SUB) - 1.5) * step,
                                ((q // SUB) % SUB - 1.5) * step,
                                (q % SUB - 1.5) * step,
                            )
                            full += _inside(
                                kinds[s],
                                x + R[0, 0] * dx + R[1, 0] * dy + R[2, 0] * dz,
                                y + R[0, 1] * dx + R[1, 1] * dy + R[2, 1] * dz,
                                z + R[0, 2] * dx + R[1, 2] * dy + R[2, 2] * dz,
                                h,
                                tapers[s],
                            )
                    counts[i, j, k, labels[s]] += full * weights[labels[s]]


def class_counts(solids: Solids, corner: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Weighted number of samples of each voxel inside solids of each class, (X, Y, Z, 12) uint16.

    Counts of several solids add up. Floor, walls and ceiling have a third of the weight of other classes; otherwise a
    picture on a wall would never win a voxel.

    Args:
        solids: the solids.
        corner: (3,) lowest corner of the grid, metres.
        shape: number of voxels along each axis.
    """
    solid_walls = set(STRUCTURAL) - {label_of("window")}
    weights = np.array([0] + [1 if c in solid_walls else 3 for c in range(1, len(NAMES))], np.int64)
    counts = np.zeros((*shape, len(NAMES)), np.uint16)
    s = solids.chosen(solids.kinds != MESH)
    _count(counts, corner, s.kinds, s.rotations, s.centres, s.halves, s.tapers, s.labels, weights, VOXEL_SIZE)
    for i in np.flatnonzero(solids.kinds == MESH):
        part, label = solids.meshes[i], int(solids.labels[i])
        if part.number == 0:
            pose = solids.rotations[i], solids.centres[i]
            count_model(counts, corner, VOXEL_SIZE, SUB, part, pose, label, int(weights[label]))
    return counts


def voxelise(scene: Scene, origin: np.ndarray) -> LabelGrid:
    """Labels of the whole scene on the lattice with the given origin (3,), metres."""
    s = scene.solids
    reach = np.abs(s.rotations) @ s.halves[:, :, None]
    low_point, high_point = (s.centres - reach[:, :, 0]).min(0) - 0.05, (s.centres + reach[:, :, 0]).max(0) + 0.05
    low = np.floor((low_point - origin) / VOXEL_SIZE).astype(np.int64)
    shape = np.ceil((high_point - origin) / VOXEL_SIZE).astype(np.int64) - low
    corner = origin + low * VOXEL_SIZE
    counts = class_counts(s, corner, tuple(shape))
    labels = counts.argmax(-1).astype(np.uint8)
    empty = counts.max(-1) == 0
    x, y = (corner[a] + (np.arange(shape[a]) + 0.5) * VOXEL_SIZE - scene.offset[a] for a in (0, 1))
    c, d = np.cos(scene.yaw), np.sin(scene.yaw)
    room = scene.layout.contains(c * x[:, None] + d * y[None], -d * x[:, None] + c * y[None])
    z = corner[2] + (np.arange(shape[2]) + 0.5) * VOXEL_SIZE - scene.offset[2]
    known = room[:, :, None] & ((z > 0) & (z < scene.layout.height))[None, None]
    labels[empty] = np.where(known, EMPTY, UNKNOWN)[empty]
    return LabelGrid(labels, np.asarray(origin, np.float64), low)
