"""Where things happen in a scene that changes, and how the camera stands and turns to see them: each place in view before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgrocc_core.data.dynamic_scenes import CHAIR_PUT, CHAIR_TAKEN, DOOR_OPENS, KINDS, PERSON_PASSES
from sgrocc_core.data.synthetic import seating
from sgrocc_core.data.synthetic.items import Item
from sgrocc_core.data.synthetic.layouts import Leaf
from sgrocc_core.data.synthetic.movers import Mover, closed, placed
from sgrocc_core.data.synthetic.placement import CELL, FloorPlan
from sgrocc_core.data.synthetic.rooms import Scene
from sgrocc_core.data.synthetic.trajectories import STRIDE, camera_pose, walkable_floor, wander

CHAIRS = (seating.office_chair, seating.dining_chair, seating.cantilever_chair, seating.stool)
NEAR, FAR = {"chair": 1.5, "door": 2.2, "person": 1.5}, {"chair": 3.0, "door": 3.6, "person": 3.4}
"""Distances from the camera at which things happen, metres."""
STRIDE_OF_PERSON = (0.09, 0.16)
"""What a person walks between two frames, metres."""
TURN = 0.2
"""What the camera turns between two frames at most, radians."""
LOOK_AT = {CHAIR_TAKEN: 0.45, CHAIR_PUT: 0.45, DOOR_OPENS: 1.0, PERSON_PASSES: 0.9}
"""Height above the floor that the camera looks at, metres."""
LONGER = {PERSON_PASSES: 1.4}
"""Shares of the frames, relative to the other events'."""
AFTER_PERSON = 12
"""Frames of its share that follow a person's passing, at least."""
EYE = 1.45
"""Height above the floor from which it is tried whether a place can be seen, metres."""
STANDS = 40
"""Stands of the camera that are tried in a room."""
SWAY = 0.28
"""The camera strays from its stand by at most this along each axis, metres."""

Sight = Callable[[np.ndarray, np.ndarray], bool]


@dataclass(frozen=True)
class Stage:
    """Where it happens, in the room's frame, metres.

    Attributes:
        stand: (2,) of the camera. chairs: (x, y, yaw) of the one that is taken and of the one that is put down. door: (2,) its middle.
        way: (2, 2) where the person appears, and where it is gone.
    """

    stand: np.ndarray
    chairs: tuple[tuple[float, float, float], tuple[float, float, float]]
    door: np.ndarray
    way: np.ndarray

    def places(self) -> dict[str, np.ndarray]:
        """(2,) where to look for each kind of event."""
        taken, put = (np.array(c[:2]) for c in self.chairs)
        return {CHAIR_TAKEN: taken, CHAIR_PUT: put, DOOR_OPENS: self.door, PERSON_PASSES: self.way.mean(0)}


def find_stage(
    scene: Scene, leaf: Leaf, chairs: tuple[Item, Item], sight: Sight, rng: np.random.Generator
) -> Stage | None:
    """Places for the events about one stand of the camera; None where STANDS stands have no room for them. The plan is left as it was.

    Args:
        sight: whether points (N, 3) are seen from an eye (3,), metres in the room's frame.
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
    """(n, 2) metres: cells of the floor that a mask over every second one chooses."""
    return np.stack([plan.x[::STRIDE, ::STRIDE][mask], plan.y[::STRIDE, ::STRIDE][mask]], 1)


def _upright(places: np.ndarray, width: float, height: float) -> np.ndarray:
    """(N, 3) points of bodies of a width and height, metres, that stand at places (n, 2)."""
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
    """(2, 2) metres: two ends of a straight way over free floor that the camera sees without turning, not nearer than a person's place."""
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
    """What moves when, one event after the other in the order in which the camera turns to them.

    Args:
        items: the chair that is taken, the one that is put down, the person.

    Returns:
        the movers in time's order, and (frames,) int: which of them the camera attends to; None where a person's time is too short.
    """
    places = stage.places()
    bearing = {kind: np.arctan2(*(place - stage.stand)[::-1]) for kind, place in places.items()}
    order = sorted(KINDS, key=lambda kind: bearing[kind])
    gaps = np.diff([bearing[kind] for kind in order], append=bearing[order[0]] + 2 * np.pi)
    first = (int(gaps.argmax()) + 1) % len(order)  # the widest turn is left out
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
    """(n, 2) a person's places frame by frame, at most `most`; None where they would lie too far apart."""
    length = float(np.linalg.norm(way[1] - way[0]))
    count = min(most, int(length / STRIDE_OF_PERSON[0]))
    if count < 2 or length / (count - 1) > STRIDE_OF_PERSON[1]:
        return None
    return way[0] + np.linspace(0, 1, count)[:, None] * (way[1] - way[0])


def film(scene: Scene, stage: Stage, movers: list[Mover], attends: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(frames, 4, 4) T_wc of a camera that sways about its stand and turns to one place after the other."""
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
    """(frames,) angles that follow others no faster than TURN a frame."""
    found = wanted.copy()
    for i in range(1, len(wanted)):
        found[i] = found[i - 1] + np.clip(wanted[i] - found[i - 1], -TURN, TURN)
    return found
