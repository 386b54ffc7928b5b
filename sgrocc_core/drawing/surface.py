"""The surface of a voxel map, the faces between occupied and empty voxels, for pictures and for PLY files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgrocc_core.classes import color_table

NORMALS = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], np.int32)
"""(6, 3) outward normals of the faces of a voxel."""

CORNERS = np.array(
    [
        [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]], [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1]],
        [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], [[0, 1, 0], [0, 1, 1], [1, 1, 1], [1, 1, 0]],
        [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]], [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]],
    ],
    np.int32,
)  # fmt: skip
"""(6, 4, 3) corners of each face as offsets from the voxel's lowest corner, counter-clockwise seen from outside."""


@dataclass(frozen=True)
class VoxelBox:
    """A dense array of the voxels in a box, with a margin of empty voxels.

    Attributes:
        origin: (3,) int32, voxel index of the first element of the box.
        labels: (X, Y, Z) uint8, 0 = empty.
    """

    origin: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, voxels: np.ndarray, labels: np.ndarray, margin: int = 1) -> VoxelBox:
        """Build the box from (N, 3) int voxel indices and (N,) labels."""
        if len(voxels) == 0:
            return cls(np.zeros(3, np.int32), np.zeros((2 * margin + 1,) * 3, np.uint8))
        origin = voxels.min(0) - margin
        dense = np.zeros(voxels.max(0) - origin + margin + 1, np.uint8)
        dense[tuple((voxels - origin).T)] = labels
        return cls(origin.astype(np.int32), dense)


def exposed_faces(grid: VoxelBox) -> tuple[np.ndarray, np.ndarray]:
    """The faces between an occupied and an empty voxel.

    Returns:
        cells: (F, 3) int32, indices into the grid.
        sides: (F,) uint8, rows of NORMALS.
    """
    occupied = grid.labels > 0
    cells, sides = [], []
    for side, normal in enumerate(NORMALS):
        neighbour = np.zeros_like(occupied)
        inner = tuple(slice(max(-n, 0), size - max(n, 0)) for n, size in zip(normal, occupied.shape, strict=True))
        shifted = tuple(slice(max(n, 0), size - max(-n, 0)) for n, size in zip(normal, occupied.shape, strict=True))
        neighbour[inner] = occupied[shifted]
        found = np.argwhere(occupied & ~neighbour).astype(np.int32)
        cells.append(found)
        sides.append(np.full(len(found), side, np.uint8))
    return np.concatenate(cells), np.concatenate(sides)


def faces_of(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces between an occupied and an empty voxel, found among the voxels themselves, however far apart they lie.

    Args:
        voxels: (N, 3) int, different voxel indices within 2^20 of 0.

    Returns:
        rows: (F,) int64, rows of `voxels`. sides: (F,) uint8, rows of NORMALS.
    """
    keys = _keys(voxels)
    order = np.argsort(keys)
    ordered = keys[order]
    rows, sides = [], []
    for side, normal in enumerate(NORMALS):
        beside = _keys(voxels.astype(np.int64) + normal)
        at = np.searchsorted(ordered, beside).clip(max=max(len(ordered) - 1, 0))
        found = np.flatnonzero(ordered[at] != beside) if len(ordered) else np.zeros(0, np.int64)
        rows.append(found)
        sides.append(np.full(len(found), side, np.uint8))
    return np.concatenate(rows), np.concatenate(sides)


def _keys(voxels: np.ndarray) -> np.ndarray:
    """(N,) int64, a number of each voxel (N, 3)."""
    x, y, z = (voxels.astype(np.int64) + (1 << 20)).T
    return (x << 42) | (y << 21) | z


def coarsened(voxels: np.ndarray, labels: np.ndarray, most_cells: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A map in cells so coarse that its bounding box has at most that many.

    Args:
        voxels: (N, 3) int32 indices.
        labels: (N,) uint8.
        most_cells: cells of the box.

    Returns:
        The cells' indices, their commonest labels, and the edge of a cell in voxels, a power of 2; 1: all as given.
    """
    factor = 1
    while len(voxels) and np.prod(np.ptp(voxels // factor, axis=0).astype(np.float64) + 5) > most_cells:
        factor *= 2
    if factor == 1:
        return voxels, labels, 1
    pairs, counts = np.unique(np.column_stack([voxels // factor, labels]), axis=0, return_counts=True)
    order = np.lexsort((-counts, pairs[:, 2], pairs[:, 1], pairs[:, 0]))
    pairs = pairs[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:, :3] != pairs[:-1, :3]).any(1)
    return pairs[first, :3].astype(np.int32), pairs[first, 3].astype(np.uint8), factor


def write_ply(path: Path, voxels: np.ndarray, labels: np.ndarray, voxel_size: float) -> None:
    """Write the surface of a map as a binary PLY mesh of quads; each vertex has a colour and a label.

    Args:
        path: The file.
        voxels: (N, 3) int32 indices of the occupied voxels.
        labels: (N,) uint8, 1 to 11, or 255 without a class.
        voxel_size: Edge length of a voxel, metres.
    """
    rows, sides = faces_of(voxels)
    cells, face_labels = voxels[rows], labels[rows]
    vertex = np.zeros((len(cells), 4), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "u1", 3), ("label", "u1")])
    corners = (cells[:, None] + CORNERS[sides]) * voxel_size
    vertex["x"], vertex["y"], vertex["z"] = corners[..., 0], corners[..., 1], corners[..., 2]
    vertex["rgb"], vertex["label"] = color_table()[face_labels][:, None], face_labels[:, None]
    quads = np.zeros(len(cells), [("n", "u1"), ("index", "<i4", 4)])
    quads["n"], quads["index"] = 4, np.arange(4 * len(cells)).reshape(-1, 4)
    header = [
        "ply", "format binary_little_endian 1.0", f"comment occupied voxels of {voxel_size:g} m, label 1 to 11",
        f"element vertex {vertex.size}", "property float x", "property float y", "property float z",
        "property uchar red", "property uchar green", "property uchar blue", "property uchar label",
        f"element face {len(quads)}", "property list uchar int vertex_indices", "end_header",
    ]  # fmt: skip
    with path.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode())
        file.write(vertex.tobytes())
        file.write(quads.tobytes())
