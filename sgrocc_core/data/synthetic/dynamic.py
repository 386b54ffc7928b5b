"""Scenes that change during the recording, with exact labels at every frame and the frames that see each event.

Four events happen one after the other: a chair is removed, a chair is added, a door opens, and a person walks through.
Each place is in view before and after its event.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sgrocc_core.classes import EMPTY, UNKNOWN, label_of
from sgrocc_core.data.assets.library import Library
from sgrocc_core.data.dynamic_scenes import DOOR_OPENS, FORMAT_VERSION, SEES
from sgrocc_core.data.synthetic.furniture.items import Item
from sgrocc_core.data.synthetic.furniture.seating import CHAIRS
from sgrocc_core.data.synthetic.generate import (
    ATTEMPTS,
    NAMESPACES,
    GeneratedFrame,
    GeneratedScene,
    furnisher_for,
    render_frame,
)
from sgrocc_core.data.synthetic.movers import Mover, person
from sgrocc_core.data.synthetic.rendering.camera_effects import draw_style
from sgrocc_core.data.synthetic.rendering.render import Renderer
from sgrocc_core.data.synthetic.rendering.voxelise import class_counts, voxelise
from sgrocc_core.data.synthetic.rooms.furnisher import Furnisher
from sgrocc_core.data.synthetic.rooms.rooms import Scene, make_scene
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.primitives import Solids
from sgrocc_core.data.synthetic.staging import Sight, direct, film, find_stage
from sgrocc_core.data.synthetic.trajectories import draw_intrinsics
from sgrocc_core.geometry.camera import project, scale_intrinsics
from sgrocc_core.geometry.lattice import CELL_SIZE, VOXEL_SIZE

LEAST_FRAMES = 100
"""Minimum number of frames; with fewer there is no time to see four places before and after."""
SEEN_FRAMES = 10
"""Minimum number of frames that see the place of an event before it, and after it."""
WIDE = np.deg2rad(64)
"""Minimum horizontal field of view of the camera, radians; a door must fit into the image."""
LOW_SIZE = 96
"""Image width at which visibility is checked, pixels."""
THIN = 0.06
"""Maximum thickness of a rod (chair and table legs, tubes, slats), metres."""


@dataclass(frozen=True)
class Event:
    """One change and its place.

    Attributes:
        mover: what moves, and when.
        emptied: (N, 3) int, voxels of the grid that become free; for a person, all voxels passed through.
        filled: (N, 3) int, voxels of the grid that become occupied; for a person, the same voxels as `emptied`.
        seen: (frames,) share of these voxels that each frame sees.
    """

    mover: Mover
    emptied: np.ndarray
    filled: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class DynamicScene:
    """A changing scene before its frames are rendered.

    Attributes:
        made: the scene without its moving parts; its grid holds the labels of frame 0.
        events: events in order of time.
        voxels: (K, 3) int, voxels of the grid that change at least once.
        history: (frames, K) uint8, labels of these voxels at every frame.
        thin: (X, Y, Z) bool, voxels of chairs and tables that contain only rods.
    """

    made: GeneratedScene
    events: tuple[Event, ...]
    voxels: np.ndarray
    history: np.ndarray
    thin: np.ndarray

    def at(self, frame: int) -> GeneratedScene:
        """The scene at a frame."""
        labels = self.made.grid.labels.copy()
        labels[tuple(self.voxels.T)] = self.history[frame]
        scene = _with(self.made.scene, [e.mover for e in self.events], frame)[0]
        return replace(self.made, scene=scene, grid=replace(self.made.grid, labels=labels))


def prepare_dynamic(
    seed: int, index: int, frames: int, size: tuple[int, int], assets: Library | None = None
) -> DynamicScene:
    """Build scene `index` of a seed; the same arguments give the same scene. `assets` are models of furniture.

    Raises:
        ValueError: no suitable scene was found.
    """
    for attempt in range(20 * ATTEMPTS):
        words = (NAMESPACES["dynamic"], seed, index, attempt)
        rng = np.random.default_rng(words)
        furnisher = furnisher_for("dynamic", assets)
        scene = make_scene(rng, furnisher=furnisher)
        if not scene.layout.leaves:
            continue
        leaf, m = scene.layout.leaves[0], Materials(rng)
        chairs = (_chair(furnisher, m), _chair(furnisher, m))
        items = (*chairs, person(m))
        still = np.delete(np.arange(len(scene.solids.kinds)), np.arange(leaf.first, leaf.stop))
        left = replace(scene, solids=scene.solids.chosen(still))
        style = draw_style(rng)
        stage = find_stage(scene, leaf, chairs, _sight(Renderer(scene, style)), rng)
        directed = None if stage is None else direct(scene, leaf, stage, items, frames)
        if stage is None or directed is None:
            continue
        movers = [_repainted(mover, len(scene.materials), mover.kind != DOOR_OPENS) for mover in directed[0]]
        poses, K = film(scene, stage, movers, directed[1], rng), _wide_intrinsics(rng, size)
        models = tuple(sorted(furnisher.used)) if furnisher else ()
        left = replace(left, materials=np.r_[scene.materials, m.table()], models=models)
        made = GeneratedScene(left, voxelise(left, rng.uniform(0, CELL_SIZE, 3)), style, poses, K, words)
        found = _with_truth(made, movers, size)
        if found is not None:
            return found
    raise ValueError(
        "no scene was found in which a chair is removed, one is added, a door opens and a person passes "
        f"in view of {frames} frames"
    )


def _chair(furnisher: Furnisher | None, m: Materials) -> Item:
    """A chair that is removed or added."""
    maker = CHAIRS[m.rng.integers(len(CHAIRS))]
    return maker(m) if furnisher is None else furnisher.chair(maker, m)(m)


def _sight(renderer: Renderer) -> Sight:
    """A function that tests whether at most 10 % of points are occluded from an eye point, in the room's frame."""
    R, offset = renderer.scene.rotation, renderer.scene.offset

    def sight(eye: np.ndarray, points: np.ndarray) -> bool:
        origins = np.repeat((R @ eye + offset)[None], len(points), 0).astype(np.float32)
        return bool(renderer.unblocked(origins, ((points - eye) @ R.T).astype(np.float32)).mean() > 0.9)

    return sight


