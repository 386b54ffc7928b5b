"""Public folder layouts of images, depth and poses: lists the files, time stamp and pose of every frame.

No image is opened here; `folder.py` does that.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sgrocc_core.data.recordings.recording import made_clock
from sgrocc_core.data.recordings.text_tables import (
    pose_matrix,
    read_camera_yaml,
    read_intrinsics,
    read_lines,
    read_matrix,
    read_numbers,
    stamp_of,
)
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.calibration import Calibration
from sgrocc_core.geometry.transforms import QUATERNION_TOLERANCE, TransformLookupError, TransformTree

LOST = np.full((4, 4), np.nan)
LOOKED_FOR = {
    "tum": "rgb.txt and groundtruth.txt",
    "7scenes": "frame-*.color.png with frame-*.pose.txt",
    "frames": "a folder rgb, color, image or images, with poses.txt, or a folder pose or poses",
    "transforms": "transforms.json",
}
"""Layouts, and the files by which each is recognised."""
COLOR_FOLDERS, DEPTH_FOLDERS, POSE_FOLDERS = ("rgb", "color", "images", "image"), ("depth", "depths"), ("pose", "poses")
INTRINSICS = ("intrinsics.txt", "K.txt", "intrinsic/intrinsic_color.txt", "intrinsic.txt")
ETH3D_INTRINSICS = "calibration.txt"
"""The file of fx, fy, cx, cy beside the lists of ETH3D's SLAM sequences, which have TUM's layout."""
DEPTH_INTRINSICS = ("depth_intrinsics.txt", "intrinsic/intrinsic_depth.txt")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Shot:
    """The files of one frame.

    Attributes:
        color: colour image.
        depth: depth image, or None.
        stamp_ns: time stamp, nanoseconds.
        T_wc: (4, 4) pose, camera to world; NaN where tracking was lost.
    """

    color: Path
    depth: Path | None
    stamp_ns: int
    T_wc: np.ndarray


@dataclass
class FolderLayout:
    """Contents of a folder according to its layout.

    Attributes:
        shots: frames in order of time.
        notes: remarks for the user.
        depth_scale: metres per unit of depth.
        world: which axis points up: a name of `upright.WORLDS`, or `auto`.
        K: (3, 3) intrinsics from a text file of the folder, pixels; or None.
        K_file: name of that file.
        default_K: (3, 3) usual intrinsics of the layout for images of 640 x 480 pixels; or None.
        calibration: calibration from a file of the folder, with its lens; or None.
        calibration_file: name of that file.
        axes: axes of the camera in the poses, a key of `posture.AXES`.
        missing: number of images left out because their files are missing.
        depth_K: (3, 3) intrinsics of depth if it has its own, pixels; or None.
    """

    shots: list[Shot]
    notes: list[str] = field(default_factory=list)
    depth_scale: float = 0.001
    world: str = "auto"
    K: np.ndarray | None = None
    K_file: str = ""
    default_K: np.ndarray | None = None
    calibration: Calibration | None = None
    calibration_file: str = "camera.yaml"
    depth_K: np.ndarray | None = None
    axes: str = "opencv"
    missing: int = 0


def detect(folder: Path) -> str:
    """Detect the layout of a folder, a key of LOOKED_FOR.

    Raises:
        DataError: no layout fits; the message lists the files looked for and those in the folder.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    if (folder / "rgb.txt").is_file() and (folder / "groundtruth.txt").is_file():
        return "tum"
    if next(folder.glob("frame-*.color.*"), None) is not None:
        return "7scenes"
    posed = (folder / "poses.txt").is_file() or _first(folder, POSE_FOLDERS) is not None
    if posed and _first(folder, COLOR_FOLDERS) is not None:
        return "frames"
    if (folder / "transforms.json").is_file():
        return "transforms"
    looked = "; ".join(f"{files} ({name})" for name, files in LOOKED_FOR.items())
    has = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    shown = ", ".join(has[:12]) + (f" and {len(has) - 12} more" if len(has) > 12 else "")
    raise DataError(f"{folder} has no known layout; looked for: {looked}; it has {shown or 'nothing'}")


