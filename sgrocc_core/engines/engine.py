"""What the mapper needs of a network: the protocol of an engine, its inputs and its outputs.

Shapes at this border are fixed, so that every runtime builds once. Nothing here imports a network runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sgrocc_core.depth.hits import count_hits
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.gaussians.gaussians import History, LocalGaussians
from sgrocc_core.geometry.camera import pinhole
from sgrocc_core.geometry.lattice import NUM_ANCHORS

IMAGE_INPUTS = ("image", "mask", "intrinsics", "gravity")
IMAGE_OUTPUTS = ("features", "depth", "spread", "thickness")
EXPERT_INPUTS = ("features", "depth", "spread", "hits", "thickness", "intrinsics", "pose", "history", "past")
EXPERT_OUTPUTS = ("means", "scales", "rotations", "opacities", "logits", "anchor_features")
"""Names in expert.onnx; a graph may not name an output as an input, so the anchors' features are `anchor_features` there."""


@dataclass(frozen=True)
class ImageOutputs:
    """What the image engine says of one image; numpy float32. Sizes are those of the model's `grid`.

    Attributes:
        features: (1, C, *feature_shape); of the small model (1, 32, 30, 40).
        depth: head_shape, metres along the optical axis; of the small model (60, 80). spread: the same, metres, Laplace scale of depth.
        thickness: the same, metres, how far matter goes on behind the surface. All three mean nothing in the letterbox's padding.
    """

    features: np.ndarray
    depth: np.ndarray
    spread: np.ndarray
    thickness: np.ndarray


class Engine(Protocol):
    """A model that is ready to run; not thread-safe.

    Attributes:
        spec: of the model. description: runtime, version, device and precision, for people.
    """

    spec: ModelSpec
    description: str

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """Features and depth prior of one letterboxed image.

        Args:
            image_u8: (H, W, 3) uint8 RGB of the model's image size. mask: (H, W) float32, 0 in the padding.
            K: (3, 3) intrinsics of the letterboxed image, pixels. R_gc: (3, 3) camera to gravity-aligned frame.
        """
        ...

    def expert(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
        history: History | None = None,
    ) -> LocalGaussians:
        """Gaussians of the local box.

        Args:
            features: of `image`. depth: (H, W) float32 metres, 0 = none and in the padding.
            spread: (H, W) float32 metres, how far that depth may be off. thickness: of `image`, metres.
            K: (3, 3) pixels. T_bc: (4, 4) camera to box frame, metres. history: of the box in the memory; None: there is none.
        """
        ...


def intrinsics_vector(K: np.ndarray) -> np.ndarray:
    """(1, 4) float32 fx, fy, cx, cy of a (3, 3) matrix."""
    return pinhole(K).astype(np.float32)[None]


def image_feed(image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of image.onnx, by name, from the arguments of `Engine.image`."""
    image = np.ascontiguousarray(image_u8.transpose(2, 0, 1)[None]).astype(np.float32)
    image *= np.float32(1 / 255)
    gravity = np.ascontiguousarray(R_gc, np.float32)[None]
    inside = np.ascontiguousarray(mask, np.float32)[None, None]
    return {"image": image, "mask": inside, "intrinsics": intrinsics_vector(K), "gravity": gravity}


def expert_feed(
    features: np.ndarray,
    depth: np.ndarray,
    spread: np.ndarray,
    thickness: np.ndarray,
    K: np.ndarray,
    T_bc: np.ndarray,
    history: History | None,
    channels: int,
) -> dict[str, np.ndarray]:
    """The inputs of expert.onnx, by name, from the arguments of `Engine.expert`; channels: of the anchors' features."""
    if history is None:
        history = History(np.zeros((NUM_ANCHORS, channels), np.float32), np.zeros((NUM_ANCHORS, 3), np.float32))
    return {
        "features": np.ascontiguousarray(features, np.float32),
        "depth": np.ascontiguousarray(depth, np.float32)[None, None],
        "spread": np.ascontiguousarray(spread, np.float32)[None, None],
        "hits": count_hits(depth, K, T_bc)[None],
        "thickness": np.ascontiguousarray(thickness, np.float32)[None, None],
        "intrinsics": intrinsics_vector(K),
        "pose": np.ascontiguousarray(T_bc, np.float32)[None],
        "history": np.ascontiguousarray(history.features, np.float32)[None],
        "past": np.ascontiguousarray(history.past, np.float32)[None],
    }


def image_outputs(values: list[np.ndarray]) -> ImageOutputs:
    """Outputs of image.onnx in the order of IMAGE_OUTPUTS."""
    features, depth, spread, thickness = values
    return ImageOutputs(features, depth[0, 0], spread[0, 0], thickness[0, 0])


def expert_outputs(values: list[np.ndarray]) -> LocalGaussians:
    """Outputs of expert.onnx in the order of EXPERT_OUTPUTS."""
    return LocalGaussians(*(value[0] for value in values))
