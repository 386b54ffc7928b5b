"""Publication of voxels from the splat and the depth evidence (method, section 4), in log-odds.

logit P(v) = clamp(logit P_splat(v)) + e(v). The clamp is needed because the network's probabilities are not calibrated
and e is bounded to [-2, 3.5]. Without evidence, the network's logit is clamped to +-PRIOR_BOUND. If the evidence
contradicts it, the bound decreases with |e| down to OUTVOTED, so that one hit (0.85) makes a voxel occupied and two
misses (-0.82) make it free, whatever the network predicts. A voxel whose evidence decides alone needs no splat.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.gaussians.evidence import EVIDENCE_BOUNDS
from sgrocc_core.gaussians.memory import REACH_CELLS
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_VOXELS
from sgrocc_core.voxels.splatting.splat_blocks import PRIOR_BOUND

PROBABILITY_STEPS = 16
"""Number of steps of published probabilities, which are multiples of 1/16 (round guess)."""
OUTVOTED = 0.8
"""Largest |logit P_splat| against contradicting evidence |e| >= OUTVOTED; just below one hit or two misses.

For smaller |e| the bound is interpolated linearly from PRIOR_BOUND."""
STALE = 255
"""Stored class of a voxel whose splat is out of date."""


def _search_order() -> np.ndarray:
    """Offsets (n, 3) of the cells within a distance of REACH_CELLS, the nearest first."""
    offsets = np.stack(np.meshgrid(*[np.arange(-REACH_CELLS, REACH_CELLS + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    distance = (offsets**2).sum(1)
    return offsets[np.argsort(distance, kind="stable")][: int((distance <= REACH_CELLS**2).sum())]


_ORDER = _search_order()
_STEPS = np.log((np.arange(PROBABILITY_STEPS) + 0.5) / (PROBABILITY_STEPS - 0.5 - np.arange(PROBABILITY_STEPS)))
"""(16,) log-odds from which a probability is rounded to 1/16, 2/16, ..."""


def logit(probability: float) -> float:
    """Log-odds of a probability, 0..1 exclusive."""
    return math.log(probability / (1.0 - probability))


def probability(log_empty: float, evidence: float) -> float:
    """Probability P(v) of a voxel from log P(empty) of the splat and the log-odds of the evidence."""
    odds = math.expm1(-max(log_empty, -20.0))
    prior = math.log(odds) if odds > 0 else -PRIOR_BOUND
    return 1.0 / (1.0 + math.exp(-log_odds(prior, evidence)))


@njit(cache=True)
def log_odds(prior, evidence):
    """Log-odds of P(v) from those of the splat and of the evidence."""
    bound = max(OUTVOTED, PRIOR_BOUND - (PRIOR_BOUND - OUTVOTED) * abs(evidence) / OUTVOTED)
    low, high = (-bound if evidence > 0 else -PRIOR_BOUND), (bound if evidence < 0 else PRIOR_BOUND)
    return min(max(prior, low), high) + evidence


def least_evidence(threshold: float) -> float:
    """Evidence below which no splat makes a voxel occupied, at a threshold of the probability."""
    low, high = EVIDENCE_BOUNDS[0] - 1.0, 0.0
    if log_odds(PRIOR_BOUND, low) >= logit(threshold):
        return low
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if log_odds(PRIOR_BOUND, middle) >= logit(threshold) else (middle, high)
    return low


@njit(cache=True)
def ask(slots, renewed, least, evidence, tags, classes, wanted):
    """Find the voxels whose splat is out of date and may matter; where Gaussians changed, all become out of date.

    Args:
        slots: (S,) int64, slots of blocks.
        renewed: (slots,) bool, blocks whose Gaussians changed.
        least: see `least_evidence`.
        evidence: (slots, 16, 16, 16) float32, log-odds.
        tags: (slots, 512) uint8, tags of the cells.
        classes: (slots, 16, 16, 16) uint8, STALE where the splat is out of date; changed in place.
        wanted: (S, 16, 16) uint16, written, see `splat_blocks`.
    """
    for s in range(len(slots)):
        slot = slots[s]
        for x in range(BLOCK_VOXELS):
            for y in range(BLOCK_VOXELS):
                bits = 0
                for z in range(BLOCK_VOXELS):
                    if renewed[slot]:
                        classes[slot, x, y, z] = STALE
                    if (
                        classes[slot, x, y, z] == STALE
                        and evidence[slot, x, y, z] >= least
                        and tags[slot, _cell(x, y, z)] == 1
                    ):
                        bits |= 1 << z
                wanted[s, x, y] = bits


@njit(parallel=True, cache=True)
def judge(
    slots, threshold, least, prior, classes, evidence, tags, cell_labels, neighbours, labels, sixteenths, new, changed
):
    """Judge every voxel of blocks.

    Args:
        slots: (S,) int64, slots of blocks.
        threshold: log-odds from which a voxel is occupied.
        least: see `least_evidence`.
        prior: (slots, 16, 16, 16) float32, log-odds of the splat.
        classes: (slots, 16, 16, 16) uint8, see `splat_blocks`.
        evidence: (slots, 16, 16, 16) float32, log-odds.
        tags: (slots, 512) uint8, tags of the cells.
        cell_labels: (slots, 512) uint8, classes of the cells.
        neighbours: (slots, 27) int32, see `GaussianMemory`.
        labels: (slots, 16, 16, 16) uint8, what was published.
        sixteenths: (slots, 16, 16, 16) uint8, what was published.
        new: (2, S, 16, 16, 16) uint8, written: labels and sixteenths.
        changed: (S,) int64, written: number of voxels that differ from what was published.
    """
    for s in prange(len(slots)):
        slot, count = slots[s], 0
        for x in range(BLOCK_VOXELS):
            for y in range(BLOCK_VOXELS):
                for z in range(BLOCK_VOXELS):
                    e, tag = evidence[slot, x, y, z], tags[slot, _cell(x, y, z)]
                    label, p = 0, 0
                    if e > 0.0 or (tag == 1 and e >= least):
                        odds = log_odds(prior[slot, x, y, z] if tag == 1 else -PRIOR_BOUND, e)
                        if odds >= threshold:
                            label = classes[slot, x, y, z] if tag == 1 else 0
                            if label == 0:
                                label = _nearest_class(slot, x >> 1, y >> 1, z >> 1, cell_labels, neighbours)
                            p = max(_sixteenths(odds), 1)
                    new[0, s, x, y, z], new[1, s, x, y, z] = label, p
                    count += label != labels[slot, x, y, z] or p != sixteenths[slot, x, y, z]
        changed[s] = count


@njit(cache=True)
def publish(slots, keys, first, new, labels, sixteenths, voxels, voxel_labels, voxel_sixteenths):
    """Publish judged blocks and list the voxels that changed.

    Args:
        slots: (S,) int64, slots of blocks.
        keys: (slots, 3) int32, block coordinates.
        first: (S,) int64, number of changed voxels before each block.
        new: (2, S, 16, 16, 16) uint8, of `judge`.
        labels: (slots, 16, 16, 16) uint8, changed in place.
        sixteenths: (slots, 16, 16, 16) uint8, changed in place.
        voxels: (N, 3) int32, written: indices of the changed voxels.
        voxel_labels: (N,) uint8, written.
        voxel_sixteenths: (N,) uint8, written.
    """
    for s in range(len(slots)):
        slot, at = slots[s], first[s]
        for x in range(BLOCK_VOXELS):
            for y in range(BLOCK_VOXELS):
                for z in range(BLOCK_VOXELS):
                    label, p = new[0, s, x, y, z], new[1, s, x, y, z]
                    if label == labels[slot, x, y, z] and p == sixteenths[slot, x, y, z]:
                        continue
                    labels[slot, x, y, z], sixteenths[slot, x, y, z] = label, p
                    voxels[at, 0] = keys[slot, 0] * BLOCK_VOXELS + x
                    voxels[at, 1] = keys[slot, 1] * BLOCK_VOXELS + y
                    voxels[at, 2] = keys[slot, 2] * BLOCK_VOXELS + z
                    voxel_labels[at], voxel_sixteenths[at] = label, p
                    at += 1


@njit(cache=True)
def _cell(x, y, z):
    """Index in its block of the cell of a voxel."""
    return ((x >> 1) * BLOCK_CELLS + (y >> 1)) * BLOCK_CELLS + (z >> 1)


@njit(cache=True)
def _sixteenths(odds):
    """Probability of log-odds in units of 1/16, rounded."""
    p = 0
    for step in (8, 4, 2, 1):
        if odds >= _STEPS[p + step - 1]:
            p += step
    return p + 1 if p == PROBABILITY_STEPS - 1 and odds >= _STEPS[PROBABILITY_STEPS - 1] else p


@njit(cache=True)
def _nearest_class(slot, i, j, k, cell_labels, neighbours):
    """Class of the nearest cell with a class to cell (i, j, k) of a block, itself first; UNKNOWN if none is near."""
    for n in range(len(_ORDER)):
        a, b, c = i + _ORDER[n, 0], j + _ORDER[n, 1], k + _ORDER[n, 2]
        side = ((a // BLOCK_CELLS + 1) * 3 + b // BLOCK_CELLS + 1) * 3 + c // BLOCK_CELLS + 1
        other = neighbours[slot, side]
        if other >= 0:
            label = cell_labels[
                other, ((a % BLOCK_CELLS) * BLOCK_CELLS + b % BLOCK_CELLS) * BLOCK_CELLS + c % BLOCK_CELLS
            ]
            if label > 0:
                return label
    return UNKNOWN
