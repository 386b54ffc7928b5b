"""Where a thing may stand so that it relates to another as asked: poses to try, best first, in the room's frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sgrocc_core.data.synthetic.furniture.items import Item
from sgrocc_core.data.synthetic.rooms.layouts import Edge, Layout
from sgrocc_core.data.synthetic.rooms.placement import FloorPlan

Pose = tuple[float, float, float]
"""x, y in metres and yaw in radians."""
TRIES = 60
FAILURES = 6
"""Searches at walls or on the floor that find nothing, until a thing has no place there."""
SEEN_FROM, SEEN_TO = 0.9, 4.5
"""Distances at which one thing may face another, metres."""
FACES = 0.45
"""Greatest angle between a front and the direction to what it faces, radians."""
NEAR_MIDDLE = 1.1
"""Distance from the middle of a room that still is its middle, metres."""


@dataclass(frozen=True)
class Placed:
    """A thing that was placed.

    Attributes:
        piece: its index in the scene.
        item: what it is; None for what is not on the floor.
        pose: where.
        edge: the wall behind it, if any.
    """

    piece: int
    item: Item | None
    pose: Pose
    edge: Edge | None = None


@dataclass(frozen=True)
class Room:
    """A room while it is furnished."""

    layout: Layout
    plan: FloorPlan
    rng: np.random.Generator

    def fits(self, pose: Pose, item: Item) -> bool:
        """Whether an item may stand at a pose."""
        return self.plan.fits(*pose, item)


def front_of(pose: Pose) -> np.ndarray:
    """(2,) direction in which a thing at a pose looks."""
    return np.array([np.sin(pose[2]), -np.cos(pose[2])])


def yaw_towards(x: float, y: float, target: np.ndarray) -> float:
    """Yaw with which a thing at x, y looks at a point (2,)."""
    dx, dy = target[0] - x, target[1] - y
    return float(np.arctan2(dx, -dy))


def looks_at(pose: Pose, target: np.ndarray, most: float = FACES) -> bool:
    """Whether a thing at a pose looks at a point (2,)."""
    away = target - np.array(pose[:2])
    return float(front_of(pose) @ away) > np.cos(most) * float(np.linalg.norm(away))


def at_wall(room: Room, item: Item) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses with the back to a wall."""
    failed = 0.0
    while failed < FAILURES:
        found = room.plan.at_wall(room.layout, item, room.rng, 8)
        failed += found is None
        if found is not None:
            yield found[:3], found[3]
            failed += 0.2


def anywhere(room: Room, item: Item) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses on the free floor, three in four of them along the walls' directions."""
    failed = 0.0
    while failed < FAILURES:
        found = room.plan.free(item, room.rng, room.rng.random() < 0.75, 8)
        failed += found is None
        if found is not None:
            yield found, None
            failed += 0.2


def in_corner(room: Room, item: Item) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses at the ends of walls whose neighbours close a corner of the room."""
    edges = list(room.layout.edges)
    room.rng.shuffle(edges)  # type: ignore[arg-type]
    for edge in edges:
        if edge.length < item.width + 0.05:
            continue
        for along in (0.03 + item.width / 2, edge.length - 0.03 - item.width / 2):
            x, y = edge.point(along, item.depth / 2 + 0.03)
            ends = edge.point(-0.1 if along < edge.length / 2 else edge.length + 0.1, 0.3)
            blocked = any(
                o.overlaps(edge, along - item.width / 2, along + item.width / 2, 0.0) for o in room.layout.openings
            )
            if not blocked and not room.layout.contains(np.array(ends[0]), np.array(ends[1])):
                yield (x, y, edge.yaw), edge


def in_middle(room: Room, item: Item) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses around the middle of the main rectangle."""
    x0, y0, x1, y1 = room.layout.rects[0]
    for _ in range(TRIES):
        x, y = ((x0 + x1) / 2, (y0 + y1) / 2) + room.rng.uniform(-0.7, 0.7, 2) * NEAR_MIDDLE
        yield (float(x), float(y), float(room.rng.integers(4) * np.pi / 2)), None


