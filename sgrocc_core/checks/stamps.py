"""Checks of time stamps: whether the clock of the images runs, and whether it is the clock of the poses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sgrocc_core.checks.findings import Finding

SAME_EPOCH_S = 3600.0
"""Seconds by which the stamps of images and of poses may lie apart before they count as times of two clocks (round
guess)."""
EQUAL_SHARE = 0.2
"""Share of images with the stamp of the image before from which the stamps are reported (round guess)."""
BACKWARD_SHARE = 0.05
"""Share of images older than the one before from which the order is reported (round guess)."""

LATEST_NS = 2**31 * 1_000_000_000
"""Stamps of ROS lie before this, nanoseconds."""


def no_time(stamp: int, whose: str) -> str:
    """Return why a stamp (ns) is no time, or an empty text; `whose` begins the sentence."""
    if stamp == 0:
        return f"{whose} stamp is 0: the driver does not stamp its messages"
    if not 0 < stamp < LATEST_NS:
        return f"{whose} stamp is {stamp / 1e9:.3f} s; it must lie between 0 and {LATEST_NS / 1e9:.0f} s"
    return ""


def check_stamps(image_ns: Sequence[int], pose_ns: Sequence[int] = ()) -> list[Finding]:
    """Whether image stamps are set, advance, and lie within the time of the poses.

    Args:
        image_ns: stamps of the images in the order of their arrival, nanoseconds.
        pose_ns: the oldest and newest stamp of the poses, nanoseconds; empty: not compared.
    """
    found: list[Finding] = []
    if not len(image_ns):
        return found
    zero = sum(1 for stamp in image_ns if stamp == 0)
    if zero:
        every = "all" if zero == len(image_ns) else f"{zero} of {len(image_ns)}"
        found.append(
            Finding(
                "error" if zero == len(image_ns) else "warning",
                "stamp_zero",
                f"{every} images have the stamp 0: the driver does not stamp them",
                "Set header.stamp to the time of exposure in the camera's driver; an image without a time has no pose.",
            )
        )
    if any(stamp < 0 for stamp in image_ns):
        found.append(
            Finding("warning", "stamp_negative", "image stamps lie before 1970", "Check the clock of the driver.")
        )
    pairs = list(itertools.pairwise(image_ns))
    equal = sum(a == b for a, b in pairs)
    if zero < len(image_ns) and pairs and equal > EQUAL_SHARE * len(pairs):
        found.append(
            Finding(
                "warning",
                "stamps_equal",
                f"{equal} of {len(image_ns)} images have the stamp of the image before them",
                "The driver repeats stamps; poses and depth of such images are those of one moment.",
            )
        )
    back = sum(b < a for a, b in pairs)
    if back > BACKWARD_SHARE * max(len(pairs), 1) and back > 1:
        found.append(
            Finding(
                "warning",
                "stamps_backward",
                f"{back} of {len(image_ns)} images are older than the image before them",
                "Two publishers on one topic, or a clock that is being set.",
            )
        )
    times = [stamp for stamp in image_ns if stamp > 0]
    if times and len(pose_ns):
        first, last = min(pose_ns), max(pose_ns)
        apart = max(min(times) - last, first - max(times)) / 1e9
        if apart > SAME_EPOCH_S:
            found.append(
                Finding(
                    "error",
                    "clock_epoch",
                    f"the images are stamped {min(times) / 1e9:.0f} to {max(times) / 1e9:.0f} s, the poses "
                    f"{first / 1e9:.0f} to {last / 1e9:.0f} s: {apart:.0f} s apart, two clocks",
                    "Stamp both by one clock: check use_sim_time, the camera's hardware clock and the time "
                    "synchronisation.",
                )
            )
    return found
