"""Voxels of a generated room with two levels, joined by stairs or a ramp, as a map would hold them."""

from __future__ import annotations

import numpy as np

from sgrocc_core.classes import label_of
from sgrocc_core.voxels.columns import ColumnMap, Columns
from sgrocc_core.voxels.listed import ListedVoxels

FLOOR, WALL, TABLE, OBJECTS = (label_of(name) for name in ("floor", "wall", "table", "objects"))
LENGTH, WIDTH, HEIGHT = 150, 50, 32
"""Size of the room above its lower floor, voxels: 12 m, 4 m, 2.56 m."""
RISE = 9
"""Layers between the two levels: 0.72 m."""
TREAD, RISER = 4, 2
TABLE_TOP = 9
START = 80
CORNER, BASE = (-20, 7), -1


def height_of_floor(kind: str, start: int = START) -> np.ndarray:
    """Layers (150, 50) of the floor above its lower level: `stairs`, `ramp` or `cliff` from column `start` on."""
    x = np.arange(LENGTH)
    if kind == "stairs":
        steps = np.minimum(((x - start) // TREAD + 1) * RISER, RISE)
    elif kind == "ramp":
        steps = np.minimum((x - start) * RISE // 40, RISE)
    else:
        steps = np.full(LENGTH, RISE)
    return np.repeat(np.where(x < start, 0, np.maximum(steps, 0))[:, None], WIDTH, 1)


def room(kind: str, start: int = START) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels of a room, and where its things are.

    A table stands on the lower level. Its top has the height of the upper one and is wrongly labelled floor, and the
    floor below it is hidden. Boxes of 0.4 m stand on both levels.

    Args:
        kind: as of `height_of_floor`.
        start: column where the lower level, the main one unless it is early, ends.

    Returns:
        labels: (150, 50, 42) uint8 from layer BASE, that of the lower floor, on; 0 = empty.
        things: masks (150, 50) `table`, `low_box`, `high_box` and `walls`.
    """
    floor = height_of_floor(kind, start)
    labels = np.zeros((LENGTH, WIDTH, HEIGHT + 10), np.uint8)
    layers = np.arange(labels.shape[2])
    labels[layers == floor[..., None]] = FLOOR
    things = {name: np.zeros((LENGTH, WIDTH), np.bool_) for name in ("table", "low_box", "high_box", "walls")}
    things["table"][10:26, 20:34] = True
    things["low_box"][30:36, 5:11] = True
    things["high_box"][130:136, 30:36] = True
    things["walls"][[0, -1]] = things["walls"][:, [0, -1]] = True
    labels[things["table"], :TABLE_TOP] = 0
    labels[things["table"], TABLE_TOP] = FLOOR
    for name in ("low_box", "high_box"):
        above = layers - floor[..., None]
        labels[things[name][..., None] & (above >= 1) & (above <= 5)] = OBJECTS
    labels[things["walls"][..., None] & (layers >= floor[..., None])] = WALL
    return labels, things


def columns_of(labels: np.ndarray) -> ColumnMap:
    """Columns of a room whose air above the highest voxel of each column is seen free."""
    voxels = np.argwhere(labels)
    top = np.where(labels > 0, np.arange(labels.shape[2]), -1).max(2)
    air = np.argwhere(np.arange(labels.shape[2]) > top[..., None])
    shift = np.array([*CORNER, BASE])
    blocks = ListedVoxels(
        (voxels + shift).astype(np.int32), labels[labels > 0], np.ones(len(voxels), np.float32),
        (air + shift).astype(np.int32),
    )  # fmt: skip
    keys, columns = blocks.blocks(), ColumnMap()
    found, free = blocks.block_voxels(keys, with_free=True)
    summary = Columns.empty(keys, with_labels=True)
    summary.put(np.arange(len(keys)), found, np.asarray(free))
    columns.apply(summary)
    return columns