def beside(room: Room, item: Item, other: Placed) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses at the sides of another thing, with the same back; then at its front."""
    if other.item is None:
        return
    x, y, yaw = other.pose
    c, s = np.cos(yaw), np.sin(yaw)
    for _ in range(TRIES):
        side, gap = room.rng.choice([-1, 1]), room.rng.uniform(0.04, 0.35)
        across = side * (other.item.width / 2 + item.width / 2 + gap)
        along = (other.item.depth - item.depth) / 2 * room.rng.choice([1.0, room.rng.uniform(-1, 1)])
        for turn in (0.0, np.pi / 2, -np.pi / 2, np.pi):
            yield (x + c * across - s * along, y + s * across + c * along, yaw + turn), None
    for _ in range(TRIES // 3):
        ahead = -(other.item.depth / 2 + item.depth / 2 + room.rng.uniform(0.04, 0.35))
        yield (x - s * ahead, y + c * ahead, yaw + room.rng.choice([0.0, np.pi])), None


def around(room: Room, item: Item, other: Placed) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses of seats around a table, which look at it; at a desk first at its front."""
    if other.item is None:
        return
    x, y, yaw = other.pose
    w, d = other.item.width, other.item.depth
    spots: list[Pose] = []
    count = max(1, int(w / 0.62))
    for gap in (0.12, 0.28, 0.45):
        for k in range(count):
            along = (k + 0.5) / count * w - w / 2
            spots += [(along, -d / 2 - item.depth / 2 - gap, np.pi), (along, d / 2 + item.depth / 2 + gap, 0.0)]
        spots += [(-w / 2 - item.depth / 2 - gap, 0.0, np.pi / 2), (w / 2 + item.depth / 2 + gap, 0.0, -np.pi / 2)]
    c, s = np.cos(yaw), np.sin(yaw)
    for u, v, turn in spots:
        yield (x + c * u - s * v, y + s * u + c * v, yaw + turn), None


def in_front(room: Room, item: Item, other: Placed) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses before another thing's front: turned as it is, or towards it."""
    if other.item is None:
        return
    x, y, _ = other.pose
    ahead, side = front_of(other.pose), np.array([np.cos(other.pose[2]), np.sin(other.pose[2])])
    for k in range(TRIES):
        far = other.item.depth / 2 + item.depth / 2 + room.rng.uniform(0.15, 0.6) + 0.01 * k
        px, py = np.array([x, y]) + far * ahead + room.rng.uniform(-0.2, 0.2) * side
        yield (float(px), float(py), other.pose[2] + (np.pi if item.seats == () and item.front < 0.5 else 0.0)), None


def facing(room: Room, item: Item, other: Placed) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses that look at another thing: at walls, then on the free floor before it."""
    target = np.array(other.pose[:2])

    def good(pose: Pose) -> bool:
        return SEEN_FROM < np.hypot(*(target - pose[:2])) < SEEN_TO and looks_at(pose, target)

    for _ in range(4):
        for pose, edge in at_wall(room, item):
            if good(pose) and float(front_of(other.pose) @ (np.array(pose[:2]) - target)) > 0:
                yield pose, edge
    ahead, side = front_of(other.pose), np.array([np.cos(other.pose[2]), np.sin(other.pose[2])])
    for _ in range(2 * TRIES):
        x, y = target + room.rng.uniform(1.1, 3.2) * ahead + room.rng.uniform(-0.9, 0.9) * side
        straight = other.pose[2] + np.pi
        for yaw in (straight, yaw_towards(float(x), float(y), target)):
            if good((float(x), float(y), yaw)):
                yield (float(x), float(y), yaw), None


def by_opening(room: Room, item: Item, window: bool) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses at walls within half a metre of a window, or of a door."""
    for _ in range(6):
        for pose, edge in at_wall(room, item):
            assert edge is not None
            low = np.array(edge.point(0.0, 0.0))
            along = float(np.abs(np.array(pose[:2]) - low)[1 - edge.axis])
            if any(
                (o.span is not None) == window and o.overlaps(edge, along - item.width / 2, along + item.width / 2, 0.5)
                for o in room.layout.openings
            ):
                yield pose, edge


def behind(room: Room, item: Item, other: Placed) -> Iterator[tuple[Pose, Edge | None]]:
    """Poses at another thing's back, turned as it is."""
    if other.item is None:
        return
    back = -front_of(other.pose)
    for k in range(TRIES):
        far = other.item.depth / 2 + item.depth / 2 + 0.04 + 0.01 * k
        x, y = np.array(other.pose[:2]) + far * back
        yield (float(x), float(y), other.pose[2]), None
