"""The published, sparse voxel map, computed from the memory's Gaussians and the depth evidence by `judgement`."""

from __future__ import annotations

import numpy as np

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.gaussians.memory import BLOCK_ROWS, GaussianMemory
from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.voxels.columns import Columns
from sgrocc_core.voxels.judgement import PROBABILITY_STEPS, ask, judge, least_evidence, logit, publish
from sgrocc_core.voxels.query import by_block, inside
from sgrocc_core.voxels.splatting.splat_blocks import splat_blocks

FREE_BELOW = -0.4
"""Log-odds e(v) below which a voxel that is not occupied was observed free: one miss of a sensor (-0.41)."""
AT_ONCE = 128
"""Number of blocks whose columns are summarised together, which bounds copies to about 4 MB (round guess)."""


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
        self._prior, self._classes = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
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
        slots = np.flatnonzero(memory.gaussians_changed[:count] | memory.evidence_changed[:count])
        self._splat(slots)
        new, changed = self._judge(slots)
        ends = np.cumsum(changed)
        total = int(ends[-1]) if len(slots) else 0
        voxels, labels = np.empty((total, 3), np.int32), np.empty(total, np.uint8)
        sixteenths = np.empty_like(labels)
        publish(slots, memory.keys, ends - changed, new, self._labels, self._sixteenths, voxels, labels, sixteenths)
        memory.gaussians_changed[:count] = memory.evidence_changed[:count] = False
        self.judged, self._gone_blocks = np.concatenate([memory.keys[slots], *self._gone_blocks]), []
        probability = sixteenths.astype(np.float32) / PROBABILITY_STEPS
        return self._with_forgotten(voxels, labels, probability, memory.keys[slots[changed > 0]].copy())

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

    def columns(self, keys: np.ndarray, with_labels: bool = False) -> Columns:
        """Columns of blocks (B, 3), copied, with their labels if asked for; empty for blocks that do not exist."""
        slots, found = self.memory.slots(keys), Columns.empty(keys, with_labels)
        known = np.flatnonzero((slots >= 0) & (slots < len(self._labels)))
        for start in range(0, len(known), AT_ONCE):
            rows = known[start : start + AT_ONCE]
            labels = self._labels[slots[rows]]
            found.put(rows, labels, observed_free(labels, self.memory.evidence[slots[rows]]))
        return found

    def block_voxels(self, keys: np.ndarray, with_free: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels (B, 16, 16, 16) uint8 and, if asked for, observed free (bool) of blocks (B, 3) int; 0 for others."""
        slots = self.memory.slots(keys)
        known = np.flatnonzero((slots >= 0) & (slots < len(self._labels)))
        labels = np.zeros((len(keys), *[BLOCK_VOXELS] * 3), np.uint8)
        labels[known] = self._labels[slots[known]]
        if not with_free:
            return labels, None
        free = np.zeros(labels.shape, np.bool_)
        for start in range(0, len(known), AT_ONCE):
            rows = known[start : start + AT_ONCE]
            free[rows] = observed_free(labels[rows], self.memory.evidence[slots[rows]])
        return labels, free

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
        return self._prior, self._classes, self._labels, self._sixteenths

    def _grow(self, slots: int) -> None:
        for name in ("_prior", "_classes", "_labels", "_sixteenths"):
            old = getattr(self, name)
            new = np.zeros((slots, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def _splat(self, slots: np.ndarray) -> None:
        """Bring the splat of blocks (S,) up to date where it may matter."""
        memory, least = self.memory, least_evidence(self.occupancy_threshold)
        wanted = np.empty((len(slots), BLOCK_VOXELS, BLOCK_VOXELS), np.uint16)
        tags = memory.fields.tag.reshape(-1, BLOCK_ROWS)
        ask(slots, memory.gaussians_changed, least, memory.evidence, tags, self._classes, wanted)
        some = wanted.any((1, 2))
        splat_blocks(memory, slots[some], wanted[some], self._prior, self._classes)

    def _judge(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels and sixteenths (2, S, 16, 16, 16) of blocks (S,), and how many voxels of each changed."""
        memory, threshold = self.memory, self.occupancy_threshold
        new, changed = np.empty((2, len(slots), *[BLOCK_VOXELS] * 3), np.uint8), np.zeros(len(slots), np.int64)
        judge(
            slots,
            logit(threshold),
            least_evidence(threshold),
            self._prior,
            self._classes,
            memory.evidence,
            memory.fields.tag.reshape(-1, BLOCK_ROWS),
            memory.fields.label.reshape(-1, BLOCK_ROWS),
            memory.neighbours,
            self._labels,
            self._sixteenths,
            new,
            changed,
        )
        return new, changed


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
