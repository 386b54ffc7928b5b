"""Stereo from motion as the mapper uses it: keyframes in, and for each image the inputs of the plane sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.depth.keyframes import KeyframeRing, View, digest
from sgrocc_core.depth.sweep import content_bounds, sweep_transform
from sgrocc_core.geometry.camera import scale_intrinsics


@dataclass(frozen=True)
class Sources:
    """The earlier images that one image is compared with; S of them, at least one.

    Attributes:
        features: (S, h, w, 16) float32 matching features. transforms: (S, 3, 4) and bounds: (S, 4), float32: see
            `depth.sweep`.
    """

    features: np.ndarray
    transforms: np.ndarray
    bounds: np.ndarray


class MotionStereo:
    """Follows the images of one camera and says what each is compared with.

    Attributes:
        ring: the keyframes.
    """

    def __init__(self) -> None:
        self.ring = KeyframeRing()

    def follow(
        self,
        features: np.ndarray,
        image: np.ndarray,
        mask: np.ndarray,
        K: np.ndarray,
        T_wc: np.ndarray,
        stamp_ns: int,
        size: tuple[int, int],
    ) -> tuple[Sources | None, str | None]:
        """Sources for the next image.

        Args:
            features: (h, w, 16) float32, its matching features. image: (H, W, 3) uint8 RGB, letterboxed; h and w
                divide H and W alike. mask: (H, W), 0 in the padding. K: (3, 3) pixels of that image. T_wc: (4, 4)
                camera to world, metres.
            stamp_ns: of the image. size: (width, height) as the camera gave it, pixels.

        Returns:
            The sources, None where no earlier image qualifies; and a sentence to be told, None if there is none.
        """
        stride = mask.shape[1] // features.shape[1]
        own_K = scale_intrinsics(K, 1 / stride, 1 / stride)
        view = View(features, own_K, T_wc.copy(), stamp_ns, content_bounds(mask, stride), size, digest(image))
        chosen, said = self.ring.follow(view)
        if not chosen:
            return None, said
        sources = Sources(
            np.stack([source.features for source in chosen]),
            np.stack([sweep_transform(own_K, T_wc, source.K, source.T_wc) for source in chosen]),
            np.stack([source.bounds for source in chosen]),
        )
        return sources, said
