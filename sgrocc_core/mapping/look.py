"""The image stage of a step: the letterboxed image and what the image network says of it, maybe ahead of the step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sgrocc_core.engines.engine import Engine, ImageOutputs
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import LetterboxedCamera
from sgrocc_core.geometry.poses import gravity_aligned_rotation


@dataclass(frozen=True)
class Look:
    """What depends on a frame's image and pose alone.

    Attributes:
        camera: of the letterboxed image.
        image: (H, W, 3) uint8 RGB, letterboxed.
        seen: output of the image network.
    """

    camera: LetterboxedCamera
    image: np.ndarray
    seen: ImageOutputs


def look_at(engine: Engine, frame: Frame) -> Look:
    """Run the image network on a frame."""
    width, height = frame.image.shape[1], frame.image.shape[0]
    camera = LetterboxedCamera.of(frame.K, (width, height), engine.spec.image_size)
    image = camera.letterbox.image(frame.image)
    return Look(camera, image, engine.image(image, camera.mask, camera.K, gravity_aligned_rotation(frame.T_wc[:3, :3])))


class LooksAhead:
    """Runs the image network of one frame in a thread of its own while another frame is mapped.

    The engine's image network and its expert run at the same time then, but never two images: `take` waits for the
    thread before it runs another one itself.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._begun: tuple[Frame, Future[Look]] | None = None

    def begin(self, engine: Engine, frame: Frame) -> None:
        """Begin with the image of a frame that `take` will be asked for next."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "image ahead")
        self._begun = frame, self._thread.submit(look_at, engine, frame)

    def take(self, engine: Engine, frame: Frame) -> Look:
        """The look at a frame, that which was begun if it is of this frame."""
        begun, self._begun = self._begun, None
        if begun is not None:
            ahead, future = begun
            if ahead is frame:
                return future.result()
            future.exception()  # waits; whatever was wrong with that frame does not concern this one
        return look_at(engine, frame)
