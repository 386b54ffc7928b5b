"""The moving parts of a changing scene: chairs that are removed and added, an opening door, a walking person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sgrocc_core.data.synthetic.furniture.items import OBJECTS, Item
from sgrocc_core.data.synthetic.rooms.layouts import Leaf
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.data.synthetic.solids.materials import PLAIN, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder, Solids, rotation_zyx


@dataclass(frozen=True)
class Mover:
    """One thing that changes, in world coordinates; its solids are None while it is absent.

    Attributes:
        kind: one of `dynamic_scenes.KINDS`.
        first: first frame that shows the change.
        last: first frame that shows the final state; equal to `first` for an instantaneous change.
        before: its solids before `first`.
        after: its solids from `last` on.
        during: its solids at each frame in between.
    """

    kind: str
    first: int
    last: int
    before: Solids | None
    after: Solids | None
    during: tuple[Solids, ...] = ()

    def state(self, frame: int) -> int:
        """Index of its state at a frame: 0 before the change, then 1, 2, ...; the last state persists."""
        return int(np.clip(frame - self.first + 1, 0, len(self.states) - 1))

    @property
    def states(self) -> tuple[Solids | None, ...]:
        """Its solids in each state."""
        return (self.before, *self.during, self.after)


def person(m: Materials) -> Item:
    """A standing person."""
    r = m.rng
    skin = m.add(PLAIN, m.hsv(r.uniform(0.04, 0.09), r.uniform(0.25, 0.6), r.uniform(0.35, 0.9)), None, 0.05, 0.05)
    shirt, trousers, hair = m.fabric(), m.fabric(), m.black()
    h, w = r.uniform(1.55, 1.9), r.uniform(0.38, 0.48)

    def _build(b: Builder) -> None:
        for s in (-1, 1):
            b.box((s * 0.1, -0.05, 0.04), (0.1, 0.27, 0.08), OBJECTS, hair)
            b.cylinder((s * 0.1, 0, h * 0.25), (0.13, 0.15, h * 0.48), OBJECTS, trousers, taper=1.25)
            b.cylinder((s * (w / 2 + 0.05), -0.02, h * 0.63), (0.09, 0.1, h * 0.36), OBJECTS, shirt, taper=1.2)
            b.ball((s * (w / 2 + 0.05), -0.03, h * 0.44), (0.09, 0.1, 0.14), OBJECTS, skin)
        b.cushion((0, 0, h * 0.66), (w, 0.24, h * 0.38), OBJECTS, shirt)
        b.cylinder((0, 0, h * 0.85), (0.11, 0.11, 0.12), OBJECTS, skin)
        b.ball((0, -0.01, h * 0.93), (0.16, 0.2, h * 0.14), OBJECTS, skin)
        b.ball((0, 0.02, h * 0.95), (0.17, 0.2, h * 0.11), OBJECTS, hair)

    return Item(w + 0.2, 0.4, _build, front=0.0, height=h)


def placed(item: Item, scene: Scene, spot: tuple[float, float, float]) -> Solids:
    """Solids of an item in the world, placed at (x, y, yaw) of the room's frame."""
    b = Builder()
    item.build(b.at(spot[0], spot[1], 0.0, spot[2]))
    solids = b.solids().moved(scene.rotation, scene.offset)
    return replace(solids, pieces=np.full_like(solids.pieces, -1))  # they are none of the scene's pieces


def closed(leaf: Leaf, scene: Scene) -> Solids:
    """The closed door leaf of a scene: the open one rotated about its hinge."""
    open_leaf = scene.solids.chosen(np.arange(leaf.first, leaf.stop))
    turn, hinge = rotation_zyx(leaf.closing), scene.rotation @ leaf.hinge + scene.offset
    return open_leaf.moved(turn, hinge - turn @ hinge)
