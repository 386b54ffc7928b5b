"""The layout `transforms`: a transforms.json as nerfstudio (also for Record3D and Polycam) and NeRF tools write it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.data.recordings.layouts import FolderLayout, Shot, natural
from sgrocc_core.data.recordings.recording import made_clock
from sgrocc_core.data.recordings.text_tables import MAX_BYTES, pose_matrix
from sgrocc_core.errors import DataError, FrameError
from sgrocc_core.geometry.calibration import Calibration, read_calibration

FILE = "transforms.json"
LENSES = {
    "PINHOLE": "plumb_bob",
    "SIMPLE_PINHOLE": "plumb_bob",
    "SIMPLE_RADIAL": "plumb_bob",
    "RADIAL": "plumb_bob",
    "OPENCV": "plumb_bob",
    "OPENCV_FISHEYE": "equidistant",
}
"""ROS's name of the distortion model of each `camera_model`."""
COEFFICIENTS = {"plumb_bob": ("k1", "k2", "p1", "p2", "k3"), "equidistant": ("k1", "k2", "k3", "k4")}
"""Keys of a distortion model's coefficients, in ROS's order."""
LENS_KEYS = ("k1", "k2", "k3", "k4", "p1", "p2")
CAMERA_KEYS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y", "camera_model", *LENS_KEYS)
ENDINGS = ("", ".png", ".jpg", ".jpeg")


class SharedCamera:
    """The camera of a transforms.json: its keys stand at the top, or with the same values in every frame.

    Args:
        path: the file.
        values: its content.
        frames: the entries of `frames`.

    Raises:
        DataError: frames differ in a key of the camera.
    """

    def __init__(self, path: Path, values: dict[str, Any], frames: list[dict[str, Any]]) -> None:
        self._path = path
        self._values = {key: values[key] for key in CAMERA_KEYS if key in values}
        for key in CAMERA_KEYS:
            found = [frame.get(key, values.get(key)) for frame in frames]
            for index, value in enumerate(found):
                if value != found[0]:
                    raise DataError(
                        f"{path}, frames[{index}].{key} is {value!r:.40}, but that of frames[0] is {found[0]!r:.40}; "
                        "one camera for all frames is expected: undistort the images to one camera"
                    )
            if found[0] is not None:
                self._values[key] = found[0]

    def calibration(self, image: Path, size: tuple[int, int]) -> Calibration | None:
        """The calibration for images of (width, height) pixels; None if the file says none.

        Args:
            image: the first image, for the message.
            size: its size.

        Raises:
            DataError: a key is not a number or not allowed, or w and h are not the image's size.
        """
        for key, side in (("w", size[0]), ("h", size[1])):
            if key in self._values and self._number(key) != side:
                raise DataError(
                    f"{self._path}: {key} is {self._number(key):g}, but {image} has {size[0]} x {size[1]} pixels; "
                    "the intrinsics of the images' own size are expected"
                )
        if (focal := self._focal(size)) is None:
            return None
        cx, cy = (
            self._number(key) if key in self._values else (side - 1) / 2
            for key, side in zip(("cx", "cy"), size, strict=True)
        )
        model, coefficients = self._lens()
        K = np.array([focal[0], 0, cx, 0, focal[1], cy, 0, 0, 1])
        try:
            return read_calibration(size, K, np.array(coefficients), np.zeros(12), model)
        except FrameError as error:
            raise DataError(f"{self._path}, its camera: {error}") from error

    def _focal(self, size: tuple[int, int]) -> tuple[float, float] | None:
        """Focal lengths fx and fy, pixels; one alone stands for both; None if the file says neither."""
        found: list[float | None] = []
        for key, angle, side in (("fl_x", "camera_angle_x", size[0]), ("fl_y", "camera_angle_y", size[1])):
            if key in self._values:
                value = self._number(key)
                if value <= 0:
                    raise DataError(f"{self._path}: {key} is {value:g}; it must be more than 0 pixels")
                found.append(value)
            elif angle in self._values:
                value = self._number(angle)
                if not 0 < value < math.pi:
                    raise DataError(f"{self._path}: {angle} is {value:g}; it must lie in (0, pi) radians")
                found.append(side / (2 * math.tan(value / 2)))
            else:
                found.append(None)
        fx, fy = found
        if fx is None and fy is None:
            return None
        return (fx if fx is not None else fy or 0.0), (fy if fy is not None else fx or 0.0)

    def _lens(self) -> tuple[str, list[float]]:
        """ROS's name of the distortion model, and its coefficients; none if all are 0."""
        name = str(self._values.get("camera_model", "OPENCV"))
        if name not in LENSES:
            raise DataError(f"{self._path}: camera_model is {name!r:.40}; allowed: {', '.join(LENSES)}")
        model = LENSES[name]
        lens = {key: self._number(key) for key in LENS_KEYS if key in self._values}
        foreign = [key for key, value in lens.items() if value and key not in COEFFICIENTS[model]]
        if foreign:
            raise DataError(
                f"{self._path}: {foreign[0]} is {lens[foreign[0]]:g}, but {name} has only "
                f"{', '.join(COEFFICIENTS[model])}: undistort the images"
            )
        coefficients = [lens.get(key, 0.0) for key in COEFFICIENTS[model]]
        return model, coefficients if any(coefficients) else []

    def _number(self, key: str) -> float:
        return _number(self._values[key], f"{self._path}: {key}")


