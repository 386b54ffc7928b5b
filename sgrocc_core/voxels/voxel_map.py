"""The sparse voxel map: what is published, block by block, from the memory's Gaussians and the depth evidence (method, section 4).

logit P(v) = clamp(logit P_splat(v)) + e(v). The clamp is what makes the sum sound, since the network's confidence is not calibrated and
e is bounded (-2, 3.5). Where depth has said nothing the network's opinion stands, up to +-PRIOR_BOUND. An opinion that depth contradicts
is worth less the more depth has said, down to OUTVOTED: one look's hit (0.85) makes a voxel occupied, two looks through it (-0.82) make
it free, whatever the network believes.
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
"""Probabilities are published in steps of 1/16."""
PRIOR_BOUND = 6.0
"""Largest |logit P_splat| where depth has said nothing."""
OUTVOTED = 0.8
"""Largest |logit P_splat| against evidence of |e| >= OUTVOTED, and just less than that; the bound falls linearly until there."""
FREE_BELOW = -0.4
"""Observed free: e(v) below this, a sensor's one look, and not occupied."""
AT_ONCE = 128
"""Blocks whose columns are summarised together: some 4 MB of copies, whatever the map's size."""


def _search_order() -> np.ndarray:
    """Offsets (n, 3) of the cells within REACH_CELLS, the nearest first."""
    offsets = np.stack(np.meshgrid(*[np.arange(-REACH_CELLS, REACH_CELLS + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    distance = (offsets**2).sum(1)
    return offsets[np.argsort(distance, kind="stable")][: int((distance <= REACH_CELLS**2).sum())]


_ORDER = _search_order()


class VoxelMap:
    """The published state of every block of a memory.

    Attributes:
        memory: whose blocks these are; slots are the memory's.
        occupancy_threshold: P(v) from which a voxel is occupied; changing it calls for `refresh`.
        judged: (J, 3) int32, the blocks that the last update judged anew or that were forgotten since the one before: nothing else changed,
            free space neither.
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
        """Remove blocks (n,) from the memory and from here; the next update says that their voxels are free.

        Blocks that the memory has made since the last update have no voxels here yet.
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
        """Take over what changed in the memory; all or nothing.

        Returns:
            voxels: (N, 3) int32, those whose label or probability changed. labels: (N,) uint8, 0 = freed. probability: (N,) float32,
            multiples of 1/16, 0 where freed. blocks: (B, 3) int32, the blocks they lie in.
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
        """An update with the voxels of forgotten blocks in it, but for those that are there again."""
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
        """Judge every block anew at the next update (after the threshold changed, or the memory was restored)."""
        self.memory.evidence_changed[: len(self.memory)] = True

    def blocks(self) -> np.ndarray:
        """(B, 3) int32 keys of all blocks; voxel i of block k is 16 k + i along each axis."""
        return self.memory.keys.copy()

    def block(self, key: np.ndarray | tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Labels and probability of one block; all 0 for one that does not exist.

        Args:
            key: (3,) block coordinates.

        Returns:
            labels: (16, 16, 16) uint8, 0 = not occupied. sixteenths: (16, 16, 16) uint8, the probability in 1/16, 0 where not occupied.
        """
        slot = int(self.memory.slots(np.asarray(key).reshape(1, 3))[0])
        if not 0 <= slot < len(self._labels):
            return np.zeros((BLOCK_VOXELS,) * 3, np.uint8), np.zeros((BLOCK_VOXELS,) * 3, np.uint8)
        return self._labels[slot].copy(), self._sixteenths[slot].copy()

    def occupied(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All occupied voxels, see `occupied_voxels`."""
        count = min(len(self.memory), len(self._labels))
        return occupied_voxels(self.memory.keys, self._labels[:count], self._sixteenths[:count])

    def free(self) -> np.ndarray:
        """(M, 3) int32 voxels that were observed free."""
        count = min(len(self.memory), len(self._labels))
        return free_voxels(self.memory.keys, self._labels[:count], self.memory.evidence[:count])

    def read(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is known of voxels (N, 3) int64: labels (N,) uint8, probability (N,) float32, whether observed free (N,) bool."""
        keys, block, local = by_block(voxels)
        slots = self.memory.slots(keys)
        slots = np.where(slots < len(self._labels), slots, -1)[block]
        at = (np.maximum(slots, 0), *local)
        held = slots >= 0
        labels = np.where(held, self._labels[at], np.uint8(0))
        free = held & observed_free(labels, self.memory.evidence[at])
        return labels, np.where(held, self._sixteenths[at], 0).astype(np.float32) / PROBABILITY_STEPS, free

    def within(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The voxels from low (3,) int64 to high (3,), both included: the occupied ones, see `occupied_voxels`, and those observed free."""
        count = min(len(self.memory), len(self._labels))
        slots = np.flatnonzero(inside(self.memory.keys[:count], low // BLOCK_VOXELS, high // BLOCK_VOXELS))
        keys, labels = self.memory.keys[slots], self._labels[slots]
        voxels, classes, probability = occupied_voxels(keys, labels, self._sixteenths[slots])
        free = free_voxels(keys, labels, self.memory.evidence[slots])
        wanted = inside(voxels, low, high)
        return voxels[wanted], classes[wanted], probability[wanted], free[inside(free, low, high)]

    def columns(self, keys: np.ndarray) -> Columns:
        """Blocks (B, 3) seen from above; nothing in those that do not exist. A copy."""
        slots, found = self.memory.slots(keys), Columns.empty(keys)
        known = np.flatnonzero((slots >= 0) & (slots < len(self._labels)))
        for start in range(0, len(known), AT_ONCE):
            rows = known[start : start + AT_ONCE]
            labels = self._labels[slots[rows]]
            found.put(rows, labels, observed_free(labels, self.memory.evidence[slots[rows]]))
        return found

    def published(self) -> tuple[np.ndarray, np.ndarray]:
        """A copy of all labels and sixteenths, see `block`, (B, 16, 16, 16) each, in the order of the memory's blocks."""
        count = min(len(self.memory), len(self._labels))
        return self._labels[:count].copy(), self._sixteenths[:count].copy()

    @property
    def nbytes(self) -> int:
        """Bytes that the memory's blocks take here."""
        return sum(a.nbytes for a in self._by_slot()) * len(self.memory) // len(self._labels)

    @property
    def occupied_count(self) -> int:
        """Occupied voxels."""
        return int(np.count_nonzero(self._labels[: len(self.memory)]))

    @property
    def unlabelled(self) -> int:
        """Occupied voxels without a class (255)."""
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
        """Labels and sixteenths (S, 16, 16, 16) of blocks from the stored splat, the evidence, the tags and the cells' classes."""
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
    """The occupied voxels of blocks.

    Args:
        keys: (B, 3) int32. labels, sixteenths: (B, 16, 16, 16) uint8, as of `VoxelMap.block`.

    Returns:
        (N, 3) int32 indices, (N,) uint8 labels (255 = no class known), (N,) float32 probability in 1/16.
    """
    at = np.nonzero(labels)
    return _indices(keys, at), labels[at], sixteenths[at].astype(np.float32) / PROBABILITY_STEPS


def free_voxels(keys: np.ndarray, labels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """(M, 3) int32, the voxels of blocks that were observed free; evidence: (B, 16, 16, 16) log-odds, the others as before."""
    return _indices(keys, np.nonzero(observed_free(labels, evidence)))


def observed_free(labels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Which voxels were observed free: bool, as the shape of their labels (uint8) and evidence (float32, log-odds)."""
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
    """P(v) of a voxel from log P(empty) of the splat and the log-odds of the evidence."""
    bound = max(OUTVOTED, PRIOR_BOUND - (PRIOR_BOUND - OUTVOTED) * abs(evidence) / OUTVOTED)
    low, high = (-bound if evidence > 0 else -PRIOR_BOUND), (bound if evidence < 0 else PRIOR_BOUND)
    odds = math.expm1(-max(log_empty, -20.0))
    prior = math.log(odds) if odds > 0 else low
    return 1.0 / (1.0 + math.exp(-(min(max(prior, low), high) + evidence)))


@njit(cache=True)
def nearest_class(slot, i, j, k, cell_labels, neighbours, order):
    """Class of the nearest cell with Gaussians about cell (i, j, k) of a block, itself first; 0 where there is none within reach."""
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
