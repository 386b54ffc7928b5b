"""Several cameras of one bag as one stream of frames, in the order of their stamps."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sgrocc_core.checks.findings import Finding
from sgrocc_core.data.bags.options import BagOptions
from sgrocc_core.data.bags.reader import BagReader
from sgrocc_core.data.bags.topics import base_name
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.frame import Frame

LISTED = ("image_topic", "info_topic", "depth_topic", "camera_frame")
"""Options of a bag that may list one value per camera, separated by commas."""


def options_of_cameras(options: BagOptions) -> list[BagOptions]:
    """The options of each camera, from options whose LISTED values name one per camera, separated by commas.

    Args:
        options: `image_topic` says how many cameras there are; the others list as many values, or none.

    Raises:
        ConfigError: the lists differ in length, or a topic is named twice.
    """
    values = {name: [part.strip() for part in getattr(options, name).split(",")] for name in LISTED}
    images = [base_name(topic) for topic in values["image_topic"]]
    if twice := next((topic for topic in images if images.count(topic) > 1), None):
        raise ConfigError(f"image_topic is {options.image_topic!r}: {twice} is named twice; name each camera once")
    for name, listed in values.items():
        if listed == [""]:
            values[name] = [""] * len(images)
        elif len(listed) != len(images):
            raise ConfigError(
                f"{name} is {getattr(options, name)!r}, {len(listed)} values for {len(images)} cameras; it must "
                "list one per image_topic, separated by commas, or be empty"
            )
    return [replace(options, **{name: values[name][k] for name in LISTED}) for k in range(len(images))]


class CamerasReader:
    """A bag in which several cameras are read; iterating over it yields their Frames, each with its camera's name.

    Args:
        path: bag file or folder.
        options: how each camera is read.

    Attributes:
        readers: one reader a camera, by the name of the camera: its image topic without the transport's suffix.
        mapped: number of mapped frames by camera, as `count_mapped` was told.
        silent: the cameras of which no image could be mapped in the last pass, each with the reason.

    Raises:
        DataError: as `BagReader`; or the cameras' poses are in different map frames.
    """

    def __init__(self, path: str | Path, options: Sequence[BagOptions]) -> None:
        self.readers: dict[str, BagReader] = {}
        self.silent: dict[str, str] = {}
        self.mapped: Counter[str] = Counter()
        try:
            for k, each in enumerate(options):
                # The world is levelled once: measured by the first camera, and used for all.
                reader = BagReader(path, each if k == 0 else replace(each, level=False))
                self.readers[base_name(reader.selection.image.name)] = reader
            self._share_the_world()
        except BaseException:
            self.close()
            raise

    def _share_the_world(self) -> None:
        first, *others = self.readers.values()
        for other in others:
            if other.pose_frame != first.pose_frame:
                frames = ", ".join(f"{name} in {reader.pose_frame!r}" for name, reader in self.readers.items())
                raise DataError(f"the cameras' poses are in different frames: {frames}; name one with --map-frame")
            other.turn, other.map_frame = first.turn, first.map_frame

    @property
    def map_frame(self) -> str:
        """Frame of the map."""
        return next(iter(self.readers.values())).map_frame

    @property
    def received(self) -> int:
        """Number of images used in the last pass."""
        return sum(reader.received for reader in self.readers.values())

    @property
    def image_count(self) -> int:
        """Number of images used in one pass, before any is dropped."""
        return sum(reader.image_count for reader in self.readers.values())

    def close(self) -> None:
        """Close the bag."""
        for reader in self.readers.values():
            reader.close()

    def __enter__(self) -> CamerasReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames of all cameras in the order of their stamps.

        Raises:
            DataError: at the end, if no camera gave a frame.
        """
        self.silent = {}
        self.mapped.clear()
        yield from heapq.merge(
            *(self._frames(name, reader) for name, reader in self.readers.items()), key=lambda frame: frame.stamp_ns
        )
        if len(self.silent) == len(self.readers):
            raise DataError("; ".join(self.silent.values()))

    def count_mapped(self, frame: Frame, has_source: bool) -> None:
        """Count a frame that was mapped; `has_source`: its depth had another source than its image."""
        name = frame.camera or next(iter(self.readers))
        self.mapped[name] += 1
        if not has_source:
            self.readers[name].counts.map_without_source()

    def findings(self) -> list[Finding]:
        """What the cameras' readers have found, and cameras that gave no frame."""
        found = [
            Finding(
                "warning", "camera_silent", f"nothing of {name} is in the map: {why}", "The other cameras are mapped."
            )
            for name, why in self.silent.items()
        ]
        for name, reader in self.readers.items():
            found += [self.named(finding, name) for finding in reader.findings()]
        return found

    def named(self, finding: Finding, name: str) -> Finding:
        """A finding about one camera, which names it where there are several."""
        return replace(finding, message=f"{name}: {finding.message}") if len(self.readers) > 1 else finding

    def figures(self) -> dict[str, Any]:
        """What was not used, of all cameras together; the transforms are the same for each and count once."""
        first, *others = (reader.counts.figures() for reader in self.readers.values())
        for figures in others:
            for group in ("dropped", "depth_unused"):
                first[group] = dict(Counter(first[group]) + Counter(figures[group]))
            first["without_source"] += figures["without_source"]
        return first

    def _frames(self, name: str, reader: BagReader) -> Iterator[Frame]:
        try:
            for frame in reader:
                yield replace(frame, camera=name) if len(self.readers) > 1 else frame
        except DataError as error:
            self.silent[name] = str(error)
