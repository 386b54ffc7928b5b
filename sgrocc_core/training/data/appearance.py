"""Other colours for the surfaces of a view, so that a class is told by its shape and not by the colours of its models.

Rendered rooms have the colours that their makers thought of; real ones have white doors and red cupboards. The idea is
domain randomisation (Tobin et al., "Domain randomization for transferring deep neural networks from simulation to the
real world", 2017), applied to rendered views instead of the renderer.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.training.data.augmentation import View
from sgrocc_core.training.data.texture import textured

PART = 0.5
"""Probability that a part of the image gets another colour."""
GRAIN = 0.5
"""Probability that the surfaces of a restyled view get a grain."""
GAIN = 0.3, 3.0
"""Range of the factor between a part's colour and its new one; shading and pattern stay."""
STEP = 0.06
"""Depth that belongs to another object than its neighbour's, as a share of it."""
SMALLEST = 0.002
"""Parts below this share of the image stay as they are."""


def restyled(view: View, rng: np.random.Generator) -> View:
    """The view with other colours on some of its parts and, half of the time, a grain on its surfaces.

    Args:
        view: with labels and depth. Only its image changes.
        rng: of every draw.
    """
    parts = _parts(view)
    flat, pixels = parts.ravel(), view.image.reshape(-1, 3).astype(np.float32)
    sizes = np.bincount(flat)
    sums = np.stack([np.bincount(flat, pixels[:, c]) for c in range(3)], 1)
    gains = np.ones((len(sizes), 3), np.float32)
    for part in np.flatnonzero(sizes >= SMALLEST * len(flat)):
        if part and rng.random() < PART:
            gains[part] = np.clip(_colour(rng) * sizes[part] / np.maximum(sums[part], 1), *GAIN)
    image = np.minimum(pixels * gains[flat], 255).astype(np.uint8).reshape(view.image.shape)
    view = replace(view, image=image)
    return textured([view], rng)[0] if rng.random() < GRAIN else view


def _parts(view: View) -> np.ndarray:
    """(H, W) int32: connected pixels of one class without a step of depth between them have one number.

    Pixels at steps have that of a neighbour of their class; 0 = of no class, or of no part.
    """
    wide = np.ones((3, 3), np.uint8)
    depth, labels = view.depth, view.labels
    step = (cv2.dilate(depth, wide) - cv2.erode(depth, wide) > STEP * depth) | (depth <= 0)
    classed = (labels > 0) & (labels <= NUM_CLASSES) & (view.mask > 0)
    parts, count = np.zeros(depth.shape, np.int32), 0
    for label in np.flatnonzero(np.bincount(labels[classed], minlength=1)):
        inside = (labels == label) & classed & ~step
        found, numbers = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
        parts[inside] = numbers[inside] + count
        count += found - 1
    for _ in range(2):  # a step is two pixels wide
        for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            same = (parts == 0) & classed & (np.roll(labels, shift, axis) == labels)
            parts = np.where(same, np.roll(parts, shift, axis), parts)
    return parts


def _colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) RGB of 0 to 255: any brightness, from grey to strong."""
    hue, saturation, value = rng.uniform(0, 180), 255 * rng.random() ** 1.7, rng.uniform(25, 245)
    colour = np.array([[[hue, saturation, value]]]).astype(np.uint8)
    return cv2.cvtColor(colour, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
