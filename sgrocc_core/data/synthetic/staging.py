"""Plans a changing scene: where and when its events happen, and how the camera moves to see each place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgrocc_core.data.dynamic_scenes import CHAIR_PUT, CHAIR_TAKEN, DOOR_OPENS, KINDS, PERSON_PASSES
from sgrocc_core.data.synthetic.furniture.items import Item
from sgrocc_core.data.synthetic.movers import Mover, closed, placed
from sgrocc_core.data.synthetic.rooms.layouts import Leaf
from sgrocc_core.data.synthetic.rooms.placement import CELL, FloorPlan
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.data.synthetic.trajectories import STRIDE, camera_pose, walkable_floor, wander

NEAR, FAR = {"chair": 1.5, "door": 2.2, "person": 1.5}, {"chair": 3.0, "door": 3.6, "person": 3.4}
"""Minimum and maximum distance of each event from the camera, metres."""
STRIDE_OF_PERSON = (0.09, 0.16)
"""Minimum and maximum distance that a person walks between two frames, metres."""
TURN = 0.2
"""Maximum rotation of the camera between two frames, radians."""
LOOK_AT = {CHAIR_TAKEN: 0.45, CHAIR_PUT: 0.45, DOOR_OPENS: 1.0, PERSON_PASSES: 0.9}
"""Height above the floor at which the camera aims, metres."""
LONGER = {PERSON_PASSES: 1.4}
"""Relative number of frames for an event; 1 for the others."""
AFTER_PERSON = 12
"""Minimum number of frames of the event that follow the person's exit."""
EYE = 1.45
"""Height above the floor from which visibility of a place is tested, metres."""
STANDS = 40
"""Number of camera positions tried in a room."""
SWAY = 0.28
"""Maximum deviation of the camera from its position along each axis, metres."""

Sight = Callable[[np.ndarray, np.ndarray], bool]


@dataclass(frozen=True)
class Stage:
    """Places of the events, in the room's frame, metres.

    Attributes:
        stand: (2,) position of the camera.
        chairs: (x, y, yaw) of the chair that is removed and of the one that is added.
        door: (2,) centre of the closed door.
        way: (2, 2) points where the person appears and disappears.
    """

    stand: np.ndarray
    chairs: tuple[tuple[float, float, float], tuple[float, float, float]]
    door: np.ndarray
    way: np.ndarray

    def places(self) -> dict[str, np.ndarray]:
        """(2,) point to look at for each kind of event."""
        taken, put = (np.array(c[:2]) for c in self.chairs)
        return {CHAIR_TAKEN: taken, CHAIR_PUT: put, DOOR_OPENS: self.door, PERSON_PASSES: self.way.mean(0)}


def find_stage(
    scene: Scene, leaf: Leaf, chairs: tuple[Item, Item], sight: Sight, rng: np.random.Generator
) -> Stage | None:
    """Find places for the events around a camera position. The plan is restored afterwards.

    Args:
        scene: the room.
        leaf: the door leaf that opens.
        chairs: the chair that is removed and the one that is added.
        sight: whether points (N, 3) are visible from an eye point (3,), metres in the room's frame.
        rng: random generator.

    Returns:
        The places, or None if none of STANDS positions has room for them.
    """
    plan, kept = scene.plan, scene.plan.taken.copy()
    door = (scene.rotation.T @ (closed(leaf, scene).centres[0] - scene.offset))[:2]
    plan.taken |= np.hypot(plan.x - leaf.hinge[0], plan.y - leaf.hinge[1]) < leaf.width + 0.15
    try:
        stands = _cells(plan, walkable_floor(plan, SWAY + 0.05) & plan.main[::STRIDE, ::STRIDE])
        away = np.linalg.norm(stands - door, axis=1)
        stands = stands[(away > NEAR["door"]) & (away < FAR["door"])]
        free = plan.taken.copy()
        for stand in rng.permutation(stands)[:STANDS]:
            plan.taken = free.copy()
            plan.taken |= (np.abs(plan.x - stand[0]) < 0.6) & (np.abs(plan.y - stand[1]) < 0.6)
            eye = np.array([*stand, EYE])
            if not sight(eye, _upright(door[None], 0.3, LOOK_AT[DOOR_OPENS] * 1.9)):
                continue
            taken = _chair_spot(plan, chairs[0], eye, sight, rng)
            put = _chair_spot(plan, chairs[1], eye, sight, rng) if taken else None
            way = _way(plan, eye, sight, rng) if put else None
            if taken is not None and put is not None and way is not None:
                return Stage(stand, (taken, put), door, way)
        return None
    except ValueError:  # no free floor
        return None
    finally:
        plan.taken = kept


def _cells(plan: FloorPlan, mask: np.ndarray) -> np.ndarray:
    """(n, 2) metres: cells of the floor selected by a mask over every second cell."""
    return np.stack([plan.x[::STRIDE, ::STRIDE][mask], plan.y[::STRIDE, ::STRIDE][mask]], 1)


def _upright(places: np.ndarray, width: float, height: float) -> np.ndarray:
    """(N, 3) points of bodies of a width and height, standing at places (n, 2), metres."""
    sides = [(0, 0), (width / 2, 0), (-width / 2, 0), (0, width / 2), (0, -width / 2)]
    return np.array(
        [(x + dx, y + dy, share * height) for x, y in places for dx, dy in sides for share in (0.1, 0.5, 1.0)]
    )


def _chair_spot(
    plan: FloorPlan, item: Item, eye: np.ndarray, sight: Sight, rng: np.random.Generator
) -> tuple[float, float, float] | None:
    for _ in range(40):
        spot = plan.free(item, rng, False, 1)
        if spot is None or not NEAR["chair"] < np.hypot(spot[0] - eye[0], spot[1] - eye[1]) < FAR["chair"]:
            continue
        if sight(eye, _upright(np.array([spot[:2]]), item.width, item.height)):
            plan.take(*spot, item)
            return spot
    return None


