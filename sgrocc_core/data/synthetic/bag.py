"""Writes a walk through a generated room as a rosbag2, with the topics of an RGB-D camera."""

from __future__ import annotations

from pathlib import Path

from sgrocc_core.data.bags.writer import START_NS, BagWriter
from sgrocc_core.data.synthetic.generate import render_walk
from sgrocc_core.errors import DataError
from sgrocc_core.progress import progress


def write_walk(
    out: str | Path, seed: int = 0, frames: int = 120, size: tuple[int, int] = (640, 480), rate: float = 10.0
) -> None:
    """Write a bag of a walk through a generated room.

    Args:
        out: folder of the bag; it must not exist.
        seed: seed of the room.
        frames: number of images.
        size: (width, height) of the images, pixels.
        rate: images per second, Hz.

    Raises:
        DataError: the folder exists, or frames or rate are out of range.
    """
    if frames < 1 or not 0.1 <= rate <= 240:
        raise DataError(f"{frames} frames at {rate:g} Hz: at least one frame and 0.1 to 240 Hz are allowed")
    with BagWriter(Path(out)) as writer:
        for k, frame in enumerate(
            progress(render_walk(seed, frames, size), total=frames, unit="frame", desc="rendering the walk")
        ):
            writer.write(START_NS + round(k * 1e9 / rate), frame.view.image, frame.view.depth, frame.K, frame.T_wc)
