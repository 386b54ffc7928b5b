"""The check of a folder of images, depth and poses: the same look that is taken at a bag."""

from __future__ import annotations

from pathlib import Path

from sgrocc_core.checks.findings import Finding
from sgrocc_core.checks.stream import MOST_FRAMES, StreamCheck
from sgrocc_core.data.coded_image import CodedImage
from sgrocc_core.data.images import decode_compressed
from sgrocc_core.data.recordings.folder import FolderOptions, FolderRecording
from sgrocc_core.data.recordings.recording import Recording, is_lost
from sgrocc_core.errors import FrameError, SgroccError
from sgrocc_core.frame import Frame

BAG_SUFFIXES = (".mcap", ".db3", ".bag")


def is_recording(path: Path) -> bool:
    """Whether a path is a folder of images rather than a bag."""
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return False
    return not any(each.suffix in BAG_SUFFIXES for each in path.iterdir())


def look_at_recording(recording: Recording) -> StreamCheck:
    """Look at up to MOST_FRAMES frames with a pose, spread over the length of a recording."""
    check = StreamCheck("the world", recording.name, recording.axes)
    if recording.missing:
        text = f"{recording.missing} images that are listed are missing; {recording.count} are there"
        check.add_finding(Finding("warning", "images_missing", text, "--skip-bad leaves them out."))
    camera = recording.camera
    check.add_calibration(camera.K, camera.size)
    every = max(-(-recording.count // MOST_FRAMES), 1)
    failed: list[str] = []
    looked = 0
    for recorded in recording.frames(every):
        check.add_stamp(recorded.stamp_ns)
        if is_lost(recorded.T_wc):
            continue
        looked += 1
        try:
            picture = recorded.load()
            colour = picture.color
            image = decode_compressed(colour.data) if isinstance(colour, CodedImage) else colour
            if picture.depth is not None:
                check.add_depth(picture.depth)
            check.add_frame(Frame(image, camera.K, recorded.T_wc, recorded.stamp_ns, picture.depth))
        except (FrameError, SgroccError) as error:
            failed.append(str(error))
    if failed:
        level = "error" if len(failed) == looked else "warning"
        text = f"{len(failed)} of {looked} frames that were looked at cannot be used: {failed[0]}"
        check.add_finding(Finding(level, "frames_unusable", text))
    return check


def look_at_folder(path: Path, options: FolderOptions | None = None) -> StreamCheck:
    """Look at a folder.

    Args:
        path: the folder.
        options: how it is read.

    Raises:
        DataError: it has no known layout, or a file that is missing or wrong.
    """
    return look_at_recording(FolderRecording(path, options))
