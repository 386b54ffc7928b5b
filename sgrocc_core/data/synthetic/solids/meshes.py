"""Solids that are models of furniture instead of primitives: their triangles, their normals and their voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sgrocc_core.data.assets.model import Model
from sgrocc_core.data.assets.solid import PITCH, mark_triangles

if TYPE_CHECKING:
    from sgrocc_core.data.synthetic.solids.primitives import Solids


@dataclass(frozen=True, eq=False)
class MeshPart:
    """The part of a model that has one material. Its solid's centre is the middle of the model's bounding box.

    Attributes:
        model: the model.
        number: of the part; part 0 stands for the whole model where voxels are labelled.
    """

    model: Model
    number: int

    @property
    def triangles(self) -> slice:
        """Where its triangles are among the model's."""
        return slice(*self.model.starts[self.number : self.number + 2])


def mesh_triangles(solids: Solids) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles of all models.

    Returns:
        corners: (T, 3, 3) float64 metres.
        owner: (T,) int32, index of the solid of each triangle.
        normals: (T, 3, 3) float32 normal at each corner.
    """
    corners, owners, normals = [np.zeros((0, 3, 3))], [np.zeros(0, np.int64)], [np.zeros((0, 3, 3), np.float32)]
    for index, part in enumerate(solids.meshes):
        if part is None:
            continue
        R, mine = solids.rotations[index], part.triangles
        corners.append((part.model.corners[mine] - part.model.middle) @ R.T + solids.centres[index])
        normals.append((part.model.normals[mine] @ R.T).astype(np.float32))
        owners.append(np.full(len(corners[-1]), index))
    return np.concatenate(corners), np.concatenate(owners).astype(np.int32), np.concatenate(normals)


@njit(cache=True)
def smooth_normals(triangle, first, depth, directions, origin, corners, normals, normal):  # type: ignore[no-untyped-def]
    """Replace flat normals by those between a triangle's corners, at hits of models.

    Args:
        triangle: (N,) hit triangles, -1 = none.
        first: the models' triangles are those from this one on.
        depth: (N,) z-depth of the hits, metres, 0 = none.
        directions: (N, 3) rays of unit z-depth.
        origin: (3,) of the rays, metres.
        corners: (T, 3, 3) all triangles, metres.
        normals: (T - first, 3, 3) normals at the corners of the models' triangles.
        normal: (N, 3) flat normals towards the camera, changed in place.
    """
    e, f, p, n = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for i in range(len(triangle)):
        t = triangle[i]
        if t < first or depth[i] <= 0.0:
            continue
        ee, ef, ff, pe, pf = 0.0, 0.0, 0.0, 0.0, 0.0
        for a in range(3):
            e[a], f[a] = corners[t, 1, a] - corners[t, 0, a], corners[t, 2, a] - corners[t, 0, a]
            p[a] = origin[a] + depth[i] * directions[i, a] - corners[t, 0, a]
            ee, ef, ff = ee + e[a] * e[a], ef + e[a] * f[a], ff + f[a] * f[a]
            pe, pf = pe + p[a] * e[a], pf + p[a] * f[a]
        area = ee * ff - ef * ef
        if area <= 1e-18:
            continue
        u = min(max((ff * pe - ef * pf) / area, 0.0), 1.0)
        v = min(max((ee * pf - ef * pe) / area, 0.0), 1.0 - u)
        length, along = 1e-12, 0.0
        for a in range(3):
            n[a] = (1 - u - v) * normals[t - first, 0, a] + u * normals[t - first, 1, a] + v * normals[t - first, 2, a]
            length += n[a] * n[a]
            along += n[a] * normal[i, a]
        length = np.sqrt(length) if along >= 0 else -np.sqrt(length)
        for a in range(3):
            normal[i, a] = n[a] / length


@njit(cache=True)
def _mark_inside(marks, inside, low, R, centre, corner, step):  # type: ignore[no-untyped-def]
    """Set to 1 the samples (X, Y, Z) that contain the centre of a cell inside the model."""
    for i in range(inside.shape[0]):
        for j in range(inside.shape[1]):
            for k in range(inside.shape[2]):
                if not inside[i, j, k]:
                    continue
                x, y, z = low[0] + (i + 0.5) * PITCH, low[1] + (j + 0.5) * PITCH, low[2] + (k + 0.5) * PITCH
                a = int(np.floor((R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + centre[0] - corner[0]) / step))
                b = int(np.floor((R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + centre[1] - corner[1]) / step))
                c = int(np.floor((R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + centre[2] - corner[2]) / step))
                if 0 <= a < marks.shape[0] and 0 <= b < marks.shape[1] and 0 <= c < marks.shape[2]:
                    marks[a, b, c] = 1


@njit(cache=True)
def _collect(counts, marks, first, sub, label, weight):  # type: ignore[no-untyped-def]
    """Add the marked samples of each voxel to the counts of a class."""
    for i in range(marks.shape[0]):
        for j in range(marks.shape[1]):
            for k in range(marks.shape[2]):
                if marks[i, j, k]:
                    counts[first[0] + i // sub, first[1] + j // sub, first[2] + k // sub, label] += weight


def count_model(
    counts: np.ndarray,
    corner: np.ndarray,
    size: float,
    sub: int,
    part: MeshPart,
    pose: tuple[np.ndarray, np.ndarray],
    label: int,
    weight: int,
) -> None:
    """Add a model's samples to the counts of its class: those that its surface or its inside reaches.

    Args:
        counts: (X, Y, Z, 12) weighted numbers of samples, changed in place.
        corner: (3,) lowest corner of the grid, metres.
        size: edge length of a voxel, metres.
        sub: samples along it.
        part: part 0 of the model.
        pose: (3, 3) rotation and (3,) centre of the solid, metres.
        label: class.
        weight: of a sample.
    """
    R, centre = pose
    model = part.model
    world = (model.corners - model.middle) @ R.T + centre
    points = world.reshape(-1, 3)
    first = np.maximum(np.floor((points.min(0) - corner) / size).astype(np.int64) - 1, 0)
    last = np.minimum(np.floor((points.max(0) - corner) / size).astype(np.int64) + 2, counts.shape[:3])
    if (last <= first).any():
        return
    marks, start, step = np.zeros((last - first) * sub, np.uint8), corner + first * size, size / sub
    mark_triangles(marks, (world - start) / step)
    _mark_inside(marks, model.inside, model.low - model.middle, R, centre, start, step)
    _collect(counts, marks, first, sub, label, weight)
