"""Reads ScanNet's .sens files (version 4) frame by frame, without loading the whole file, and checks every value.

Before anything is written, a first pass over the frame headers (96 bytes each) counts complete frames, checks whether
the time stamps are usable, and finds where a truncated file ends.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sgrocc_core.data.coded_image import CodedImage, read_coded
from sgrocc_core.data.image_header import MAX_SIDE, MIN_SIDE
from sgrocc_core.data.recordings.recording import (
    DEFAULT_RATE,
    MAX_STAMP_NS,
    Camera,
    Picture,
    RecordedFrame,
    check_rate,
    is_lost,
    made_clock,
    turned_pose,
)
from sgrocc_core.depth.registration import plan_registration
from sgrocc_core.errors import DataError, FrameError
from sgrocc_core.frame import checked_intrinsics, checked_pose
from sgrocc_core.geometry.poses import invert_pose

VERSION = 4
MAX_NAME = 4096
COLOR_KINDS = {-1: "UNKNOWN", 0: "RAW", 1: "PNG", 2: "JPEG"}
DEPTH_KINDS = {-1: "UNKNOWN", 0: "RAW_USHORT", 1: "ZLIB_USHORT", 2: "OCCI_USHORT"}
_START = struct.Struct("<IQ")
_HEADER = struct.Struct("<64f2i4IfQ")
_FRAME = struct.Struct("<16f4Q")
_SLACK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    """Location of a frame.

    Attributes:
        pose: (4, 4).
        micros: time stamp, microseconds.
        color: offset and length of the colour image, bytes.
        depth: offset and length of the depth image, bytes.
    """

    pose: np.ndarray
    micros: int
    color: tuple[int, int]
    depth: tuple[int, int]


class SensRecording:
    """An open .sens file. It is a context manager and a Recording.

    Args:
        path: the file.
        world: which axis of its world points up, a name of `upright.WORLDS`; z for ScanNet.
        rate: rate of the generated time stamps if the file has none, Hz.

    Raises:
        ConfigError: the rate is not allowed.
        DataError: no such file, not a .sens file of version 4, damaged, or an unsupported compression. The message
            names the value and what is allowed.
    """

    def __init__(self, path: str | Path, world: str = "z-up", rate: float = DEFAULT_RATE) -> None:
        check_rate(rate)
        self.path, self.world, self.rate = Path(path), world, rate
        self.name = self.path.name
        self.notes: list[str] = []
        self.cut = ""
        self.axes, self.missing = "opencv", 0
        if not self.path.is_file():
            raise DataError(f"no such file: {self.path}")
        self._file: BinaryIO = self.path.open("rb")
        try:
            self._bytes = os.fstat(self._file.fileno()).st_size
            self._read_header()
            self._survey()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> SensRecording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def frames(self, every: int = 1) -> Iterator[RecordedFrame]:
        """Every `every`-th complete frame; its images are read when it is loaded."""
        for index, entry in enumerate(self._walk()):
            if index % every:
                continue
            stamp_ns = entry.micros * 1000 if self._has_clock else made_clock(index, self.rate)
            yield RecordedFrame(
                f"{self.path}, frame {index}", stamp_ns, self._camera_pose(entry.pose), partial(self._load, entry)
            )

    def _camera_pose(self, pose: np.ndarray) -> np.ndarray:
        """Pose of the colour camera.

        The file stores the pose of the depth camera; the two differ by the extrinsics in the header.
        """
        return turned_pose(self.world, pose if is_lost(pose) else pose @ self._T_dc)

    def _load(self, entry: _Entry) -> Picture:
        color: CodedImage | np.ndarray
        data = self._payload(*entry.color)
        if self._color_kind == "RAW":
            color = np.frombuffer(data, np.uint8).reshape(self.camera.size[1], self.camera.size[0], 3)
        else:
            color = read_coded(data, self.camera.size)
        return Picture(color, self._depth(self._payload(*entry.depth)) if entry.depth[1] else None)

    def _depth(self, data: bytes) -> np.ndarray:
        """(H, W) float32 metres, registered to the colour image."""
        width, height = self._depth_size
        if self._depth_kind == "ZLIB_USHORT":
            data = _inflate(data, 2 * width * height)
        units = np.frombuffer(data, "<u2").reshape(height, width)
        metres = np.where(units == 65535, 0, units).astype(np.float32) / np.float32(self._shift)
        return self._register(metres) if self._register else metres

    def _payload(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise FrameError("bad_image", f"{len(data)} of {length} bytes could be read: the file has become shorter")
        return data

    def _read_header(self) -> None:
        version, length = self._unpack(_START)
        if version != VERSION:
            raise DataError(
                f"{self.path} is not a readable .sens file: it begins with version {version}; only {VERSION} is known"
            )
        if length > min(MAX_NAME, self._bytes):
            raise DataError(
                f"{self.path}: the sensor's name has {length} bytes; "
                f"at most {MAX_NAME} are allowed: the file is damaged"
            )
        self.sensor = self._file.read(length).decode("utf-8", "replace")
        values = self._unpack(_HEADER)
        color_K, color_pose, depth_K, depth_pose = np.array(values[:64], np.float64).reshape(4, 4, 4)
        self._color_kind = self._kind("colour", values[64], COLOR_KINDS, ("RAW", "PNG", "JPEG"))
        self._depth_kind = self._kind("depth", values[65], DEPTH_KINDS, ("RAW_USHORT", "ZLIB_USHORT"))
        color_size, self._depth_size = self._size("colour", *values[66:68]), self._size("depth", *values[68:70])
        self._shift, self._announced = float(values[70]), int(values[71])
        if not 1.0 <= self._shift <= 1e5:
            raise DataError(
                f"{self.path}: depth shift is {self._shift:g} units per metre; 1 to 100000 are allowed (ScanNet: 1000)"
            )
        self._frames_begin = self._file.tell()
        try:
            self.camera = Camera(color_size, checked_intrinsics(color_K[:3, :3], *color_size))
            K = checked_intrinsics(depth_K[:3, :3], *self._depth_size)
            T_cd = invert_pose(checked_pose(color_pose)) @ checked_pose(depth_pose)
        except FrameError as error:
            raise DataError(f"{self.path}: the calibration in its header cannot be used: {error}") from error
        self._T_dc = invert_pose(T_cd)
        self._register = plan_registration(color_size, self.camera.K, self._depth_size, K, T_cd)
        self._describe_depth()

    def _describe_depth(self) -> None:
        width, height = self._depth_size
        if self._register is None:
            self.notes.append(f"depth of {width} x {height} is already registered to the colour image")
            return
        arm = float(np.linalg.norm(self._T_dc[:3, 3]))
        how = f"from a camera {100 * arm:.1f} cm away" if arm > 1e-4 else "by its own intrinsics"
        to = f"{self._register.target_size[0]} x {self._register.target_size[1]}"
        self.notes.append(f"depth of {width} x {height} is registered to the colour image {how}, as {to}")

    def _kind(self, what: str, value: int, names: dict[int, str], known: tuple[str, ...]) -> str:
        name = names.get(value, "not in the format")
        if name not in known:
            raise DataError(f"{self.path}: {what} compression is {value} ({name}); supported: {', '.join(known)}")
        return name

    def _size(self, what: str, width: int, height: int) -> tuple[int, int]:
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in (width, height)):
            raise DataError(
                f"{self.path}: {what} images of {width} x {height} pixels; "
                f"sides of {MIN_SIDE} to {MAX_SIDE} are allowed"
            )
        return width, height

    def _unpack(self, layout: struct.Struct) -> tuple:
        data = self._file.read(layout.size)
        if len(data) != layout.size:
            raise DataError(
                f"{self.path} ends within its header ({self._bytes} bytes): it is cut off, or not a .sens file"
            )
        return layout.unpack(data)

    def _survey(self) -> None:
        """Count the complete frames and check whether their time stamps are positive, ascending and valid in ROS."""
        self.count = 0
        last, self._has_clock, problem = 0, True, ""
        for entry in self._walk():
            if self._has_clock and not last < entry.micros < MAX_STAMP_NS // 1000:
                self._has_clock = False
                problem = f"frame {self.count} has {entry.micros} us" + (f" after {last} us" if last else "")
            last = entry.micros
            self.count += 1
        if not self.count:
            raise DataError(f"{self.path} has no whole frame; {self.cut or 'its header announces none'}")
        if self._has_clock:
            self.notes.append("stamps are the file's")
        else:
            self.notes.append(
                f"the file's stamps are unusable ({problem}), so stamps are generated at {self.rate:g} Hz"
            )

    def _walk(self) -> Iterator[_Entry]:
        """Iterate over the complete frames by their headers.

        Raises:
            DataError: an impossible length.
        """
        at = self._frames_begin
        for index in range(min(self._announced, self._bytes)):
            self._file.seek(at)
            header = self._file.read(_FRAME.size)
            if len(header) == _FRAME.size:
                values = _FRAME.unpack(header)
                color, depth = values[18], values[19]
                self._check_lengths(index, color, depth)
                at += _FRAME.size
            if len(header) < _FRAME.size or at + color + depth > self._bytes:
                self.cut = f"{self.path} is cut off: it ends within frame {index} (from 0) of {self._announced}"
                return
            pose = np.array(values[:16], np.float64).reshape(4, 4)
            yield _Entry(pose, values[16] or values[17], (at, color), (at + color, depth))
            at += color + depth

    def _check_lengths(self, index: int, color: int, depth: int) -> None:
        for what, kind, length, size, pixel in (
            ("colour", self._color_kind, color, self.camera.size, 3),
            ("depth", self._depth_kind, depth, self._depth_size, 2),
        ):
            whole = pixel * size[0] * size[1]
            if kind.startswith("RAW"):
                wrong, allowed = length != whole and (length or what == "colour"), f"it must have {whole}"
            else:
                wrong, allowed = length > 2 * whole + _SLACK, f"at most {2 * whole + _SLACK} are allowed"
            if wrong:
                image = f"{kind} image of {size[0]} x {size[1]} pixels"
                raise DataError(
                    f"{self.path}, frame {index}: its {what}, a {image}, "
                    f"has {length} bytes; {allowed}: the file is damaged"
                )


def _inflate(data: bytes, length: int) -> bytes:
    """Decompress zlib data that must give exactly `length` bytes; more are never produced."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, length + 1)
    except zlib.error as error:
        raise FrameError("bad_depth", f"{len(data)} bytes of depth are not a zlib stream: {error}") from error
    if len(plain) != length or not stream.eof:
        found = f"more than {length}" if len(plain) > length else str(len(plain))
        raise FrameError("bad_depth", f"depth of {found} bytes, or without its end, after zlib; it must have {length}")
    return plain
