"""Depth for recordings without a depth sensor: stereo from the camera's motion, kept where several views agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sgrocc_core.engines.engine import Engine
from sgrocc_core.errors import DataError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import NEAREST, LetterboxedCamera, back_project, project
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.mapping.from_motion import Motion, SeenImage, depth_from_motion
from sgrocc_core.progress import progress
from sgrocc_core.training.adapt.recording import RecordedView, Recording

NEIGHBOURS = (-12, -6, -3, 3, 6, 12)
"""Frames that a frame's depth is compared with, relative to it (round guess)."""
AGREE = 0.08
"""Largest relative difference of two views' depths of one point that counts as agreement (round guess)."""
LEAST_AGREEING = 2
"""Views that must agree with a pixel's depth."""
SPREAD = 0.12
"""Largest spread of stereo, as a share of the depth, that is considered (round guess)."""
LEAST_SHARE = 0.05
"""Least share of all pixels with consistent depth."""


def depth_of_motion(engine: Engine, recording: Recording, name: str) -> Recording:
    """Returns the recording with the depth that stereo from motion gives consistently.

    Args:
        engine: a model with stereo.
        recording: its own depth is not used.
        name: of the recording, for messages.

    Raises:
        DataError: the model has no stereo, or hardly any pixel has consistent depth.
    """
    if not engine.spec.has_stereo:
        raise DataError(
            f"{name} has no depth, and the model {engine.spec.name} has no stereo from motion; record depth, or adapt "
            "a model with stereo"
        )
    motion = Motion()
    raw = [
        replace(view, depth=stereo_depth(engine, motion, frame))
        for frame, view in zip(
            progress(recording.frames, desc="stereo from motion", unit="frame"), recording.views, strict=True
        )
    ]
    found = []
    for number, view in enumerate(raw):
        agreeing = np.zeros(view.depth.shape, np.int64)
        for offset in NEIGHBOURS:
            if 0 <= number + offset < len(raw):
                agreeing += _agrees(view, raw[number + offset])
        found.append(replace(view, depth=np.where(agreeing >= LEAST_AGREEING, view.depth, 0).astype(np.float32)))
    share = float(np.mean([(view.depth > 0).mean() for view in found]))
    if share < LEAST_SHARE:
        raise DataError(
            f"{name} has no depth, and stereo from motion agrees on {share:.1%} of its pixels only (at least "
            f"{LEAST_SHARE:.0%} are needed): move the camera sideways, more slowly, with good poses, or record depth"
        )
    return replace(recording, views=found)


def stereo_depth(engine: Engine, motion: Motion, frame: Frame) -> np.ndarray:
    """Depth of the next frame at the size of packed views, 0 where it is uncertain or no earlier image helped."""
    height, width = frame.image.shape[:2]
    camera = LetterboxedCamera.of(frame.K, (width, height), engine.spec.image_size)
    image = camera.letterbox.image(frame.image)
    outputs = engine.image(image, camera.mask, camera.K, gravity_aligned_rotation(frame.T_wc[:3, :3]))
    seen = SeenImage(image, camera, frame.T_wc, frame.stamp_ns, outputs)
    depth, spread, _ = depth_from_motion("stereo", engine, motion, seen)
    certain = np.where(spread < SPREAD * depth, depth, 0) if motion.helped else np.zeros_like(depth)
    factor = camera.mask.shape[0] // depth.shape[0]
    x0, y0, w, h = camera.letterbox.content
    whole = np.repeat(np.repeat(certain, factor, 0), factor, 1)
    return np.ascontiguousarray(whole[y0 : y0 + h, x0 : x0 + w], np.float32)


def _agrees(view: RecordedView, other: RecordedView) -> np.ndarray:
    """Returns (h, w) bool: another view has about the depth at the place of this view's pixel."""
    u, v, z = project(back_project(view.depth, view.K, view.T_wc), other.K, other.T_wc)
    column, row = np.floor(u + 0.5).astype(np.int64), np.floor(v + 0.5).astype(np.int64)
    height, width = other.depth.shape
    inside = (z > NEAREST) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    there = np.zeros(len(z))
    there[inside] = other.depth[row[inside], column[inside]]
    out = np.zeros(view.depth.shape, np.bool_)
    out[view.depth > 0] = (there > 0) & (np.abs(there - z) < AGREE * z)
    return out
