"""Keyframes on disk beside a map, from which it can be built again with other poses: image, depth, intrinsics and pose.

FOLDER/NNNNNNNN.jpg    the image
FOLDER/NNNNNNNN.png    the depth, millimetres, if the frame had any
FOLDER/index.jsonl     a line for each keyframe: number, stamp, camera, pose, intrinsics, size of its files

A line is written after its files, so that a process killed at any moment leaves whole keyframes. When the folder is
full, the keyframe is removed whose neighbours in time are nearest to each other: the path stays covered.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.data.images import depth_in_millimetres, encode_jpeg
from sgrocc_core.errors import DataError, FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.correction import difference

INDEX = "index.jsonl"
STEP, TURN = 0.05, math.radians(3)
"""Metres or radians from the last keyframe of its camera at which a frame becomes the next (round guesses)."""
METRES_A_RADIAN = 1.0
"""How far a turn counts against a step where keyframes are thinned out (round guess)."""
QUALITY = 95
"""JPEG quality."""


@dataclass(frozen=True)
class Keyframe:
    """One kept frame.

    Attributes:
        number: its number; later frames have higher ones.
        stamp_ns: stamp of the image, nanoseconds.
        camera: name of the camera, of several; else empty.
        frame_id: frame of the image on /tf.
        T_wc: 16 numbers, (4, 4) row by row: camera to map, metres, as the map has it.
        told: 16 numbers likewise: the pose that it first came with.
        K: 9 numbers, (3, 3) row by row: intrinsics, pixels.
        has_depth: whether it has depth.
        size: of its files, bytes.
    """

    number: int
    stamp_ns: int
    camera: str
    frame_id: str
    T_wc: tuple[float, ...]
    told: tuple[float, ...]
    K: tuple[float, ...]
    has_depth: bool
    size: int

    @property
    def pose(self) -> np.ndarray:
        """(4, 4) camera to map, metres."""
        return np.array(self.T_wc, np.float64).reshape(4, 4)

    @classmethod
    def parse(cls, line: str) -> Keyframe:
        """Read a line of the index; ValueError, KeyError or TypeError if it is damaged."""
        values = json.loads(line)
        found = cls(
            int(values["number"]), int(values["stamp_ns"]), str(values["camera"]), str(values["frame_id"]),
            tuple(map(float, values["T_wc"])), tuple(map(float, values["told"])), tuple(map(float, values["K"])),
            bool(values["has_depth"]), int(values["size"]),
        )  # fmt: skip
        lengths = len(found.T_wc), len(found.told), len(found.K)
        if lengths != (16, 16, 9) or not np.isfinite(found.T_wc + found.told + found.K).all():
            raise ValueError("a pose has 16 finite numbers, intrinsics have 9")
        return found


class KeyframeStore:
    """The keyframes in one folder; thread-safe.

    Args:
        folder: the folder; made if it is missing. What is in it is kept.
        limit_mb: size of the files at most, MB; 0: the folder is only read.

    Attributes:
        damaged: number of lines of the index that could not be read, or whose files are missing.
    """

    def __init__(self, folder: str | Path, limit_mb: float = 0.0) -> None:
        self.folder, self._limit = Path(folder), limit_mb * 1e6
        self._lock, self._last_lock = threading.RLock(), threading.Lock()  # `wants` does not wait for files
        self._last: dict[str, np.ndarray] = {}
        self.damaged = 0
        self._kept: list[Keyframe] = []
        self.read()

    def read(self) -> None:
        """Read the index again, as another process has written it."""
        with self._lock:
            self.damaged, found = 0, {}
            index = self.folder / INDEX
            for line in index.read_text(errors="replace").splitlines() if index.is_file() else ():
                try:
                    keyframe = Keyframe.parse(line)
                except (ValueError, KeyError, TypeError):
                    self.damaged += 1
                    continue
                if all(file.is_file() for file in self._files(keyframe)):
                    found[keyframe.number] = keyframe
                else:
                    self.damaged += 1
            self._kept = [found[number] for number in sorted(found)]
            self._begin_from_kept()

    @property
    def keyframes(self) -> list[Keyframe]:
        """All keyframes, in the order in which they were added."""
        with self._lock:
            return list(self._kept)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        with self._lock:
            return sum(keyframe.size for keyframe in self._kept)

    def wants(self, T_wc: np.ndarray, camera: str = "") -> bool:
        """Whether a frame with this pose, (4, 4) camera to map, is a keyframe; if so, it becomes the last one."""
        with self._last_lock:
            last = self._last.get(camera)
            if last is not None:
                step, turn = difference(last[None], T_wc[None])
                if step[0] < STEP and turn[0] < TURN:
                    return False
            self._last[camera] = np.array(T_wc)
            return True

    def add(self, frame: Frame, frame_id: str = "") -> Keyframe:
        """Write a keyframe; others are removed if the folder is full.

        Args:
            frame: the frame.
            frame_id: frame of its image on /tf.

        Raises:
            OSError: it cannot be written; the others are untouched.
        """
        image = encode_jpeg(frame.image, QUALITY, whole_colour=True)
        depth = b""
        if frame.depth is not None:
            options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            depth = cv2.imencode(".png", depth_in_millimetres(frame.depth), options)[1].tobytes()
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = 1 + (self._kept[-1].number if self._kept else 0)
            pose = tuple(map(float, frame.T_wc.ravel()))
            keyframe = Keyframe(
                number, frame.stamp_ns, frame.camera, frame_id, pose, pose,
                tuple(map(float, frame.K.ravel())), frame.depth is not None, len(image) + len(depth),
            )  # fmt: skip
            for file, data in zip(self._files(keyframe), (image, depth)):
                file.write_bytes(data)
            with (self.folder / INDEX).open("a") as index:
                index.write(json.dumps(asdict(keyframe)) + "\n")
            self._kept.append(keyframe)
            self._thin_out()
            return keyframe

    def load(self, keyframe: Keyframe, T_wc: np.ndarray | None = None) -> Frame:
        """Read the frame of a keyframe.

        Args:
            keyframe: the keyframe.
            T_wc: (4, 4) its pose instead of the one that it was mapped with.

        Raises:
            DataError: its files are missing or damaged.
        """
        files = self._files(keyframe)
        image = cv2.imread(str(files[0]), cv2.IMREAD_COLOR)
        depth = cv2.imread(str(files[1]), cv2.IMREAD_UNCHANGED) if keyframe.has_depth else None
        if image is None or (keyframe.has_depth and (depth is None or depth.dtype != np.uint16)):
            raise DataError(f"the keyframe {files[0]} is missing or damaged")
        try:
            return Frame(
                np.ascontiguousarray(image[:, :, ::-1]),
                np.array(keyframe.K).reshape(3, 3),
                keyframe.pose if T_wc is None else T_wc,
                keyframe.stamp_ns,
                None if depth is None else depth.astype(np.float32) / np.float32(1000),
                keyframe.camera,
            )
        except FrameError as error:
            raise DataError(f"the keyframe {files[0]} is damaged: {error}") from error

    def set_poses(self, poses: Mapping[int, np.ndarray], write: bool = True) -> None:
        """Replace the poses, (4, 4) by number, of some keyframes.

        Args:
            poses: the new ones.
            write: whether they are written, too; else `write_index` does.

        Raises:
            OSError: the index cannot be written.
        """
        with self._lock:
            self._kept = [
                replace(k, T_wc=tuple(map(float, np.asarray(poses[k.number]).ravel()))) if k.number in poses else k
                for k in self._kept
            ]
            self._begin_from_kept()
        if write:
            self.write_index()

    def keep(self, until_ns: int | None) -> None:
        """Remove the keyframes after a stamp, nanoseconds; None: all."""
        with self._lock:
            before = self._kept
            self._kept = [k for k in before if until_ns is not None and k.stamp_ns <= until_ns]
            for keyframe in before:
                if until_ns is None or keyframe.stamp_ns > until_ns:
                    self._unlink(keyframe)
            self._begin_from_kept()
            if self.folder.is_dir():
                self.write_index()

    def _thin_out(self) -> None:
        """Remove keyframes until the files fit; the newest and the oldest of each camera stay."""
        size = self.bytes
        if size <= self._limit:
            return
        places = np.array([keyframe.T_wc for keyframe in self._kept]).reshape(-1, 4, 4)
        cameras = np.unique([keyframe.camera for keyframe in self._kept], return_inverse=True)[1]
        while size > 0.95 * self._limit and len(self._kept) > 2:
            n = least_needed(places, cameras)
            size -= self._kept[n].size
            self._unlink(self._kept.pop(n))
            places, cameras = np.delete(places, n, 0), np.delete(cameras, n)
        self.write_index()

    def _begin_from_kept(self) -> None:
        """Take the newest kept pose of each camera as its last keyframe's."""
        with self._last_lock:
            self._last = {keyframe.camera: keyframe.pose for keyframe in self._kept}

    def _unlink(self, keyframe: Keyframe) -> None:
        for file in self._files(keyframe):
            file.unlink(missing_ok=True)

    def _files(self, keyframe: Keyframe) -> list[Path]:
        name = f"{keyframe.number:08d}"
        return [self.folder / f"{name}.jpg", *([self.folder / f"{name}.png"] if keyframe.has_depth else [])]

    def write_index(self) -> None:
        """Write the index anew in one rename.

        Raises:
            OSError: it cannot be written; the one before is untouched.
        """
        with self._lock:
            fresh = self.folder / f".{INDEX}.{os.getpid()}"
            fresh.write_text("".join(json.dumps(asdict(keyframe)) + "\n" for keyframe in self._kept))
            os.replace(fresh, self.folder / INDEX)


def least_needed(places: np.ndarray, cameras: np.ndarray) -> int:
    """Index of the keyframe whose neighbours, of the same camera and in the order of their numbers, are nearest.

    Args:
        places: (N, 4, 4) poses, metres.
        cameras: (N,) int, number of the camera of each.
    """
    best, index = math.inf, len(places) // 2
    for camera in range(int(cameras.max()) + 1):
        own = np.flatnonzero(cameras == camera)
        if len(own) < 3:
            continue
        step, turn = difference(places[own[:-2]], places[own[2:]])
        gap = step + METRES_A_RADIAN * turn
        if gap.min() < best:
            best, index = float(gap.min()), int(own[1 + gap.argmin()])
    return index
