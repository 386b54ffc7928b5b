"""Keyframes of stereo from motion: which earlier images are kept, and which of them are sources for a new one.

A source must have moved far enough for a parallax and little enough to look alike; where none qualifies (the first
image, a camera that only turns) there is no stereo, and the depth is that of the image alone. Keyframes are not saved
with a map: after loading one the camera may be anywhere, and a few centimetres of motion fill the ring again.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sgrocc_core.depth.sweep import MAX_SOURCES, sweep_transform
from sgrocc_core.geometry.poses import invert_pose

MIN_BASELINE, MAX_BASELINE = 0.05, 0.4
"""Metres between an image and its sources: nearer there is no parallax, farther too little looks alike."""
IDEAL_BASELINE = 0.2
"""Metres (round guess: a tenth of the distances in a room)."""
MAX_TURN = math.radians(30)
MIN_OVERLAP = 0.4
"""Share of a source's view that the image must show."""
OVERLAP_DEPTH = 2.0
"""Depth at which the overlap of two views is judged, metres (round guess: half of a room)."""
SAME_SIDE = 0.5
"""Penalty of a source that lies in the same direction as one already chosen, against one at a right angle."""
KEYFRAMES = 32
STEP, TURN = 0.03, math.radians(4)
"""Metres or radians from the last keyframe at which an image becomes the next."""
JUMP, SPEED = 0.25, 2.0
JUMP_TURN, TURN_SPEED = 0.5, 3.0
"""Bound of a pose's change between two images: JUMP metres + SPEED metres per second (for turns, radians)."""


@dataclass(frozen=True, eq=False)
class View:
    """One image as stereo sees it.

    Attributes:
        features: (h, w, 16) float32 matching features.
        fine: (2h, 2w, 16) float32, those of the second sweep; None where the model has none.
        K: (3, 3) intrinsics at their resolution, pixels.
        T_wc: (4, 4) camera to world, metres.
        stamp_ns: of the image.
        bounds: (4,) float32 pixels that lie inside the picture, see `sweep.content_bounds`.
        size: (width, height) of the image as the camera gave it, pixels.
        digest: of the image; equal images have equal ones.
    """

    features: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray
    stamp_ns: int
    bounds: np.ndarray
    size: tuple[int, int]
    digest: int
    fine: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Memory that the view takes, without Python's own."""
        fine = 0 if self.fine is None else self.fine.nbytes
        return self.features.nbytes + fine + self.K.nbytes + self.T_wc.nbytes + self.bounds.nbytes


def digest(image: np.ndarray) -> int:
    """A number that is the same for equal images, (H, W, 3) uint8."""
    return zlib.crc32(np.ascontiguousarray(image).data)


class KeyframeRing:
    """The last keyframes of one camera.

    Args:
        capacity: keyframes kept; the oldest goes first.

    Attributes:
        views: the keyframes, oldest first.
    """

    def __init__(self, capacity: int = KEYFRAMES) -> None:
        self.views: deque[View] = deque(maxlen=capacity)
        self._last: View | None = None
        self._told = False

    @property
    def nbytes(self) -> int:
        """Memory of all keyframes."""
        return sum(view.nbytes for view in self.views)

    def follow(self, view: View, number: int = MAX_SOURCES) -> tuple[list[View], str | None]:
        """Sources for the next image, which may become a keyframe after that.

        Returns:
            at most `number` keyframes, the best first. A sentence if the ring was emptied because the camera is
            another one, the first time that happens; else None.
        """
        said = None
        if self._last is not None:
            if self._last.size != view.size or not np.allclose(self._last.K, view.K, rtol=1e-3):
                said = self._say(view)
                self.views.clear()
            elif _jumps(self._last, view):
                self.views.clear()
        candidates = [other for other in self.views if other.digest != view.digest]
        poses = np.array([other.T_wc for other in candidates]).reshape(-1, 4, 4)
        last_pixel = view.features.shape[1] - 1, view.features.shape[0] - 1
        chosen = [candidates[k] for k in choose_sources(view.T_wc, poses, view.K, last_pixel, number)]
        self._keep(view)
        self._last = view
        return chosen, said

    def _say(self, view: View) -> str | None:
        if self._told or self._last is None:
            return None
        self._told = True
        return (
            f"the images' size or intrinsics changed from {_camera(self._last)} to {_camera(view)}: stereo begins anew "
            "whenever they do; do two cameras publish on one topic?"
        )

    def _keep(self, view: View) -> None:
        if self.views and (self.views[-1].digest == view.digest or _near(self.views[-1], view)):
            return
        for other in [other for other in self.views if _near(other, view)]:
            self.views.remove(other)
        self.views.append(view)


