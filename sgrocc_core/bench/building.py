"""A building for `sgrocc bench growth`: generated rooms, repeated on a square of plots.

Copies of a room are whole blocks apart, so mapping one takes the same work on every plot, and only the size of the map
differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sgrocc_core.data.synthetic.generate import GeneratedScene, known_bounds, prepare, render_frames
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.lattice import BLOCK_SIZE, VOXEL_SIZE

SIZE = (160, 120)
"""Width and height of the images, pixels."""
MIN_CLASSES = 8
"""Minimum number of classes in a room: the rooms are well furnished."""
GAP = 5.0
"""Distance between rooms, metres: no local box extends into the next room."""


@dataclass(frozen=True)
class Building:
    """Rooms on plots.

    Attributes:
        views: for each kind of room, frames in the order of a camera that passes through.
        order: kind of room on each plot.
        pitch: (2,) int, distance between plots along x and y, blocks.
    """

    views: list[list[Frame]]
    order: list[int]
    pitch: np.ndarray

    def frame(self, plot: int, view: int, stamp_ns: int, kind: int | None = None) -> Frame:
        """Returns a view of the room on a plot.

        Args:
            plot: number of the plot; with `kind` it may also be an empty one, from `len(order)` on.
            view: number of the view.
            stamp_ns: time stamp, nanoseconds.
            kind: kind of the room; None: the one that stands there.
        """
        seen = self.views[self.order[plot] if kind is None else kind][view]
        columns = int(np.ceil(np.sqrt(len(self.order))))
        T_wc = seen.T_wc.copy()
        T_wc[:2, 3] += np.array([plot % columns, plot // columns]) * self.pitch * BLOCK_SIZE
        return replace(seen, T_wc=T_wc, stamp_ns=stamp_ns)


def make_building(rooms: int, different: int, views: int, twin: int) -> Building:
    """Generate a building; the same arguments give the same building.

    Args:
        rooms: number of rooms.
        different: number of kinds of room, which alternate.
        views: number of views of each kind.
        twin: the last room is of the same kind as this one, so that the two can be compared.
    """
    made = [prepare("walk", 0, 1 + index, views, SIZE, MIN_CLASSES) for index in range(different)]
    return Building([_rendered(scene) for scene in made], room_order(rooms, different, twin), _pitch(made))


def room_order(rooms: int, different: int, twin: int) -> list[int]:
    """Returns the kind of room on each plot; arguments as in `make_building`."""
    order = [plot % different for plot in range(rooms)]
    return [*order[:-1], order[twin]]


def _rendered(made: GeneratedScene) -> list[Frame]:
    return [Frame(f.view.image, f.K, f.T_wc, 0, f.view.depth) for f in render_frames(made, SIZE, 0)]


def _pitch(made: list[GeneratedScene]) -> np.ndarray:
    """(2,) int, distance between plots in blocks, such that rooms on neighbouring plots do not touch."""
    ends = [(m.grid.origin + (m.grid.low + np.array(known_bounds(m.grid))) * VOXEL_SIZE)[:, :2] for m in made]
    low, high = np.min([e[0] for e in ends], 0), np.max([e[1] for e in ends], 0)
    return np.ceil((high - low + GAP) / BLOCK_SIZE).astype(np.int64)
