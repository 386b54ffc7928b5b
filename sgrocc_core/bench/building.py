"""A building for `sgrocc bench growth`: a few generated rooms, seen from a few places each, repeated on a square of plots in one map frame.

Copies of a room lie whole blocks apart, so that mapping one takes the same work wherever it stands: what differs is how large the map is.
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
"""The rooms are well furnished."""
GAP = 5.0
"""Metres between rooms: no local box reaches into the next."""


@dataclass(frozen=True)
class Building:
    """Rooms on plots.

    Attributes:
        views: for each of the different rooms, frames in the order in which a camera walks by.
        order: which of them stands on each plot.
        pitch: (2,) int, blocks from one plot to the next along x and y.
    """

    views: list[list[Frame]]
    order: list[int]
    pitch: np.ndarray

    def frame(self, plot: int, view: int, stamp_ns: int) -> Frame:
        """A view of the room on a plot."""
        seen = self.views[self.order[plot]][view]
        columns = int(np.ceil(np.sqrt(len(self.order))))
        T_wc = seen.T_wc.copy()
        T_wc[:2, 3] += np.array([plot % columns, plot // columns]) * self.pitch * BLOCK_SIZE
        return replace(seen, T_wc=T_wc, stamp_ns=stamp_ns)


def make_building(rooms: int, different: int, views: int, twin: int) -> Building:
    """A building; the same arguments, the same building.

    Args:
        rooms: how many. different: of how many kinds, one after the other over and over. views: of each kind.
        twin: the last room is of the same kind as this one, so that the two may be compared.
    """
    made = [prepare("walk", 0, 1 + index, views, SIZE, MIN_CLASSES) for index in range(different)]
    return Building([_rendered(scene) for scene in made], room_order(rooms, different, twin), _pitch(made))


def room_order(rooms: int, different: int, twin: int) -> list[int]:
    """Which kind stands on each plot; arguments as in `make_building`."""
    order = [plot % different for plot in range(rooms)]
    return [*order[:-1], order[twin]]


def _rendered(made: GeneratedScene) -> list[Frame]:
    return [Frame(f.view.image, f.K, f.T_wc, 0, f.view.depth) for f in render_frames(made, SIZE, 0)]


def _pitch(made: list[GeneratedScene]) -> np.ndarray:
    """(2,) int: blocks from plot to plot, so that no two of these rooms touch wherever they stand."""
    ends = [(m.grid.origin + (m.grid.low + np.array(known_bounds(m.grid))) * VOXEL_SIZE)[:, :2] for m in made]
    low, high = np.min([e[0] for e in ends], 0), np.max([e[1] for e in ends], 0)
    return np.ceil((high - low + GAP) / BLOCK_SIZE).astype(np.int64)
