"""Makes a surface of triangles solid: which cells of a fine grid lie inside it.

Models from the wild are rarely closed. The rule, tested on known solids:

1. Triangles that share vertices form shells. A shell whose edges all have an even number of triangles is closed and
   judged alone; the others are judged together. So closed shells that overlap, as a cushion and its frame do, add up.
2. From each cell's centre 17 rays leave: 8 level ones and 9 upwards, along the lattice's axes and diagonals. A ray
   votes for "inside" if it crosses the surface an odd number of times. No ray leaves downwards: furniture stands on a
   floor, and often has no underside. A cell is inside with at least INSIDE of the votes.
3. What cannot be reached from outside, through cells without surface and from any side but below, is inside too:
   a cabinet of unconnected panels is as solid as our own primitives are.
4. Cells with UNSURE to INSIDE of the votes are in doubt. Where they are more than MOST_DOUBT of the body, the model
   cannot be made solid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

PITCH = 0.01
"""Edge length of a cell, metres: every cube of 2 cm, turned at will, contains the centre of one."""
INSIDE, UNSURE, MOST_DOUBT = 0.75, 0.3, 0.25
WELD = 2e-4
"""Vertices nearer than this are one, metres."""
OFFSET = (0.5 + 0.0013, 0.5 - 0.0017)
"""Where rays pass through a cell, off the middle so that they do not run along edges of axis-parallel faces."""
MARGIN = 2
"""Free cells around the surface, at the sides and above."""
LINES = (
    *((0, 0, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0), (1, 1, 0), (-1, -1, 0), (1, -1, 0), (-1, 1, 0)),
    *((0, 0, 1), (0, 0, 2), (1, 0, 2), (-1, 0, 2)),
)
"""Lines of rays: slope of the first two coordinates along the last, and which axis comes last (0: z, 1: x, 2: y)."""
_ORDER = ((0, 1, 2), (1, 2, 0), (0, 2, 1))
VOTES = 17


@dataclass(frozen=True)
class Cells:
    """Cells inside a model.

    Attributes:
        inside: (X, Y, Z) bool.
        low: (3,) lowest corner of the grid, metres.
        doubt: volume of the cells in doubt over that of the body and of them.
    """

    inside: np.ndarray
    low: np.ndarray
    doubt: float


def weld(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join near vertices; drop degenerate and repeated triangles.

    Args:
        corners: (T, 3, 3) metres.

    Returns:
        faces: (F, 3) int64 numbers of vertices.
        kept: (F,) int64 indices of their triangles in `corners`.
    """
    _, number = np.unique(np.rint(corners.reshape(-1, 3) / WELD).astype(np.int64), axis=0, return_inverse=True)
    faces = number.reshape(-1, 3)
    sound = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    _, first = np.unique(np.sort(faces[sound], axis=1), axis=0, return_index=True)
    kept = np.flatnonzero(sound)[np.sort(first)]
    return faces[kept], kept


@njit(cache=True)
def _shells(faces, count):  # type: ignore[no-untyped-def]
    """(F,) the smallest vertex of each triangle's connected shell."""
    parent = np.arange(count)
    for f in range(len(faces)):
        for c in range(1, 3):
            a, b = faces[f, 0], faces[f, c]
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a < b:
                parent[b] = a
            else:
                parent[a] = b
    out = np.empty(len(faces), np.int64)
    for f in range(len(faces)):
        a = faces[f, 0]
        while parent[a] != a:
            a = parent[a]
        out[f] = a
    return out


def closed_shells(faces: np.ndarray) -> list[np.ndarray]:
    """Triangles of each closed shell, then those of all open shells together (possibly none), as arrays of indices."""
    shell = _shells(faces, int(faces.max()) + 1)
    edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    _, which, times = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    odd = (times[which.reshape(-1)] % 2 == 1).reshape(-1, 3).any(1)
    open_shells = np.unique(shell[odd])
    in_open = np.isin(shell, open_shells)
    closed = np.flatnonzero(~in_open)
    order = closed[np.argsort(shell[closed], kind="stable")]
    starts = np.flatnonzero(np.diff(shell[order], prepend=-1))
    return [*(np.split(order, starts[1:]) if len(order) else []), np.flatnonzero(in_open)]


