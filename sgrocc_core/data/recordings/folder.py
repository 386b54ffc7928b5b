"""Reads a folder of images, depth and poses as a recording: detects its layout, checks images and registers depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from sgrocc_core.checks.posture import AXES, AXES_WORDS
from sgrocc_core.data.coded_image import read_coded
from sgrocc_core.data.image_header import coded_size
from sgrocc_core.data.images import decode_compressed_depth
from sgrocc_core.data.recordings.layouts import (
    LOOKED_FOR,
    FolderLayout,
    Shot,
    detect,
    read_frames,
    read_seven_scenes,
    read_tum,
)
from sgrocc_core.data.recordings.recording import (
    DEFAULT_RATE,
    Camera,
    Picture,
    RecordedFrame,
    check_rate,
    is_lost,
    turned_pose,
)
from sgrocc_core.data.recordings.transforms_json import read_transforms
from sgrocc_core.depth.registration import Registration, plan_registration
from sgrocc_core.errors import ConfigError, DataError, FrameError
from sgrocc_core.frame import checked_intrinsics
from sgrocc_core.geometry.upright import WORLDS, guess_world

DEFAULT_SIZE = (640, 480)
"""Image size for which a layout's default intrinsics are valid, pixels."""
MAX_FILE = 1 << 28
"""Largest image file that is read, bytes."""


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is read. Empty values and None use what the layout defines.

    Attributes:
        layout: `auto`, or a key of LOOKED_FOR.
        intrinsics: fx, fy, cx, cy of the colour images, pixels.
        depth_intrinsics: fx, fy, cx, cy of depth images that are not registered to the colour images, pixels.
        depth_scale: metres per unit of depth.
        tolerance: maximum time between an image and its depth or pose (tum), seconds.
        rate: rate of the generated time stamps if the folder has none, Hz.
        world: which axis of the world points up: `auto`, or a name of `upright.WORLDS`.
        axes: axes of the camera in the poses, a key of `posture.AXES`.
        skip_bad: leave out listed files that are missing (tum, transforms) instead of raising an error.

    Raises:
        ConfigError: a value is not allowed.
    """

    layout: str = "auto"
    intrinsics: tuple[float, ...] | None = None
    depth_intrinsics: tuple[float, ...] | None = None
    depth_scale: float | None = None
    tolerance: float = 0.02
    rate: float = DEFAULT_RATE
    world: str = ""
    axes: str = ""
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.layout not in ("auto", *LOOKED_FOR):
            raise ConfigError(f"--layout is {self.layout!r}; allowed: auto, {', '.join(LOOKED_FOR)}")
        for name in ("intrinsics", "depth_intrinsics"):
            values = getattr(self, name)
            if values is not None and len(values) != 4:
                raise ConfigError(f"--{name.replace('_', '-')} has {len(values)} numbers; fx,fy,cx,cy are expected")
        if self.depth_scale is not None and not 0 < self.depth_scale < 10:
            raise ConfigError(f"--depth-scale is {self.depth_scale:g}; it must lie in (0, 10) metres per unit")
        if not 0 <= self.tolerance <= 10:
            raise ConfigError(f"--tolerance is {self.tolerance:g}; it must lie in [0, 10] seconds")
        check_rate(self.rate)
        if self.world not in ("", "auto", *WORLDS):
            raise ConfigError(f"--world is {self.world!r}; allowed: auto, {', '.join(WORLDS)}")
        if self.axes not in ("", *AXES):
            raise ConfigError(f"--axes is {self.axes!r}; allowed: {', '.join(AXES)}")


class FolderRecording:
    """A Recording of a folder with images, depth and poses.

    Args:
        path: the folder.
        options: how to read it.

    Raises:
        DataError: unknown layout, a missing or wrong file, or an unknown camera. The message names file, value and what
            is allowed.

    Attributes:
        axes: axes of the camera in the folder's poses, a key of `posture.AXES`; frames have optical axes.
        missing: number of images left out because their files are missing.
    """

    cut = ""

    def __init__(self, path: str | Path, options: FolderOptions | None = None) -> None:
        self.path, options = Path(path), options or FolderOptions()
        self.name = str(self.path)
        kind = detect(self.path) if options.layout == "auto" else options.layout
        if not self.path.is_dir():
            raise DataError(f"no such folder: {self.path}")
        layout = _read_layout(self.path, kind, options)
        self.axes = options.axes or layout.axes
        self.missing = layout.missing
        self._shots = [replace(shot, T_wc=_optical(shot.T_wc, self.axes)) for shot in layout.shots]
        self.count = len(self._shots)
        self._depth_scale = options.depth_scale or layout.depth_scale
        self.notes = [f"layout {kind}", *layout.notes]
        self.camera = self._read_camera(layout, options)
        self.notes.append(f"the camera's axes are {AXES_WORDS[self.axes]}")
        self._depth_size = (0, 0)
        self._register = self._plan_depth(layout, options)
        self._world = self._choose_world(options.world or layout.world)

    def frames(self, every: int = 1) -> Iterator[RecordedFrame]:
        """Every `every`-th frame; its files are read when it is loaded."""
        for shot in self._shots[::every]:
            yield RecordedFrame(
                str(shot.color), shot.stamp_ns, turned_pose(self._world, shot.T_wc), partial(self._load, shot)
            )

    def _load(self, shot: Shot) -> Picture:
        color = read_coded(_read_file(shot.color), self.camera.size)
        return Picture(color, None if shot.depth is None else self._read_depth(shot.depth))

    def _read_depth(self, path: Path) -> np.ndarray:
        """(H, W) float32 metres, registered to the colour image."""
        try:
            data = _read_file(path)
            kind, size = coded_size(data)
            if kind != "png" or size != self._depth_size:
                allowed = f"a PNG of {_by(self._depth_size)}, as the first is"
                raise FrameError("bad_depth", f"{kind.upper()} of {_by(size)} pixels; it must be {allowed}")
            units = decode_compressed_depth(data, "16UC1", 1.0)
        except FrameError as error:
            raise FrameError(error.cause, f"its depth {path}: {error}") from error
        metres = np.where(units == 65535, 0, units * np.float32(self._depth_scale)).astype(np.float32)
        return self._register(metres) if self._register else metres

    def _read_camera(self, layout: FolderLayout, options: FolderOptions) -> Camera:
        """The colour camera; its size is that of the first image.

        Raises:
            DataError: no intrinsics are given, or they do not fit the image size.
        """
        size = _size_of(self._shots[0].color)
        given = layout.calibration
        if given is not None and given.size != size:
            raise DataError(
                f"{self.path / layout.calibration_file} describes {_by(given.size)} pixels, "
                f"but {self._shots[0].color} has {_by(size)}"
            )
        choices = (
            ("as given", None if options.intrinsics is None else _matrix(options.intrinsics)),
            (f"from {layout.K_file}", layout.K),
            (f"from {layout.calibration_file}", None if given is None else given.K),
            ("the layout's usual ones", layout.default_K if size == DEFAULT_SIZE else None),
        )
        found = next(((origin, K) for origin, K in choices if K is not None), None)
        if found is None:
            raise DataError(
                f"{self.path} has no intrinsics for its images of {_by(size)} pixels: add intrinsics.txt "
                "(3 x 3, or fx fy cx cy) or camera.yaml, or use --intrinsics fx,fy,cx,cy"
            )
        origin, K = found
        try:
            K = checked_intrinsics(K, *size)
        except FrameError as error:
            raise DataError(f"{self.path}, intrinsics ({origin}): {error}") from error
        self.notes.append(f"intrinsics are {origin}: {K[0, 0]:g}, {K[1, 1]:g}, {K[0, 2]:g}, {K[1, 2]:g}")
        if given is not None and origin == f"from {layout.calibration_file}":
            return Camera(size, K, given.distortion, given.fisheye)
        return Camera(size, K)

    def _plan_depth(self, layout: FolderLayout, options: FolderOptions) -> Registration | None:
        """How to register depth to the colour image, by the size of the first depth image; None if it is registered."""
        path = next((shot.depth for shot in self._shots if shot.depth is not None), None)
        if path is None:
            self.notes.append("there is no depth")
            return None
        self._depth_size = size = _size_of(path)
        color, depth = self.camera.size, f"depth of {_by(size)}"
        K = _matrix(options.depth_intrinsics) if options.depth_intrinsics else layout.depth_K
        if self.camera.distortion.size and (K is not None or size != color):
            raise DataError(
                f"{path}: {depth} cannot be registered to images of "
                f"{_by(color)} with lens distortion: undistort them first"
            )
        if K is None:
            if color[0] * size[1] != color[1] * size[0]:
                raise DataError(
                    f"{path} has {_by(size)} pixels, the images {_by(color)}: depth of another aspect ratio is not "
                    "registered to them; give its own intrinsics with --depth-intrinsics fx,fy,cx,cy"
                )
            self.notes.append(f"{depth} is assumed to be registered to the colour image")
            return None
        try:
            plan = plan_registration(color, self.camera.K, size, checked_intrinsics(K, *size), np.eye(4))
        except FrameError as error:
            raise DataError(f"{self.path}, intrinsics of depth: {error}") from error
        done = (
            "is already registered to the colour image"
            if plan is None
            else f"is registered to the colour image as {_by(plan.target_size)}"
        )
        self.notes.append(f"{depth} {done}, by its own intrinsics")
        return plan

    def _choose_world(self, world: str) -> str:
        """The up axis of the world; for `auto` it is estimated from the orientation of the cameras."""
        if world != "auto":
            self.notes.append(f"the world is {world}")
            return world
        guess = guess_world(np.array([shot.T_wc for shot in self._shots]))
        if guess is None:
            self.notes.append(
                "the up axis cannot be estimated from the poses: z is assumed; choose another with --world"
            )
            return "z-up"
        self.notes.append(
            f"the world is {guess}, estimated from the camera's orientation"
            + (": it is rotated to z-up" if guess != "z-up" else "")
        )
        if guess.endswith("down") and self.axes == "opencv":
            self.notes.append(f"if the world is {guess[0]}-up, the camera's axes are OpenGL's: give --axes opengl")
        return guess


def _read_layout(path: Path, kind: str, options: FolderOptions) -> FolderLayout:
    if kind == "tum":
        return read_tum(path, options.tolerance, options.skip_bad)
    if kind == "transforms":
        layout, camera = read_transforms(path, options.rate, options.skip_bad)
        first = layout.shots[0].color
        layout.calibration = camera.calibration(first, _size_of(first)) if options.intrinsics is None else None
        layout.calibration_file = "transforms.json"
        return layout
    return read_seven_scenes(path, options.rate) if kind == "7scenes" else read_frames(path, options.rate)


def _optical(T_wc: np.ndarray, axes: str) -> np.ndarray:
    """(4, 4) pose of the optical frame from that of a camera with other axes."""
    if is_lost(T_wc):
        return T_wc
    out = T_wc.copy()
    out[:3, :3] = T_wc[:3, :3] @ AXES[axes]
    return out


def _matrix(values: tuple[float, ...]) -> np.ndarray:
    fx, fy, cx, cy = values
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _size_of(path: Path) -> tuple[int, int]:
    """(width, height) from the header of an image file."""
    try:
        return coded_size(_read_file(path))[1]
    except FrameError as error:
        raise DataError(f"{path}: {error}") from error


def _read_file(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe never ends, nor does /dev/zero
            raise FrameError("bad_image", f"{path} is not a regular file")
        if path.stat().st_size > MAX_FILE:
            raise FrameError("bad_image", f"{path} has {path.stat().st_size} bytes; at most {MAX_FILE} are allowed")
        return path.read_bytes()
    except OSError as error:
        raise FrameError("bad_image", f"{path} cannot be read: {error.strerror}") from error