def read_transforms(folder: Path, rate: float, skip_missing: bool = False) -> tuple[FolderLayout, SharedCamera]:
    """Read a transforms.json: `frames` with `file_path`, `transform_matrix` and perhaps `depth_file_path`.

    Poses are camera to world with OpenGL axes. Depth is in 16 bit millimetres and registered to the images. Frames are
    in the order of their file names.

    Args:
        folder: the recording.
        rate: rate of the generated time stamps, Hz.
        skip_missing: leave out frames whose image is missing, and count them.

    Raises:
        DataError: the file is missing or not JSON, or a key is missing or not allowed; the message names file and key.
    """
    path = folder / FILE
    values = _read(path)
    frames = values.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise DataError(f"{path}: frames is {frames!r:.40}; a list of one or more objects is expected")
    scale = _number(values.get("applied_scale", 1.0), f"{path}: applied_scale")
    if scale <= 0:
        raise DataError(f"{path}: applied_scale is {scale:g}; it must be more than 0")
    found: list[tuple[Path, Path | None, np.ndarray]] = []
    gone: list[str] = []
    for index, frame in enumerate(frames):
        where = f"{path}, frames[{index}]"
        color = _file(folder, frame, "file_path", where)
        depth = _file(folder, frame, "depth_file_path", where) if frame.get("depth_file_path") else None
        T_wc = _pose(frame, where)
        T_wc[:3, 3] /= scale
        lost = next((file for file in (color, depth) if file is not None and not file.is_file()), None)
        if lost is not None and not skip_missing:
            raise DataError(f"{where}: no such file: {lost} (--skip-bad leaves out listed files that are missing)")
        if lost is not None:
            gone.append(f"frames[{index}], {lost}")
        if lost is not color:
            found.append((color, None if lost is not None else depth, T_wc))
    if not found:
        raise DataError(f"{path}: all {len(frames)} images are missing, the first is {gone[0]}")
    found.sort(key=lambda each: natural(each[0]))
    shots = [Shot(color, depth, made_clock(index, rate), T_wc) for index, (color, depth, T_wc) in enumerate(found)]
    notes = [f"stamps are generated at {rate:g} Hz, in the order of the file names"]
    notes += [f"{len(gone)} frames miss a file, the first is {gone[0]}"] if gone else []
    notes += [f"poses are divided by applied_scale, {scale:g}"] if scale != 1 else ["poses are taken to be in metres"]
    layout = FolderLayout(shots, notes, axes="opengl", missing=len(frames) - len(found))
    return layout, SharedCamera(path, values, frames)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are allowed")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds a {type(values).__name__}; an object with the key frames is expected")
    return values


def _file(folder: Path, frame: dict[str, Any], key: str, where: str) -> Path:
    """The file that a key names, relative to the folder; its ending may be left out, as in Blender's sets."""
    name = frame.get(key)
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{where}.{key} is {name!r:.40}; the name of a file relative to {folder} is expected")
    path = folder / name
    return next((each for ending in ENDINGS if (each := path.parent / (path.name + ending)).is_file()), path)


def _pose(frame: dict[str, Any], where: str) -> np.ndarray:
    value = frame.get("transform_matrix")
    try:
        pose = np.array(value, np.float64)
    except (TypeError, ValueError):
        pose = np.zeros(0)
    if pose.shape not in ((4, 4), (3, 4)):
        raise DataError(f"{where}.transform_matrix is {value!r:.60}; 4 x 4 numbers, row by row, are expected")
    return pose_matrix(pose.ravel())


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where} is {value!r:.40}; a finite number is expected")
    return float(value)
