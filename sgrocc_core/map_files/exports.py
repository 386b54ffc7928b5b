"""Saved maps as files of other programs: meshes, point clouds, OctoMap's octree, Nav2's picture, and dense arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.classes import NAMES, UNKNOWN, UNLABELLED, color_table
from sgrocc_core.drawing.surface import CORNERS, faces_of, write_ply
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.map_files.format import SavedMap
from sgrocc_core.map_files.octree import Octree, bt_file
from sgrocc_core.voxels.columns import GRID_FREE, GRID_OCCUPIED, ColumnMap, Columns, slab_layers, step_layers
from sgrocc_core.voxels.listed import ListedVoxels

MOST_CELLS = 2**28
"""Maximum number of cells of dense arrays: 1.6 GB in memory."""
PGM_OCCUPIED, PGM_FREE, PGM_UNKNOWN = 0, 254, 205
"""Grey values of Nav2's map server for a trinary map."""
NAV2_YAML = """image: {image}
mode: trinary
resolution: {resolution:g}
origin: [{x:.6g}, {y:.6g}, 0]
negate: 0
occupied_thresh: 0.65
free_thresh: 0.196
"""
PCD_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4"), ("label", "u1"), ("probability", "<f4")])


@dataclass(frozen=True)
class Slab:
    """The part of a map that a ground robot can touch, for Nav2's picture.

    Attributes:
        low: lower end above the floor, metres.
        high: upper end above the floor, metres.
        floor: height of the floor, metres, which is then level; None = estimated as for `~/grid`.
        step: largest step over which the floor goes on, metres; 0 = the floor is level.
    """

    low: float = 0.15
    high: float = 1.8
    floor: float | None = None
    step: float = 0.24


def write_export(saved: SavedMap, kind: str, path: Path, slab: Slab | None = None) -> list[Path]:
    """Write a map in a format; a file that is there is replaced once the new one is complete.

    Args:
        saved: the map.
        kind: one of FORMATS.
        path: the file; `nav2` writes the picture, and a YAML file beside it.
        slab: for `nav2`.

    Returns:
        The written files.

    Raises:
        DataError: the map has no voxels to write, or too many for the format.
        OSError: a file cannot be written.
    """
    if not len(saved.voxels) and not len(saved.free):
        raise DataError("the map is empty: there is nothing to export")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        if kind == "nav2":
            return _write_nav2(saved, path, part, slab or Slab())
        FORMATS[kind].write(part, saved)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return [path]


def of_classes(saved: SavedMap, classes: Sequence[str]) -> SavedMap:
    """The map with the occupied voxels of some classes only.

    Raises:
        ConfigError: a name is no class.
    """
    known = {name: label for label, name in enumerate(NAMES) if label} | {UNLABELLED: UNKNOWN}
    for name in classes:
        if name not in known:
            raise ConfigError(f"--classes holds {name!r}; a class must be one of {', '.join(known)}")
    kept = np.isin(saved.labels, [known[name] for name in classes])
    return replace(
        saved, voxels=saved.voxels[kept], labels=saved.labels[kept], probability=saved.probability[kept], gaussians={}
    )


def _ply(path: Path, saved: SavedMap) -> None:
    write_ply(path, saved.voxels, saved.labels, saved.voxel_size)


def _pcd(path: Path, saved: SavedMap) -> None:
    points = np.zeros(len(saved.voxels), PCD_POINT)
    points["xyz"] = (saved.voxels + 0.5) * saved.voxel_size
    points["rgb"] = color_table()[saved.labels].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    points["label"], points["probability"] = saved.labels, saved.probability
    header = (
        "# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", "FIELDS x y z rgb label probability",
        "SIZE 4 4 4 4 1 4", "TYPE F F F U U F", "COUNT 1 1 1 1 1 1", f"WIDTH {len(points)}", "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {len(points)}", "DATA binary",
    )  # fmt: skip
    path.write_bytes(("\n".join(header) + "\n").encode() + points.tobytes())


def _bt(path: Path, saved: SavedMap) -> None:
    blocks = ListedVoxels(saved.voxels, saved.labels, saved.probability, saved.free)
    tree, keys = Octree(), blocks.blocks()
    labels, free = blocks.block_voxels(keys, with_free=True)
    if far := tree.set(keys, labels > 0, np.asarray(free)):
        raise DataError(f"{far} blocks of the map lie more than 2.6 km from its origin, which an octree cannot hold")
    path.write_bytes(bt_file(*tree.encode(), saved.voxel_size))


