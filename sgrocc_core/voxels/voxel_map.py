"""The published, sparse voxel map, computed from the memory's Gaussians and the depth evidence (method, section 4).

logit P(v) = clamp(logit P_splat(v)) + e(v). The clamp is needed because the network's probabilities are not calibrated
and e is bounded to [-2, 3.5]. Without evidence, the network's logit is clamped to +-PRIOR_BOUND. If the evidence
contradicts it, the bound decreases with |e| down to OUTVOTED, so that one hit (0.85) makes a voxel occupied and two
misses (-0.82) make it free, whatever the network predicts.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.gaussians.memory import BLOCK_ROWS, REACH_CELLS, GaussianMemory
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_VOXELS
from sgrocc_core.voxels.columns import Columns
from sgrocc_core.voxels.query import by_block, inside
from sgrocc_core.voxels.splat_blocks import splat_blocks

PROBABILITY_STEPS = 16
"""Number of steps of published probabilities, which are multiples of 1/16 (round guess)."""
PRIOR_BOUND = 6.0
"""Largest |logit P_splat| of a voxel without evidence (round guess)."""
OUTVOTED = 0.8
"""Largest |logit P_splat| against contradicting evidence |e| >= OUTVOTED; just below one hit or two misses.

For smaller |e| the bound is interpolated linearly from PRIOR_BOUND."""
FREE_BELOW = -0.4
"""Log-odds e(v) below which a voxel that is not occupied was observed free: one miss of a sensor (-0.41)."""
AT_ONCE = 128
"""Number of blocks whose columns are summarised together, which bounds copies to about 4 MB (round guess)."""


def _search_order() -> np.ndarray:
    """Offsets (n, 3) of the cells within a distance of REACH_CELLS, the nearest first."""
    offsets = np.stack(np.meshgrid(*[np.arange(-REACH_CELLS, REACH_CELLS + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    distance = (offsets**2).sum(1)
    return offsets[np.argsort(distance, kind="stable")][: int((distance <= REACH_CELLS**2).sum())]


_ORDER = _search_order()


class VoxelMap:
    """Published voxels of every block of a memory.

    Attributes:
        memory: memory with the blocks; arrays here are indexed by its slots.
        occupancy_threshold: minimum P(v) of an occupied voxel; call `refresh` after changing it.
        judged: (J, 3) int32, the blocks that were recomputed by the last update, or removed since the one before;
            nothing changed in other blocks, not even free space.
    """

    def __init__(self, memory: GaussianMemory, occupancy_threshold: float = 0.5) -> None:
        self.memory, self.occupancy_threshold = memory, occupancy_threshold
        shape = memory.evidence.shape
        self._log_empty, self._classes = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
        self._labels, self._sixteenths = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self._forgotten: list[np.ndarray] = []
        self._gone_blocks: list[np.ndarray] = []
        self.judged = np.zeros((0, 3), np.int32)

    def forget(self, slots: np.ndarray) -> None:
        """Remove blocks from the memory and from this map; the next update reports their occupied voxels as freed.

        Args:
            slots: (n,) int, slots of the blocks; blocks that were added since the last update have no voxels here yet.
        """
        if not len(slots):
            return
        if len(self.memory.evidence) > len(self._labels):
            self._grow(len(self.memory.evidence))
        block, x, y, z = np.nonzero(self._labels[slots])
        self._forgotten.append(self.memory.keys[slots[block]] * BLOCK_VOXELS + np.stack([x, y, z], 1).astype(np.int32))
        self._gone_blocks.append(self.memory.keys[slots])
        arrays = self._by_slot()
        for array in arrays:
            array[slots] = 0
        for start, slot in self.memory.remove(slots):
            for array in arrays:
                array[slot], array[start] = array[start], 0

    def update(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Recompute the blocks that changed in the memory, all or none.

        Returns:
            voxels: (N, 3) int32, indices of voxels whose label or probability changed.
            labels: (N,) uint8, 0 = not occupied any more.
            probability: (N,) float32, multiples of 1/16, 0 if not occupied any more.
            blocks: (B, 3) int32, blocks of these voxels.
        """
        memory, count = self.memory, len(self.memory)
        if len(memory.evidence) > len(self._labels):
            self._grow(len(memory.evidence))
        splatted = np.flatnonzero(memory.gaussians_changed[:count])
        changed = np.flatnonzero(memory.gaussians_changed[:count] | memory.evidence_changed[:count])
        log_empty, classes = splat_blocks(memory, splatted)
        self._log_empty[splatted], self._classes[splatted] = log_empty, classes
        labels, sixteenths = self._judge(changed)
        block, x, y, z = np.nonzero((labels != self._labels[changed]) | (sixteenths != self._sixteenths[changed]))
        touched = np.unique(block)
        self._labels[changed], self._sixteenths[changed] = labels, sixteenths
        memory.gaussians_changed[:count] = memory.evidence_changed[:count] = False
        self.judged, self._gone_blocks = np.concatenate([memory.keys[changed], *self._gone_blocks]), []
        voxels = memory.keys[changed[block]] * BLOCK_VOXELS + np.stack([x, y, z], 1).astype(np.int32)
        probability = sixteenths[block, x, y, z].astype(np.float32) / PROBABILITY_STEPS
        return self._with_forgotten(voxels, labels[block, x, y, z], probability, memory.keys[changed[touched]].copy())

    def _with_forgotten(
        self, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray, blocks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Add the voxels of removed blocks to an update, except those that are occupied again."""
        gone, self._forgotten = self._forgotten, []
        lost = np.concatenate(gone) if gone else np.zeros((0, 3), np.int32)
        if len(lost):
            told = {tuple(v) for v in voxels.tolist()}
            lost = lost[[tuple(v) not in told for v in lost.tolist()]]
            blocks = np.unique(np.concatenate([blocks, lost // BLOCK_VOXELS]), axis=0)
        zeros = np.zeros(len(lost))
        return (
            np.concatenate([voxels, lost]), np.concatenate([labels, zeros.astype(np.uint8)]),
            np.concatenate([probability, zeros.astype(np.float32)]), blocks,
        )  # fmt: skip

    def refresh(self) -> None:
        """Recompute every block at the next update, as needed after a change of the threshold or a restored memory."""
        self.memory.evidence_changed[: len(self.memory)] = True

    def blocks(self) -> np.ndarray:
        """Keys (B, 3) int32 of all blocks; voxel i of block k has the index 16 k + i along each axis."""
        return self.memory.keys.copy()

    def block(self, key: np.ndarray | tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Labels and probability of one block; all 0 for a block that does not exist.

        Args:
            key: (3,) block coordinates.

        Returns:
            labels: (16, 16, 16) uint8, 0 = not occupied.
            sixteenths: (16, 16, 16) uint8, probability in units of 1/16, 0 if not occupied.
        """
        slot = int(self.memory.slots(np.asarray(key).reshape(1, 3))[0])
        if not 0 <= slot < len(self._labels):
            return np.zeros((BLOCK_VOXELS,) * 3, np.uint8), np.zeros((BLOCK_VOXELS,) * 3, np.uint8)
        return self._labels[slot].copy(), self._sixteenths[slot].copy()

    def occupied(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All occupied voxels; see `occupied_voxels`."""
        count = min(len(self.memory), len(self._labels))
        return occupied_voxels(self.memory.keys, self._labels[:count], self._sixteenths[:count])

    def free(self) -> np.ndarray:
        """Indices (M, 3) int32 of all voxels observed free."""
        count = min(len(self.memory), len(self._labels))
        return free_voxels(self.memory.keys, self._labels[:count], self.memory.evidence[:count])

    def read(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (N,) uint8, probability (N,) float32 and observed free (N,) bool of voxels (N, 3) int64."""
        keys, block, local = by_block(voxels)
        slots = self.memory.slots(keys)
        slots = np.where(slots < len(self._labels), slots, -1)[block]
        at = (np.maximum(slots, 0), *local)
        held = slots >= 0
        labels = np.where(held, self._labels[at], np.uint8(0))
        free = held & observed_free(labels, self.memory.evidence[at])
        return labels, np.where(held, self._sixteenths[at], 0).astype(np.float32) / PROBABILITY_STEPS, free

    def within(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Occupied voxels from low to high, both included, as `occupied_voxels`, and the voxels observed free."""
        count = min(len(self.memory), len(self._labels))
        slots = np.flatnonzero(inside(self.memory.keys[:count], low // BLOCK_VOXELS, high // BLOCK_VOXELS))
        keys, labels = self.memory.keys[slots], self._labels[slots]
        voxels, classes, probability = occupied_voxels(keys, labels, self._sixteenths[slots])
        free = free_voxels(keys, labels, self.memory.evidence[slots])
        wanted = inside(voxels, low, high)
        return voxels[wanted], classes[wanted], probability[wanted], free[inside(free, low, high)]

    def columns(self, keys: np.ndarray) -> Columns:
        """Columns of blocks (B, 3), copied; empty for blocks that do not exist."""
        slots, found = self.memory.slots(keys), Columns.empty(keys)
        known = np.flatnonzero((slots >= 0) & (slots < len(self._labels)))
        for start in range(0, len(known), AT_ONCE):
            rows = known[start : start + AT_ONCE]
            labels = self._labels[slots[rows]]
            found.put(rows, labels, observed_free(labels, self.memory.evidence[slots[rows]]))
        return found

    def published(self) -> tuple[np.ndarray, np.ndarray]:
        """Copy of all labels and sixteenths, see `block`, (B, 16, 16, 16) each, in the order of the memory's blocks."""
        count = min(len(self.memory), len(self._labels))
        return self._labels[:count].copy(), self._sixteenths[:count].copy()

    @property
    def nbytes(self) -> int:
        """Bytes used by the blocks in this map."""
        return sum(a.nbytes for a in self._by_slot()) * len(self.memory) // len(self._labels)

    @property
    def occupied_count(self) -> int:
        """Number of occupied voxels."""
        return int(np.count_nonzero(self._labels[: len(self.memory)]))

    @property
    def unlabelled(self) -> int:
        """Number of occupied voxels without a class (label 255)."""
        return int((self._labels[: len(self.memory)] == UNKNOWN).sum())

    def _by_slot(self) -> tuple[np.ndarray, ...]:
        return self._log_empty, self._classes, self._labels, self._sixteenths

    def _grow(self, slots: int) -> None:
        for name in ("_log_empty", "_classes", "_labels", "_sixteenths"):
            old = getattr(self, name)
            new = np.zeros((slots, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def _judge(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels and sixteenths (S, 16, 16, 16) from the stored splat, evidence, tags and the classes of cells."""
        labels = np.zeros((len(slots), *[BLOCK_VOXELS] * 3), np.uint8)
        sixteenths = np.zeros_like(labels)
        memory = self.memory
        if len(slots):
            _judge(
                slots,
                self._log_empty,
                self._classes,
                memory.evidence,
                memory.fields.tag.reshape(-1, BLOCK_ROWS),
                memory.fields.label.reshape(-1, BLOCK_ROWS),
                memory.neighbours,
                _ORDER,
                self.occupancy_threshold,
                labels,
                sixteenths,
            )
        return labels, sixteenths


def occupied_voxels(
    keys: np.ndarray, labels: np.ndarray, sixteenths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Occupied voxels of blocks.

    Args:
        keys: (B, 3) int32 block coordinates.
        labels: (B, 16, 16, 16) uint8, see `VoxelMap.block`.
        sixteenths: (B, 16, 16, 16) uint8, see `VoxelMap.block`.

    Returns:
        Indices (N, 3) int32, labels (N,) uint8, 255 = no class, and probability (N,) float32, multiples of 1/16.
    """
    at = np.nonzero(labels)
    return _indices(keys, at), labels[at], sixteenths[at].astype(np.float32) / PROBABILITY_STEPS


def free_voxels(keys: np.ndarray, labels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Voxels of blocks that were observed free.

    Args:
        keys: (B, 3) int32 block coordinates.
        labels: (B, 16, 16, 16) uint8, 0 = not occupied.
        evidence: (B, 16, 16, 16) float32, log-odds.

    Returns:
        Indices (M, 3) int32.
    """
    return _indices(keys, np.nonzero(observed_free(labels, evidence)))


def observed_free(labels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Whether voxels were observed free, from labels (uint8) and evidence (float32, log-odds) of any one shape."""
    return (evidence < FREE_BELOW) & (labels == 0)


def _indices(keys: np.ndarray, at: tuple[np.ndarray, ...]) -> np.ndarray:
    return keys[at[0]] * BLOCK_VOXELS + np.stack(at[1:], 1).astype(np.int32)


@njit(cache=True)
def _judge(slots, log_empty, classes, evidence, tags, cell_labels, neighbours, order, threshold, labels, sixteenths):
    for s in range(len(slots)):
        slot = slots[s]
        for x in range(BLOCK_VOXELS):
            for y in range(BLOCK_VOXELS):
                for z in range(BLOCK_VOXELS):
                    cell = ((x >> 1) * BLOCK_CELLS + (y >> 1)) * BLOCK_CELLS + (z >> 1)
                    e = evidence[slot, x, y, z]
                    if tags[slot, cell] == 0 and e <= 0:
                        continue
                    p = probability(log_empty[slot, x, y, z] if tags[slot, cell] == 1 else 0.0, e)
                    if p < threshold:
                        continue
                    label = classes[slot, x, y, z] if tags[slot, cell] == 1 else 0
                    if label == 0:
                        label = nearest_class(slot, x >> 1, y >> 1, z >> 1, cell_labels, neighbours, order)
                    labels[s, x, y, z] = label if label > 0 else UNKNOWN
                    sixteenths[s, x, y, z] = max(int(p * PROBABILITY_STEPS + 0.5), 1)


@njit(cache=True)
def probability(log_empty, evidence):
    """Probability P(v) of a voxel from log P(empty) of the splat and the log-odds of the evidence."""
    bound = max(OUTVOTED, PRIOR_BOUND - (PRIOR_BOUND - OUTVOTED) * abs(evidence) / OUTVOTED)
    low, high = (-bound if evidence > 0 else -PRIOR_BOUND), (bound if evidence < 0 else PRIOR_BOUND)
    odds = math.expm1(-max(log_empty, -20.0))
    prior = math.log(odds) if odds > 0 else low
    return 1.0 / (1.0 + math.exp(-(min(max(prior, low), high) + evidence)))


@njit(cache=True)
def nearest_class(slot, i, j, k, cell_labels, neighbours, order):
    """Class of the nearest cell with a class to cell (i, j, k) of a block, starting with itself; 0 if none is near."""
    for n in range(len(order)):
        a, b, c = i + order[n, 0], j + order[n, 1], k + order[n, 2]
        side = ((a // BLOCK_CELLS + 1) * 3 + b // BLOCK_CELLS + 1) * 3 + c // BLOCK_CELLS + 1
        other = neighbours[slot, side]
        if other >= 0:
            label = cell_labels[
                other, ((a % BLOCK_CELLS) * BLOCK_CELLS + b % BLOCK_CELLS) * BLOCK_CELLS + c % BLOCK_CELLS
            ]
            if label > 0:
                return label
    return 0
