"""Are the things of a map those of the room? Precision and recall of found boxes against the generator's own pieces.

Held-out rooms are made from their seeds, mapped frame by frame with a sensor's depth, and asked for their things. Of
the pieces that stand in a room those count of which the frames saw enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sgrocc_core.classes import NAMES, label_of
from sgrocc_core.data.synthetic.generate import GeneratedScene, prepare, render_frame
from sgrocc_core.data.synthetic.rendering.render import Renderer
from sgrocc_core.engines.engine import Engine
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.mapping.types import MapperConfig
from sgrocc_core.voxels.objects import objects_of

CLASSES = tuple(label_of(name) for name in ("bed", "sofa", "table", "chair", "tvs"))
"""Classes whose things are scored."""
IOU = 0.25
"""Least intersection over union of two boxes that are the same thing."""
SEED = 21
"""Seed of the rooms: no other set of held-out rooms has it, and nothing was chosen on them."""
LEAST_SEEN = 200
"""Pixels, over all frames of 320 x 240, that must show a piece for it to count."""


@dataclass(frozen=True)
class Box:
    """A thing as a box along the map's axes.

    Attributes:
        label: its class.
        low: (3,) lowest corner, metres.
        high: (3,) highest corner, metres.
    """

    label: int
    low: np.ndarray
    high: np.ndarray

    def overlap(self, other: Box) -> float:
        """Intersection over union of the two boxes."""
        both = np.prod(np.maximum(0.0, np.minimum(self.high, other.high) - np.maximum(self.low, other.low)))
        return float(both / (np.prod(self.high - self.low) + np.prod(other.high - other.low) - both))


def piece_boxes(made: GeneratedScene, seen: np.ndarray) -> list[Box]:
    """Boxes, along the lattice's axes and rounded to its voxels, of the pieces of the scored classes that were seen.

    Args:
        made: the room.
        seen: (P,) pixels that showed each piece.
    """
    s, boxes = made.scene.solids, []
    reach = (np.abs(s.rotations) @ s.halves[:, :, None])[:, :, 0]
    for number, piece in enumerate(made.scene.pieces):
        mine = (s.pieces == number) & (s.labels == piece.label)
        if piece.label not in CLASSES or not mine.any() or seen[number] < LEAST_SEEN:
            continue
        low = np.floor(((s.centres - reach)[mine].min(0) - made.grid.origin) / VOXEL_SIZE)
        high = np.ceil(((s.centres + reach)[mine].max(0) - made.grid.origin) / VOXEL_SIZE)
        boxes.append(Box(piece.label, made.grid.origin + low * VOXEL_SIZE, made.grid.origin + high * VOXEL_SIZE))
    return boxes


def matched(found: list[Box], true: list[Box]) -> int:
    """Number of pairs of a found and a true box of one class that overlap by IOU: the best first, each box once."""
    pairs = sorted(
        ((f.overlap(t), i, j) for i, f in enumerate(found) for j, t in enumerate(true) if f.label == t.label),
        reverse=True,
    )
    used: tuple[set[int], set[int]] = (set(), set())
    for value, i, j in pairs:
        if value >= IOU and i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
    return len(used[0])


def map_room(
    engine: Engine, made: GeneratedScene, size: tuple[int, int], config: MapperConfig
) -> tuple[list[Box], list[Box]]:
    """Map a room with exact depth; returns the found boxes and the true ones."""
    mapper, renderer = OccupancyMapper(engine, config), Renderer(made.scene, made.style)
    seen = np.zeros(len(made.scene.pieces), np.int64)
    for number in range(len(made.poses)):
        view = render_frame(made, renderer, number, size, 0).view
        solids = renderer.depth_and_solids(made.poses[number], made.K, size)[1]
        owners = made.scene.solids.pieces[solids[solids >= 0]]
        seen += np.bincount(owners[owners >= 0], minlength=len(seen))
        stamp = (number + 1) * 10**8
        mapper.step(Frame(view.image, made.K, made.poses[number], stamp, view.depth))
    live = mapper.map
    things = objects_of(*live.occupied(), live.free(), CLASSES, live.origin)
    found = [Box(t.label, t.centre - t.extent / 2, t.centre + t.extent / 2) for t in things]
    return found, piece_boxes(made, seen)


def evaluate_objects(
    engine: Engine,
    rooms: int,
    frames: int,
    config: MapperConfig | None = None,
    seed: int = SEED,
    namespace: str = "heldout",
    step: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Map held-out rooms with a sensor's depth and count the things that are found.

    Args:
        engine: an open model.
        rooms: number of rooms.
        frames: number of frames of each.
        config: how to map; with fused depth if None.
        seed: seed of the rooms.
        namespace: of the rooms' seeds.
        step: called with 1 after every room.

    Returns:
        For each scored class and for `all`: `things`, `found`, `right`, `precision` and `recall`.
    """
    config = replace(config or MapperConfig(), depth_source="fused")
    counts = {label: np.zeros(3, np.int64) for label in CLASSES}
    size = (320, 240)
    for index in range(rooms):
        found, true = map_room(engine, prepare(namespace, seed, index, frames, size, 8), size, config)
        for label in CLASSES:
            own, real = [b for b in found if b.label == label], [b for b in true if b.label == label]
            counts[label] += (len(real), len(own), matched(own, real))
        if step is not None:
            step(1)
    rows = {NAMES[label]: _row(*counts[label].tolist()) for label in CLASSES}
    rows["all"] = _row(*np.sum(list(counts.values()), axis=0).tolist())
    return {"model": engine.spec.name, "iou": IOU, "rooms": rooms, "frames": frames, "seed": seed, "classes": rows}


def _row(things: int, found: int, right: int) -> dict[str, Any]:
    return {
        "things": things,
        "found": found,
        "right": right,
        "precision": right / found if found else None,
        "recall": right / things if things else None,
    }


def table(report: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{'class':<8}{'things':>8}{'found':>8}{'right':>8}{'precision':>11}{'recall':>8}"]
    for name, row in report["classes"].items():
        shares = [f"{row[key]:.3f}" if row[key] is not None else "-" for key in ("precision", "recall")]
        lines.append(f"{name:<8}{row['things']:>8}{row['found']:>8}{row['right']:>8}{shares[0]:>11}{shares[1]:>8}")
    return "\n".join(lines)