def _glb(path: Path, saved: SavedMap) -> None:
    import trimesh

    if not len(saved.voxels):
        raise DataError("the map has no occupied voxels: there is no mesh to export")
    rows, sides = faces_of(saved.voxels)
    corners = (saved.voxels[rows][:, None] + CORNERS[sides]) * saved.voxel_size
    corners = np.stack([corners[..., 0], corners[..., 2], -corners[..., 1]], -1)  # glTF's y axis points up
    scene, labels = trimesh.Scene(), saved.labels[rows]
    for label in np.unique(labels).tolist():
        name = UNLABELLED if label == UNKNOWN else NAMES[label]
        quads = corners[labels == label]
        first = 4 * np.arange(len(quads))[:, None, None]
        triangles = (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
        color = [*color_table()[label].tolist(), 255]
        material = trimesh.visual.material.PBRMaterial(
            name=name, baseColorFactor=color, metallicFactor=0.0, roughnessFactor=1.0
        )
        mesh = trimesh.Trimesh(quads.reshape(-1, 3), triangles, process=False)
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    path.write_bytes(scene.export(file_type="glb"))


def _npz(path: Path, saved: SavedMap) -> None:
    every = np.concatenate([saved.voxels, saved.free]).astype(np.int64)
    low, shape = every.min(0), np.ptp(every, axis=0) + 1
    if (cells := int(np.prod(shape.astype(object)))) > MOST_CELLS:
        size = " x ".join(f"{length * saved.voxel_size:.0f}" for length in shape)
        raise DataError(f"the map spans {size} m: {cells} cells, above {MOST_CELLS}; take pcd, ply, glb or bt")
    labels, probability = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    free = np.zeros(shape, np.bool_)
    at = tuple((saved.voxels - low).T)
    labels[at], probability[at] = saved.labels, saved.probability
    free[tuple((saved.free - low).T)] = True
    with path.open("wb") as file:
        np.savez_compressed(
            file, labels=labels, probability=probability, free=free, corner=low * saved.voxel_size,
            voxel_size=np.float64(saved.voxel_size), classes=np.array(saved.classes), frame_id=np.array(saved.frame_id),
        )  # fmt: skip


def _write_nav2(saved: SavedMap, path: Path, part: Path, slab: Slab) -> list[Path]:
    blocks = ListedVoxels(saved.voxels, saved.labels, saved.probability, saved.free)
    keys, columns = blocks.blocks(), ColumnMap()
    labels, free = blocks.block_voxels(keys, with_free=True)
    summary = Columns.empty(keys)
    summary.put(np.arange(len(keys)), labels, np.asarray(free))
    columns.apply(summary)
    floor = columns.floor_height() if slab.floor is None else slab.floor
    step = step_layers(slab.step) if slab.floor is None else 0
    grid = columns.grid(*slab_layers(floor, slab.low, slab.high), step)
    assert grid is not None  # the map is not empty
    grey = np.full(grid.values.shape, PGM_UNKNOWN, np.uint8)
    grey[grid.values == GRID_OCCUPIED], grey[grid.values == GRID_FREE] = PGM_OCCUPIED, PGM_FREE
    if not cv2.imwrite(str(part), grey[::-1]):  # the first row of a picture is the one with the highest y
        raise OSError(f"cannot write {path}")
    os.replace(part, path)
    x, y = (index * saved.voxel_size for index in grid.corner)
    yaml = path.with_suffix(".yaml")
    yaml.write_text(NAV2_YAML.format(image=path.name, resolution=saved.voxel_size, x=x, y=y))
    return [path, yaml]


@dataclass(frozen=True)
class Format:
    """A format: the end of its files' names, what it is, and the function that writes it."""

    suffix: str
    description: str
    write: Callable[[Path, SavedMap], None]


FORMATS = {
    "ply": Format(".ply", "mesh of the voxels' outer faces, with colour and label at each corner", _ply),
    "pcd": Format(".pcd", "cloud of the voxels' centres with rgb, label and probability", _pcd),
    "bt": Format(".bt", "OctoMap's binary octree, occupied and free", _bt),
    "glb": Format(".glb", "glTF with one mesh and material per class, y up", _glb),
    "nav2": Format(".pgm", "picture and YAML file of Nav2's map server", lambda path, saved: None),
    "npz": Format(".npz", "dense NumPy arrays labels, probability and free, with the lowest corner", _npz),
}
