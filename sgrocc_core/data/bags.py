"""Reads frames, each with its pose and optional depth, from any rosbag2 (MCAP or SQLite, file or folder) or ROS 1 bag.

All transforms of the bag are read first, so that a pose recorded later than its image is still found. Images and depth
are then streamed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.data.bag_file import describe_topics, open_reader
from sgrocc_core.data.bag_topics import TF_TYPES, Selection, listing, select
from sgrocc_core.data.bag_writer import BagWriter
from sgrocc_core.data.images import decode_compressed, decode_compressed_depth, decode_depth, decode_image
from sgrocc_core.errors import ConfigError, DataError, FrameError
from sgrocc_core.frame import DEPTH_SOURCES, Frame
from sgrocc_core.geometry.calibration import Calibration, is_rectified, read_calibration
from sgrocc_core.geometry.transforms import (
    TransformLookupError,
    TransformTree,
    UnconnectedFramesError,
    UnknownFrameError,
)

__all__ = ["BagOptions", "BagReader", "BagWriter"]

USUAL_MAP_FRAMES = ("map", "world", "odom")
MAX_WAITING = 60
"""Maximum number of images that wait for their depth; beyond it the oldest is used without depth."""


@dataclass(frozen=True)
class BagOptions:
    """How a bag is read. Topic and frame names that are empty are found automatically.

    Attributes:
        image_topic: colour images.
        info_topic: camera_info of the colour images.
        depth_topic: depth registered to the colour images.
        depth_source: one of DEPTH_SOURCES: `mono` ignores depth, `topic` drops images without depth, `fused` keeps
            them.
        map_frame: frame in which poses are expressed.
        camera_frame: optical frame of the camera; the images' frame_id if empty.
        sync_slop: maximum time between an image and its depth, seconds.
        depth_scale: metres per unit of 16UC1 depth.
        rectified: `yes` if the images are rectified (P of camera_info applies), `no` if not (K and D), `auto` by name.
        every: use every n-th image.

    Raises:
        ConfigError: a value is not allowed.
    """

    image_topic: str = ""
    info_topic: str = ""
    depth_topic: str = ""
    depth_source: str = "fused"
    map_frame: str = ""
    camera_frame: str = ""
    sync_slop: float = 0.03
    depth_scale: float = 0.001
    rectified: str = "auto"
    every: int = 1

    def __post_init__(self) -> None:
        if self.depth_source not in DEPTH_SOURCES:
            raise ConfigError(f"depth_source is {self.depth_source!r}; allowed: {', '.join(DEPTH_SOURCES)}")
        if self.rectified not in ("auto", "yes", "no"):
            raise ConfigError(f"rectified is {self.rectified!r}; allowed: auto, yes, no")
        if self.every < 1:
            raise ConfigError(f"every is {self.every}; it must be 1 or more")
        if not 0 < self.depth_scale < 10 or not 0 <= self.sync_slop <= 10:
            raise ConfigError(
                f"depth_scale {self.depth_scale} must lie in (0, 10), sync_slop {self.sync_slop} in [0, 10]"
            )


@dataclass
class Outlook:
    """Number of frames that reading a bag would give, from time stamps alone.

    Attributes:
        images: images that are used.
        with_pose: how many of them have a pose.
        with_depth: how many of those also have a depth image.
        seconds: time from the first image to the last.
    """

    images: int = 0
    with_pose: int = 0
    with_depth: int = 0
    seconds: float = 0.0


class BagReader:
    """An open bag. Iterating over it yields Frames and may be repeated; it is also a context manager.

    Args:
        path: bag file or folder.
        options: how to read it.
        needs_pose: False accepts a bag without transforms of the camera; `map_frame` is then the requested one.

    Attributes:
        topics: all topics of the bag.
        selection: the topics that are read.
        tree: all transforms of the bag.
        map_frame: resolved map frame.
        camera_frame: resolved optical frame of the camera.
        received: number of images used in the last pass.
        dropped: number of frames dropped in the last pass, by cause.

    Raises:
        DataError: no such file, not a bag, no suitable topic, or no pose. The message lists what the bag contains.
    """

    def __init__(self, path: str | Path, options: BagOptions | None = None, needs_pose: bool = True) -> None:
        self.path, self.options = Path(path), options or BagOptions()
        self.dropped: Counter[str] = Counter()
        self.received = 0
        self._reader = open_reader(self.path)
        try:
            self.topics = describe_topics(self._reader)
            o = self.options
            self.selection: Selection = select(
                self.topics, o.image_topic, o.info_topic, o.depth_topic, o.depth_source != "mono"
            )
            if o.depth_source == "topic" and self.selection.depth is None:
                raise DataError(f"no depth topic in the frame of {self.selection.image.name} "
                                f"({self.selection.image.frame_id!r}), "
                                f"as depth_source topic needs; {listing(self.topics)}")  # fmt: skip
            self.tree = TransformTree(history_ns=None)
            self._infos: list[tuple[int, Calibration]] = []
            self._read_small_messages()
            self.camera_frame = (o.camera_frame or self.selection.image.frame_id).removeprefix("/")
            chain = self.tree.ancestors(self.camera_frame)
            has_pose = any(name in USUAL_MAP_FRAMES or self.tree.newest_stamp(name) is not None for name in chain)
            self.map_frame = self._find_map_frame() if needs_pose or has_pose else self.options.map_frame
        except BaseException:
            self.close()
            raise

    @property
    def image_count(self) -> int:
        """Number of images used in one pass, before any is dropped."""
        return -(-self.selection.image.count // self.options.every)

    @property
    def calibration(self) -> Calibration:
        """Calibration from the first camera_info of the images."""
        return self._infos[0][1]

    def close(self) -> None:
        """Close the bag."""
        if self._reader.stack is not None:
            self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in the order of the bag.

        Raises:
            DataError: at the end, if the bag has images but none of them gave a frame.
        """
        self.dropped.clear()
        self.received = made = 0
        last: FrameError | None = None
        for stamp_ns, image, depth in self._paired():
            self.received += 1
            try:
                frame = self._frame(stamp_ns, image, depth)
            except FrameError as error:
                self.dropped[error.cause] += 1
                last = error
                continue
            made += 1
            yield frame
        if made == 0:
            causes = ", ".join(f"{n} {cause}" for cause, n in self.dropped.items()) or "none could be read"
            raise DataError(
                f"{self.path}: of {self.received} images of {self.selection.image.name} none can be mapped "
                f"({causes}): {last}"
            )

    def outlook(self) -> Outlook:
        """Count images, poses and depth images without decoding any image."""
        found, stamps = Outlook(), []
        for stamp_ns, _, depth in self._paired():
            stamps.append(stamp_ns)
            try:
                self.tree.lookup(self.map_frame, self.camera_frame, stamp_ns)
            except TransformLookupError:
                continue
            found.with_pose += 1
            found.with_depth += depth is not None
        found.images = len(stamps)
        found.seconds = (max(stamps) - min(stamps)) / 1e9 if stamps else 0.0
        return found

    def _frame(self, stamp_ns: int, image: Any, depth: Any) -> Frame:
        try:
            T_wc = self.tree.lookup(self.map_frame, self.camera_frame, stamp_ns)
        except TransformLookupError as error:
            raise FrameError("no_pose", str(error)) from error
        calibration = self._infos[max(0, bisect_right(self._infos, stamp_ns, key=lambda entry: entry[0]) - 1)][1]
        rgb = calibration.rectify(_decode_color(image))
        metres = None
        if depth is not None:
            metres = calibration.rectify(_decode_depth(depth, self.options.depth_scale), nearest=True)
        elif self.options.depth_source == "topic":
            raise FrameError("no_depth", f"no depth image within {self.options.sync_slop} s")
        try:
            return Frame(rgb, calibration.K, T_wc, stamp_ns, metres)
        except FrameError as error:
            if self.options.depth_source != "fused" or "depth" not in error.cause:
                raise
            return Frame(rgb, calibration.K, T_wc, stamp_ns)

    def _paired(self) -> Iterator[tuple[int, Any, Any]]:
        """Yield (stamp, image, depth or None) in the order of the images.

        An image waits until its depth, or a later depth image, has been read.
        """
        image_topic, depth_topic = (
            self.selection.image.name,
            self.selection.depth.name if self.selection.depth else None,
        )
        names = {image_topic, depth_topic}
        connections = [c for c in self._reader.connections if c.topic in names]
        slop = round(self.options.sync_slop * 1e9)
        waiting: OrderedDict[int, Any] = OrderedDict()
        depths: OrderedDict[int, Any] = OrderedDict()
        taken = newest_depth = -1
        for connection, _, raw in self._reader.messages(connections):
            message = self._reader.deserialize(raw, connection.msgtype)
            stamp = _stamp(message)
            if connection.topic == depth_topic:
                depths[stamp] = message
                newest_depth = max(newest_depth, stamp)
                if len(depths) > MAX_WAITING:
                    depths.popitem(last=False)
            else:
                taken += 1
                if taken % self.options.every:
                    continue
                waiting[stamp] = message
            while waiting:
                first = next(iter(waiting))
                if depth_topic and first not in depths and newest_depth < first + slop and len(waiting) < MAX_WAITING:
                    break
                yield first, waiting.pop(first), _nearest(depths, first, slop)
        for stamp, message in waiting.items():
            yield stamp, message, _nearest(depths, stamp, slop)

    def _read_small_messages(self) -> None:
        rectified = is_rectified(self.options.rectified, self.selection.image.name)
        connections = [
            c for c in self._reader.connections if c.msgtype in TF_TYPES or c.topic == self.selection.info.name
        ]
        last: bytes | None = None
        problem: FrameError | None = None
        for connection, _, raw in self._reader.messages(connections):
            message = self._reader.deserialize(raw, connection.msgtype)
            if connection.msgtype in TF_TYPES:
                self._add_transforms(message, connection.topic.endswith("tf_static"))
                continue
            fields = _info_fields(message)
            key = repr(fields).encode()
            if key == last:
                continue
            try:
                self._infos.append((_stamp(message), read_calibration(**fields, rectified=rectified)))
                last = key
            except FrameError as error:
                problem = error
        if not self._infos:
            raise DataError(f"{self.selection.info.name} cannot be used: {problem}")
        self._infos.sort(key=lambda entry: entry[0])

    def _add_transforms(self, message: Any, static: bool) -> None:
        for stamped in message.transforms:
            t, q = stamped.transform.translation, stamped.transform.rotation
            try:
                self.tree.add(
                    stamped.header.frame_id, stamped.child_frame_id, _stamp(stamped), np.array([t.x, t.y, t.z]),
                    np.array([q.x, q.y, q.z, q.w]), static,
                )  # fmt: skip
            except ValueError:
                self.dropped["bad_transform"] += 1

    def _find_map_frame(self) -> str:
        """The requested map frame; else the first usual one above the camera; else the root of the camera's tree."""
        frames = self.tree.frames()
        wanted = self.options.map_frame.removeprefix("/")
        known = f"; frames on /tf: {', '.join(frames) or 'none'}"
        if self.camera_frame not in frames:
            raise DataError(
                f"no pose for any frame: /tf does not name the images' frame {self.camera_frame!r} "
                f"(--camera-frame){known}"
            )
        chain = self.tree.ancestors(self.camera_frame)
        if wanted:
            try:
                self.tree.lookup(wanted, self.camera_frame, 0)
            except (UnknownFrameError, UnconnectedFramesError) as error:
                raise DataError(
                    f"no pose of {self.camera_frame!r} in {wanted!r} for any frame (--map-frame): {error}{known}"
                ) from error
            except TransformLookupError:
                pass
            return wanted
        return next((name for name in USUAL_MAP_FRAMES if name in chain), chain[-1])


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def _info_fields(message: Any) -> dict[str, Any]:
    """Fields of a camera_info message. ROS 2 names the matrices in lower case, ROS 1 in upper case."""
    K, D, P = (
        getattr(message, name) if hasattr(message, name) else getattr(message, name.upper()) for name in ("k", "d", "p")
    )
    roi = message.roi
    return {
        "size": (int(message.width), int(message.height)), "K": list(K), "D": list(D), "P": list(P),
        "model": message.distortion_model,
        "roi": (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
        "binning": (int(message.binning_x), int(message.binning_y)),
    }  # fmt: skip


def _decode_color(message: Any) -> np.ndarray:
    if hasattr(message, "format"):
        return decode_compressed(message.data, message.format)
    m = message
    return decode_image(m.encoding, m.width, m.height, m.step, m.data, bool(m.is_bigendian))


def _decode_depth(message: Any, depth_scale: float) -> np.ndarray:
    if hasattr(message, "format"):
        return decode_compressed_depth(message.data, message.format, depth_scale)
    m = message
    return decode_depth(m.encoding, m.width, m.height, m.step, m.data, bool(m.is_bigendian), depth_scale)


def _nearest(depths: OrderedDict[int, Any], stamp: int, slop: int) -> Any:
    """The depth message nearest in time, if within the slop."""
    best = min(depths, key=lambda s: abs(s - stamp), default=None)
    return depths[best] if best is not None and abs(best - stamp) <= slop else None
