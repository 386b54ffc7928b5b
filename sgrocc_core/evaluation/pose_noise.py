"""Disturbed poses, and the camera's motion between frames, which gives a scale for the disturbance."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.evaluation.local import PoseDisturbance, spread_evenly


def disturbed(length: float, seed: int) -> PoseDisturbance | None:
    """Make a disturbance of view n's pose: a normal draw of `length` metres root mean square; None for 0."""
    if length <= 0:
        return None

    def move(view: int, T_wc: np.ndarray) -> np.ndarray:
        moved = np.array(T_wc, np.float64)
        moved[:3, 3] += np.random.default_rng((seed, view)).normal(0, length / 3**0.5, 3)
        return moved

    return move


def frame_step(data: OccScanNet, pairs: int = 200) -> float:
    """Median distance, in metres, between consecutive frames of the same scene; 0 without any.

    At most `pairs` pairs are read, spread evenly over the set.
    """
    neighbours = [i for i in range(len(data.names) - 1) if data.names[i][0] == data.names[i + 1][0]]
    some = spread_evenly(neighbours, pairs)
    steps = [np.linalg.norm(data[i + 1].T_wc[:3, 3] - data[i].T_wc[:3, 3]) for i in some]
    return float(np.median(steps)) if steps else 0.0
