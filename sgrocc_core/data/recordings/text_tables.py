"""Text files of a recording: lists with time stamps, trajectories, matrices, calibrations.

Errors name the file and the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from sgrocc_core.data.recordings.recording import MAX_STAMP_NS
from sgrocc_core.errors import ConfigError, DataError, FrameError
from sgrocc_core.geometry.calibration import Calibration, read_calibration
from sgrocc_core.yaml_file import read_mapping

MAX_BYTES = 1 << 28
"""Largest text file that is read, bytes."""


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line number (from 1) and words of each line that is neither empty nor a comment; commas also separate words.

    Raises:
        DataError: no such file, too large, or not text.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes; a text file of at most {MAX_BYTES} is expected")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text: {error}") from error
    lines = ((number, line.replace(",", " ").split()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, words) for number, words in lines if words and not words[0].startswith("#")]


def read_numbers(path: Path, widths: Sequence[int], what: str) -> list[tuple[int, np.ndarray]]:
    """Line number and float64 values of each line; values may be infinite or NaN.

    Args:
        path: the file.
        widths: allowed numbers of values per line.
        what: what a line contains, for the error message.

    Raises:
        DataError: a line has another number of values, or something that is not a number.
    """
    found = []
    for number, words in read_lines(path):
        if len(words) not in widths:
            raise DataError(
                f"{path}, line {number}: {len(words)} words; "
                f"{what}, {' or '.join(map(str, widths))} numbers, is expected"
            )
        try:
            found.append((number, np.array([float(word) for word in words])))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}; {what} is expected") from error
    return found


def read_matrix(path: Path, shapes: Sequence[tuple[int, int]], what: str) -> np.ndarray:
    """A float64 matrix of one of the shapes, written row by row over any number of lines.

    Raises:
        DataError: another number of values, or something that is not a number.
    """
    values = [value for _, row in read_numbers(path, range(1, 17), what) for value in row]
    for rows, columns in shapes:
        if len(values) == rows * columns:
            return np.array(values).reshape(rows, columns)
    allowed = " or ".join(f"{rows} x {columns}" for rows, columns in shapes)
    raise DataError(f"{path} has {len(values)} numbers; {what} of {allowed} is expected")


def pose_matrix(values: np.ndarray) -> np.ndarray:
    """(4, 4) pose from the 12 numbers of its upper rows, or all 16."""
    pose = np.eye(4)
    pose[: len(values) // 4] = np.asarray(values).reshape(-1, 4)
    return pose


def stamp_of(word: str, where: str) -> int:
    """Convert a time in seconds, a decimal number of any length, exactly to nanoseconds.

    Raises:
        DataError: not a number, or outside the range of ROS time stamps.
    """
    try:
        seconds = Decimal(word)
    except InvalidOperation:
        seconds = Decimal("nan")
    if not seconds.is_finite() or not 0 <= seconds < MAX_STAMP_NS // 1_000_000_000:
        raise DataError(
            f"{where}: {word[:40]!r} is not a time; seconds from 0 to {MAX_STAMP_NS // 1_000_000_000 - 1} are allowed"
        )
    return int(seconds * 1_000_000_000)


def read_intrinsics(path: Path) -> np.ndarray:
    """(3, 3) intrinsics in pixels from a text file with a 3 x 3 or 4 x 4 matrix, or the four numbers fx, fy, cx, cy.

    Raises:
        DataError: another number of values, or something that is not a number.
    """
    found = read_matrix(path, ((3, 3), (4, 4), (1, 4)), "an intrinsics matrix, or fx fy cx cy in a row,")
    if found.size == 4:
        fx, fy, cx, cy = found[0]
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return found[:3, :3]


def read_camera_yaml(path: Path) -> Calibration:
    """Calibration from a YAML file as written by ROS's camera_calibration.

    Raises:
        DataError: keys are missing or invalid.
    """
    try:
        values = read_mapping(path, "camera calibration")
        size = int(values["image_width"]), int(values["image_height"])
        K = np.array(values["camera_matrix"]["data"], np.float64).reshape(9)
        D = np.array((values.get("distortion_coefficients") or {"data": []})["data"], np.float64).reshape(-1)
        return read_calibration(size, K, D, np.zeros(12), str(values.get("distortion_model", "plumb_bob")))
    except (KeyError, TypeError, ValueError, ConfigError, FrameError) as error:
        keys = "image_width, image_height, camera_matrix: data, distortion_model, distortion_coefficients: data"
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} is not a camera calibration: {reason}; its keys are {keys}") from error
