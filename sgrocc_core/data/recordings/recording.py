"""The interface of an open recording, and the loop that writes a recording as a bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from sgrocc_core.data.bags.writer import START_NS, STORAGES, BagWriter
from sgrocc_core.data.coded_image import CodedImage
from sgrocc_core.data.images import decode_compressed
from sgrocc_core.errors import ConfigError, DataError, FrameError
from sgrocc_core.frame import checked_pose
from sgrocc_core.geometry.upright import turn_world
from sgrocc_core.progress import progress

DEFAULT_RATE = 30.0
"""Rate of the generated time stamps of recordings without a clock, Hz."""
MAX_STAMP_NS = (1 << 31) * 1_000_000_000
"""Time stamps below this fit the 32 bit seconds of ROS, nanoseconds."""


@dataclass(frozen=True)
class Camera:
    """The colour camera of a recording.

    Attributes:
        size: (width, height), pixels.
        K: (3, 3) intrinsics, pixels.
        distortion: distortion coefficients in OpenCV's order; empty for undistorted images.
        fisheye: whether `distortion` belongs to the equidistant model.
    """

    size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fisheye: bool = False


@dataclass(frozen=True)
class Picture:
    """The images of a frame.

    Attributes:
        color: a JPEG or PNG file, or (H, W, 3) uint8 RGB.
        depth: (H, W) float32 metres, registered to `color`, 0 = no reading; or None.
    """

    color: CodedImage | np.ndarray
    depth: np.ndarray | None


@dataclass(frozen=True)
class RecordedFrame:
    """A frame whose images are read only on request.

    Attributes:
        name: how error messages refer to the frame.
        stamp_ns: time stamp, nanoseconds.
        T_wc: (4, 4) pose, optical camera frame to a world with z up, metres; non-finite or all zeros if tracking was
            lost.
        load: reads and checks the images; raises FrameError.
    """

    name: str
    stamp_ns: int
    T_wc: np.ndarray
    load: Callable[[], Picture]


class Recording(Protocol):
    """An open recording.

    Attributes:
        name: file or folder.
        camera: the colour camera.
        count: number of readable frames.
        notes: remarks for the user on how it is read, one phrase each.
        cut: one sentence on where the recording is truncated; empty if it is complete.
        axes: axes of the camera in the recording's own poses, a key of `posture.AXES`; those of its frames are optical.
        missing: number of images left out because their files are missing.
    """

    name: str
    camera: Camera
    count: int
    notes: list[str]
    cut: str
    axes: str
    missing: int

    def frames(self, every: int = 1) -> Iterator[RecordedFrame]:
        """Every `every`-th frame, in order of time."""
        ...


@dataclass(frozen=True)
class WriteOptions:
    """How a recording is written.

    Attributes:
        every: use every n-th frame.
        limit: maximum number of frames in the bag; 0 = all.
        raw: write uncompressed images instead of JPEG or PNG.
        storage: `mcap` or `db3`.
        skip_bad: leave out damaged frames instead of stopping with an error.
        bar: show a progress bar.

    Raises:
        ConfigError: a value is not allowed.
    """

    every: int = 1
    limit: int = 0
    raw: bool = False
    storage: str = "mcap"
    skip_bad: bool = False
    bar: bool = True

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"--every is {self.every}; it must be 1 or more")
        if self.limit < 0:
            raise ConfigError(f"--limit is {self.limit}; it must be 1 or more, or 0 for all frames")
        if self.storage not in STORAGES:
            raise ConfigError(f"--storage is {self.storage!r}; allowed: {', '.join(STORAGES)}")


@dataclass
class Written:
    """What was written.

    Attributes:
        frames: number of frames in the bag.
        with_depth: how many of them have a depth image.
        lost: number of frames left out because they have no pose.
        bad: number of damaged frames left out, by cause.
        first_bad: one sentence on the first damaged frame.
    """

    frames: int = 0
    with_depth: int = 0
    lost: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: str = ""


def write_recording(recording: Recording, out: str | Path, options: WriteOptions) -> Written:
    """Write a recording as a bag, frame by frame. The bag gets its final name only when it is complete.

    Raises:
        DataError: the path exists, a frame is damaged, or no frame has a pose.
    """
    done, seen = Written(), 0
    total = -(-recording.count // options.every)
    bar = progress(recording.frames(options.every), total=total, unit="frame", disable=not options.bar)
    with BagWriter(out, options.storage) as writer, bar as frames:
        for frame in frames:
            seen += 1
            if is_lost(frame.T_wc):
                done.lost += 1
                continue
            try:
                _write_frame(writer, frame, recording.camera, options.raw, done)
            except FrameError as error:
                if not options.skip_bad:
                    raise DataError(f"{frame.name}: {error} (--skip-bad leaves such frames out)") from error
                done.bad[error.cause] += 1
                done.first_bad = done.first_bad or f"{frame.name}: {error}"
            if options.limit and writer.frames == options.limit:
                break
        if not writer.frames:
            raise DataError(f"{recording.name}: of {seen} frames none can be written: {done.lost} without a pose, "
                            f"{done.bad.total()} damaged {done.first_bad}".rstrip())  # fmt: skip
        done.frames = writer.frames
    return done


def is_lost(T_wc: np.ndarray) -> bool:
    """Whether a (4, 4) pose marks lost tracking: not finite, or all zeros."""
    return not np.isfinite(T_wc).all() or not T_wc.any()


def turned_pose(world: str, T_wc: np.ndarray) -> np.ndarray:
    """Transform a (4, 4) pose from the given world convention to a world with z up; NaN if tracking was lost."""
    return np.full((4, 4), np.nan) if is_lost(T_wc) else turn_world(world, T_wc)


def check_rate(rate: float) -> None:
    """Check the rate of generated time stamps.

    Raises:
        ConfigError: the rate is outside [0.1, 1000] Hz.
    """
    if not 0.1 <= rate <= 1000:
        raise ConfigError(f"--rate is {rate:g}; it must lie in [0.1, 1000] Hz")


def made_clock(index: int, rate: float) -> int:
    """Generated time stamp of a frame at `rate` Hz for a recording without a clock, nanoseconds."""
    return START_NS + round(index * 1e9 / rate)


def _write_frame(writer: BagWriter, frame: RecordedFrame, camera: Camera, raw: bool, done: Written) -> None:
    T_wc = checked_pose(frame.T_wc)
    picture = frame.load()
    color = picture.color
    if raw and isinstance(color, CodedImage):
        color = decode_compressed(color.data, color.kind)
    writer.write(
        frame.stamp_ns, color, picture.depth, camera.K, T_wc, jpeg=not raw, raw_depth=raw,
        distortion=camera.distortion, fisheye=camera.fisheye,
    )  # fmt: skip
    done.with_depth += picture.depth is not None