def read_tum(folder: Path, tolerance: float, skip_missing: bool = False) -> FolderLayout:
    """Read the TUM RGB-D layout.

    It has lists with time stamps, a trajectory with its own rate, and depth registered to colour with 5000 units per
    metre.

    Args:
        folder: the recording.
        tolerance: maximum time between an image and its depth, and between an image and the nearest pose, seconds.
        skip_missing: leave out listed files that are missing, and count them; an image without its depth file has no
            depth.

    Raises:
        DataError: a list has a fault, or names a file that is missing.
    """
    slop = round(tolerance * 1e9)
    colors, gone = _tum_list(folder, "rgb.txt", skip_missing)
    notes = _missing_note("rgb.txt", gone)
    depths: list[tuple[int, Path]] = []
    if (folder / "depth.txt").is_file():
        depths, gone_depths = _tum_list(folder, "depth.txt", skip_missing)
        notes += _missing_note("depth.txt", gone_depths)
    tree, stamps = read_trajectory(folder / "groundtruth.txt")
    depth_stamps, shots, paired = [stamp for stamp, _ in depths], [], 0
    for stamp, color in colors:
        near = _nearest(depth_stamps, stamp, slop)
        paired += near is not None
        shots.append(
            Shot(color, depths[near][1] if near is not None else None, stamp, _pose_at(tree, stamps, stamp, slop))
        )
    notes += [
        f"{paired} of {len(shots)} images have depth within {tolerance:g} s",
        "stamps are the folder's; poses are interpolated",
    ]
    usual = np.array([[525.0, 0, 319.5], [0, 525.0, 239.5], [0, 0, 1]])
    layout = FolderLayout(shots, notes, 1 / 5000, "z-up", default_K=usual, missing=len(gone))
    _add_cameras(layout, folder, (*INTRINSICS, ETH3D_INTRINSICS))
    return layout


def read_seven_scenes(folder: Path, rate: float) -> FolderLayout:
    """Read the 7-Scenes layout: frame-NNNNNN.{color.png,depth.png,pose.txt}, millimetres, no stamps, no calibration.

    Args:
        folder: the recording.
        rate: rate of the generated time stamps, Hz.
    """
    shots = []
    for index, color in enumerate(
        sorted(path for path in folder.glob("frame-*.color.*") if path.suffix.lower() in IMAGE_ENDINGS)
    ):
        stem = color.name.partition(".")[0]
        depth = folder / f"{stem}.depth.png"
        pose = read_matrix(folder / f"{stem}.pose.txt", ((4, 4), (3, 4)), "a pose")
        shots.append(
            Shot(color, depth if depth.is_file() else None, made_clock(index, rate), pose_matrix(pose.ravel()))
        )
    notes = [f"there are no stamps, so they are generated at {rate:g} Hz"]
    usual = np.array([[585.0, 0, 320.0], [0, 585.0, 240.0], [0, 0, 1]])
    layout = FolderLayout(_some(shots, folder, "frame-*.color.png"), notes, default_K=usual)
    _add_cameras(layout, folder)
    return layout


def read_frames(folder: Path, rate: float) -> FolderLayout:
    """Read the layout `frames`: colour images, depth images of the same names, poses, and intrinsics.

    Poses are camera to world, in one file or one file per image. Time stamps in seconds come from timestamps.txt, one
    line per image, if it exists.

    Args:
        folder: the recording.
        rate: rate of the generated time stamps if there is no timestamps.txt, Hz.
    """
    images = _first(folder, COLOR_FOLDERS)
    if images is None:
        raise DataError(f"{folder} has no folder of colour images; looked for {', '.join(COLOR_FOLDERS)}")
    colors = _some(
        sorted((p for p in images.iterdir() if p.suffix.lower() in IMAGE_ENDINGS), key=natural),
        images,
        "*.jpg or *.png",
    )
    poses = _frame_poses(folder, colors)
    depths = _first(folder, DEPTH_FOLDERS)
    given = depths is not None
    paths = [depths / f"{color.stem}.png" if depths is not None else None for color in colors]
    stamps, clock = _frame_stamps(folder, len(colors), rate)
    shots = [
        Shot(color, depth if depth is not None and depth.is_file() else None, stamp, pose)
        for color, depth, stamp, pose in zip(colors, paths, stamps, poses, strict=True)
    ]
    missing = sum(shot.depth is None for shot in shots) if given else 0
    notes = [clock] + (
        [f"{missing} of {len(shots)} images have no depth of the same name in {depths}"] if missing else []
    )
    layout = FolderLayout(shots, notes)
    _add_cameras(layout, folder)
    return layout


def _add_cameras(layout: FolderLayout, folder: Path, names: tuple[str, ...] = INTRINSICS) -> None:
    """Read the folder's own intrinsics: a text file if there is one, else camera.yaml.

    Args:
        layout: gets them.
        folder: the recording.
        names: text files that are looked for, the first that exists is read.
    """
    text, depth_text, yaml = _first(folder, names), _first(folder, DEPTH_INTRINSICS), folder / "camera.yaml"
    if text is not None:
        layout.K, layout.K_file = read_intrinsics(text), text.relative_to(folder).as_posix()
        if yaml.is_file():
            layout.notes.append(f"camera.yaml is not read, because there is {layout.K_file}")
    elif yaml.is_file():
        layout.calibration = read_camera_yaml(yaml)
    layout.depth_K = None if depth_text is None else read_intrinsics(depth_text)


