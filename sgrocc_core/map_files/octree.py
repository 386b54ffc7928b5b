"""A map as an octree in OctoMap's binary format (Hornung et al., OctoMap, Autonomous Robots 2013; `OcTree`, depth 16).

Each inner node is two bytes, two bits for each of its eight children in the order x + 2 y + 4 z: 0 unknown, 1 free,
2 occupied, 3 inner. The nodes follow each other depth first. A block of 16^3 voxels is a node at depth 12, so its bytes
are made once and kept until it changes.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE

UNKNOWN, FREE, OCCUPIED, INNER = 0, 1, 2, 3
FARTHEST = 2048
"""Blocks on either side of 0 that a tree of depth 16 holds: 2.6 km."""
_LEVELS = 4
_TOP = 12
_SHIFTS = (2 * np.arange(8)).astype(np.uint16)


def _preorder() -> np.ndarray:
    """Positions of the 585 inner nodes of a block, numbered level by level, in the order of the file."""
    starts = np.cumsum([0, *(8**level for level in range(_LEVELS))])

    def below(level: int, code: int) -> list[int]:
        found = [int(starts[level]) + code]
        if level + 1 < _LEVELS:
            for child in range(8):
                found += below(level + 1, 8 * code + child)
        return found

    return np.array(below(0, 0))


_PREORDER = _preorder()


def _morton(size: int) -> np.ndarray:
    """Indices (size^3,) into a C-ordered cube of voxels, in the order of their Morton codes with x lowest."""
    x, y, z = (axis.reshape(-1) for axis in np.indices((size,) * 3))
    bits = range(size.bit_length())
    code = sum(((x >> b & 1) << 3 * b) | ((y >> b & 1) << 3 * b + 1) | ((z >> b & 1) << 3 * b + 2) for b in bits)
    return np.argsort(code)


_ORDER = _morton(BLOCK_VOXELS)


def encode_blocks(states: np.ndarray) -> list[tuple[int, bytes, int]]:
    """Encode blocks.

    Args:
        states: (B, 16, 16, 16) uint8, UNKNOWN, FREE or OCCUPIED.

    Returns:
        For each block its state, for INNER its bytes (else none), and the number of nodes below it.
    """
    count = len(states)
    level = states.reshape(count, -1)[:, _ORDER]
    levels = []
    for _ in range(_LEVELS):
        children = level.reshape(count, -1, 8)
        first = children[..., 0]
        uniform = (children == first[..., None]).all(2) & (first != INNER)
        level = np.where(uniform, first, np.uint8(INNER))
        words = (children.astype(np.uint16) << _SHIFTS).sum(2, dtype=np.uint16)
        levels.append((level, words, np.count_nonzero(children, axis=2)))
    nodes, words, below = (np.concatenate(parts, 1)[:, _PREORDER] for parts in zip(*reversed(levels)))
    inner = nodes == INNER
    return [
        (int(level[n, 0]), words[n][inner[n]].astype("<u2").tobytes(), int(below[n][inner[n]].sum()))
        for n in range(count)
    ]


class Octree:
    """The blocks of a map as a tree."""

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[int, bytes, int]] = {}

    def set(self, keys: np.ndarray, occupied: np.ndarray, free: np.ndarray) -> int:
        """Replace blocks.

        Args:
            keys: (B, 3) int block coordinates.
            occupied: (B, 16, 16, 16) bool.
            free: (B, 16, 16, 16) bool, observed free.

        Returns:
            Number of blocks that a tree of depth 16 cannot hold, which are left out.
        """
        states = np.where(occupied, np.uint8(OCCUPIED), np.where(free, np.uint8(FREE), np.uint8(UNKNOWN)))
        far = 0
        for key, block in zip(keys.tolist(), encode_blocks(states)):
            if not all(-FARTHEST <= k < FARTHEST for k in key):
                far += 1
            elif block[0] == UNKNOWN:
                self._blocks.pop(_code(key), None)
            else:
                self._blocks[_code(key)] = block
        return far

    def encode(self) -> tuple[bytes, int]:
        """The nodes in OctoMap's binary format, and their number."""
        levels: list[dict[int, tuple[int, bytes, int]]] = [self._blocks]
        for _ in range(_TOP):
            parents: dict[int, list[tuple[int, bytes, int]]] = {}
            for code, node in levels[-1].items():
                parents.setdefault(code >> 3, [(UNKNOWN, b"", 0)] * 8)[code & 7] = node
            levels.append({code: _joined(children) for code, children in parents.items()})
        if not levels[-1]:
            return b"", 0
        _, data, below = levels[-1][0]
        return data, below + 1


def _joined(children: list[tuple[int, bytes, int]]) -> tuple[int, bytes, int]:
    """State, bytes and number of nodes below of a node with eight children."""
    states = [child[0] for child in children]
    if states[0] != INNER and len(set(states)) == 1:
        return states[0], b"", 0
    word = sum(state << 2 * n for n, state in enumerate(states))
    below = sum(child[2] + (child[0] != UNKNOWN) for child in children)
    return INNER, word.to_bytes(2, "little") + b"".join(child[1] for child in children if child[0] == INNER), below


def _code(key: list[int]) -> int:
    """Morton code of a block, x lowest."""
    x, y, z = (k + FARTHEST for k in key)
    return sum(((x >> b & 1) | (y >> b & 1) << 1 | (z >> b & 1) << 2) << 3 * b for b in range(_TOP))


def bt_file(data: bytes, nodes: int, resolution: float = VOXEL_SIZE) -> bytes:
    """Contents of a .bt file of an encoded tree."""
    lines = ("# Octomap OcTree binary file", "id OcTree", f"size {nodes}", f"res {resolution:g}", "data")
    return ("\n".join(lines) + "\n").encode() + data