def choose_sources(
    T_wc: np.ndarray, candidates: np.ndarray, K: np.ndarray, last_pixel: tuple[int, int], number: int = MAX_SOURCES
) -> list[int]:
    """Indices of the best sources for an image, the best first.

    Args:
        T_wc: (4, 4) of the image.
        candidates: (N, 4, 4) of earlier images of the same camera.
        K: (3, 3) intrinsics, pixels.
        last_pixel: column and row of the last pixel.
        number: how many at most.
    """
    if not len(candidates):
        return []
    relative = invert_pose(T_wc) @ candidates  # source to image
    offset = relative[:, :3, 3]
    baseline, turn = np.linalg.norm(offset, axis=1), turn_between(relative)
    fits = (baseline >= MIN_BASELINE) & (baseline <= MAX_BASELINE) & (turn < MAX_TURN)
    shared = np.zeros(len(candidates))
    shared[fits] = [overlap(K, T_wc, pose, last_pixel) for pose in candidates[fits]]
    fits &= shared >= MIN_OVERLAP
    penalty = np.abs(np.log(np.maximum(baseline, 1e-6) / IDEAL_BASELINE)) + turn / MAX_TURN + (1 - shared)
    penalty = np.where(fits, penalty, np.inf)
    direction = offset / np.maximum(baseline, 1e-6)[:, None]
    chosen: list[int] = []
    while len(chosen) < number:
        sided = SAME_SIDE * (direction @ direction[chosen].T).max(1) if chosen else 0.0
        best = int(np.argmin(penalty + sided))
        if not np.isfinite(penalty[best]):
            break
        chosen.append(best)
        penalty[best] = np.inf
    return chosen


def overlap(K: np.ndarray, T_wc: np.ndarray, source_T_wc: np.ndarray, last_pixel: tuple[int, int]) -> float:
    """Share of an image's points, at OVERLAP_DEPTH, that a source of the same camera sees."""
    pixels = _spread_pixels(last_pixel)
    transform = sweep_transform(K, T_wc, K, source_T_wc)
    x, y, z = transform[:, :3] @ pixels + transform[:, 3:] / OVERLAP_DEPTH
    ahead = z > 0.05
    z = np.where(ahead, z, 1.0)
    return float((ahead & (x >= 0) & (x <= last_pixel[0] * z) & (y >= 0) & (y <= last_pixel[1] * z)).mean())


@lru_cache(maxsize=4)
def _spread_pixels(last_pixel: tuple[int, int]) -> np.ndarray:
    """(3, 25) five by five pixels of an image, homogeneous; not to be changed."""
    u, v = np.meshgrid(*(np.linspace(0, last, 5) for last in last_pixel))
    return np.stack([u.ravel(), v.ravel(), np.ones(u.size)])


def turn_between(relative: np.ndarray) -> np.ndarray:
    """Angles of rotations (N, 4, 4), radians."""
    return np.arccos(np.clip((np.trace(relative[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))  # type: ignore[no-any-return]


def _near(view: View, other: View) -> bool:
    relative = invert_pose(view.T_wc) @ other.T_wc
    return bool(np.linalg.norm(relative[:3, 3]) < STEP and turn_between(relative[None])[0] < TURN)


def _jumps(last: View, view: View) -> bool:
    """Whether no camera moves so: the pose was corrected, or the recording begins again."""
    seconds = (view.stamp_ns - last.stamp_ns) / 1e9
    if seconds < 0:
        return True
    relative = invert_pose(last.T_wc) @ view.T_wc
    step, turn = np.linalg.norm(relative[:3, 3]), turn_between(relative[None])[0]
    return bool(step > JUMP + SPEED * seconds or turn > JUMP_TURN + TURN_SPEED * seconds)


def _camera(view: View) -> str:
    return f"{view.size[0]} x {view.size[1]} (fx {view.K[0, 0]:.1f}, fy {view.K[1, 1]:.1f} at the features' resolution)"