def _tum_list(folder: Path, name: str, skip_missing: bool) -> tuple[list[tuple[int, Path]], list[str]]:
    """Time stamps in nanoseconds and files of a list, in order of time; and a phrase on each that is missing."""
    found: dict[int, Path] = {}
    gone: list[str] = []
    for number, words in read_lines(folder / name):
        where = f"{folder / name}, line {number}"
        if len(words) != 2:
            raise DataError(f"{where}: {len(words)} words; a time and a file name are expected")
        path = folder / words[1]
        stamp = stamp_of(words[0], where)
        if path.is_file():
            found[stamp] = path
        elif skip_missing:
            gone.append(f"line {number}, {words[1]}")
        else:
            raise DataError(f"{where}: no such file: {path} (--skip-bad leaves out listed files that are missing)")
    whole = f"{folder / name} ({len(gone)} of its files are missing)" if gone else folder / name
    return _some(sorted(found.items()), whole, "a time and a file name in each line"), gone


def _missing_note(name: str, gone: list[str]) -> list[str]:
    """The remark on the files of a list that are missing; none if all are there."""
    return [f"{len(gone)} files that {name} lists are missing and left out, the first is {gone[0]}"] if gone else []


def read_trajectory(path: Path) -> tuple[TransformTree, list[int]]:
    """Read poses from lines `time tx ty tz qx qy qz qw`, as TUM RGB-D has them.

    Returns:
        The poses of the frame `camera` in `world`, and their sorted time stamps in nanoseconds.

    Raises:
        DataError: a line is something else, or there is none.
    """
    tree, stamps = TransformTree(history_ns=None), set()
    for number, words in read_lines(path):
        where = f"{path}, line {number}"
        try:
            values = np.array([float(word) for word in words[1:]])
        except ValueError as error:
            raise DataError(f"{where}: {error}; numbers are expected") from error
        if len(values) != 7:
            raise DataError(f"{where}: {len(words)} words; time tx ty tz qx qy qz qw are expected")
        if not np.isfinite(values).all():
            continue
        norm = float(np.linalg.norm(values[3:]))
        if abs(norm - 1) > QUATERNION_TOLERANCE:
            raise DataError(
                f"{where}: quaternion {values[3:].tolist()} of length {norm:.4g}; a pose must be rigid: it must be 1"
            )
        stamp = stamp_of(words[0], where)
        tree.add("world", "camera", stamp, values[:3], values[3:])
        stamps.add(stamp)
    return tree, _some(sorted(stamps), path, "time tx ty tz qx qy qz qw in each line")


def _pose_at(tree: TransformTree, stamps: list[int], stamp: int, slop: int) -> np.ndarray:
    if _nearest(stamps, stamp, slop) is None:
        return LOST
    try:
        return tree.lookup("world", "camera", stamp)
    except TransformLookupError:
        return LOST


def _nearest(stamps: list[int], stamp: int, slop: int) -> int | None:
    """Index of the time stamp nearest to another one, if within the slop; nanoseconds, sorted."""
    at = bisect_left(stamps, stamp)
    best = min((i for i in (at - 1, at) if 0 <= i < len(stamps)), key=lambda i: abs(stamps[i] - stamp), default=None)
    return best if best is not None and abs(stamps[best] - stamp) <= slop else None


def _frame_poses(folder: Path, colors: list[Path]) -> list[np.ndarray]:
    single, many = folder / "poses.txt", _first(folder, POSE_FOLDERS)
    if single.is_file():
        rows = read_numbers(single, (12, 16), "a pose, row by row")
        if len(rows) != len(colors):
            raise DataError(
                f"{single} has {len(rows)} poses for {len(colors)} images in {colors[0].parent}; "
                "one line per image is expected"
            )
        return [pose_matrix(values) for _, values in rows]
    if many is None or not many.is_dir():
        raise DataError(f"{folder} has no poses; looked for poses.txt and the folders {', '.join(POSE_FOLDERS)}")
    shapes = ((4, 4), (3, 4))
    return [pose_matrix(read_matrix(many / f"{color.stem}.txt", shapes, "a pose").ravel()) for color in colors]


def _frame_stamps(folder: Path, count: int, rate: float) -> tuple[list[int], str]:
    """Time stamps of the images in nanoseconds, and a remark on their origin."""
    path = folder / "timestamps.txt"
    if not path.is_file():
        return [
            made_clock(index, rate) for index in range(count)
        ], f"there is no timestamps.txt, so stamps are generated at {rate:g} Hz"
    stamps = [stamp_of(words[0], f"{path}, line {number}") for number, words in read_lines(path)]
    if len(stamps) != count:
        raise DataError(f"{path} has {len(stamps)} times for {count} images; one line per image is expected")
    for index in range(1, count):
        if stamps[index] <= stamps[index - 1]:
            raise DataError(f"{path}: time {index + 1}, {stamps[index] / 1e9:.9f}, is not later than the one before")
    return stamps, "stamps are the folder's"


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def _some(found: list, where: Path | str, what: str) -> list:
    if not found:
        raise DataError(f"{where} has no frames; {what} is expected")
    return found


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)]
