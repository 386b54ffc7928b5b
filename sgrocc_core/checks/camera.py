"""Checks of a camera's intrinsics against its images."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from sgrocc_core.checks.findings import Finding

FIELD_OF_VIEW = (20.0, 130.0)
"""Degrees that a pinhole camera's larger field of view usually lies within; outside, K is of another image size (round
guess)."""
OFF_CENTRE = (0.12, 0.22)
"""Distance of the principal point from the image's centre, as a share of the side: a warning, an error (round guesses;
cameras whose driver crops the image reach a few percent)."""
UNEQUAL_FOCAL = 0.25
"""Relative difference of fx and fy from which pixels would be far from square (round guess)."""


def check_intrinsics(K: np.ndarray, size: tuple[int, int]) -> list[Finding]:
    """Whether intrinsics fit images of a size: principal point, field of view, focal lengths.

    Args:
        K: (3, 3) pinhole intrinsics, pixels.
        size: (width, height) of the image, pixels.
    """
    width, height = size
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    found = []
    off = max(abs(cx - (width - 1) / 2) / width, abs(cy - (height - 1) / 2) / height)
    if off > OFF_CENTRE[0]:
        factor = (cx + 0.5) / (width / 2)
        same = abs((cy + 0.5) / (height / 2) - factor) < 0.2 * factor
        hint = f" K would fit an image of {factor:.2g} times this size." if same and abs(factor - 1) > 0.2 else ""
        found.append(
            Finding(
                "error" if off > OFF_CENTRE[1] else "warning",
                "principal_point",
                f"the principal point ({cx:g}, {cy:g}) of K is not near the middle of an image of {width} x {height} "
                f"pixels, ({(width - 1) / 2:g}, {(height - 1) / 2:g}).{hint}",
                "Give the camera_info of the images at their published size: scale K together with the image.",
            )
        )
    views = [math.degrees(2 * math.atan(side / (2 * f))) for side, f in ((width, fx), (height, fy)) if f > 0]
    if not views or max(views) < FIELD_OF_VIEW[0] or max(views) > FIELD_OF_VIEW[1]:
        seen = f"{max(views):.0f} degrees" if views else "none"
        found.append(
            Finding(
                "error",
                "field_of_view",
                f"fx = {fx:g} and fy = {fy:g} pixels give an image of {width} x {height} pixels a field of view of "
                f"{seen}; {FIELD_OF_VIEW[0]:g} to {FIELD_OF_VIEW[1]:g} degrees are plausible",
                "Check that camera_info was calibrated at this image size.",
            )
        )
    if fx > 0 and fy > 0 and abs(fx - fy) > UNEQUAL_FOCAL * max(fx, fy):
        found.append(
            Finding(
                "warning",
                "focal_lengths",
                f"fx = {fx:g} and fy = {fy:g} pixels differ by more than {UNEQUAL_FOCAL:.0%}; cameras have "
                "square pixels",
                "Check whether the image was resized in one direction only.",
            )
        )
    return found


def check_info_sizes(image_size: tuple[int, int], info_sizes: Iterable[tuple[int, int]]) -> list[Finding]:
    """Whether the sizes that camera_info messages describe contain the image's.

    Args:
        image_size: (width, height) of the images, pixels.
        info_sizes: (width, height) of every distinct camera_info on the topic.
    """
    sizes = sorted(set(info_sizes))
    described = ", ".join(f"{w} x {h}" for w, h in sizes)
    if image_size not in sizes:
        return [
            Finding(
                "error",
                "camera_info_size",
                f"the images have {image_size[0]} x {image_size[1]} pixels, but camera_info describes {described}",
                "Name the camera_info of these images with --info-topic, or publish it at the image's size.",
            )
        ]
    if len(sizes) > 1:
        return [
            Finding(
                "note",
                "camera_info_sizes",
                f"camera_info describes several sizes ({described}); those of the image's size, "
                f"{image_size[0]} x {image_size[1]}, are used",
                "Two nodes publish camera_info on one topic; give each its own.",
            )
        ]
    return []
