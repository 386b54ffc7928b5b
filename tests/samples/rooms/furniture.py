"""Tiny furniture models as OBJ files with a table, made by the tests themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

HEADER = "file,class,up,width,depth,height,licence,creator\n"


def block(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> trimesh.Trimesh:
    """An axis-parallel box between the given limits."""
    limits = np.array([x, y, z])
    mesh = trimesh.creation.box(limits[:, 1] - limits[:, 0])
    mesh.apply_translation(limits.mean(1))
    return mesh


def chair(w: float = 0.45, d: float = 0.5, h: float = 0.9) -> trimesh.Trimesh:
    """A chair with its back at +y, z up, in metres."""
    legs = [block((x, x + 0.05), (y, y + 0.05), (0, 0.45)) for x in (0, w - 0.05) for y in (0, d - 0.05)]
    seat, back = block((0, w), (0, d), (0.42, 0.48)), block((0, w), (d - 0.06, d), (0.45, h))
    return trimesh.util.concatenate([*legs, seat, back])


def sofa() -> trimesh.Trimesh:
    """A sofa with its back at +y, z up, 1.8 x 0.9 x 0.8 m."""
    parts = [block((0, 1.8), (0, 0.9), (0, 0.4)), block((0, 1.8), (0.65, 0.9), (0.3, 0.8))]
    return trimesh.util.concatenate(
        [*parts, block((0, 0.2), (0, 0.9), (0, 0.6)), block((1.6, 1.8), (0, 0.9), (0, 0.6))]
    )


def table() -> trimesh.Trimesh:
    """A table, z up, 1.2 x 0.8 x 0.75 m."""
    legs = [block((x, x + 0.06), (y, y + 0.06), (0, 0.74)) for x in (0, 1.14) for y in (0, 0.74)]
    return trimesh.util.concatenate([*legs, block((0, 1.2), (0, 0.8), (0.71, 0.75))])


def bowl() -> trimesh.Trimesh:
    """The lower half of a ball as one sheet, 0.3 x 0.3 x 0.15 m: nothing tells its inside from its outside."""
    ball = trimesh.creation.icosphere(3, 0.15)
    return trimesh.Trimesh(ball.vertices, ball.faces[ball.face_normals[:, 2] < 0])


def write_obj(path: Path, mesh: trimesh.Trimesh, y_up: bool = False) -> None:
    """Write a mesh with z up as OBJ, turned to y up (front +z) if wanted."""
    vertices = np.asarray(mesh.vertices)
    if y_up:
        vertices = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], 1)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in np.asarray(mesh.faces)]
    path.write_text("\n".join(lines) + "\n")


def write_folder(folder: Path) -> Path:
    """A folder of two chairs, a sofa, a table, a cup and a bowl that cannot be made solid."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, mesh, kind in (
        ("chair_a", chair(), "chair"),
        ("chair_b", chair(0.5, 0.52, 1.0), "chair"),
        ("sofa", sofa(), "sofa"),
        ("table", table(), "table"),
        ("cup", trimesh.creation.cylinder(0.04, 0.1), "objects"),
        ("bowl", bowl(), "objects"),
    ):
        write_obj(folder / f"{name}.obj", mesh)
        size = ",".join(f"{v:.3f}" for v in mesh.extents)
        rows.append(f"{name}.obj,{kind},z,{size},CC0,a test\n")
    (folder / "assets.csv").write_text(HEADER + "".join(rows))
    return folder
