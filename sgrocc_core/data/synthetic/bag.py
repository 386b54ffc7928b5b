"""A walk through a generated room as a rosbag2, with the topics of an RGB-D camera."""

from __future__ import annotations

from pathlib import Path

from sgrocc_core.data.bag_writer import START_NS, BagWriter
from sgrocc_core.data.synthetic.generate import render_walk
from sgrocc_core.errors import DataError
from sgrocc_core.progress import progress


def write_walk(
    out: str | Path, seed: int = 0, frames: int = 120, size: tuple[int, int] = (640, 480), rate: float = 10.0
) -> None:
    """Writes a bag of `frames` images at `rate` Hz into the folder `out`, which must not exist.

    Raises:
        DataError: the folder exists, or frames or rate are not positive.
    """
    if frames < 1 or not 0.1 <= rate <= 240:
        raise DataError(f"{frames} frames at {rate:g} Hz: at least one frame and 0.1 to 240 Hz are allowed")
    with BagWriter(Path(out)) as writer:
        for k, frame in enumerate(
            progress(render_walk(seed, frames, size), total=frames, unit="frame", desc="rendering the walk")
        ):
            writer.write(START_NS + round(k * 1e9 / rate), frame.view.image, frame.view.depth, frame.K, frame.T_wc)