@njit(cache=True)
def _cast(triangles, flips, columns_low, steps, slope_p, slope_q, offset_p, offset_q):  # type: ignore[no-untyped-def]
    """Toggle, in the column of every ray that crosses a triangle, the first cell whose centre lies beyond the crossing.

    Args:
        triangles: (T, 3, 3) in cells; the rays run along the last coordinate with the slopes.
        flips: (P, Q, K + 1) uint8, changed in place.
        columns_low: (2,) int, the first column.
        steps: number of cells K along the rays.
        slope_p: shift of the first coordinate per cell.
        slope_q: shift of the second coordinate per cell.
        offset_p: where rays pass a cell, first coordinate.
        offset_q: where rays pass a cell, second coordinate.
    """
    p, q, m = np.empty(3), np.empty(3), np.empty(3)
    for t in range(len(triangles)):
        for c in range(3):
            m[c] = triangles[t, c, 2] - 0.5
            p[c] = triangles[t, c, 0] - slope_p * m[c] - offset_p
            q[c] = triangles[t, c, 1] - slope_q * m[c] - offset_q
        area = (p[1] - p[0]) * (q[2] - q[0]) - (p[2] - p[0]) * (q[1] - q[0])
        if area == 0.0:
            continue
        for i in range(int(np.ceil(p.min())), int(np.floor(p.max())) + 1):
            for j in range(int(np.ceil(q.min())), int(np.floor(q.max())) + 1):
                a = ((p[1] - i) * (q[2] - j) - (p[2] - i) * (q[1] - j)) / area
                b = ((p[2] - i) * (q[0] - j) - (p[0] - i) * (q[2] - j)) / area
                c_ = 1.0 - a - b
                if a < 0.0 or b < 0.0 or c_ < 0.0:
                    continue
                k = int(np.ceil(a * m[0] + b * m[1] + c_ * m[2]))
                k = min(max(k, 0), steps)
                flips[i - columns_low[0], j - columns_low[1], k] ^= 1


@njit(cache=True)
def _tally(votes, flips, columns_low, slope_p, slope_q, both):  # type: ignore[no-untyped-def]
    """Add the votes of the rays upwards along the columns and, with `both`, of those downwards. Clears `flips`."""
    for i in range(flips.shape[0]):
        for j in range(flips.shape[1]):
            total = 0
            for k in range(flips.shape[2]):
                total ^= flips[i, j, k]
            below, steps = 0, flips.shape[2] - 1
            for k in range(steps + 1):
                below ^= flips[i, j, k]
                flips[i, j, k] = 0
                x, y = i + columns_low[0] + slope_p * k, j + columns_low[1] + slope_q * k
                if k < steps and 0 <= x < votes.shape[0] and 0 <= y < votes.shape[1]:
                    votes[x, y, k] += (total ^ below) + (below if both else 0)


