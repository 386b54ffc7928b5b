"""The interface between the mapper and a network: the protocol of an engine, its inputs and its outputs.

Shapes at this interface are fixed, so that every runtime builds its graph once. Nothing here imports a network runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from sgrocc_core.depth.cascade import cascade_sweep, finer, hypotheses
from sgrocc_core.depth.hits import count_hits
from sgrocc_core.depth.stereo import Sources
from sgrocc_core.depth.sweep import between_planes, inverse_plane_depths, plane_sweep
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.errors import ModelError
from sgrocc_core.gaussians.gaussians import History, LocalGaussians
from sgrocc_core.geometry.camera import pinhole
from sgrocc_core.geometry.lattice import BOX_VOXELS, NUM_ANCHORS

IMAGE_INPUTS = ("image", "mask", "intrinsics", "gravity")
IMAGE_OUTPUTS = ("features", "depth", "spread", "thickness")
MATCHING_OUTPUTS = ("matching", "context")
"""What image.onnx gives beside IMAGE_OUTPUTS in a model with stereo."""
STEREO_INPUTS = ("score", "count", "context", "depth", "spread")
STEREO_OUTPUTS = ("stereo_depth", "stereo_spread")
FINE_OUTPUTS = ("matching_fine",)
"""What image.onnx gives beside those in a model whose stereo makes a second sweep."""
CASCADE_OUTPUTS = ("cascade_depth", "cascade_spread")
EXPERT_INPUTS = ("features", "depth", "spread", "hits", "thickness", "intrinsics", "pose", "history", "past")
EXPERT_OUTPUTS = ("means", "scales", "rotations", "opacities", "logits", "anchor_features")
"""Outputs of expert.onnx. A graph may not reuse an input's name, so the anchors' features are `anchor_features`."""


@dataclass(frozen=True)
class ImageOutputs:
    """Output of the image engine for one image; numpy float32. The shapes are those of the model's `grid`.

    `depth`, `spread` and `thickness` have no meaning in the letterbox's padding.

    Attributes:
        features: (1, C, *feature_shape); for the small model (1, 32, 30, 40).
        depth: head_shape, metres along the optical axis; for the small model (60, 80).
        spread: head_shape, metres, Laplace scale of the depth.
        thickness: head_shape, metres, extent of the object behind its visible surface.
        matching: (*head_shape, 16), features of unit length for comparing images; None without stereo.
        context: (1, F, *head_shape), features for `Engine.stereo`; None without stereo.
        matching_fine: (2h, 2w, 16) for a head_shape of (h, w), features of the second sweep; None without it.
    """

    features: np.ndarray
    depth: np.ndarray
    spread: np.ndarray
    thickness: np.ndarray
    matching: np.ndarray | None = None
    context: np.ndarray | None = None
    matching_fine: np.ndarray | None = None


class Engine(Protocol):
    """A model that is ready to run; not thread-safe.

    Attributes:
        spec: description of the model.
        description: runtime, version, device and precision as readable text.
    """

    spec: ModelSpec
    description: str

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """Compute the features and the predicted depth of one letterboxed image.

        Args:
            image_u8: (H, W, 3) uint8 RGB of the model's image size.
            mask: (H, W) float32, 0 in the padding.
            K: (3, 3) intrinsics of the letterboxed image, pixels.
            R_gc: (3, 3) rotation from the camera to the gravity-aligned frame.
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
        wanted: np.ndarray | None = None,
    ) -> LocalGaussians:
        """Predict the Gaussians of the local box.

        Args:
            features: output of `image`.
            depth: (H, W) float32, metres; 0 where there is none and in the padding.
            spread: (H, W) float32, metres, uncertainty of that depth.
            thickness: output of `image`, metres.
            K: (3, 3) intrinsics, pixels.
            T_bc: (4, 4) transform from the camera to the box frame, metres.
            history: contents of the memory within the box; None if there are none.
            wanted: (16200,) bool, cells whose Gaussians are used; what is returned of the others may be anything
                finite. None for all cells.
        """
        ...

    def stereo(self, seen: ImageOutputs, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
        """Depth and its spread from the image and from earlier ones; both (*head_shape) float32 metres.

        A model with a second sweep makes it where the sources have fine features.

        Args:
            seen: of `image`, of a model with stereo.
            sources: what the image is compared with.

        Raises:
            ModelError: the model has no stereo.
        """
        ...


Shape = tuple["int | None", ...]


def graph_shapes(spec: ModelSpec, name: str) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the shapes that a graph of a model must have, by name of its inputs and outputs; None is any size.

    Of stereo.onnx nothing is required here.

    Args:
        spec: description of the model.
        name: `image.onnx` or `expert.onnx`.
    """
    image, head = spec.grid.image_shape, spec.grid.head_shape
    features: Shape = (1, None, *spec.grid.feature_shape)
    n, g, c = NUM_ANCHORS, spec.gaussians_per_cell, spec.feature_channels
    if name == "image.onnx":
        inputs = ((1, 3, *image), (1, 1, *image), (1, 4), (1, 3, 3))
        outputs = (features, *[(1, 1, *head)] * 3)
        return dict(zip(IMAGE_INPUTS, inputs)), dict(zip(IMAGE_OUTPUTS, outputs))
    if name != "expert.onnx":
        return {}, {}
    box = (1, *BOX_VOXELS)
    given = (features, (1, 1, *image), (1, 1, *image), box, (1, 1, *head), (1, 4), (1, 4, 4), (1, n, c), (1, n, 3))
    made = ((1, n, g, 3), (1, n, g, 3), (1, n, g, 4), (1, n, g), (1, n, g, len(spec.classes) - 1), (1, n, c))
    return dict(zip(EXPERT_INPUTS, given)), dict(zip(EXPERT_OUTPUTS, made))


def check_shapes(spec: ModelSpec, name: str, found: Mapping[str, Sequence[Any]], inputs: bool) -> None:
    """Check the inputs or outputs of a graph against the description of its model.

    Args:
        spec: description of the model.
        name: `image.onnx` or `expert.onnx`.
        found: shapes in the graph, by name.
        inputs: whether they are its inputs.

    Raises:
        ModelError: names the first that differs.
    """
    what = "input" if inputs else "output"
    for key, shape in graph_shapes(spec, name)[0 if inputs else 1].items():
        if key not in found:
            raise ModelError(f"{spec.folder / name} has no {what} {key!r}; it has {', '.join(found) or 'none'}")
        given = tuple(found[key])
        if len(given) != len(shape) or any(b not in (None, a) for a, b in zip(given, shape)):
            raise ModelError(
                f"{spec.folder / name} has the {what} {key!r} of {list(given)}; by model.yaml it is {list(shape)}"
            )


def intrinsics_vector(K: np.ndarray) -> np.ndarray:
    """(1, 4) float32 fx, fy, cx, cy of a (3, 3) matrix."""
    return pinhole(K).astype(np.float32)[None]


def image_feed(image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> dict[str, np.ndarray]:
    """Convert the arguments of `Engine.image` to the named inputs of image.onnx."""
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
    """Convert the arguments of `Engine.expert` to the named inputs of expert.onnx.

    `channels` is the number of channels of an anchor's features; an absent history becomes zeros of that width.
    """
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
    """Outputs of image.onnx in the order of `image_names`."""
    features, depth, spread, thickness, *rest = values
    outputs = ImageOutputs(features, depth[0, 0], spread[0, 0], thickness[0, 0])
    if not rest:
        return outputs
    matching, context, *fine = rest
    last = [np.ascontiguousarray(np.moveaxis(part[0], 0, -1)) for part in (matching, *fine)]
    return replace(outputs, matching=last[0], context=context, matching_fine=last[1] if fine else None)


def image_names(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the outputs of a model's image network."""
    matching = MATCHING_OUTPUTS if spec.has_stereo else ()
    return (*IMAGE_OUTPUTS, *matching, *(FINE_OUTPUTS if spec.has_cascade else ()))


def matched(seen: ImageOutputs) -> tuple[np.ndarray, np.ndarray]:
    """Matching features and context of an image; ModelError where the model has no stereo."""
    if seen.matching is None or seen.context is None:
        raise ModelError("this model has no stereo network: there is no stereo.onnx in its folder")
    return seen.matching, seen.context


def stereo_feed(seen: ImageOutputs, sources: Sources, planes: int) -> dict[str, np.ndarray]:
    """The inputs of stereo.onnx, by name, from the arguments of `Engine.stereo`; the sweep is made here, on the CPU."""
    matching, context = matched(seen)
    inverse = inverse_plane_depths(planes)
    swept = inverse[:: sources.every]
    score, count = plane_sweep(matching, sources.features, sources.transforms, sources.bounds, swept)
    if sources.every > 1:
        score, count = (between_planes(part, planes, sources.every) for part in (score, count))
    return {
        "score": score[None],
        "count": count[None],
        "context": context,
        "depth": np.ascontiguousarray(seen.depth, np.float32)[None, None],
        "spread": np.ascontiguousarray(seen.spread, np.float32)[None, None],
    }


def cascade_feed(
    seen: ImageOutputs, sources: Sources, depth: np.ndarray, spread: np.ndarray, count: int
) -> dict[str, np.ndarray]:
    """The inputs of cascade.onnx, by name; the second sweep is made here, on the CPU.

    Args:
        seen: of `Engine.stereo`.
        sources: of `Engine.stereo`, with fine features.
        depth: (h, w) m, of the first sweep.
        spread: (h, w) m, of the first sweep.
        count: hypotheses of a pixel.
    """
    assert seen.matching_fine is not None and sources.fine is not None
    places, edges = finer(sources.transforms, sources.bounds)
    score, seen_by = cascade_sweep(seen.matching_fine, sources.fine, places, edges, hypotheses(depth, count))
    return {
        "score": score[None],
        "count": seen_by[None],
        "context": matched(seen)[1],
        "depth": np.ascontiguousarray(depth, np.float32)[None, None],
        "spread": np.ascontiguousarray(spread, np.float32)[None, None],
    }


def stereo_outputs(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of stereo.onnx in the order of STEREO_OUTPUTS, or of cascade.onnx in that of CASCADE_OUTPUTS."""
    depth, spread = values
    return depth[0, 0], spread[0, 0]


def expert_outputs(values: list[np.ndarray]) -> LocalGaussians:
    """Convert the outputs of expert.onnx, in the order of EXPERT_OUTPUTS."""
    return LocalGaussians(*(value[0] for value in values))
