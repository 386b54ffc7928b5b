"""`sgrocc bag from-scannet` and `from-frames`: options of both, and what they say of a recording and of the bag it became."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgrocc_core.data.recordings.recording import Recording, WriteOptions

CUT_OFF = 3
"""Exit code where the recording broke off, but the frames before are in the bag."""
_WORLDS = ("z-up", "z-down", "y-up", "y-down", "x-up", "x-down")
_SCANNET = """Writes a ScanNet .sens file as a rosbag2, reading it a frame at a time. Colour is passed on as it is, depth is registered to
it, frames without a pose are left out. Exit code 3: the file is cut off, and the frames before the cut are in the bag."""
_FRAMES = """Writes a folder of images, depth and poses as a rosbag2. Layouts: tum (TUM RGB-D), 7scenes (7-Scenes), frames (images
beside poses.txt or a file a pose, and intrinsics.txt, K.txt or camera.yaml: the HoloLens walks of deep-video-mvs, exported ScanNet
scenes, your own)."""


def add_recording_actions(actions: Any) -> None:
    """The two actions and their options."""
    sens = actions.add_parser("from-scannet", help="a ScanNet .sens file as a rosbag2", description=_SCANNET)
    sens.add_argument("recording", metavar="SCENE.sens", help="the file, version 4")
    _add_writing(sens)
    sens.add_argument(
        "--world",
        choices=_WORLDS,
        default="z-up",
        help="which axis of the poses' world is up (default z-up, as ScanNet's)",
    )
    frames = actions.add_parser(
        "from-frames", help="a folder of images, depth and poses as a rosbag2", description=_FRAMES
    )
    frames.add_argument("recording", metavar="FOLDER", help="the folder")
    _add_writing(frames)
    frames.add_argument("--world", choices=("auto", *_WORLDS), default="",
                        help="which axis of the poses' world is up (default: z-up for tum, else by how the camera was held)")  # fmt: skip
    frames.add_argument(
        "--layout",
        default="auto",
        metavar="NAME",
        help="tum, 7scenes, frames, or auto (default: by the files there are)",
    )
    frames.add_argument(
        "--intrinsics",
        type=_numbers,
        metavar="FX,FY,CX,CY",
        help="of the colour images, pixels (default: the folder's)",
    )
    frames.add_argument(
        "--depth-intrinsics", type=_numbers, metavar="FX,FY,CX,CY", help="of depth that is not registered to the images"
    )
    frames.add_argument(
        "--depth-scale", type=float, metavar="M", help="metres a unit of depth (default: tum 0.0002, else 0.001)"
    )
    frames.add_argument("--tolerance", type=float, default=0.02, metavar="S",
                        help="tum: seconds between an image and its depth, or the nearest pose (default 0.02)")  # fmt: skip


def from_scannet(arguments: argparse.Namespace) -> int:
    """Write the bag; exit code 0, or CUT_OFF."""
    from sgrocc_core.data.recordings.sens import SensRecording

    options = _options(arguments)
    with SensRecording(arguments.recording, arguments.world, arguments.rate) as recording:
        return _write(recording, arguments.out, options)


def from_frames(arguments: argparse.Namespace) -> int:
    """Write the bag; exit code 0."""
    from dataclasses import fields

    from sgrocc_core.data.recordings.folder import FolderOptions, FolderRecording

    options = _options(arguments)
    reading = FolderOptions(**{f.name: getattr(arguments, f.name) for f in fields(FolderOptions)})
    return _write(FolderRecording(arguments.recording, reading), arguments.out, options)


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="the bag's folder; it must not exist")
    parser.add_argument("--storage", default="mcap", metavar="KIND", help="mcap (default) or db3")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th frame (default 1: all)")
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="at most N frames in the bag (default 0: all)"
    )
    parser.add_argument("--raw", action="store_true", help="uncompressed images instead of JPEG or PNG")
    parser.add_argument(
        "--rate", type=float, default=30.0, metavar="HZ", help="clock for recordings without stamps (default 30)"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave damaged frames out and count them, instead of an error"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


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


def _write(recording: Recording, out: str, options: WriteOptions) -> int:
    from sgrocc_core.data.recordings.recording import write_recording

    width, height = recording.camera.size
    print(f"{recording.name}: {recording.count} frames of {width} x {height}")
    for note in recording.notes:
        print(f"  {note}", flush=True)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half written is removed
    try:
        done = write_recording(recording, out, options)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(
        f"{done.frames} frames in {out}, {done.with_depth} with depth; left out: {done.lost} without a pose, {done.bad.total()} damaged"
    )
    if done.first_bad:
        print(f"the first damaged frame: {done.first_bad}")
    if recording.cut:
        print(f"warning: {recording.cut}; the {recording.count} frames before are all there is", file=sys.stderr)
        return CUT_OFF
    return 0
