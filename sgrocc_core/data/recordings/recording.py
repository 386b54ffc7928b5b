"""What every recording looks like once it is open, and the loop that writes one as a bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from sgrocc_core.data.bag_writer import START_NS, STORAGES, BagWriter
from sgrocc_core.data.coded_image import CodedImage
from sgrocc_core.data.images import decode_compressed
from sgrocc_core.errors import ConfigError, DataError, FrameError
from sgrocc_core.frame import checked_pose
from sgrocc_core.geometry.upright import turn_world
from sgrocc_core.progress import progress

DEFAULT_RATE = 30.0
"""Frames a second of the clock that is made for recordings without one."""
MAX_STAMP_NS = (1 << 31) * 1_000_000_000
"""Stamps below this fit ROS's 32 bit seconds, nanoseconds."""


@dataclass(frozen=True)
class Camera:
    """The colour camera of a recording.

    Attributes:
        size: (width, height), pixels. K: (3, 3) pixels.
        distortion: coefficients as OpenCV orders them, of the equidistant model if `fisheye`; empty for images without.
    """

    size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fisheye: bool = False


@dataclass(frozen=True)
class Picture:
    """What a frame shows.

    Attributes:
        color: a JPEG or PNG file, or (H, W, 3) uint8 RGB. depth: (H, W) float32 metres, registered to it, 0 = no reading; or None.
    """

    color: CodedImage | np.ndarray
    depth: np.ndarray | None


@dataclass(frozen=True)
class RecordedFrame:
    """A frame whose images are read only when they are asked for.

    Attributes:
        name: the frame in an error's words. stamp_ns: nanoseconds.
        T_wc: (4, 4) camera (optical) to a world with z up, metres; not finite, or all zeros, where the pose was lost.
        load: reads and checks the images; raises FrameError.
    """

    name: str
    stamp_ns: int
    T_wc: np.ndarray
    load: Callable[[], Picture]


class Recording(Protocol):
    """An open recording.

    Attributes:
        name: of the file or folder. camera: the colour camera. count: frames that can be read.
        notes: what a user should know of how it is read, a phrase each.
        cut: where the recording breaks off, in a sentence; empty for a whole one.
    """

    name: str
    camera: Camera
    count: int
    notes: list[str]
    cut: str

    def frames(self, every: int = 1) -> Iterator[RecordedFrame]:
        """Each `every`-th frame, in order of time."""
        ...


@dataclass(frozen=True)
class WriteOptions:
    """How a recording is written; checked when made.

    Attributes:
        every: each n-th frame is taken. limit: at most so many are written; 0 = all.
        raw: uncompressed images instead of JPEG or PNG. storage: mcap or db3.
        skip_bad: leave out frames that are damaged instead of ending with an error.
        bar: whether progress is shown.

    Raises:
        ConfigError: a value that is not allowed.
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
        frames, with_depth: frames in the bag, and those with a depth image. lost: frames left out for want of a pose.
        bad: frames left out as damaged, by cause. first_bad: the first of them, in a sentence.
    """

    frames: int = 0
    with_depth: int = 0
    lost: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: str = ""


def write_recording(recording: Recording, out: str | Path, options: WriteOptions) -> Written:
    """Write a recording as a bag, a frame at a time; the bag has its name only when it is whole.

    Raises:
        DataError: the path is taken, a frame is damaged, or none has a pose.
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
    """Whether a (4, 4) pose says that the camera was not tracked: not finite, or nothing but zeros."""
    return not np.isfinite(T_wc).all() or not T_wc.any()


def turned_pose(world: str, T_wc: np.ndarray) -> np.ndarray:
    """A (4, 4) pose in a kind of world to one with z up; NaN where it was lost."""
    return np.full((4, 4), np.nan) if is_lost(T_wc) else turn_world(world, T_wc)


def check_rate(rate: float) -> None:
    """Raise ConfigError unless `made_clock` can be of that many Hz."""
    if not 0.1 <= rate <= 1000:
        raise ConfigError(f"--rate is {rate:g}; it must lie in [0.1, 1000] Hz")


def made_clock(index: int, rate: float) -> int:
    """Stamp of a frame on a clock of `rate` Hz that is made for a recording without one, nanoseconds."""
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