def _wide_intrinsics(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    while True:
        K = draw_intrinsics(rng, size)
        if 2 * np.arctan(0.5 * size[0] / K[0, 0]) >= WIDE:
            return K


def _repainted(mover: Mover, first: int, new: bool) -> Mover:
    """The mover with materials numbered from row `first` of the scene's table; a door keeps the scene's materials."""
    if not new:
        return mover

    def shifted(solids: Solids | None) -> Solids | None:
        return None if solids is None else replace(solids, materials=solids.materials + np.int32(first))

    during = tuple(replace(s, materials=s.materials + np.int32(first)) for s in mover.during)
    return replace(mover, before=shifted(mover.before), after=shifted(mover.after), during=during)


def _with(scene: Scene, movers: list[Mover], frame: int) -> tuple[Scene, np.ndarray]:
    """The scene with its movers at a frame, and (N,) int index of the mover of each solid, -1 = none."""
    there = [(k, solids) for k, mover in enumerate(movers) if (solids := mover.states[mover.state(frame)]) is not None]
    owners = [np.full(len(scene.solids.kinds), -1)] + [np.full(len(solids.kinds), k) for k, solids in there]
    return replace(scene, solids=scene.solids.joined(*(solids for _, solids in there))), np.concatenate(owners)


def _with_truth(made: GeneratedScene, movers: list[Mover], size: tuple[int, int]) -> DynamicScene | None:
    """The scene with its labels; None if the camera is blocked, or a place is not seen long enough before and after."""
    voxels, history = _history(made, movers)
    labels = made.grid.labels.copy()
    labels[tuple(voxels.T)] = history.max(0)  # occupied at any time
    cameras = np.floor((made.poses[:, :3, 3] - made.grid.origin) / VOXEL_SIZE).astype(np.int64) - made.grid.low
    if ((cameras < 0) | (cameras >= labels.shape)).any() or labels[tuple(cameras.T)].any():
        return None
    places = [_place(mover, voxels, history) for mover in movers]
    seen = _seen(made, movers, places, size)
    for mover, shares in zip(movers, seen):
        if min((shares[: mover.first] >= SEES).sum(), (shares[mover.last :] >= SEES).sum()) < SEEN_FRAMES:
            return None
    labels[tuple(voxels.T)] = history[0]
    events = tuple(Event(mover, *place, shares) for mover, place, shares in zip(movers, places, seen))
    made = replace(made, grid=replace(made.grid, labels=labels))
    return DynamicScene(made, events, voxels, history, _thin(made, movers))


def _history(made: GeneratedScene, movers: list[Mover]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (K, 3) of the grid that a mover ever reaches, and their labels (frames, K) uint8."""
    grid, corner = made.grid, made.grid.origin + made.grid.low * VOXEL_SIZE
    counts = [[_counts(solids, corner, grid.labels.shape) for solids in mover.states] for mover in movers]
    touched = np.zeros(grid.labels.shape, np.bool_)
    for of_state in (c for states in counts for c in states if c is not None):
        touched |= of_state.any(-1)
    voxels = np.argwhere(touched)
    still = class_counts(made.scene.solids, corner, grid.labels.shape)[touched]
    there = [[None if c is None else c[touched] for c in states] for states in counts]
    history = np.empty((len(made.poses), len(voxels)), np.uint8)
    for frame in range(len(history)):
        now = [states[mover.state(frame)] for mover, states in zip(movers, there)]
        total = still + sum(c for c in now if c is not None)
        history[frame] = np.where(total.any(-1), total.argmax(-1), grid.labels[touched])
    return voxels, history


def _counts(solids: Solids | None, corner: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    return None if solids is None else class_counts(solids, corner, shape)  # type: ignore[arg-type]


def _place(mover: Mover, voxels: np.ndarray, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels that an event empties, and voxels that it fills; for a person both are the voxels passed through."""
    was, now = history[mover.first - 1], history[mover.last]
    if mover.during:
        between = history[mover.first : mover.last]
        passed = ((between != EMPTY) & (between != UNKNOWN)).any(0) & (was == EMPTY) & (now == EMPTY)
        return voxels[passed], voxels[passed]
    matter = [(h != EMPTY) & (h != UNKNOWN) for h in (was, now)]
    return voxels[matter[0] & (now == EMPTY)], voxels[matter[1] & (was == EMPTY)]


def _seen(
    made: GeneratedScene, movers: list[Mover], places: list[tuple[np.ndarray, np.ndarray]], size: tuple[int, int]
) -> list[np.ndarray]:
    """For each mover, (frames,) the share of its voxels that project into the image and are not occluded.

    A mover may occlude voxels that it fills itself at that frame, such as those on its far side, but no others; an open
    door that hides the doorway behind it counts as occlusion.
    """
    low = (LOW_SIZE, max(1, round(LOW_SIZE * size[1] / size[0])))
    K = scale_intrinsics(made.K, low[0] / size[0], low[1] / size[1])
    corner = made.grid.origin + made.grid.low * VOXEL_SIZE
    # a person empties and fills the same voxels: count them once
    sets = [place[:1] if mover.during else place for mover, place in zip(movers, places)]
    centres = [corner + (np.concatenate(of_event) + 0.5) * VOXEL_SIZE for of_event in sets]
    emptied = [np.arange(len(points)) < len(of_event[0]) for points, of_event in zip(centres, sets)]
    shares = [np.zeros(len(made.poses), np.float32) for _ in movers]
    for frame, renderer, owners in _renderers(made, movers):
        depth, solid = renderer.depth_and_solids(made.poses[frame], K, low)
        owner = np.where(solid >= 0, owners[solid], -1)
        for k, points in enumerate(centres):
            u, v, z = project(points, K, made.poses[frame])
            column, row = np.rint(u).astype(int), np.rint(v).astype(int)
            inside = (z > 0) & (column >= 0) & (column < low[0]) & (row >= 0) & (row < low[1])
            at = row[inside], column[inside]
            fills = emptied[k][inside] == (frame < movers[k].last)
            clear = (depth[at] == 0) | (depth[at] > z[inside] - VOXEL_SIZE) | ((owner[at] == k) & fills)
            shares[k][frame] = clear.sum() / max(len(points), 1)
    return shares


def _renderers(made: GeneratedScene, movers: list[Mover]) -> Iterator[tuple[int, Renderer, np.ndarray]]:
    """For every frame, a renderer of the scene, rebuilt only after a change, and the mover of each solid."""
    states: list[int] = []
    for frame in range(len(made.poses)):
        now = [mover.state(frame) for mover in movers]
        if now != states:
            scene, owners = _with(made.scene, movers, frame)
            renderer, states = Renderer(scene, made.style), now
        yield frame, renderer, owners


def _thin(made: GeneratedScene, movers: list[Mover]) -> np.ndarray:
    """(X, Y, Z) bool: voxels of chairs and tables, moving ones included, that contain only rods."""
    lasting = [s for mover in movers for s in (mover.before, mover.after) if s is not None]
    solids = made.scene.solids.joined(*lasting)
    across = np.sort(2 * solids.halves, axis=1)[:, 1]
    rods = (across < THIN) & np.isin(solids.labels, [label_of("chair"), label_of("table")])
    corner, shape = made.grid.origin + made.grid.low * VOXEL_SIZE, made.grid.labels.shape
    reached = [class_counts(solids.chosen(which), corner, shape).any(-1) for which in (rods, ~rods)]  # type: ignore[arg-type]
    return np.asarray(reached[0] & ~reached[1])


def render_dynamic(scene: DynamicScene, size: tuple[int, int]) -> Iterator[GeneratedFrame]:
    """Render all frames, each with its own labels."""
    movers = [event.mover for event in scene.events]
    for frame, renderer, _ in _renderers(scene.made, movers):
        yield render_frame(scene.at(frame), renderer, frame, size, 0)


def write_changes(path: Path, scene: DynamicScene) -> None:
    """Write the labels and events of a changing scene as one file, which `dynamic_scenes` reads."""
    grid, movers = scene.made.grid, [event.mover for event in scene.events]
    content = {
        "format_version": np.array(FORMAT_VERSION), "labels": grid.labels,
        "origin": grid.origin + grid.low * VOXEL_SIZE, "thin": scene.thin,
        "voxels": scene.voxels.astype(np.int16), "history": scene.history,
        "kinds": np.array([m.kind for m in movers]),
        "first": np.array([m.first for m in movers]), "last": np.array([m.last for m in movers]),
        "seen": np.stack([event.seen for event in scene.events]),
    }  # fmt: skip
    for k, event in enumerate(scene.events):
        content |= {f"emptied_{k}": event.emptied.astype(np.int16), f"filled_{k}": event.filled.astype(np.int16)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.savez_compressed(file, **content)  # type: ignore[arg-type]
    os.replace(part, path)
