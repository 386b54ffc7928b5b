"""Camera paths of a person or robot that walks over the free floor and looks around; consecutive views overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from sgrocc_core.data.synthetic.rooms.placement import CELL, FloorPlan
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.geometry.poses import make_pose

STRIDE = 2
"""The walk is planned on every second cell of the floor plan, that is 0.1 m."""


@dataclass(frozen=True)
class Walker:
    """Who carries the camera.

    Attributes:
        kind: `head`, `handheld` or `robot`.
        height: height of the camera, metres.
        pitch: mean pitch, downwards positive, radians.
        spread: standard deviation of the pitch, radians.
        sway: standard deviation of the roll, radians.
        look: how far the view may turn away from the direction of walking, radians.
        step: distance between frames, metres.
        turn: maximum rotation per frame, radians.
    """

    kind: str
    height: float
    pitch: float
    spread: float
    sway: float
    look: float
    step: float
    turn: float


def draw_walker(rng: np.random.Generator) -> Walker:
    """Draw a head-worn camera, a handheld one as in ScanNet, or a robot."""
    kind = str(rng.choice(["head", "handheld", "robot"], p=[0.4, 0.35, 0.25]))
    step, turn = float(rng.uniform(0.08, 0.25)), float(rng.uniform(0.2, 0.5))
    if kind == "head":
        return Walker(kind, float(rng.uniform(1.4, 1.75)), float(rng.uniform(0.05, 0.4)), 0.3, 0.06, 1.3, step, turn)
    if kind == "handheld":
        return Walker(kind, float(rng.uniform(1.1, 1.6)), float(rng.uniform(0.25, 0.65)), 0.22, 0.1, 2.2, step, turn)
    return Walker(kind, float(rng.uniform(0.3, 1.2)), float(rng.uniform(-0.15, 0.2)), 0.06, 0.015, 0.3, step, turn)


def draw_real_walker(rng: np.random.Generator) -> Walker:
    """Draw a walker of the second edition of the rooms: as `draw_walker`, but down to 0.15 m and up to 2 m high."""
    who = draw_walker(rng)
    low, high = {"head": (1.4, 2.0), "handheld": (0.9, 1.7), "robot": (0.15, 1.2)}[who.kind]
    return replace(who, height=float(rng.uniform(low, high)))


def draw_video_walker(rng: np.random.Generator) -> Walker:
    """Draw a walker whose frames are as close together as a video's: 2 to 10 cm and a few degrees apart."""
    who = draw_walker(rng)
    return replace(who, step=float(rng.uniform(0.02, 0.1)), turn=float(rng.uniform(0.04, 0.16)))


