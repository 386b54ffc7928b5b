"""The Gaussian memory (method, section 4): the lattice, sparse, in hashed blocks of 8^3 cells, as a structure of growing arrays.

A block has a slot; its cells are rows slot * 512 + local of every field, its voxels evidence[slot]. The local box out of the memory is a
table of rows: integer arithmetic, no resampling. What changed since the map was last splatted is kept per slot.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.gaussians.address_space import reserved_blocks
from sgrocc_core.gaussians.confidence import CONFIDENCES, UNSEEN, CellView
from sgrocc_core.gaussians.evidence import EVIDENCE_BOUNDS
from sgrocc_core.gaussians.gaussians import SILENT_OPACITY, History, LocalGaussians
from sgrocc_core.gaussians.saved_memory import check_memory
from sgrocc_core.gaussians.update import CellFields, NewFields, read_history, update_cells
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_SIZE, BLOCK_VOXELS, BOX_CELLS, CELL_SIZE, CELL_VOXELS

BLOCK_ROWS = BLOCK_CELLS**3
REACH_CELLS = 3
"""A cell's Gaussians touch no voxel, and lend their class to none, farther than this many cells away (means leave by one voxel at most and
reach three; `voxel_map.CLASS_REACH`)."""
NEIGHBOURS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
"""(27, 3) offsets to a block's neighbours; entry 13 is the block itself."""