def _way(plan: FloorPlan, eye: np.ndarray, sight: Sight, rng: np.random.Generator) -> np.ndarray | None:
    """(2, 2) metres: ends of a straight path over free floor, in view of a fixed camera and far enough from it."""
    floor = walkable_floor(plan, 0.3)
    cells = _cells(plan, floor)
    for _ in range(80):
        ends = cells[rng.integers(len(cells), size=2)]
        points = ends[0] + np.linspace(0, 1, 25)[:, None] * (ends[1] - ends[0])
        away = np.linalg.norm(points - eye[:2], axis=1)
        index = np.rint((points - plan.low) / (CELL * STRIDE) - 0.25).astype(int)
        angles = np.unwrap(np.arctan2(*(points - eye[:2]).T[::-1]))
        straight = 1.3 < np.linalg.norm(ends[1] - ends[0]) < 2.4 and np.ptp(angles) < 0.75
        if not straight or away.min() < NEAR["person"] or away.max() > FAR["person"] or not floor[tuple(index.T)].all():
            continue
        if sight(eye, _upright(points[::6], 0.5, 1.8)):
            return ends
    return None


def direct(
    scene: Scene, leaf: Leaf, stage: Stage, items: tuple[Item, Item, Item], frames: int
) -> tuple[list[Mover], np.ndarray] | None:
    """Schedule the events one after the other, in the order in which the camera turns to them.

    Args:
        scene: the room.
        leaf: the door leaf that opens.
        stage: places of the events.
        items: the chair that is removed, the chair that is added, the person.
        frames: number of frames.

    Returns:
        The movers in order of time, and (frames,) int, the mover at which the camera looks; None if there is too little
        time for the person.
    """
    places = stage.places()
    bearing = {kind: np.arctan2(*(place - stage.stand)[::-1]) for kind, place in places.items()}
    order = sorted(KINDS, key=lambda kind: bearing[kind])
    gaps = np.diff([bearing[kind] for kind in order], append=bearing[order[0]] + 2 * np.pi)
    first = (int(gaps.argmax()) + 1) % len(order)  # start after the widest turn
    order = order[first:] + order[:first]
    shares = np.cumsum([0.0] + [LONGER.get(kind, 1.0) for kind in order])
    bounds = np.rint(frames * shares / shares[-1]).astype(int)
    taken, put = (placed(item, scene, spot) for item, spot in zip(items, stage.chairs))
    movers = []
    for kind, start, stop in zip(order, bounds, bounds[1:]):
        at = int(start + 0.55 * (stop - start))
        if kind == CHAIR_TAKEN:
            movers.append(Mover(kind, at, at, taken, None))
        elif kind == CHAIR_PUT:
            movers.append(Mover(kind, at, at, None, put))
        elif kind == DOOR_OPENS:
            movers.append(
                Mover(kind, at, at, closed(leaf, scene), scene.solids.chosen(np.arange(leaf.first, leaf.stop)))
            )
        else:
            first = int(start + 0.35 * (stop - start))
            steps = _steps(stage.way, int(stop) - AFTER_PERSON - first)
            if steps is None:
                return None
            ahead = stage.way[1] - stage.way[0]
            yaw = float(np.arctan2(ahead[0], -ahead[1]))
            bodies = tuple(placed(items[2], scene, (*step, yaw)) for step in steps)
            movers.append(Mover(kind, first, first + len(bodies), None, None, bodies))
    return movers, np.repeat(np.arange(len(order)), np.diff(bounds))


def _steps(way: np.ndarray, most: int) -> np.ndarray | None:
    """(n, 2) positions of a person frame by frame, at most `most`; None if they would be too far apart."""
    length = float(np.linalg.norm(way[1] - way[0]))
    count = min(most, int(length / STRIDE_OF_PERSON[0]))
    if count < 2 or length / (count - 1) > STRIDE_OF_PERSON[1]:
        return None
    return way[0] + np.linspace(0, 1, count)[:, None] * (way[1] - way[0])


def film(scene: Scene, stage: Stage, movers: list[Mover], attends: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(frames, 4, 4) T_wc of a camera that sways about its position and turns from place to place."""
    frames, places = len(attends), stage.places()
    height = rng.uniform(1.25, 1.65)
    position = stage.stand + np.clip(0.12 * np.stack([wander(rng, frames, 12.0) for _ in (0, 1)], 1), -SWAY, SWAY)
    bob, shake = (
        height + 0.03 * wander(rng, frames, 6.0),
        0.03 * np.stack([wander(rng, frames, 6.0) for _ in range(3)], 1),
    )
    kinds = [movers[a].kind for a in attends]
    aim = np.array([[*places[kind], LOOK_AT[kind]] for kind in kinds]) - np.c_[position, bob]
    yaw = _followed(np.unwrap(np.arctan2(aim[:, 1], aim[:, 0])))
    down = _followed(np.arctan2(-aim[:, 2], np.linalg.norm(aim[:, :2], axis=1)))
    world = np.c_[position, bob] @ scene.rotation.T + scene.offset
    yaw, down = yaw + scene.yaw + shake[:, 0], down + shake[:, 1]
    return np.stack([camera_pose(world[i], yaw[i], down[i], shake[i, 2]) for i in range(frames)])


def _followed(wanted: np.ndarray) -> np.ndarray:
    """(frames,) angles that follow the wanted ones by at most TURN per frame."""
    found = wanted.copy()
    for i in range(1, len(wanted)):
        found[i] = found[i - 1] + np.clip(wanted[i] - found[i - 1], -TURN, TURN)
    return found
