"""Reads frames, each with its pose and optional depth, from any rosbag2 (MCAP or SQLite, file or folder) or ROS 1 bag.

All transforms of the bag are read first, so that a pose recorded later than its image is still found. Images and depth
are then streamed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.checks.counts import Counts, check_image_stamp
from sgrocc_core.checks.findings import Finding
from sgrocc_core.checks.motion import PoseGate
from sgrocc_core.checks.posture import AXES, levelling
from sgrocc_core.checks.stamps import no_time
from sgrocc_core.data.bags.clouds import depth_of_cloud, points_topic
from sgrocc_core.data.bags.file import describe_topics, open_reader
from sgrocc_core.data.bags.messages import decode_color_message, decode_depth_message, image_size, info_fields, nearest
from sgrocc_core.data.bags.options import BagOptions, Outlook
from sgrocc_core.data.bags.topics import Selection, listing, select
from sgrocc_core.data.bags.transforms import BagTransforms, choose_tf_topics, stamp_of
from sgrocc_core.data.bags.unregistered_depth import UnregisteredDepth
from sgrocc_core.errors import DataError, FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.calibration import Calibration, is_rectified, read_calibration
from sgrocc_core.geometry.transforms import TransformLookupError, UnconnectedFramesError, UnknownFrameError

USUAL_MAP_FRAMES = ("map", "world", "odom")
MAX_WAITING = 60
"""Maximum number of images that wait for their depth; beyond it the oldest is used without depth."""


class BagReader:
    """An open bag. Iterating over it yields Frames and may be repeated; it is also a context manager.

    Args:
        path: bag file or folder.
        options: how to read it.
        needs_pose: False accepts a bag without transforms of the camera; `map_frame` is then the requested one.

    Attributes:
        topics: all topics of the bag.
        selection: the topics that are read.
        transforms: all transforms of the bag, and those that were refused.
        pose_frame: resolved frame that the poses are taken in.
        map_frame: frame of the map: the same, or a levelled one beside it.
        camera_frame: resolved optical frame of the camera.
        received: number of images used in the last pass.
        counts: what was not used: transforms, and images and depth of the last pass.
        broken: where and how the bag is damaged; empty if it is whole. What lies before is read.
        turn: (4, 4) rotation applied to the world, the identity unless `level` is set.

    Raises:
        DataError: no such file, not a bag, no suitable topic, or no pose. The message lists what the bag contains.
    """

    def __init__(self, path: str | Path, options: BagOptions | None = None, needs_pose: bool = True) -> None:
        self.path, self.options = Path(path), options or BagOptions()
        self.counts = Counts()
        self.received, self.broken, self.turn = 0, "", np.eye(4)
        self._reader = open_reader(self.path)
        try:
            self.topics = describe_topics(self._reader)
            o = self.options
            self.selection: Selection = select(
                self.topics, o.image_topic, o.info_topic, o.depth_topic, o.depth_source in ("topic", "fused")
            )
            if o.depth_source == "cloud":
                self.selection = replace(self.selection, depth=points_topic(self.topics, o.points_topic))
            if o.depth_source == "topic" and self.selection.depth is None:
                raise DataError(f"no depth topic in the frame of {self.selection.image.name} "
                                f"({self.selection.image.frame_id!r}), "
                                f"as depth_source topic needs; {listing(self.topics)}")  # fmt: skip
            self.transforms = BagTransforms(self.counts, round(o.max_pose_gap * 1e9))
            self._infos: dict[tuple[int, int], list[tuple[int, Calibration]]] = {}
            self._foreign = UnregisteredDepth.of(
                self.selection, self.topics, o.depth_registered or o.depth_source == "cloud"
            )
            self._read_small_messages()
            self.camera_frame = (o.camera_frame or self.selection.image.frame_id).removeprefix("/")
            chain = self.tree.ancestors(self.camera_frame)
            has_pose = any(name in USUAL_MAP_FRAMES or self.tree.newest_stamp(name) is not None for name in chain)
            self.pose_frame = self._find_map_frame() if needs_pose or has_pose else self.options.map_frame
            self.map_frame = self.pose_frame
            if o.level:
                self._level()
        except BaseException:
            self.close()
            raise

    @property
    def tree(self) -> Any:
        """The TransformTree of all transforms that are used."""
        return self.transforms.tree

    @property
    def dropped(self) -> Counter[str]:
        """Number of images dropped in the last pass, by cause."""
        return self.counts.dropped

    @property
    def depth_unused(self) -> Counter[str]:
        """Depth not used in the last pass, by cause; the colour images were used."""
        return self.counts.depth_unused

    @property
    def examples(self) -> dict[str, str]:
        """The first message of each cause."""
        return self.counts.examples

    @property
    def image_count(self) -> int:
        """Number of images used in one pass, before any is dropped."""
        return -(-self.selection.image.count // self.options.every)

    @property
    def calibration(self) -> Calibration:
        """Calibration from the first camera_info of the images' size, or of any size if none has it."""
        size = self.selection.image.size
        infos = self._infos.get(size) if size else None
        return (infos or next(iter(self._infos.values())))[0][1]

    @property
    def start_ns(self) -> int:
        """Time of the first message, nanoseconds."""
        return int(self._reader.start_time)

    @property
    def duration_ns(self) -> int:
        """Time from the first message to the last, nanoseconds."""
        return int(self._reader.duration)

    @property
    def info_sizes(self) -> list[tuple[int, int]]:
        """(width, height) of the images that camera_info describes, pixels, each once."""
        return list(self._infos)

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
        self.counts.clear_images()
        self.received = made = 0
        last: FrameError | None = None
        gate = PoseGate()
        for stamp_ns, image, depth in self.paired():
            self.received += 1
            try:
                frame = self.frame(stamp_ns, image, depth)
                gate.check(frame.T_wc, stamp_ns)
            except FrameError as error:
                self.counts.drop(error.cause, str(error))
                last = error
                continue
            made += 1
            yield frame
        if made == 0:
            causes = ", ".join(f"{n} {cause}" for cause, n in self.dropped.items()) or "none could be read"
            why = "; ".join(str(part) for part in (last, self.broken, self.transforms.summary()) if part)
            raise DataError(
                f"{self.path}: of {self.received} images of {self.selection.image.name} none can be mapped "
                f"({causes}): {why}"
            )

    def outlook(self) -> Outlook:
        """Count images, poses and depth images without decoding any image."""
        found, stamps = Outlook(), []
        for stamp_ns, _, depth in self.paired():
            stamps.append(stamp_ns)
            try:
                self.tree.lookup(self.pose_frame, self.camera_frame, stamp_ns)
            except TransformLookupError:
                continue
            found.with_pose += 1
            found.with_depth += depth is not None
        found.images = len(stamps)
        found.seconds = (max(stamps) - min(stamps)) / 1e9 if stamps else 0.0
        return found

    def findings(self) -> list[Finding]:
        """What is known of the transforms, the depth's frame and damage without looking at images."""
        found = self.transforms.findings()
        found += self._foreign.findings() if self.options.depth_source != "mono" else []
        if self.broken:
            found.append(Finding("warning", "damaged", self.broken, "What lies before is read; repair the bag."))
        return found

    def frame(self, stamp_ns: int, image: Any, depth: Any) -> Frame:
        """The frame of an image message and its depth message or None; FrameError with its cause."""
        check_image_stamp(stamp_ns)
        try:
            T_wc = self.tree.lookup(self.pose_frame, self.camera_frame, stamp_ns)
        except TransformLookupError as error:
            raise self.counts.why_no_pose(error, stamp_ns) from error
        T_wc = self.turn @ T_wc
        T_wc[:3, :3] = T_wc[:3, :3] @ AXES[self.options.axes]
        calibration = self._calibration_at(stamp_ns, image_size(image))
        rgb = calibration.rectify(decode_color_message(image))
        if depth is None:
            if self.options.depth_source == "topic":
                raise FrameError("no_depth", f"no depth image within {self._slop:g} s")
            if self.selection.depth is not None:
                cause = "no_cloud" if self.options.depth_source == "cloud" else "no_depth"
                self.counts.leave_out_depth(cause, f"no depth within {self._slop:g} s of the image")
            return Frame(rgb, calibration.K, T_wc, stamp_ns)
        try:
            return Frame(rgb, calibration.K, T_wc, stamp_ns, self.metres(stamp_ns, depth, calibration))
        except FrameError as error:
            colour = Frame(rgb, calibration.K, T_wc, stamp_ns)  # an error of the colour image or pose itself is raised
            if self.options.depth_source == "topic":
                raise
            self.counts.leave_out_depth(error.cause, str(error))
            return colour

    def metres(self, stamp_ns: int, depth: Any, calibration: Calibration) -> np.ndarray:
        """(H, W) metres of a depth message, registered to the calibration's image if it is of another sensor."""
        if self.options.depth_source == "cloud":
            T_wc = self.tree.lookup(self.pose_frame, self.camera_frame, stamp_ns)
            T_wc[:3, :3] = T_wc[:3, :3] @ AXES[self.options.axes]
            return depth_of_cloud(depth, self.tree, self.pose_frame, T_wc, calibration)
        decoded = decode_depth_message(depth, self.options.depth_scale)
        if not self._foreign:
            return calibration.rectify(decoded, nearest=True)
        return self._foreign.register(decoded, calibration, self.tree, self.camera_frame, stamp_ns)

    @property
    def _slop(self) -> float:
        """Maximum time between an image and its depth, seconds."""
        return self.options.cloud_slop if self.options.depth_source == "cloud" else self.options.sync_slop

    def _calibration_at(self, stamp_ns: int, size: tuple[int, int] | None) -> Calibration:
        """The newest calibration of the image's size up to a stamp; of any size if none has it."""
        infos = self._infos.get(size) if size else None
        if infos is None:
            infos = sorted((entry for each in self._infos.values() for entry in each), key=lambda entry: entry[0])
        return infos[max(0, bisect_right(infos, stamp_ns, key=lambda entry: entry[0]) - 1)][1]

    def paired(self, start: int | None = None, stop: int | None = None) -> Iterator[tuple[int, Any, Any]]:
        """Yield (stamp, image, depth or None) in the order of the images.

        An image waits until its depth, or a later depth image, has been read.

        Args:
            start: only messages recorded from this time on, nanoseconds.
            stop: only messages recorded before this time, nanoseconds.
        """
        image_topic, depth_topic = (
            self.selection.image.name,
            self.selection.depth.name if self.selection.depth else None,
        )
        slop = round(self._slop * 1e9)
        waiting: OrderedDict[int, Any] = OrderedDict()
        depths: OrderedDict[int, Any] = OrderedDict()
        taken = newest_depth = -1
        for topic, message in self._messages({image_topic, depth_topic or image_topic}, start, stop):
            stamp = stamp_of(message)
            if topic == depth_topic:
                if wrong := no_time(stamp, "a depth image's"):
                    self.counts.leave_out_depth("depth_stamp", f"{wrong}; the depth is not used")
                    continue
                depths[stamp] = message
                newest_depth = max(newest_depth, stamp)
                if len(depths) > MAX_WAITING:
                    depths.popitem(last=False)
            else:
                taken += 1
                if taken % self.options.every:
                    continue
                if stamp in waiting:  # two images of one stamp: the first goes on as it is
                    yield stamp, waiting.pop(stamp), nearest(depths, stamp, slop)
                waiting[stamp] = message
            while waiting:
                first = next(iter(waiting))
                if depth_topic and first not in depths and newest_depth < first + slop and len(waiting) < MAX_WAITING:
                    break
                yield first, waiting.pop(first), nearest(depths, first, slop)
        for stamp, message in waiting.items():
            yield stamp, message, nearest(depths, stamp, slop)

    def _messages(
        self, names: set[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Yield (topic, message) of some topics; damaged messages are counted, a damaged file ends the iteration."""
        connections = [c for c in self._reader.connections if c.topic in names]
        messages = self._reader.messages(connections, start=start, stop=stop) if connections else iter(())
        read = 0
        while True:
            try:
                connection, _, raw = next(messages)
            except StopIteration:
                return
            except Exception as error:  # a damaged file may make the parser raise anything
                self.broken = f"{self.path} is damaged after {read} messages: {type(error).__name__}: {error}"
                return
            read += 1
            try:
                message = self._reader.deserialize(raw, connection.msgtype)
            except Exception as error:  # damaged bytes may make the parser raise anything
                self.counts.drop("damaged_message", f"a message on {connection.topic}: {error}")
                continue
            yield connection.topic, message

    def _read_small_messages(self) -> None:
        rectified = is_rectified(self.options.rectified, self.selection.image.name)
        tf_topics = set(choose_tf_topics(self.topics, self.selection.image.name, self.options.tf_topic))
        seen: set[bytes] = set()
        problem: FrameError | None = None
        for topic, message in self._messages(tf_topics | {self.selection.info.name} | self._foreign.info_topics):
            if topic in tf_topics:
                self.transforms.add(message, topic)
                continue
            fields = info_fields(message)
            try:
                calibration = read_calibration(**fields, rectified=rectified and topic == self.selection.info.name)
            except FrameError as error:
                problem = error
                continue
            if topic == self.selection.info.name:
                entries = self._infos.setdefault(calibration.size, [])
                key = repr(fields).encode()
                if key not in seen or (entries and repr(entries[-1][1]) != repr(calibration)):
                    entries.append((stamp_of(message), calibration))
                    seen.add(key)
            if topic in self._foreign.info_topics:
                self._foreign.calibration = calibration
        if not self._infos:
            reason = problem or self.broken or "it has no message"
            raise DataError(f"{self.selection.info.name} cannot be used: {reason}")
        for entries in self._infos.values():
            entries.sort(key=lambda entry: entry[0])

    def _level(self) -> None:
        """Turn the world by the up direction that a look at the bag measures."""
        from sgrocc_core.checks.recording import look_at_bag

        measured = look_at_bag(self).posture.up()
        if measured is None:
            raise DataError(
                f"{self.path} cannot be levelled: neither a floor nor the images' posture is clear (--level)"
            )
        self.turn = levelling(measured[0])
        self.map_frame = f"{self.pose_frame}_levelled"

    def _find_map_frame(self) -> str:
        """The requested map frame; else the first usual one above the camera; else the root of the camera's tree."""
        frames = self.tree.frames()
        wanted = self.options.map_frame.removeprefix("/")
        refused = self.transforms.summary()
        known = f"; frames on /tf: {', '.join(frames) or 'none'}{f'; {refused}' if refused else ''}"
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
