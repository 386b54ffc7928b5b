"""Stereo from motion as the mapper uses it: keyframes in, and for each image the inputs of the sweeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.depth.keyframes import KeyframeRing, View, digest
from sgrocc_core.depth.sweep import MAX_SOURCES, content_bounds, sweep_transform
from sgrocc_core.geometry.camera import LetterboxedCamera


@dataclass(frozen=True)
class Sources:
    """The earlier images that one image is compared with; S of them, at least one.

    Attributes:
        features: (S, h, w, 16) float32 matching features.
        transforms: (S, 3, 4) and bounds: (S, 4), float32: see `depth.sweep`.
        every: sweep every n-th plane and interpolate the scores between; other than 1 for comparison only.
        fine: (S, 2h, 2w, 16) float32 features of the second sweep; None: one sweep only.
    """

    features: np.ndarray
    transforms: np.ndarray
    bounds: np.ndarray
    every: int = 1
    fine: np.ndarray | None = None


class MotionStereo:
    """Follows the images of one camera and says what each is compared with.

    Args:
        number: most sources of an image.
        every: see `Sources`. Other values than the defaults are for comparison.
        finer: whether the model's second sweep is made; False is for comparison.

    Attributes:
        ring: the keyframes.
    """

    def __init__(self, number: int = MAX_SOURCES, every: int = 1, finer: bool = True) -> None:
        self.number, self.every, self.finer = number, every, finer
        self.ring = KeyframeRing()

    def follow(
        self,
        features: np.ndarray,
        image: np.ndarray,
        camera: LetterboxedCamera,
        T_wc: np.ndarray,
        stamp_ns: int,
        fine: np.ndarray | None = None,
    ) -> tuple[Sources | None, str | None]:
        """Sources for the next image.

        Args:
            features: (h, w, 16) float32 matching features of the image; h and w divide H and W by the same number.
            image: (H, W, 3) uint8 RGB, letterboxed.
            camera: of the letterboxed image.
            T_wc: (4, 4) camera to world, metres.
            stamp_ns: stamp of the image, nanoseconds.
            fine: (2h, 2w, 16) float32, of the second sweep, of every image or of none.

        Returns:
            The sources, None where no earlier image qualifies; and a sentence for the user, None if there is none.
        """
        fine = fine if self.finer else None
        K = camera.intrinsics_at(features.shape[:2])
        bounds = content_bounds(camera.mask, camera.mask.shape[1] // features.shape[1])
        view = View(features, K, T_wc.copy(), stamp_ns, bounds, camera.letterbox.source, digest(image), fine)
        chosen, said = self.ring.follow(view, self.number)
        if not chosen:
            return None, said
        sources = Sources(
            np.stack([source.features for source in chosen]),
            np.stack([sweep_transform(K, T_wc, source.K, source.T_wc) for source in chosen]),
            np.stack([source.bounds for source in chosen]),
            self.every,
            None if fine is None else np.stack([source.fine for source in chosen if source.fine is not None]),
        )
        return sources, said
