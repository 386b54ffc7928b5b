"""Checks of what poses mean: the axes of the camera's frame, and the direction that is up in the world.

With depth both are measured: surfaces of two views agree only under the camera's true axes, and the floor is the
largest level surface below the camera. Without depth only the average posture of the images speaks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np

from sgrocc_core.checks.findings import Finding
from sgrocc_core.geometry.camera import scale_intrinsics

AXES: dict[str, np.ndarray] = {
    "opencv": np.eye(3),
    "opengl": np.diag([1.0, -1.0, -1.0]),
    "ros": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
}
"""Rotation of the optical frame (x right, y down, z forward) into each convention of a camera's axes, (3, 3)."""
AXES_WORDS = {
    "opencv": "x right, y down, z forward (the optical frame)",
    "opengl": "x right, y up, z backward (OpenGL)",
    "ros": "x forward, y left, z up (a ROS body frame)",
}
COLUMNS = 64
"""Columns at which depth is compared between views."""
AGREES = 0.05
"""Relative difference of depth up to which two views agree on a surface, beside 2 cm."""
LEAST_MOTION = 0.05
"""Metres, or half a degree for each centimetre, that two views must lie apart to be compared."""
LEAST_PIXELS = 1500
"""Pixels compared over all pairs below which nothing is said about the axes."""
LEAST_PAIRS = 6
"""Pairs of views below which nothing is said about the axes."""
LOW, HIGH, AXES_MARGIN = 0.75, 0.5, 0.25
"""Agreeing share that the declared axes must stay below and other axes exceed to be taken for the true ones, and the
least difference. On three real recordings and a generated walk the right axes reached 0.93 to 0.99; the wrong ones
0.09 to 0.48 where the camera walked, and up to 0.91 where it moved a little before a desk."""
ALIKE, MOST_ALIKE = 0.15, 4
"""Axes whose share lies within the first of the best one's agree as well as that. Views along one line cannot tell
turns about it apart, which are four of the 24 axes along the coordinates. If more agree, the depth has too little
structure: that of a flat wall agrees with any motion along it."""
TILT_WARNING, TILT_ERROR = 6.0, 15.0
"""Degrees between the measured up direction and the z axis of the map; ramps and calibration faults stay below the
first."""
SECTOR = 12.0
"""Degrees around a direction within which normals belong to one surface direction."""


@dataclass
class View:
    """A reduced view: depth (h, w) metres, K (3, 3) pixels of that size, T_wc (4, 4)."""

    depth: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray


