"""The Gaussian memory (method, section 4): a sparse lattice in hashed blocks of 8^3 cells, stored in growing arrays.

A block has a slot; its cells are the rows slot * 512 + local of every field, and its voxels are evidence[slot]. The
local box is read by a table of rows, without resampling. For each slot, flags record changes since the last splat.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.gaussians.address_space import reserved_blocks
from sgrocc_core.gaussians.confidence import CONFIDENCES, UNSEEN, CellView
from sgrocc_core.gaussians.evidence import EVIDENCE_BOUNDS, add_log_odds, has_evidence
from sgrocc_core.gaussians.gaussians import SILENT_OPACITY, History, LocalGaussians
from sgrocc_core.gaussians.saved_memory import check_memory
from sgrocc_core.gaussians.update import CellFields, NewFields, mark_reached, number_rows, read_history, update_cells
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_SIZE, BLOCK_VOXELS, BOX_CELLS, CELL_SIZE, CELL_VOXELS

BLOCK_ROWS = BLOCK_CELLS**3
"""Rows of the fields per block: its cells."""
REACH_CELLS = 3
"""Maximum distance, in cells, at which a cell's Gaussians affect a voxel's occupancy or class.

A mean lies at most one voxel outside its cell and a Gaussian reaches three voxels from it."""
NEIGHBOURS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
"""(27, 3) offsets to the neighbours of a block; entry 13 is the block itself."""


class GaussianMemory:
    """Gaussians and depth evidence of all blocks that were observed.

    Args:
        gaussians_per_cell: number G of Gaussians per cell.
        feature_channels: number C of feature channels per cell.
        confidence: which factors of Eq. 8 are used, one of CONFIDENCES.
        language: number D of numbers of a Gaussian's language feature; 0 = none.

    Attributes:
        language: (rows, G, D) float16, language features, zeros where nothing was seen; None without.
        fields: CellFields, 512 rows per slot; rows from `len(self) * 512` on are unused.
        evidence: (slots, 16, 16, 16) float32, log-odds e(v).
        neighbours: (slots, 27) int32, slots of the neighbouring blocks in the order of NEIGHBOURS, -1 = none.
        gaussians_changed: (slots,) bool, blocks whose splat is out of date in the voxel map.
        evidence_changed: (slots,) bool, blocks whose evidence or tags are out of date in the voxel map.
    """

    def __init__(
        self, gaussians_per_cell: int, feature_channels: int, confidence: str = "hybrid", language: int = 0
    ) -> None:
        self._numbers, self.language = language, np.zeros((0, 0, 0), np.float16) if language else None
        self.gaussians_per_cell, self.feature_channels = gaussians_per_cell, feature_channels
        self._factors = CONFIDENCES[confidence]
        self.clear()

    def clear(self) -> None:
        """Remove all blocks."""
        self._slots: dict[tuple[int, int, int], int] = {}
        self._hold(1)
        self._hold(reserved_blocks(sum(array.nbytes for array in self._by_slot())))

    def __len__(self) -> int:
        """Number of blocks in the memory."""
        return len(self._slots)

    @property
    def keys(self) -> np.ndarray:
        """(B, 3) int32 block coordinates, in the order of the slots."""
        return self._keys[: len(self)]

    @property
    def nbytes(self) -> int:
        """Bytes used by the blocks."""
        arrays = (*self.fields, self.evidence, self.neighbours, *self._language_by_slot())
        return sum(a.nbytes for a in arrays) * len(self) // len(self.evidence)

    def slots(self, keys: np.ndarray) -> np.ndarray:
        """Slots (B,) int64 of block coordinates (B, 3) int; -1 for blocks that do not exist."""
        return np.array([self._slots.get(key, -1) for key in map(tuple, keys.tolist())], np.int64)

    def allocate(self, keys: np.ndarray) -> np.ndarray:
        """Slots (B,) int64 of block coordinates (B, 3) int; missing blocks are added, all or none."""
        new = [key for key in dict.fromkeys(map(tuple, keys.tolist())) if key not in self._slots]
        if new:
            if len(self) + len(new) > len(self.evidence):
                self._hold(max(2 * len(self.evidence), len(self) + len(new)))
            start = len(self)
            self._keys[start : start + len(new)] = new
            self.fields.rotations[start * BLOCK_ROWS : (start + len(new)) * BLOCK_ROWS, :, 0] = 1.0
            self.fields.opacities[start * BLOCK_ROWS : (start + len(new)) * BLOCK_ROWS] = SILENT_OPACITY
            self._slots.update((key, start + n) for n, key in enumerate(new))
            # Gaussians of existing blocks may reach into the new ones.
            self.gaussians_changed[start : start + len(new)] = True
            near = self.slots((np.array(new)[:, None] + NEIGHBOURS).reshape(-1, 3)).reshape(-1, len(NEIGHBOURS))
            self.neighbours[start : start + len(new)] = near
            rows, sides = np.nonzero(near >= 0)
            self.neighbours[near[rows, sides], len(NEIGHBOURS) - 1 - sides] = start + rows
        return self.slots(keys)

    def remove(self, slots: np.ndarray) -> list[tuple[int, int]]:
        """Remove blocks; other blocks move into their slots, so that the first slots stay in use.

        Args:
            slots: (n,) int, each once.

        Returns:
            Slots (from, to) of every block that moved, in order, for callers that keep arrays by slot.
        """
        moves = []
        for slot in sorted(map(int, slots), reverse=True):
            last = len(self) - 1
            around = self.neighbours[slot]
            sides = np.flatnonzero(around >= 0)
            self.gaussians_changed[around[sides]] = True  # Gaussians that reached into them are gone
            self.neighbours[around[sides], len(NEIGHBOURS) - 1 - sides] = -1
            del self._slots[tuple(self._keys[slot].tolist())]
            if slot != last:
                self._move(last, slot)
                moves.append((last, slot))
            for array in self._by_slot():
                array[last] = 0
        return moves

    def _move(self, start: int, slot: int) -> None:
        """Move the block of slot `start` to `slot`."""
        for array in self._by_slot():
            array[slot] = array[start]
        self._slots[tuple(self._keys[slot].tolist())] = slot
        around = self.neighbours[slot]
        sides = np.flatnonzero(around >= 0)
        around[around == start] = slot  # itself
        self.neighbours[around[sides], len(NEIGHBOURS) - 1 - sides] = slot

    def _by_slot(self) -> list[np.ndarray]:
        """Views of all arrays with the slots as first axis."""
        fields = [field.reshape(-1, BLOCK_ROWS, *field.shape[1:]) for field in self.fields]
        flags = self.gaussians_changed, self.evidence_changed
        return [*fields, self.evidence, self.neighbours, self._keys, *flags, *self._language_by_slot()]

    def _language_by_slot(self) -> list[np.ndarray]:
        """A view of the language features with the slots as first axis; empty without."""
        return [] if self.language is None else [self.language.reshape(-1, BLOCK_ROWS, *self.language.shape[1:])]

    def _saved(self) -> dict[str, np.ndarray]:
        """Arrays that are saved, by slot: the fields, the evidence and the keys of the blocks."""
        saved = dict(zip((*self.fields._fields, "evidence"), self._by_slot())) | {"blocks": self._keys}
        return saved | dict(zip(("language",), self._language_by_slot()))

    def box(self, corner: np.ndarray) -> np.ndarray:
        """Rows of `fields` for the cells of the local box.

        Args:
            corner: (3,) int, cell index of the lowest corner of the box.

        Returns:
            (16200,) int64 in C order of the (30, 30, 18) cells; -1 for cells without a block.
        """
        keys, _, shape = _box_blocks(corner)
        return _rows(self.slots(keys).reshape(shape), corner)

    def read(self, corner: np.ndarray) -> LocalGaussians:
        """Copy the Gaussians of the local box.

        Args:
            corner: (3,) int, cell index of the lowest corner of the box.

        Returns:
            The Gaussians; cells without a block have silent Gaussians at their centres.
        """
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
        """Read the history of the anchors of the local box before an update.

        Args:
            corner: (3,) int, cell index of the lowest corner of the box.
            view: view of the cells of the box in the frame.
            stamp_ns: time of the frame, nanoseconds.
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
        """Update the cells in view with the Gaussians of one frame; see `update_cells`.

        Args:
            corner: (3,) int, cell index of the lowest corner of the local box.
            gaussians: output of the spatial expert for the box, finite.
            view: view of the cells of the box in the frame.
            stamp_ns: time of the frame, nanoseconds.
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
        # Setting the tag of a cell makes its splat count.
        self.evidence_changed[rows[self.fields.tag[rows] == 0] // BLOCK_ROWS] = True
        new = NewFields(*(np.ascontiguousarray(getattr(gaussians, name), np.float32) for name in NewFields._fields))
        centres = _cell_centres()[anchors]
        seen = (view.state, view.residual, view.sigma, view.weight)
        changed = update_cells(self.fields, rows, new, anchors, centres, *seen, stamp_ns, self._factors)
        mark_reached(rows[changed], REACH_CELLS, self.neighbours, self.gaussians_changed)

    def add_evidence(self, keys: np.ndarray, increments: np.ndarray) -> None:
        """Add log-odds to voxels.

        Args:
            keys: (B, 3) int block coordinates, each once.
            increments: (B, 16, 16, 16) float32; missing blocks are added only if one of their increments is not 0.
        """
        if not len(keys):
            return
        some = has_evidence(increments)
        if not some.any():
            return
        slots = np.full(len(keys), -1, np.int64)
        slots[some] = self.allocate(keys[some])
        add_log_odds(slots, increments, *EVIDENCE_BOUNDS, self.evidence, self.evidence_changed)

    def forget_cells(self, rows: np.ndarray) -> None:
        """Reset cells to the state of cells that were never observed: Gaussians, features and evidence.

        Args:
            rows: (n,) int64, rows of `fields`, each once.
        """
        for field in (*self.fields, *([] if self.language is None else [self.language])):
            field[rows] = 0
        self.fields.rotations[rows, :, 0] = 1.0
        self.fields.opacities[rows] = SILENT_OPACITY
        by_cell = self.evidence.reshape(-1, *(BLOCK_CELLS, CELL_VOXELS) * 3)
        slots, local = np.divmod(rows, BLOCK_ROWS)
        x, y, z = np.unravel_index(local, (BLOCK_CELLS,) * 3)
        by_cell[slots, x, :, y, :, z] = 0.0
        self.evidence_changed[slots] = True
        mark_reached(rows, REACH_CELLS, self.neighbours, self.gaussians_changed)

    def forget_evidence(self, slots: np.ndarray, voxels: np.ndarray) -> None:
        """Reset the evidence of voxels to 0.

        Args:
            slots: (B,) int, each once.
            voxels: (B, 16, 16, 16) bool, the voxels to reset.
        """
        self.evidence[slots] = np.where(voxels, np.float32(0.0), self.evidence[slots])
        self.evidence_changed[slots] = True

    def room(self, spare: int = 64) -> dict[str, np.ndarray]:
        """Allocate arrays for `arrays` to copy into, with `spare` more blocks; copying then allocates no pages."""
        sources = self._saved()
        count = min(len(self) + spare, len(self.evidence))
        return {name: np.full((count, *source.shape[1:]), 1, source.dtype) for name, source in sources.items()}

    def arrays(self, room: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Copy the memory: `blocks` (B, 3) int32, every field (B, 512, ...), `evidence` (B, 16, 16, 16).

        Args:
            room: arrays from `room` to copy into; new arrays are allocated if it is None or too small.
        """
        count = len(self)
        if room is None or len(room["blocks"]) < count:
            room = self.room(0)
        for name, source in self._saved().items():
            np.copyto(room[name][:count], source[:count])
        return {name: array[:count] for name, array in room.items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace the memory by arrays that `arrays` returned; it is unchanged if they are invalid.

        Raises:
            DataError: see `check_memory`.
        """
        arrays = check_memory(arrays, self.fields, self._numbers if "language" in arrays else 0)
        count = len(arrays["blocks"])
        self.clear()
        self.allocate(arrays["blocks"])
        self.evidence[:count] = arrays["evidence"]
        for name, field in self.fields._asdict().items():
            field[: count * BLOCK_ROWS] = arrays[name].reshape(-1, *field.shape[1:])
        if self.language is not None and "language" in arrays:
            self.language[: count * BLOCK_ROWS] = arrays["language"].reshape(-1, *self.language.shape[1:])
        self.gaussians_changed[:count] = self.evidence_changed[:count] = True

    def _hold(self, blocks: int) -> None:
        """Allocate zeroed arrays for that many blocks and copy the existing blocks."""
        old = self.__dict__.copy() if self._slots else {}
        self.fields = empty_fields(blocks * BLOCK_ROWS, self.gaussians_per_cell, self.feature_channels)
        self.evidence = np.zeros((blocks, BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS), np.float32)
        self.neighbours = np.zeros((blocks, len(NEIGHBOURS)), np.int32)
        self._keys = np.zeros((blocks, 3), np.int32)
        self.gaussians_changed, self.evidence_changed = np.zeros(blocks, np.bool_), np.zeros(blocks, np.bool_)
        for name in ("evidence", "neighbours", "_keys", "gaussians_changed", "evidence_changed"):
            if name in old:
                getattr(self, name)[: len(self)] = old[name][: len(self)]
        if self.language is not None:
            self.language = np.zeros((blocks * BLOCK_ROWS, self.gaussians_per_cell, self._numbers), np.float16)
            if old:
                self.language[: len(self) * BLOCK_ROWS] = old["language"][: len(self) * BLOCK_ROWS]
        for new, kept in zip(self.fields, old.get("fields", ())):
            new[: len(self) * BLOCK_ROWS] = kept[: len(self) * BLOCK_ROWS]


def empty_fields(rows: int, gaussians_per_cell: int, feature_channels: int) -> CellFields:
    """Zeroed fields for a number of cells (rows)."""
    g = gaussians_per_cell
    return CellFields(
        means=np.zeros((rows, g, 3), np.float32), scales=np.zeros((rows, g, 3), np.float32),
        rotations=np.zeros((rows, g, 4), np.float32), opacities=np.zeros((rows, g), np.float32),
        logits=np.zeros((rows, g, NUM_CLASSES), np.float32), features=np.zeros((rows, feature_channels), np.float32),
        tag=np.zeros(rows, np.uint8), weight=np.zeros(rows, np.float32), class_weight=np.zeros(rows, np.float32),
        stamp=np.zeros(rows, np.int64), seen_through=np.zeros(rows, np.uint8), label=np.zeros(rows, np.uint8),
    )  # fmt: skip


def blocks_to_forget(memory: GaussianMemory, camera: np.ndarray, radius: float, most_mb: float) -> np.ndarray:
    """Slots of the blocks that exceed the bounds of the memory.

    Args:
        memory: the memory.
        camera: (3,) camera position, metres, lattice frame.
        radius: maximum distance of a block's centre from the camera, metres, 0 = no bound.
        most_mb: maximum size of all blocks, MB, 0 = no bound; the farthest blocks are removed first.

    Returns:
        (n,) int64, ascending.
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
    """Blocks that a box intersects: keys (B, 3) in C order, the lowest key (3,), and their number per axis (3,)."""
    first = np.asarray(corner, np.int64) // BLOCK_CELLS
    shape = (np.asarray(corner) + BOX_CELLS - 1) // BLOCK_CELLS - first + 1
    return np.argwhere(np.ones(shape, np.bool_)) + first, first, shape


def _rows(table: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Rows (16200,) of `fields` for a box whose blocks have the slots in `table`; -1 for cells without a block."""
    rows = np.empty(BOX_CELLS, np.int64)
    i, j, k = (int(c) % BLOCK_CELLS for c in corner)
    number_rows(np.ascontiguousarray(table, np.int64), i, j, k, rows)
    return rows.ravel()


@lru_cache(maxsize=1)
def _cell_centres() -> np.ndarray:
    """Centres (16200, 3) float32 of the cells of the box, metres, box frame; not to be changed."""
    axes = [(np.arange(n) + 0.5) * CELL_SIZE for n in BOX_CELLS]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
