"""Generates a scene from a seed: room, camera, walk, and frames with exact labels.

Training, test, held-out and demo scenes use seeds of different namespaces, so they never share a room.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context

import numpy as np

from sgrocc_core.classes import EMPTY, UNKNOWN
from sgrocc_core.data.assets.library import Library
from sgrocc_core.data.synthetic.processes import end_with_parent
from sgrocc_core.data.synthetic.rendering.camera_effects import CameraStyle, draw_real_style, draw_style
from sgrocc_core.data.synthetic.rendering.render import Renderer, View
from sgrocc_core.data.synthetic.rendering.voxelise import LabelGrid, voxelise
from sgrocc_core.data.synthetic.rooms.furnisher import Furnisher
from sgrocc_core.data.synthetic.rooms.rooms import BOTH, EDITIONS, Scene, make_scene
from sgrocc_core.data.synthetic.trajectories import Walker, draw_intrinsics, draw_real_walker, draw_walker, walk
from sgrocc_core.geometry.lattice import CELL_SIZE, CELL_VOXELS, VOXEL_SIZE, box_corner

NAMESPACES = {"train": 1, "test": 2, "heldout": 3, "walk": 4, "dynamic": 5, "prompt": 6}
"""First word of every seed; two namespaces never share a room."""
CANDIDATES = 2.5
"""Number of candidate poses, rendered coarsely, for each frame that is kept."""
ATTEMPTS = 40
"""Maximum number of rooms drawn for one scene."""


@dataclass(frozen=True)
class GeneratedFrame:
    """A frame and its ground truth.

    Attributes:
        view: image, depth and 2D labels.
        K: (3, 3) intrinsics, pixels.
        T_wc: (4, 4) pose, camera to world, metres.
        voxel_origin: (3,) lowest corner of the box, metres.
        target: (60, 60, 36) uint8 [x, y, z].
        corner: (3,) int, first voxel of the box on the scene's lattice.
    """

    view: View
    K: np.ndarray
    T_wc: np.ndarray
    voxel_origin: np.ndarray
    target: np.ndarray
    corner: np.ndarray


@dataclass(frozen=True)
class GeneratedScene:
    """A scene before its frames are rendered.

    Attributes:
        scene: the room.
        grid: voxel labels of the room.
        style: properties of the camera.
        poses: (N, 4, 4) poses, camera to world, metres.
        K: (3, 3) intrinsics, pixels.
        words: seed of all randomness in the scene.
    """

    scene: Scene
    grid: LabelGrid
    style: CameraStyle
    poses: np.ndarray
    K: np.ndarray
    words: tuple[int, ...]


def classes_in(grid: LabelGrid) -> set[int]:
    """Labels that fill at least three voxels."""
    counts = np.bincount(grid.labels.ravel(), minlength=256)
    return {c for c in range(1, 12) if counts[c] >= 3}


def prepare(
    namespace: str,
    seed: int,
    index: int,
    frames: int,
    size: tuple[int, int],
    min_classes: int = 6,
    walker: Walker | None = None,
    smooth: float = 6.0,
    assets: Library | None = None,
    edition: int = 1,
) -> GeneratedScene:
    """Build scene `index` of a seed; the same arguments give the same scene.

    Args:
        namespace: a key of NAMESPACES.
        seed: seed of the set.
        index: index of the scene in the set.
        frames: number of frames.
        size: (width, height) of the images, pixels.
        min_classes: minimum number of classes; rooms with fewer are drawn again.
        walker: who carries the camera; None draws one. With a walker, every pose of the walk is kept; otherwise the
            least informative ones are dropped.
        smooth: number of frames over which changes of the viewing direction are smoothed.
        assets: models of furniture beside the primitives; those of namespace `train` are in no other namespace.
        edition: edition of the rooms, one of `rooms.EDITIONS`, or `rooms.BOTH`.

    Raises:
        ValueError: no such room in ATTEMPTS attempts.
    """
    edition = EDITIONS[index % len(EDITIONS)] if edition == BOTH else edition
    for attempt in range(ATTEMPTS):
        words = (NAMESPACES[namespace], seed, index, attempt)
        rng = np.random.default_rng(words)
        scene = make_scene(rng, furnisher=furnisher_for(namespace, assets), edition=edition)
        grid = voxelise(scene, rng.uniform(0, CELL_SIZE, 3))
        if len(classes_in(grid)) < min_classes:
            continue
        made = walk_through(scene, grid, rng, words, frames, size, walker, smooth, edition)
        if made is not None:
            return made
    raise ValueError(f"no room of {min_classes} classes in {ATTEMPTS} attempts (seed {seed}, scene {index})")


def walk_through(
    scene: Scene,
    grid: LabelGrid,
    rng: np.random.Generator,
    words: tuple[int, ...],
    frames: int,
    size: tuple[int, int],
    walker: Walker | None = None,
    smooth: float = 6.0,
    edition: int = 1,
) -> GeneratedScene | None:
    """Draw a camera and its walk through a room; None if there is no free floor, or the walk passes through a solid.

    Args:
        scene: the room.
        grid: its voxels.
        rng: random generator of the scene.
        words: seed of the scene.
        frames: number of frames.
        size: (width, height) of the images, pixels.
        walker: as for `prepare`.
        smooth: as for `prepare`.
        edition: as for `prepare`.
    """
    style, K = (draw_real_style if edition == 2 else draw_style)(rng), draw_intrinsics(rng, size)
    count = frames if walker else int(np.ceil(frames * CANDIDATES))
    try:
        poses = walk(scene, count, rng, walker, smooth, draw_real_walker if edition == 2 else draw_walker)
    except ValueError:  # no free floor
        return None
    free = np.array([_in_free_space(grid, T_wc) for T_wc in poses])
    if free.sum() < (len(poses) if walker else frames):  # the walk passes through a solid, such as a hanging lamp
        return None
    poses = poses[free]
    chosen = poses if walker else _richest(scene, style, poses, K, size, frames)
    return GeneratedScene(scene, grid, style, chosen, K, words)


def furnisher_for(namespace: str, assets: Library | None) -> Furnisher | None:
    """Draws models for one scene of a namespace; None without models."""
    return None if assets is None else Furnisher(assets, namespace != "train")


def _in_free_space(grid: LabelGrid, T_wc: np.ndarray) -> bool:
    voxel = np.floor((T_wc[:3, 3] - grid.origin) / VOXEL_SIZE).astype(np.int64)
    return bool(grid.crop(voxel, (1, 1, 1)).item() == EMPTY)


def _richest(
    scene: Scene, style: CameraStyle, poses: np.ndarray, K: np.ndarray, size: tuple[int, int], frames: int
) -> np.ndarray:
    """Drop the poses that show the least, such as a nearby wall; the order of the walk is kept."""
    shrink = size[0] / 40
    small = np.array([[K[0, 0] / shrink, 0, K[0, 2] / shrink], [0, K[1, 1] / shrink, K[1, 2] / shrink], [0, 0, 1]])
    renderer, scores = Renderer(scene, style), []
    for T_wc in poses:
        depth, labels = renderer.depth_and_labels(T_wc, small, (40, int(40 * size[1] / size[0])))
        share = np.bincount(labels.ravel(), minlength=256)[1:12] / labels.size
        things = share[4:].sum() + share[3]
        scores.append(
            (share > 0.012).sum()
            + 2.0 * min(things, 0.5)
            + 0.7 * min(float(np.median(depth)), 2.5)
            - 4.0 * (np.percentile(depth, 25) < 0.45)
            - 2.0 * (share.max() > 0.8)
        )
    keep = np.sort(np.argsort(-np.array(scores), kind="stable")[:frames])
    return poses[keep]


def render_frame(
    made: GeneratedScene, renderer: Renderer, number: int, size: tuple[int, int], jitter: int = 3
) -> GeneratedFrame:
    """Render frame `number` of the walk. Its box is shifted by up to `jitter` cells at random."""
    rng, T_wc = np.random.default_rng((*made.words, number)), made.poses[number]
    cell = box_corner(T_wc, made.grid.origin) + rng.integers(-jitter, jitter + 1, 3)
    corner = cell.astype(np.int64) * CELL_VOXELS
    view = renderer.view(T_wc, made.K, size, rng)
    return GeneratedFrame(view, made.K, T_wc, made.grid.origin + corner * VOXEL_SIZE, made.grid.crop(corner), corner)


def render_frames(made: GeneratedScene, size: tuple[int, int], jitter: int = 3) -> Iterator[GeneratedFrame]:
    """Render all frames of the walk."""
    renderer = Renderer(made.scene, made.style)
    for number in range(len(made.poses)):
        yield render_frame(made, renderer, number, size, jitter)


def known_bounds(grid: LabelGrid) -> tuple[np.ndarray, np.ndarray]:
    """First voxel, and one past the last voxel, (3,) each, of the known part, relative to the grid's first voxel."""
    known = np.argwhere(grid.labels != UNKNOWN)
    return known.min(0), known.max(0) + 1


DEMO_WALKER = Walker("head", 1.5, 0.35, 0.18, 0.03, 1.0, 0.045, 0.075)


@lru_cache(maxsize=1)
def prepare_walk(seed: int, frames: int, size: tuple[int, int]) -> tuple[GeneratedScene, Renderer]:
    """A smooth walk at 10 frames per second through a room with at least nine classes, from namespace `walk`."""
    made = prepare("walk", seed, 0, frames, size, 9, DEMO_WALKER, 18.0)
    return made, Renderer(made.scene, made.style)


def _walk_frame(seed: int, frames: int, size: tuple[int, int], number: int) -> GeneratedFrame:
    return render_frame(*prepare_walk(seed, frames, size), number, size, 0)


def render_walk(seed: int, frames: int, size: tuple[int, int], jobs: int = 2) -> Iterator[GeneratedFrame]:
    """Frames of `prepare_walk` in order, rendered by `jobs` processes; the result does not depend on their number."""
    if jobs < 2 or frames < 16:
        yield from (_walk_frame(seed, frames, size, k) for k in range(frames))
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent) as pool:
        yield from pool.map(partial(_walk_frame, seed, frames, size), range(frames))