def draw_intrinsics(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(3, 3) intrinsics of a camera with 50 to 85 degrees horizontal field of view; size is (width, height), pixels."""
    w, h = size
    f = 0.5 * w / np.tan(0.5 * np.deg2rad(rng.uniform(50, 85)))
    return np.array(
        [
            [f, 0, (w - 1) / 2 + rng.normal(0, 0.01) * w],
            [0, f * rng.uniform(0.99, 1.01), (h - 1) / 2 + rng.normal(0, 0.01) * h],
            [0, 0, 1.0],
        ]
    )


def walkable_floor(plan: FloorPlan, clearance: float) -> np.ndarray:
    """(X / 2, Y / 2) bool: the largest connected free area, `clearance` metres from all obstacles.

    The clearance is reduced if too little area is left.

    Raises:
        ValueError: there is no free floor.
    """
    free = (plan.inside & ~plan.taken).astype(np.uint8)
    for margin in (clearance, 0.15, 0.06):
        size = 2 * int(round(margin / CELL)) + 1
        eroded = cv2.erode(free, np.ones((size, size), np.uint8))[::STRIDE, ::STRIDE]
        count, areas, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(eroded), connectivity=4)
        if count > 1 and stats[1:, cv2.CC_STAT_AREA].max() > 30:
            return np.asarray(areas == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
    raise ValueError("the room has no free floor to walk on")


def _route(walkable: np.ndarray, start: tuple[int, int], goal: tuple[int, int]) -> list[tuple[int, int]]:
    """Cells of a shortest path, by breadth-first search in eight directions."""
    came = {goal: goal}
    queue = deque([goal])
    moves = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    while queue and start not in came:
        cell = queue.popleft()
        for dx, dy in moves:
            following = (cell[0] + dx, cell[1] + dy)
            if (
                0 <= following[0] < walkable.shape[0]
                and 0 <= following[1] < walkable.shape[1]
                and walkable[following]
                and following not in came
            ):
                came[following] = cell
                queue.append(following)
    way, cell = [start], start
    while cell != goal and cell in came:
        cell = came[cell]
        way.append(cell)
    return way


def _walk(plan: FloorPlan, walker: Walker, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames, 2) metres in the room's frame: a smooth path with points `step` metres apart."""
    walkable = walkable_floor(plan, 0.3 if walker.kind == "robot" else 0.22)
    cells = np.argwhere(walkable)
    inner = np.argwhere(walkable & plan.main[::STRIDE, ::STRIDE])
    if len(inner) > 30 and rng.random() < 0.8:
        cells = inner  # the path may still pass through a doorway
    here = tuple(cells[rng.integers(len(cells))])
    way: list[tuple[int, int]] = [here]
    need = int(frames * walker.step / (CELL * STRIDE)) + 12
    while len(way) < need:
        goals = cells[rng.integers(len(cells), size=4)]
        goal = tuple(goals[np.abs(goals - np.array(here)).sum(1).argmax()])
        leg = _route(walkable, here, goal)
        way += leg[1:] if len(leg) > 1 else [here]
        here = way[-1]
    points = np.stack(
        [plan.x[::STRIDE, ::STRIDE][tuple(np.array(way).T)], plan.y[::STRIDE, ::STRIDE][tuple(np.array(way).T)]], 1
    )
    kernel = np.ones(5) / 5
    padded = np.pad(points, ((2, 2), (0, 0)), mode="edge")
    points = np.stack([np.convolve(padded[:, a], kernel, "valid") for a in (0, 1)], 1)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    at = np.arange(frames) * min(walker.step, length[-1] / max(frames - 1, 1))
    return np.stack([np.interp(at, length, points[:, a]) for a in (0, 1)], 1)


def wander(rng: np.random.Generator, frames: int, smooth: float) -> np.ndarray:
    """(frames,) smooth random signal of unit variance with a correlation length of `smooth` frames."""
    size = int(np.ceil(3 * smooth))
    raw = rng.standard_normal(frames + 2 * size)
    kernel = np.exp(-0.5 * (np.arange(-size, size + 1) / smooth) ** 2)
    return np.convolve(raw, kernel / np.sqrt((kernel**2).sum()), "valid")[:frames]


def _headings(way: np.ndarray, plan: FloorPlan, walker: Walker, rng: np.random.Generator, smooth: float) -> np.ndarray:
    """(frames,) yaw: along the path with random deviations, away from nearby walls; its rate is bounded."""
    ahead = np.r_[way[4:], np.repeat(way[-1:], min(4, len(way)), 0)][: len(way)] - way
    wanted = np.unwrap(np.arctan2(ahead[:, 1] + 1e-9, ahead[:, 0])) + walker.look * 0.6 * wander(rng, len(way), smooth)
    yaw = np.empty(len(way))
    yaw[0] = wanted[0] if rng.random() < 0.5 else rng.uniform(0, 2 * np.pi)
    for i in range(1, len(way)):
        options = wanted[i] + np.array([0.0, 0.5, -0.5, 1.0, -1.0, 1.6, -1.6, 3.1])
        worth = np.array([_worth_seeing(plan, way[i], o) for o in options])
        turned = np.abs((options - yaw[i - 1] + np.pi) % (2 * np.pi) - np.pi)
        best = options[np.argmax(worth - 0.12 * np.abs(options - wanted[i]) - 0.15 * turned)]
        change = (best - yaw[i - 1] + np.pi) % (2 * np.pi) - np.pi
        yaw[i] = yaw[i - 1] + np.clip(change, -walker.turn, walker.turn)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / max(smooth / 4, 0.5)) ** 2)
    return np.convolve(np.pad(yaw, 12, mode="edge"), kernel / kernel.sum(), "valid")


def _worth_seeing(plan: FloorPlan, at: np.ndarray, yaw: float) -> float:
    """How much there is to see in a direction: open floor (up to 3 m) and furniture within a fan of 50 degrees."""
    distance, fan = np.arange(1, 16) * 0.2, yaw + np.array([-0.44, -0.15, 0.15, 0.44])
    x, y = at[0] + distance * np.cos(fan)[:, None], at[1] + distance * np.sin(fan)[:, None]
    i = np.clip(((x - plan.low[0]) / CELL).astype(int), 0, plan.inside.shape[0] - 1)
    j = np.clip(((y - plan.low[1]) / CELL).astype(int), 0, plan.inside.shape[1] - 1)
    open_so_far = np.logical_and.accumulate(plan.inside[i, j], axis=1)
    furniture = (plan.taken[i, j] & open_so_far).any(1).mean()
    return float(np.minimum(open_so_far.sum(1) * 0.2, 3.0).mean() * 0.6 + furniture)


def camera_pose(position: np.ndarray, yaw: float, down: float, roll: float) -> np.ndarray:
    """(4, 4) T_wc of an optical frame at a position, looking along yaw, `down` radians below the horizon, with roll."""
    forward = np.array([np.cos(yaw) * np.cos(down), np.sin(yaw) * np.cos(down), -np.sin(down)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    below = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    return make_pose(np.stack([c * right + s * below, c * below - s * right, forward], 1), position)


def walk(
    scene: Scene,
    frames: int,
    rng: np.random.Generator,
    walker: Walker | None = None,
    smooth: float = 6.0,
    draw: Callable[[np.random.Generator], Walker] = draw_walker,
) -> np.ndarray:
    """(frames, 4, 4) float64 T_wc of a walk in world coordinates; `draw` chooses who walks if there is no walker."""
    who = walker or draw(rng)
    way = _walk(scene.plan, who, frames, rng)
    yaw = _headings(way, scene.plan, who, rng, smooth) + scene.yaw
    down = np.clip(who.pitch + who.spread * wander(rng, frames, smooth), -0.7, 1.35)
    roll = who.sway * wander(rng, frames, smooth * 0.5)
    bob = who.height + (0.02 if who.kind == "robot" else 0.05) * wander(rng, frames, smooth)
    bob = np.clip(bob, 0.2, scene.layout.height - 0.25)
    world = np.c_[way, bob] @ scene.rotation.T + scene.offset
    return np.stack([camera_pose(world[i], yaw[i], down[i], roll[i]) for i in range(frames)])
