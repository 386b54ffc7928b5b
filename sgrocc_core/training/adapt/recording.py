"""The recording that a model is adapted to: frames of a bag, checked, and split into training and held-out frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from sgrocc_core.errors import DataError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import Letterbox, LetterboxedCamera, scale_intrinsics

LEAST_FRAMES = 50
"""Fewest frames that a model is adapted to; fewer are learned by heart (round guess)."""
MOST_FRAMES = 400
"""Most frames that are kept, spread evenly; each takes about 1.2 MB of memory."""
LEAST_MOTION = 0.5
"""Least distance between the camera's extreme positions, metres; a round guess."""
DARK, FLAT = 8.0, 2.0
"""Mean and standard deviation of the grey values, 0 to 255, below which an image shows nothing (round guesses)."""
KEPT_WIDTH = 640
"""Largest width of the images that are kept, pixels."""
HELD_OUT = 0.1
"""Share of the frames that is held out."""
BLOCKS, LONG = 2, 100
"""Number of blocks that the held-out frames form; one below LONG frames."""
GUARD = 0.02
"""Share of the frames that is left out on each side of a held-out block, because they show almost the same."""


@dataclass(frozen=True)
class RecordedView:
    """A frame at the size of packed views: the area that its image fills in the network's input.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        depth: (h, w) float32 metres, 0 = none.
        K: (3, 3) intrinsics, pixels.
        T_wc: (4, 4) camera to world, metres.
        stamp_ns: stamp of the image, nanoseconds.
    """

    image: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray
    stamp_ns: int

    @classmethod
    def of(cls, frame: Frame, image_size: tuple[int, int]) -> RecordedView:
        """Make it of a frame, for a network's input of (width, height) pixels."""
        camera = LetterboxedCamera.of(frame.K, (frame.image.shape[1], frame.image.shape[0]), image_size)
        x0, y0, w, h = camera.letterbox.content
        inside = slice(y0, y0 + h), slice(x0, x0 + w)
        K = camera.K.copy()
        K[:2, 2] -= x0, y0
        depth = np.zeros((h, w), np.float32)
        if frame.depth is not None:
            box = Letterbox((frame.depth.shape[1], frame.depth.shape[0]), image_size)
            depth = np.ascontiguousarray(box.depth(frame.depth)[inside])
        image = np.ascontiguousarray(camera.letterbox.image(frame.image)[inside])
        return cls(image, depth, K, frame.T_wc, frame.stamp_ns)

    def as_frame(self) -> Frame:
        """Returns the view as a frame; without depth where there is none."""
        return Frame(self.image, self.K, self.T_wc, self.stamp_ns, self.depth if self.depth.any() else None)


@dataclass(frozen=True)
class Recording:
    """Frames of one camera in the order of time.

    Attributes:
        frames: at least LEAST_FRAMES, without depth; images at most KEPT_WIDTH wide.
        views: the same with depth, at the size of packed views.
        dark: number of images that were left out because they show nothing.
        distance: between the camera's extreme positions, metres.
    """

    frames: list[Frame]
    views: list[RecordedView]
    dark: int
    distance: float

    @property
    def with_depth(self) -> int:
        """Number of frames with depth."""
        return sum(bool(view.depth.any()) for view in self.views)

    def chosen(self, numbers: Sequence[int]) -> Recording:
        """Returns a recording of some of the frames."""
        return replace(
            self, frames=[self.frames[number] for number in numbers], views=[self.views[number] for number in numbers]
        )


def shows_nothing(image: np.ndarray) -> bool:
    """Whether an image (H, W, 3) uint8 is black or of one tone."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[::4, ::4]), cv2.COLOR_RGB2GRAY)
    return bool(grey.mean() < DARK or grey.std() < FLAT)


def reduced(frame: Frame) -> Frame:
    """Returns the frame without depth and with an image at most KEPT_WIDTH wide."""
    height, width = frame.image.shape[:2]
    if width <= KEPT_WIDTH:
        return replace(frame, depth=None)
    size = KEPT_WIDTH, round(height * KEPT_WIDTH / width)
    image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    return replace(frame, image=image, K=scale_intrinsics(frame.K, size[0] / width, size[1] / height), depth=None)


def read_recording(frames: Iterable[Frame], count: int, image_size: tuple[int, int], name: str) -> Recording:
    """Read and check the frames of a recording.

    Args:
        frames: in the order of time.
        count: their number, at most.
        image_size: (width, height) of the network's input, pixels.
        name: of the recording, for messages.

    Raises:
        DataError: it has too few images, they are black, or the camera did not move.
    """
    if count < LEAST_FRAMES:
        raise DataError(
            f"{name} has {count} images; a model is adapted to at least {LEAST_FRAMES}: record a walk of a minute"
        )
    every = -(-count // MOST_FRAMES)
    kept: list[Frame] = []
    views: list[RecordedView] = []
    dark = looked = 0
    for number, frame in enumerate(frames):
        if number % every:
            continue
        looked += 1
        if shows_nothing(frame.image):
            dark += 1
        else:
            kept.append(reduced(frame))
            views.append(RecordedView.of(frame, image_size))
    if dark > looked / 2:
        raise DataError(f"{name}: {dark} of {looked} images are black or of one tone; is the lens covered?")
    if len(kept) < LEAST_FRAMES:
        raise DataError(
            f"{name}: {len(kept)} of {looked} images can be used; a model is adapted to at least {LEAST_FRAMES}"
        )
    places = np.stack([frame.T_wc[:3, 3] for frame in kept])
    distance = float(np.linalg.norm(np.ptp(places, axis=0)))
    if distance < LEAST_MOTION:
        raise DataError(
            f"{name}: the camera moved over {distance:.2f} m only; depth and classes are fused from views at least "
            f"{LEAST_MOTION:g} m apart: walk through the room while recording"
        )
    return Recording(kept, views, dark, distance)


@dataclass(frozen=True)
class Split:
    """Numbers of frames; the rest are the guards between both.

    Attributes:
        train: frames that are learned from.
        blocks: held-out frames, in blocks without gaps.
    """

    train: list[int]
    blocks: list[list[int]]

    @property
    def held_out(self) -> list[int]:
        """All held-out frames."""
        return [number for block in self.blocks for number in block]


def split_frames(count: int) -> Split:
    """Hold out a tenth of a recording, in whole blocks of time with guards on both sides.

    Frames next to each other show almost the same; frames that are held out one by one would be learned from their
    neighbours.

    Args:
        count: number of frames.
    """
    blocks = BLOCKS if count >= LONG else 1
    length, guard = max(1, round(HELD_OUT * count / blocks)), max(1, round(GUARD * count))
    held: list[list[int]] = []
    near: set[int] = set()
    for block in range(blocks):
        start = round(count * (2 * block + 1) / (2 * blocks) - length / 2)
        held.append(list(range(start, start + length)))
        near |= set(range(start - guard, start + length + guard))
    return Split([number for number in range(count) if number not in near], held)
