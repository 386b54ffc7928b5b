"""Solids of a room: boxes, cylinders and frustums, ellipsoids, rounded boxes, and models; placed in nested frames.

The same description gives the images (triangles for the ray caster) and the labels (analytic inside tests of the
voxeliser).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partialmethod

import numpy as np
import trimesh

from sgrocc_core.data.assets.model import Model
from sgrocc_core.data.synthetic.solids.meshes import MeshPart
from sgrocc_core.data.synthetic.solids.pieces import Piece

BOX, CYLINDER, ELLIPSOID, ROUNDED, MESH = 0, 1, 2, 3, 4
ROUNDNESS = 6.0
"""Exponent n of a rounded box: |x|^n + |y|^n + |z|^n = 1."""


def rotation_zyx(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(3, 3) rotation: roll about x, then pitch about y, then yaw about z, radians."""
    cz, sz, cy, sy, cx, sx = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


@dataclass(frozen=True)
class Solids:
    """All primitives of a scene as arrays.

    Attributes:
        kinds: (N,) int32, BOX, CYLINDER, ELLIPSOID, ROUNDED or MESH.
        rotations: (N, 3, 3), local to world.
        centres: (N, 3) metres.
        halves: (N, 3) half extents, metres.
        tapers: (N,) radius at the top over radius at the bottom, for cylinders.
        labels: (N,) uint8 class labels.
        materials: (N,) int32 rows of the material table.
        meshes: (N,) object, the MeshPart of each MESH, None for the others.
        pieces: (N,) int32, index of the innermost piece of the scene that it belongs to, -1 = none.
    """

    kinds: np.ndarray
    rotations: np.ndarray
    centres: np.ndarray
    halves: np.ndarray
    tapers: np.ndarray
    labels: np.ndarray
    materials: np.ndarray
    meshes: np.ndarray
    pieces: np.ndarray

    def moved(self, R: np.ndarray, t: np.ndarray) -> Solids:
        """The same solids after the rigid motion x -> R x + t."""
        return Solids(
            self.kinds,
            np.einsum("ij,njk->nik", R, self.rotations),
            self.centres @ R.T + t,
            self.halves,
            self.tapers,
            self.labels,
            self.materials,
            self.meshes,
            self.pieces,
        )

    def chosen(self, which: np.ndarray) -> Solids:
        """The solids selected by a mask or by indices (n,)."""
        return Solids(*(getattr(self, f.name)[which] for f in fields(self)))

    def joined(self, *others: Solids) -> Solids:
        """These solids followed by those of the others, in order."""
        return Solids(*(np.concatenate([getattr(s, f.name) for s in (self, *others)]) for f in fields(self)))


@dataclass
class _Rows:
    kinds: list[int] = field(default_factory=list)
    rotations: list[np.ndarray] = field(default_factory=list)
    centres: list[np.ndarray] = field(default_factory=list)
    halves: list[tuple[float, float, float]] = field(default_factory=list)
    tapers: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)
    meshes: list[MeshPart | None] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)


