"""`sgrocc bag from-scannet` and `from-frames`: their options, and the summary they print."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgrocc_core.data.recordings.recording import Recording, WriteOptions

CUT_OFF = 3
"""Exit code if the recording is truncated; the frames before the cut are in the bag."""
_WORLDS = ("z-up", "z-down", "y-up", "y-down", "x-up", "x-down")
_AXES = ("opencv", "opengl", "ros")
_SCANNET = """Write a ScanNet .sens file as a rosbag2, frame by frame. Colour images are copied unchanged, depth is
registered to them, and frames without a pose are left out. Exit code 3: the file is truncated; the frames before the
cut are in the bag."""
_FRAMES = """Write a folder of images, depth and poses as a rosbag2. Layouts: tum (TUM RGB-D), 7scenes (7-Scenes),
frames (images with poses.txt or one pose file per image, and intrinsics.txt, K.txt or camera.yaml: the HoloLens
sequences of deep-video-mvs, exported ScanNet scenes, your own), transforms (transforms.json of
nerfstudio, Record3D or NeRF)."""


def add_recording_actions(actions: Any) -> None:
    """Add the two actions and their options."""
    sens = actions.add_parser("from-scannet", help="a ScanNet .sens file as a rosbag2", description=_SCANNET)
    sens.add_argument("recording", metavar="SCENE.sens", help="the file, version 4")
    _add_writing(sens)
    sens.add_argument(
        "--world",
        choices=_WORLDS,
        default="z-up",
        help="which axis of the poses' world points up (default z-up, as in ScanNet)",
    )
    frames = actions.add_parser(
        "from-frames", help="a folder of images, depth and poses as a rosbag2", description=_FRAMES
    )
    frames.add_argument("recording", metavar="FOLDER", help="the folder")
    _add_writing(frames)
    frames.add_argument(
        "--world",
        choices=("auto", *_WORLDS),
        default="",
        help="which axis of the poses' world points up (default: z-up for tum, else estimated from the camera's pose)",
    )
    frames.add_argument(
        "--axes",
        choices=_AXES,
        default="",
        help="axes of the camera in the poses: opencv (x right, y down, z forward), opengl (x right, y up, z backward) "
        "or ros (x forward, y left, z up) (default: opencv, or opengl for transforms.json)",
    )
    frames.add_argument("--force", action="store_true", help="write the bag although the checks found errors in it")
    frames.add_argument(
        "--layout",
        default="auto",
        metavar="NAME",
        help="tum, 7scenes, frames, transforms, or auto (default: detected from the files)",
    )
    frames.add_argument(
        "--intrinsics",
        type=_numbers,
        metavar="FX,FY,CX,CY",
        help="intrinsics of the colour images, pixels (default: the folder's)",
    )
    frames.add_argument(
        "--depth-intrinsics", type=_numbers, metavar="FX,FY,CX,CY", help="intrinsics of depth that is not registered"
    )
    frames.add_argument(
        "--depth-scale", type=float, metavar="M", help="metres per unit of depth (default: tum 0.0002, else 0.001)"
    )
    frames.add_argument(
        "--tolerance",
        type=float,
        default=0.02,
        metavar="S",
        help="tum: maximum time between an image and its depth or nearest pose, seconds (default 0.02)",
    )


def from_scannet(arguments: argparse.Namespace) -> int:
    """Write the bag; exit code 0, or CUT_OFF."""
    from sgrocc_core.data.recordings.sens import SensRecording

    options = _options(arguments)
    with SensRecording(arguments.recording, arguments.world, arguments.rate) as recording:
        _introduce(recording)
        return _write(recording, arguments.out, options)


def from_frames(arguments: argparse.Namespace) -> int:
    """Write the bag; exit code 0."""
    from dataclasses import fields

    from sgrocc_core.checks.refusal import refuse_errors
    from sgrocc_core.data.recordings.checking import look_at_recording
    from sgrocc_core.data.recordings.folder import FolderOptions, FolderRecording

    options = _options(arguments)
    reading = FolderOptions(**{f.name: getattr(arguments, f.name) for f in fields(FolderOptions)})
    recording = FolderRecording(arguments.recording, reading)
    _introduce(recording)
    refuse_errors(look_at_recording(recording).findings(), arguments.force)
    return _write(recording, arguments.out, options)


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the bag; it must not exist")
    parser.add_argument("--storage", default="mcap", metavar="KIND", help="mcap (default) or db3")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use every N-th frame (default 1: all)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="write at most N frames (default 0: all)")
    parser.add_argument("--raw", action="store_true", help="write uncompressed images instead of JPEG or PNG")
    parser.add_argument(
        "--rate",
        type=float,
        default=30.0,
        metavar="HZ",
        help="rate of generated time stamps for recordings without (default 30)",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out and count damaged frames instead of stopping with an error"
    )
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def _options(arguments: argparse.Namespace) -> WriteOptions:
    from sgrocc_core.data.recordings.recording import WriteOptions

    return WriteOptions(
        every=arguments.every, limit=arguments.limit, raw=arguments.raw, storage=arguments.storage,
        skip_bad=arguments.skip_bad, bar=not arguments.no_progress,
    )  # fmt: skip


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not fx,fy,cx,cy") from error


def _introduce(recording: Recording) -> None:
    """Print what the recording holds and how it is read."""
    width, height = recording.camera.size
    print(f"{recording.name}: {recording.count} frames of {width} x {height}")
    for note in recording.notes:
        print(f"  {note}", flush=True)


def _write(recording: Recording, out: str, options: WriteOptions) -> int:
    from sgrocc_core.data.recordings.recording import write_recording

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that partial files are removed
    try:
        done = write_recording(recording, out, options)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(
        f"{done.frames} frames in {out}, {done.with_depth} with depth; left out: {done.lost} without a pose, "
        f"{done.bad.total()} damaged" + (f", {recording.missing} missing" if recording.missing else "")
    )
    if done.first_bad:
        print(f"the first damaged frame: {done.first_bad}")
    if recording.cut:
        print(f"warning: {recording.cut}; the {recording.count} frames before the cut were read", file=sys.stderr)
        return CUT_OFF
    return 0