def _votes(triangles: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(X, Y, Z) uint8 votes of 17 rays from every cell; triangles (T, 3, 3) in cells."""
    votes = np.zeros(shape, np.uint8)
    for slope_p, slope_q, last in LINES:
        order = _ORDER[last]
        turned, grid = np.ascontiguousarray(triangles[:, :, order]), votes.transpose(order)
        steps = grid.shape[2]
        low = np.array([min(0, -s * (steps - 1)) for s in (slope_p, slope_q)])
        high = np.array([max(0, -s * (steps - 1)) for s in (slope_p, slope_q)])
        columns = (np.array(grid.shape[:2]) + high - low + 2).astype(int)
        flips = np.zeros((columns[0], columns[1], steps + 1), np.uint8)
        _cast(turned, flips, low - 1, steps, slope_p, slope_q, *OFFSET)
        _tally(grid, flips, low - 1, slope_p, slope_q, last != 0)
    return votes


@njit(cache=True)
def mark_triangles(cells, triangles):  # type: ignore[no-untyped-def]
    """Set to 1 the cells (X, Y, Z) that contain points, half a cell apart, of the triangles (T, 3, 3), in cells."""
    for t in range(len(triangles)):
        far = 0.0
        for c in range(3):
            d = 0.0
            for a in range(3):
                d += (triangles[t, c, a] - triangles[t, (c + 1) % 3, a]) ** 2
            far = max(far, d)
        n = max(1, int(np.ceil(np.sqrt(far) * 2)))
        for u in range(n + 1):
            for v in range(n + 1 - u):
                inside, index = True, (0, 0, 0)
                x = (triangles[t, 0, 0] * u + triangles[t, 1, 0] * v + triangles[t, 2, 0] * (n - u - v)) / n
                y = (triangles[t, 0, 1] * u + triangles[t, 1, 1] * v + triangles[t, 2, 1] * (n - u - v)) / n
                z = (triangles[t, 0, 2] * u + triangles[t, 1, 2] * v + triangles[t, 2, 2] * (n - u - v)) / n
                index = (int(np.floor(x)), int(np.floor(y)), int(np.floor(z)))
                for a in range(3):
                    inside = inside and 0 <= index[a] < cells.shape[a]
                if inside:
                    cells[index] = 1


@njit(cache=True)
def _reached(surface):  # type: ignore[no-untyped-def]
    """(X, Y, Z) uint8: 1 where cells are reached from the sides or from above without crossing the surface."""
    X, Y, Z = surface.shape
    reached = np.zeros((X, Y, Z), np.uint8)
    stack = np.empty((X * Y * Z, 3), np.int32)
    count = 0
    for i in range(X):
        for j in range(Y):
            for k in range(Z):
                border = i == 0 or j == 0 or k == Z - 1 or i == X - 1 or j == Y - 1
                if border and surface[i, j, k] == 0:
                    reached[i, j, k] = 1
                    stack[count, 0], stack[count, 1], stack[count, 2] = i, j, k
                    count += 1
    while count > 0:
        count -= 1
        at = stack[count].copy()
        for side in range(6):
            i, j, k = at[0], at[1], at[2]
            step = 1 if side % 2 else -1
            if side < 2:
                i += step
            elif side < 4:
                j += step
            else:
                k += step
            if 0 <= i < X and 0 <= j < Y and 0 <= k < Z and reached[i, j, k] == 0 and surface[i, j, k] == 0:
                reached[i, j, k] = 1
                stack[count, 0], stack[count, 1], stack[count, 2] = i, j, k
                count += 1
    return reached


def solid_cells(corners: np.ndarray) -> Cells:
    """The cells inside a surface, by the rule of this file.

    Args:
        corners: (T, 3, 3) triangles, metres, z up; at least one.

    Returns:
        The cells, and how much of the body is in doubt.
    """
    faces, kept = weld(corners)
    low = corners.reshape(-1, 3).min(0) - MARGIN * PITCH
    low[2] += MARGIN * PITCH  # the floor
    size = corners.reshape(-1, 3).max(0) - low
    shape = tuple(int(n) for n in np.ceil(size / PITCH) + MARGIN)
    triangles = (corners[kept].astype(np.float64) - low) / PITCH
    inside, doubtful = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for shell in closed_shells(faces) if len(faces) else []:
        if not len(shell):
            continue
        part = triangles[shell]
        first = np.maximum(np.floor(part.reshape(-1, 3).min(0)).astype(int), 0)
        last = np.minimum(np.ceil(part.reshape(-1, 3).max(0)).astype(int) + 1, shape)
        share = _votes(part - first, tuple(last - first)) / VOTES
        where = tuple(slice(a, b) for a, b in zip(first, last))
        inside[where] |= share >= INSIDE
        doubtful[where] |= (share >= UNSURE) & (share < INSIDE)
    surface = np.zeros(shape, np.uint8)
    mark_triangles(surface, triangles)
    inside |= (_reached(surface) == 0) & (surface == 0)
    body = inside | (surface > 0)
    doubtful &= ~body
    return Cells(inside, low, float(doubtful.sum() / max(doubtful.sum() + body.sum(), 1)))