class Builder:
    """Collects primitives in a local frame; `at` opens a nested frame that adds to the same scene."""

    def __init__(
        self, rows: _Rows | None = None, R: np.ndarray | None = None, t: np.ndarray | None = None, owner: int = -1
    ) -> None:
        self._rows = _Rows() if rows is None else rows
        self._R = np.eye(3) if R is None else R
        self._t = np.zeros(3) if t is None else t
        self._owner = owner

    def at(
        self, x: float, y: float, z: float = 0.0, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0
    ) -> Builder:
        """A builder whose frame is at (x, y, z) metres in this frame, rotated by the angles in radians."""
        t = self._t + self._R @ np.array([x, y, z], np.float64)
        return Builder(self._rows, self._R @ rotation_zyx(yaw, pitch, roll), t, self._owner)

    def piece(self, name: str, size: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Builder:
        """A builder of the same frame, all of whose solids belong to a new piece of the scene.

        Args:
            name: what a person would call it.
            size: width, depth and height, metres.
        """
        pieces = self._rows.pieces
        yaw = float(np.arctan2(self._R[1, 0], self._R[0, 0]))
        pieces.append(Piece(name, self._t, yaw, size, self._owner))
        return Builder(self._rows, self._R, self._t, len(pieces) - 1)

    def under(self, piece: int) -> Builder:
        """A builder of the same frame whose new pieces and solids belong to an existing piece of the scene."""
        return Builder(self._rows, self._R, self._t, piece)

    @property
    def inside(self) -> str:
        """Name of the piece that this builder's solids belong to; empty if there is none."""
        return self._rows.pieces[self._owner].name if self._owner >= 0 else ""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces of the scene so far."""
        return tuple(self._rows.pieces)

    @property
    def position(self) -> np.ndarray:
        """(3,) origin of this frame in the room's frame, metres."""
        return self._t

    @property
    def count(self) -> int:
        """Number of primitives in the scene so far."""
        return len(self._rows.kinds)

    def to_room(self, x: float, y: float, z: float) -> np.ndarray:
        """(3,) a point of this frame in the room's frame, metres."""
        return self._t + self._R @ np.array([x, y, z], np.float64)

    def direction(self, x: float, y: float, z: float) -> np.ndarray:
        """(3,) a direction of this frame in the room's frame."""
        return self._R @ np.array([x, y, z], np.float64)

    def add(
        self,
        kind: int,
        centre: tuple[float, float, float],
        size: tuple[float, float, float],
        label: int,
        material: int,
        angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
        taper: float = 1.0,
    ) -> None:
        """Add one primitive: centre and full size in metres in this frame; angles yaw, pitch, roll in radians."""
        rows = self._rows
        rows.kinds.append(kind)
        rows.rotations.append(self._R @ rotation_zyx(*angles) if any(angles) else self._R)
        rows.centres.append(self._t + self._R @ np.array(centre, np.float64))
        rows.halves.append((max(size[0], 0.004) / 2, max(size[1], 0.004) / 2, max(size[2], 0.004) / 2))
        rows.tapers.append(taper)
        rows.labels.append(label)
        rows.materials.append(material)
        rows.meshes.append(None)
        rows.owners.append(self._owner)

    def model(self, model: Model, label: int, materials: list[int]) -> None:
        """Add a model of furniture whose origin is this frame's, with a material for each of its parts."""
        rows = self._rows
        for number, material in enumerate(materials):
            rows.kinds.append(MESH)
            rows.rotations.append(self._R)
            rows.centres.append(self._t + self._R @ model.middle)
            rows.halves.append(tuple(np.maximum(model.half, 0.002)))
            rows.tapers.append(1.0)
            rows.labels.append(label)
            rows.materials.append(material)
            rows.meshes.append(MeshPart(model, number))
            rows.owners.append(self._owner)

    box = partialmethod(add, BOX)
    cylinder = partialmethod(add, CYLINDER)
    """Elliptic cylinder along its z axis; with taper < 1 a frustum that narrows upwards."""
    ball = partialmethod(add, ELLIPSOID)
    cushion = partialmethod(add, ROUNDED)

    def solids(self) -> Solids:
        """All solids added so far, in the outermost frame."""
        r = self._rows
        return Solids(
            np.array(r.kinds, np.int32),
            np.array(r.rotations, np.float64).reshape(-1, 3, 3),
            np.array(r.centres, np.float64).reshape(-1, 3),
            np.array(r.halves, np.float64).reshape(-1, 3),
            np.array(r.tapers, np.float64),
            np.array(r.labels, np.uint8),
            np.array(r.materials, np.int32),
            np.array([None, *r.meshes], object)[1:],
            np.array(r.owners, np.int32),
        )


def _unit_cylinder(sections: int = 20) -> tuple[np.ndarray, np.ndarray]:
    angle = np.arange(sections) * 2 * np.pi / sections
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    low, high = np.c_[ring, -np.ones(sections)], np.c_[ring, np.ones(sections)]
    vertices = np.r_[low, high, [[0, 0, -1], [0, 0, 1]]]
    i, j = np.arange(sections), (np.arange(sections) + 1) % sections
    faces = np.r_[
        np.c_[i, j, j + sections],
        np.c_[i, j + sections, i + sections],
        np.c_[j, i, np.full(sections, 2 * sections)],
        np.c_[i + sections, j + sections, np.full(sections, 2 * sections + 1)],
    ]
    return vertices, faces


def _unit_meshes() -> list[tuple[np.ndarray, np.ndarray]]:
    box = trimesh.creation.box((2, 2, 2))
    ball = trimesh.creation.icosphere(2)
    directions = np.asarray(ball.vertices)
    rounded = directions / (np.abs(directions) ** ROUNDNESS).sum(1, keepdims=True) ** (1 / ROUNDNESS)
    faces = np.asarray(ball.faces)
    return [(np.asarray(box.vertices), np.asarray(box.faces)), _unit_cylinder(), (directions, faces), (rounded, faces)]


_UNIT_MESHES = _unit_meshes()


def triangles(solids: Solids) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all primitives; those of models are in `meshes.mesh_triangles`.

    Returns:
        corners: (T, 3, 3) float64 metres.
        owner: (T,) int32, index of the solid of each triangle.
    """
    corners, owners = [np.zeros((0, 3, 3))], [np.zeros(0, np.int64)]
    for kind, (vertices, faces) in enumerate(_UNIT_MESHES):
        index = np.nonzero(solids.kinds == kind)[0]
        if not len(index):
            continue
        local = np.repeat(vertices[None], len(index), 0)  # (n, V, 3)
        if kind == CYLINDER:
            width = np.where(local[:, :, 2] > 0, solids.tapers[index][:, None], 1.0)
            local[:, :, :2] *= width[:, :, None]
        world = (
            np.einsum("nij,nvj->nvi", solids.rotations[index], local * solids.halves[index][:, None])
            + solids.centres[index][:, None]
        )
        corners.append(world[:, faces].reshape(-1, 3, 3))
        owners.append(np.repeat(index, len(faces)))
    return np.concatenate(corners), np.concatenate(owners).astype(np.int32)