class GaussianMemory:
    """Everything that the stream remembers.

    Attributes:
        fields: CellFields, rows of 512 a slot; beyond `len(self) * 512` unused, and never written to where no block has been.
        evidence: (slots, 16, 16, 16) float32, log-odds e(v).
        neighbours: (slots, 27) int32, slots of the neighbouring blocks in the order of NEIGHBOURS, -1 where there is none.
        gaussians_changed, evidence_changed: (slots,) bool, what the voxel map has not taken over yet.
    """

    def __init__(self, gaussians_per_cell: int, feature_channels: int, confidence: str = "hybrid") -> None:
        self.gaussians_per_cell, self.feature_channels = gaussians_per_cell, feature_channels
        self._factors = CONFIDENCES[confidence]
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._slots: dict[tuple[int, int, int], int] = {}
        self._hold(1)
        self._hold(reserved_blocks(sum(array.nbytes for array in self._by_slot())))

    def __len__(self) -> int:
        """Blocks in the memory."""
        return len(self._slots)

    @property
    def keys(self) -> np.ndarray:
        """(B, 3) int32 block coordinates, in the order of the slots."""
        return self._keys[: len(self)]

    @property
    def nbytes(self) -> int:
        """Bytes that the blocks take."""
        return sum(a.nbytes for a in (*self.fields, self.evidence, self.neighbours)) * len(self) // len(self.evidence)

    def slots(self, keys: np.ndarray) -> np.ndarray:
        """(B, 3) int block coordinates to (B,) int64 slots, -1 where there is no block."""
        return np.array([self._slots.get(key, -1) for key in map(tuple, keys.tolist())], np.int64)

    def allocate(self, keys: np.ndarray) -> np.ndarray:
        """Slots (B,) of blocks (B, 3), made where they are missing; nothing is changed if that fails."""
        new = [key for key in dict.fromkeys(map(tuple, keys.tolist())) if key not in self._slots]
        if new:
            if len(self) + len(new) > len(self.evidence):
                self._hold(max(2 * len(self.evidence), len(self) + len(new)))
            start = len(self)
            self._keys[start : start + len(new)] = new
            self.fields.rotations[start * BLOCK_ROWS : (start + len(new)) * BLOCK_ROWS, :, 0] = 1.0
            self.fields.opacities[start * BLOCK_ROWS : (start + len(new)) * BLOCK_ROWS] = SILENT_OPACITY
            self._slots.update((key, start + n) for n, key in enumerate(new))
            self.gaussians_changed[start : start + len(new)] = (
                True  # Gaussians of blocks that were there before may reach into them
            )
            near = self.slots((np.array(new)[:, None] + NEIGHBOURS).reshape(-1, 3)).reshape(-1, len(NEIGHBOURS))
            self.neighbours[start : start + len(new)] = near
            rows, sides = np.nonzero(near >= 0)
            self.neighbours[near[rows, sides], len(NEIGHBOURS) - 1 - sides] = start + rows
        return self.slots(keys)

    def remove(self, slots: np.ndarray) -> list[tuple[int, int]]:
        """Forget blocks; others move into their slots, so that those in use stay the first ones.

        Args:
            slots: (n,) int, each once.

        Returns:
            (from, to) of every block that moved, in the order in which they did: for whoever keeps arrays by slot.
        """
        moves = []
        for slot in sorted(map(int, slots), reverse=True):
            last = len(self) - 1
            around = self.neighbours[slot]
            sides = np.flatnonzero(around >= 0)
            self.gaussians_changed[around[sides]] = True  # what reached over into them is gone
            self.neighbours[around[sides], len(NEIGHBOURS) - 1 - sides] = -1
            del self._slots[tuple(self._keys[slot].tolist())]
            if slot != last:
                self._move(last, slot)
                moves.append((last, slot))
            for array in self._by_slot():
                array[last] = 0
        return moves

    def _move(self, start: int, slot: int) -> None:
        """Put the block of slot `start` into another."""
        for array in self._by_slot():
            array[slot] = array[start]
        self._slots[tuple(self._keys[slot].tolist())] = slot
        around = self.neighbours[slot]
        sides = np.flatnonzero(around >= 0)
        around[around == start] = slot  # itself
        self.neighbours[around[sides], len(NEIGHBOURS) - 1 - sides] = slot

    def _by_slot(self) -> list[np.ndarray]:
        """All arrays as views whose first axis are the slots."""
        fields = [field.reshape(-1, BLOCK_ROWS, *field.shape[1:]) for field in self.fields]
        return [*fields, self.evidence, self.neighbours, self._keys, self.gaussians_changed, self.evidence_changed]

    def _saved(self) -> dict[str, np.ndarray]:
        """What is saved of the memory, by slot: the fields, the evidence and the blocks' keys."""
        return dict(zip((*self.fields._fields, "evidence"), self._by_slot())) | {"blocks": self._keys}

    def box(self, corner: np.ndarray) -> np.ndarray:
        """The local box as rows of `fields`.

        Args:
            corner: (3,) int, cell index of the box's lowest corner.

        Returns:
            (16200,) int64 in C order of the (30, 30, 18) cells; -1 where the memory holds nothing.
        """
        keys, _, shape = _box_blocks(corner)
        return _rows(self.slots(keys).reshape(shape), corner)

    def read(self, corner: np.ndarray) -> LocalGaussians:
        """A copy of the local box's Gaussians at a corner (3,) int, cells; cells without memory hold silent Gaussians at their centres."""
        rows = self.box(corner)
        held = rows >= 0
        out = {name: getattr(self.fields, name)[np.maximum(rows, 0)] for name in NewFields._fields}
        for array in out.values():
            array[~held] = 0.0
        out["rotations"][~held, :, 0] = 1.0
        out["opacities"][~held] = SILENT_OPACITY
        out["means"] += _cell_centres()[:, None]
        return LocalGaussians(**out)

    def history(self, corner: np.ndarray, view: CellView, stamp_ns: int) -> History:
        """What is known of the local box's anchors before a look.

        Args:
            corner: (3,) int, cell index of the box's lowest corner. view: how the frame sees the box's cells. stamp_ns: of the frame.
        """
        rows = self.box(corner)
        found = History(np.zeros((len(rows), self.feature_channels), np.float32), np.zeros((len(rows), 3), np.float32))
        read_history(
            self.fields,
            rows,
            view.state,
            view.residual,
            view.sigma,
            stamp_ns,
            self._factors,
            found.features,
            found.past,
        )
        return found

    def update(self, corner: np.ndarray, gaussians: LocalGaussians, view: CellView, stamp_ns: int) -> None:
        """Write one look's Gaussians back: only cells in view; see `update_cells`.

        Args:
            corner: (3,) int, cell index of the local box's lowest corner.
            gaussians: the expert's output for the box, finite.
            view: how the frame sees the box's cells.
            stamp_ns: of the frame.
        """
        anchors = np.flatnonzero(view.state != UNSEEN)
        if not len(anchors):
            return
        keys, first, shape = _box_blocks(corner)
        wanted = np.zeros(shape, np.bool_)
        cells = np.stack(np.unravel_index(anchors, BOX_CELLS), 1)
        wanted[tuple(((cells + corner) // BLOCK_CELLS - first).T)] = True
        table = np.full(wanted.shape, -1, np.int64)
        table[wanted] = self.allocate(keys[wanted.ravel()])
        rows = _rows(table, corner)[anchors]
        self.evidence_changed[rows[self.fields.tag[rows] == 0] // BLOCK_ROWS] = (
            True  # a tag makes what is splatted there count
        )
        new = NewFields(*(np.ascontiguousarray(getattr(gaussians, name), np.float32) for name in NewFields._fields))
        centres = _cell_centres()[anchors]
        seen = (view.state, view.residual, view.sigma, view.weight)
        changed = update_cells(self.fields, rows, new, anchors, centres, *seen, stamp_ns, self._factors)
        self._mark(cells[changed] + corner)

    def add_evidence(self, keys: np.ndarray, increments: np.ndarray) -> None:
        """Add log-odds to voxels.

        Args:
            keys: (B, 3) int block coordinates, each once. increments: (B, 16, 16, 16) float32; blocks without any are not made.
        """
        some = np.abs(increments).reshape(len(keys), -1).max(1, initial=0) > 0
        if not some.any():
            return
        slots = self.allocate(keys[some])
        old = self.evidence[slots]
        new = np.clip(old + increments[some], *EVIDENCE_BOUNDS)
        self.evidence[slots] = new
        self.evidence_changed[slots] |= (new != old).reshape(len(slots), -1).any(1)

    def forget_cells(self, rows: np.ndarray, cells: np.ndarray) -> None:
        """Make cells as if they had never been seen: their Gaussians, features and evidence.

        Args:
            rows: (n,) int64, rows of `fields`, each once. cells: (n, 3) int, their coordinates in the lattice.
        """
        for field in self.fields:
            field[rows] = 0
        self.fields.rotations[rows, :, 0] = 1.0
        self.fields.opacities[rows] = SILENT_OPACITY
        by_cell = self.evidence.reshape(-1, *(BLOCK_CELLS, CELL_VOXELS) * 3)
        slots, local = np.divmod(rows, BLOCK_ROWS)
        x, y, z = np.unravel_index(local, (BLOCK_CELLS,) * 3)
        by_cell[slots, x, :, y, :, z] = 0.0
        self.evidence_changed[slots] = True
        self._mark(cells)

    def forget_evidence(self, slots: np.ndarray, voxels: np.ndarray) -> None:
        """Set the evidence of voxels to nothing known. slots: (B,) int, each once. voxels: (B, 16, 16, 16) bool, which of them."""
        self.evidence[slots] = np.where(voxels, np.float32(0.0), self.evidence[slots])
        self.evidence_changed[slots] = True

    def room(self, spare: int = 64) -> dict[str, np.ndarray]:
        """Arrays for `arrays` to copy into, for a few blocks more than there are, so that the copy itself waits for no fresh pages."""
        sources = self._saved()
        count = min(len(self) + spare, len(self.evidence))
        return {name: np.full((count, *source.shape[1:]), 1, source.dtype) for name, source in sources.items()}

    def arrays(self, room: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """A copy of the memory as named arrays: `blocks` (B, 3) int32, every field (B, 512, ...), `evidence` (B, 16, 16, 16).

        Args:
            room: what `room` gave, to copy into; None, or too little: fresh arrays.
        """
        count = len(self)
        if room is None or len(room["blocks"]) < count:
            room = self.room(0)
        for name, source in self._saved().items():
            np.copyto(room[name][:count], source[:count])
        return {name: array[:count] for name, array in room.items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from what `arrays` gave; the present memory is replaced, or kept if the arrays do not fit.

        Raises:
            DataError: see `check_memory`.
        """
        check_memory(arrays, self.fields)
        count = len(arrays["blocks"])
        self.clear()
        self.allocate(arrays["blocks"])
        self.evidence[:count] = arrays["evidence"]
        for name, field in self.fields._asdict().items():
            field[: count * BLOCK_ROWS] = arrays[name].reshape(-1, *field.shape[1:])
        self.gaussians_changed[:count] = self.evidence_changed[:count] = True

    def _hold(self, blocks: int) -> None:
        """Arrays for that many blocks, zero; what there is (none at first) is kept."""
        old = self.__dict__.copy() if self._slots else {}
        self.fields = empty_fields(blocks * BLOCK_ROWS, self.gaussians_per_cell, self.feature_channels)
        self.evidence = np.zeros((blocks, BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS), np.float32)
        self.neighbours = np.zeros((blocks, len(NEIGHBOURS)), np.int32)
        self._keys = np.zeros((blocks, 3), np.int32)
        self.gaussians_changed, self.evidence_changed = np.zeros(blocks, np.bool_), np.zeros(blocks, np.bool_)
        for name in ("evidence", "neighbours", "_keys", "gaussians_changed", "evidence_changed"):
            if name in old:
                getattr(self, name)[: len(self)] = old[name][: len(self)]
        for new, kept in zip(self.fields, old.get("fields", ())):
            new[: len(self) * BLOCK_ROWS] = kept[: len(self) * BLOCK_ROWS]

    def _mark(self, cells: np.ndarray) -> None:
        """Mark the blocks within reach of changed cells (n, 3) int; the reach is less than a block, so its corners name them all."""
        if not len(cells):
            return
        low = (cells.min(0) - REACH_CELLS) // BLOCK_CELLS
        touched = np.zeros((cells.max(0) + REACH_CELLS) // BLOCK_CELLS - low + 1, np.bool_)
        for corner in np.stack(np.meshgrid(*[[-REACH_CELLS, REACH_CELLS]] * 3), -1).reshape(-1, 3):
            touched[tuple(((cells + corner) // BLOCK_CELLS - low).T)] = True
        slots = self.slots(np.argwhere(touched) + low)
        self.gaussians_changed[slots[slots >= 0]] = True


def empty_fields(rows: int, gaussians_per_cell: int, feature_channels: int) -> CellFields:
    """The fields of that many cells, zero."""
    g = gaussians_per_cell
    return CellFields(
        means=np.zeros((rows, g, 3), np.float32), scales=np.zeros((rows, g, 3), np.float32),
        rotations=np.zeros((rows, g, 4), np.float32), opacities=np.zeros((rows, g), np.float32),
        logits=np.zeros((rows, g, NUM_CLASSES), np.float32), features=np.zeros((rows, feature_channels), np.float32),
        tag=np.zeros(rows, np.uint8), weight=np.zeros(rows, np.float32), stamp=np.zeros(rows, np.int64),
        seen_through=np.zeros(rows, np.uint8), label=np.zeros(rows, np.uint8),
    )  # fmt: skip


def blocks_to_forget(memory: GaussianMemory, camera: np.ndarray, radius: float, most_mb: float) -> np.ndarray:
    """Slots of the blocks that the bounds leave no room for.

    Args:
        camera: (3,) metres, lattice frame. radius: blocks whose centres are farther away go, metres, 0 = none. most_mb: of all blocks
            together, MB, 0 = no bound; the farthest go first.
    """
    count = len(memory)
    room = int(most_mb * 1e6 / (memory.nbytes / count)) if count and most_mb else count
    if not radius and room >= count:
        return np.zeros(0, np.int64)
    away = np.linalg.norm((memory.keys + 0.5) * BLOCK_SIZE - camera, axis=1)
    order = np.argsort(away, kind="stable")
    kept = min(room, int((away <= radius).sum()) if radius else count)
    return np.sort(order[kept:])


def _box_blocks(corner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The blocks that a box touches: keys (B, 3) in C order, the lowest one (3,), how many along each axis (3,)."""
    first = np.asarray(corner, np.int64) // BLOCK_CELLS
    shape = (np.asarray(corner) + BOX_CELLS - 1) // BLOCK_CELLS - first + 1
    return np.argwhere(np.ones(shape, np.bool_)) + first, first, shape


def _rows(table: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Rows of `fields` (16200,) of a box whose blocks lie in the slots of `table`; -1 where there is none."""
    cells = [int(corner[a]) % BLOCK_CELLS + np.arange(BOX_CELLS[a]) for a in range(3)]
    slot = table[np.ix_(*(c // BLOCK_CELLS for c in cells))]
    x, y, z = np.ix_(*(c % BLOCK_CELLS for c in cells))
    return np.where(slot >= 0, slot * BLOCK_ROWS + (x * BLOCK_CELLS + y) * BLOCK_CELLS + z, -1).ravel()


def _cell_centres() -> np.ndarray:
    """(16200, 3) float32 centres of the box's cells, metres, box frame."""
    axes = [(np.arange(n) + 0.5) * CELL_SIZE for n in BOX_CELLS]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
