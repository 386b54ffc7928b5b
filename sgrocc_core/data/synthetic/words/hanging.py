"""Hangs screens, pictures and the like on the walls of a room that is furnished on a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgrocc_core.data.synthetic.furniture import storage
from sgrocc_core.data.synthetic.rooms.layouts import Edge
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.words import spots
from sgrocc_core.data.synthetic.words.kinds import Kind
from sgrocc_core.data.synthetic.words.spots import Placed, Room
from sgrocc_core.data.synthetic.words.wish import Asked

_TRIES = 160
_KINDS_OF_PANELS = {name: kind for kind, name in storage.PANELS.items()}
_HALF_WIDTH = {"picture": 0.68, "poster": 0.66, "whiteboard": 1.0, "clock": 0.2}


def hang(
    room: Room, b: Builder, m: Materials, kind: Kind, asked: Asked, target: Placed | None, placed: Sequence[Placed]
) -> Placed | None:
    """Hang a thing on a wall, clear of doors, windows and high furniture; None if there is no place.

    Args:
        room: the room.
        b: its builder.
        m: materials of the thing.
        kind: what to hang.
        asked: how; `above` and `facing` relate to the target.
        target: what it relates to.
        placed: what stands or hangs already.
    """
    r = room.rng
    width = {"small": r.uniform(0.72, 0.88), "large": r.uniform(1.15, 1.5)}.get(asked.size, r.uniform(0.8, 1.3))
    half = width / 2 if kind.name in ("tv", "monitor") else _HALF_WIDTH.get(kind.name, 0.6)
    edges = [e for e in room.layout.edges if e.length > 2 * half + 0.1]
    above = asked.relation == "above" and target is not None and target.item is not None
    for _ in range(_TRIES if edges else 0):
        if above and target is not None and target.item is not None:
            if target.edge is None:
                return None
            edge, along = target.edge, _along(target.edge, target.pose) + r.uniform(-0.15, 0.15)
            low = max(target.item.height + 0.12, 0.9)
        else:
            edge = edges[int(r.integers(len(edges)))]
            along, low = r.uniform(half + 0.05, edge.length - half - 0.05), r.uniform(0.95, 1.25)
        low = min(low, room.layout.height - 0.62 * 2 * half - 0.1)
        if along < half or along > edge.length - half or not _is_clear(room, edge, along, half, low, placed):
            continue
        x, y = edge.point(along, 0.05)
        pose = (float(x), float(y), edge.yaw)
        if asked.relation == "facing" and target is not None and not _faces(pose, target):
            continue
        piece = len(b.pieces)
        if kind.name in ("tv", "monitor"):
            storage.screen_on(b.at(x, y, low, edge.yaw), m, width, 0.07, False)
        else:
            x, y = edge.point(along, 0.0)
            storage.wall_panel(b.at(x, y, low + 0.4, edge.yaw), m, _KINDS_OF_PANELS[kind.name])
        strip = room.plan.under(*edge.point(along, 0.25), edge.yaw, 2 * half, 0.5)
        room.plan.clear |= strip  # nothing high is put before it later
        return Placed(piece, None, pose, edge)
    return None


def _along(edge: Edge, pose: spots.Pose) -> float:
    return float(np.abs(np.array(pose[:2]) - np.array(edge.point(0.0, 0.0)))[1 - edge.axis])


def _is_clear(room: Room, edge: Edge, along: float, half: float, low: float, placed: Sequence[Placed]) -> bool:
    """Whether a stretch of a wall has no opening, no high furniture before it and nothing on it."""
    if any(o.overlaps(edge, along - half, along + half, 0.05) for o in room.layout.openings):
        return False
    for other in placed:
        away = np.array(other.pose[:2]) - np.array(edge.point(along, 0.0))
        across, beside = abs(away[edge.axis]), abs(away[1 - edge.axis])
        if other.item is None:
            if other.edge == edge and beside < half + 0.75:
                return False
        elif other.item.height > low and across < other.item.depth and beside < half + other.item.width / 2:
            return False
    return True


def _faces(pose: spots.Pose, target: Placed) -> bool:
    """Whether two things look at each other, if the target looks anywhere."""
    here, there = np.array(pose[:2]), np.array(target.pose[:2])
    if not spots.looks_at(pose, there, 0.6):
        return False
    return target.item is None or spots.looks_at(target.pose, here, 0.6)