@dataclass
class Posture:
    """Collects views and judges the camera's axes and the world's up direction.

    Attributes:
        views: reduced views with depth.
        poses: (4, 4) optical frame to map, of all frames.
        declared: axes from which these poses were converted, a key of AXES.
    """

    views: list[View] = field(default_factory=list)
    poses: list[np.ndarray] = field(default_factory=list)
    declared: str = "opencv"

    def add(self, K: np.ndarray, T_wc: np.ndarray, depth: np.ndarray | None = None) -> None:
        """Add one frame.

        Args:
            K: (3, 3) intrinsics of the depth image, pixels.
            T_wc: (4, 4) camera to map.
            depth: (H, W) metres along the optical axis, 0 = no reading; None without a sensor.
        """
        self.poses.append(np.array(T_wc, np.float64))
        if depth is None:
            return
        step = max(depth.shape[1] // COLUMNS, 1)
        reduced = depth[step // 2 :: step, step // 2 :: step]
        scaled = scale_intrinsics(K, 1 / step, 1 / step)
        self.views.append(View(np.ascontiguousarray(reduced, np.float32), scaled, self.poses[-1]))

    def agreement(self) -> dict[str, float] | None:
        """Share of pixels on whose depth pairs of views agree, for each convention of the camera's axes.

        Returns:
            shares by a name of AXES; None with too few pixels.
        """
        pairs = self._pairs()
        shares = _shares(pairs, [AXES[self.declared].T @ R for R in AXES.values()])
        return None if len(pairs) < LEAST_PAIRS or shares is None else dict(zip(AXES, shares))

    def _pairs(self) -> list[tuple[View, View]]:
        """Views to compare with each other."""
        return [
            (a, b)
            for lag in (1, 2, 4)
            for a, b in zip(self.views, self.views[lag:])
            if _apart(a.T_wc, b.T_wc) >= LEAST_MOTION
        ][:40]

    def _stands_out(self, share: float) -> bool:
        """Whether so large a share says something: few of all axes along the coordinates reach it."""
        shares = _shares(self._pairs(), _turns()) or []
        return sum(other > share - ALIKE for other in shares) <= MOST_ALIKE

    def up(self) -> tuple[np.ndarray, str] | None:
        """The world's up direction.

        Returns:
            (3,) unit vector in the map frame, and what it was read from, `floor` or `images`; None where neither speaks
            clearly.
        """
        if not self.poses:
            return None
        leaning = -np.stack(self.poses)[:, :3, 1].mean(0)
        length = float(np.linalg.norm(leaning))
        if length < 0.35:
            return None
        leaning /= length
        if self.views and (measured := self._floor_normal(leaning)) is not None:
            return measured, "floor"
        return leaning, "images"

    def _floor_normal(self, leaning: np.ndarray) -> np.ndarray | None:
        """The commonest direction of surfaces within 50 degrees of the images' own up, if it stands out."""
        normals = np.concatenate([_normals(view) for view in self.views])
        if len(normals) < 500:
            return None
        near = normals[normals @ leaning > np.cos(np.deg2rad(50.0))]
        if len(near) < 0.06 * len(normals):
            return None
        candidates = near[:: max(len(near) // 200, 1)]
        votes = (near @ candidates.T > np.cos(np.deg2rad(SECTOR / 2))).sum(0)
        best = candidates[int(votes.argmax())]
        for _ in range(4):
            inside = near[near @ best > np.cos(np.deg2rad(SECTOR))]
            best = np.median(inside, 0)
            best /= np.linalg.norm(best)
        share = len(near[near @ best > np.cos(np.deg2rad(SECTOR))]) / len(normals)
        return best if share > 0.05 else None

    def findings(self, frame: str = "map", camera: str = "the camera's frame") -> list[Finding]:
        """Findings about the camera's axes and the world's up direction.

        Args:
            frame: name of the map frame, for the messages.
            camera: name of the camera's frame.
        """
        if (shares := self.agreement()) is not None:
            best = max(shares, key=lambda name: shares[name])
            said = self.declared
            whose = "the optical frame" if said == "opencv" else f"a camera with {said} axes"
            clear = shares[best] > HIGH and shares[said] < min(LOW, shares[best] - AXES_MARGIN)
            if clear and self._stands_out(shares[best]):
                return [
                    Finding(
                        "error",
                        "camera_axes",
                        f"the poses are not those of {whose}: views agree on {shares[best]:.0%} of the "
                        f"depth with axes {AXES_WORDS[best]}, and on {shares[said]:.0%} with {AXES_WORDS[said]}",
                        f"Give --axes {best}, or name the optical frame with --camera-frame.",
                    )
                ]
        found: list[Finding] = []
        if self.poses:
            forward_up = float(np.mean([T[2, 2] > 0.9 for T in self.poses]))
            if forward_up > 0.9:
                return [
                    Finding(
                        "warning",
                        "camera_axes",
                        f"the z axis of {camera} points up in {frame!r} in {forward_up:.0%} of the images; it may be "
                        "a body frame and not the camera's optical frame (z forward, x right, y down)",
                        "Name the optical frame with --camera-frame, or give --axes ros.",
                    )
                ]
        measured = self.up()
        if measured is None:
            return found
        direction, source = measured
        tilt = float(np.degrees(np.arccos(np.clip(direction[2], -1, 1))))
        limit = TILT_WARNING if source == "floor" else 60.0
        if tilt <= limit:
            return found
        axis = int(np.abs(direction).argmax())
        name = ("+" if direction[axis] > 0 else "-") + "xyz"[axis]
        if abs(direction[axis]) > 0.97 and tilt > 45:
            text = f"the images are upright when {name} of {frame!r} is up; the map needs z up"
        else:
            what = "the floor in the depth images is tilted" if source == "floor" else "the images are tilted"
            text = f"{what} by {tilt:.0f} degrees against the z axis of {frame!r}; the map needs z up"
        found.append(
            Finding(
                "error" if source == "floor" and tilt > TILT_ERROR else "warning",
                "world_up",
                text,
                "Level the world with --level, or correct the map frame.",
            )
        )
        return found


def levelling(up: np.ndarray) -> np.ndarray:
    """(4, 4) rotation that takes an up direction (3,), unit, in the map frame to +z, by the shortest turn."""
    z = np.array([0.0, 0.0, 1.0])
    axis, cosine = np.cross(up, z), float(np.dot(up, z))
    T = np.eye(4)
    if cosine < -0.999999:
        T[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return T
    K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    T[:3, :3] = np.eye(3) + K + K @ K / (1 + cosine)
    return T


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Metres between two poses, with half a degree of turn counted as a centimetre."""
    turn = np.degrees(np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1)))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]) + 0.02 * turn)


def _turns() -> list[np.ndarray]:
    """The 24 rotations, (3, 3), that take coordinate axes to coordinate axes."""
    signed = [np.eye(3)[list(order)] * np.array(signs)[:, None] for order in permutations(range(3))
              for signs in product((1.0, -1.0), repeat=3)]  # fmt: skip
    return [turn for turn in signed if np.linalg.det(turn) > 0]


def _shares(pairs: list[tuple[View, View]], turns: list[np.ndarray]) -> list[float] | None:
    """Share of pixels on whose depth pairs of views agree, for turns of the camera's axes; None with too few pixels."""
    if not pairs:
        return None
    counts = np.array([np.sum([_compare(a, b, R) for a, b in pairs], 0) for R in turns])
    most = int(counts[:, 0].max())
    if most < LEAST_PIXELS:
        return None
    return [float(agreeing / max(seen, most / 4)) for seen, agreeing in counts]


def _points(view: View) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) points in the optical frame and (h, w) whether there is a reading."""
    h, w = view.depth.shape
    u, v = np.meshgrid(np.arange(w), np.arange(h))
    z = view.depth
    K = view.K
    return np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], -1), z > 0


def _compare(a: View, b: View, R: np.ndarray) -> tuple[int, int]:
    """Pixels of `a` that land on a reading of `b`, and how many of them agree, for camera axes R."""
    points, valid = _points(a)
    A, B = a.T_wc.copy(), b.T_wc.copy()
    A[:3, :3], B[:3, :3] = A[:3, :3] @ R, B[:3, :3] @ R
    world = points[valid] @ A[:3, :3].T + A[:3, 3]
    inside = (world - B[:3, 3]) @ B[:3, :3]
    front = inside[:, 2] > 0.05
    inside = inside[front]
    u = np.rint(b.K[0, 0] * inside[:, 0] / inside[:, 2] + b.K[0, 2]).astype(int)
    v = np.rint(b.K[1, 1] * inside[:, 1] / inside[:, 2] + b.K[1, 2]).astype(int)
    h, w = b.depth.shape
    on = (u >= 0) & (u < w) & (v >= 0) & (v < h)
    u, v, z = u[on], v[on], inside[on, 2]
    d = b.depth[v, u]
    read = d > 0
    return int(read.sum()), int((np.abs(z - d)[read] < 0.02 + AGREES * z[read]).sum())


def _normals(view: View) -> np.ndarray:
    """(N, 3) unit normals of smooth surfaces in the map frame, towards the camera."""
    points, valid = _points(view)
    right, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    ok = valid[1:-1, 1:-1] & valid[1:-1, 2:] & valid[1:-1, :-2] & valid[2:, 1:-1] & valid[:-2, 1:-1]
    z = points[1:-1, 1:-1, 2]
    ok &= (np.abs(right[..., 2]) < 0.3 * z) & (np.abs(down[..., 2]) < 0.3 * z)
    normal = np.cross(down, right)[ok]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    towards = points[1:-1, 1:-1][ok]
    normal *= -np.sign((normal * towards).sum(1, keepdims=True))
    return normal @ view.T_wc[:3, :3].T
