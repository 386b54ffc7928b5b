"""The check of a recording: a look at frames spread over a bag, as `sgrocc check` and `sgrocc map` take it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sgrocc_core.checks.findings import depth_left_out, not_mapped
from sgrocc_core.checks.stream import MOST_FRAMES, StreamCheck
from sgrocc_core.errors import FrameError

if TYPE_CHECKING:
    from sgrocc_core.data.bags import BagReader

FEW_IMAGES = 400
"""A bag with at most so many images is read through; in a longer one windows are looked at."""
WINDOWS, WINDOW_NS = 8, 1_500_000_000
"""Number and length, nanoseconds, of the windows of a long bag."""


def look_at_bag(reader: BagReader) -> StreamCheck:
    """Look at up to MOST_FRAMES frames of an open bag, spread over its length.

    Args:
        reader: the open bag; its counts are those of this look afterwards.
    """
    check = StreamCheck(reader.map_frame, repr(reader.camera_frame), reader.options.axes)
    for finding in reader.findings():
        check.add_finding(finding)
    for size in reader.info_sizes:
        check.add_calibration(reader.calibration.K, size)
    if reader.selection.image.size is not None:
        check.add_image_size(reader.selection.image.size)
    if (span := reader.tree.span()) is not None:
        check.add_pose_stamps(*span)
    failed: dict[str, list[Any]] = {}
    looked = 0
    for number, (stamp_ns, image, depth) in enumerate(_spread(reader)):
        check.add_stamp(stamp_ns)
        if number % _stride(reader) or check.full:
            continue
        looked += 1
        try:
            frame = reader.frame(stamp_ns, image, depth)
        except FrameError as error:
            failed.setdefault(error.cause, [0, str(error)])[0] += 1
            continue
        if reader.options.depth_source == "cloud":  # sparse: its unit and registration are not judged
            check.add_frame(replace(frame, depth=None))
            continue
        check.add_frame(frame)
        _add_depth(check, reader, stamp_ns, depth)
    for cause, (count, message) in failed.items():
        check.add_finding(not_mapped(cause, count, looked, message, count == looked))
    for cause, count in reader.depth_unused.items():
        left_out = depth_left_out(cause, count, looked, reader.examples[cause])
        if left_out is not None:
            check.add_finding(left_out)
    return check


def _add_depth(check: StreamCheck, reader: BagReader, stamp_ns: int, depth: Any) -> None:
    """Add the readings of a depth message before any of them is filtered out."""
    if depth is None:
        return
    try:
        check.add_depth(reader.metres(stamp_ns, depth, reader.calibration))
    except FrameError:
        return  # counted where the frame was made


def _stride(reader: BagReader) -> int:
    """Every how many images one is looked at."""
    count = reader.image_count
    if count <= FEW_IMAGES:
        return max(-(-count // MOST_FRAMES), 1)
    seconds = max(reader.duration_ns / 1e9, 1e-3)
    return max(round(count / seconds * WINDOW_NS / 1e9 * WINDOWS / MOST_FRAMES), 1)


def _spread(reader: BagReader) -> Iterator[tuple[int, Any, Any]]:
    """Images of the whole bag, or of windows spread evenly over it."""
    if reader.image_count <= FEW_IMAGES:
        yield from reader.paired()
        return
    first, length = reader.start_ns, reader.duration_ns
    for number in range(WINDOWS):
        start = first + (length - WINDOW_NS) * number // (WINDOWS - 1)
        yield from reader.paired(start, start + WINDOW_NS)
