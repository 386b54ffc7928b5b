"""Our own model as a teacher: the class head of its image engine, and the map that it makes."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from torch import nn

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.engines.engine import Engine, image_feed
from sgrocc_core.errors import ModelError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import LetterboxedCamera
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.training.teachers.opinion import Opinion, opinion_of
from sgrocc_core.training.teachers.votes import VotedLabels, codes_of


class OwnClassHead:
    """The 2D class head of an image engine; see `Teacher`.

    Args:
        engine: image engine with a class head; it is put into eval mode.
        image_size: (width, height) of its input, pixels.

    Raises:
        ModelError: it has none.
    """

    name = "own"

    def __init__(self, engine: nn.Module, image_size: tuple[int, int]) -> None:
        if not getattr(engine, "semantic_head", False):
            raise ModelError("the model's image engine has no class head, so that it cannot teach classes")
        self._engine, self._size = engine.eval(), image_size

    @torch.no_grad()
    def look(self, frame: Frame) -> Opinion:
        """See `Teacher.look`."""
        height, width = frame.image.shape[:2]
        camera = LetterboxedCamera.of(frame.K, (width, height), self._size)
        feed = image_feed(
            camera.letterbox.image(frame.image), camera.mask, camera.K, gravity_aligned_rotation(frame.T_wc[:3, :3])
        )
        logits = self._engine(*(torch.from_numpy(value) for value in feed.values()))["semantics"][0]
        x0, y0, w, h = camera.letterbox.content
        whole = torch.nn.functional.interpolate(logits[None], size=camera.mask.shape, mode="bilinear")[0]
        scores = torch.softmax(whole[:, y0 : y0 + h, x0 : x0 + w], 0).numpy()
        labels = np.arange(len(scores), dtype=np.uint8)
        labels[0] = UNKNOWN
        opinion = opinion_of(scores, labels)
        size = (width, height)
        return Opinion(
            cv2.resize(opinion.labels, size, interpolation=cv2.INTER_NEAREST),
            cv2.resize(opinion.confidence, size, interpolation=cv2.INTER_NEAREST),
        )


def map_labels(engine: Engine, frames: Iterable[Frame]) -> VotedLabels:
    """Map frames with a model and their own depth, and return the labels of the map's voxels.

    Args:
        engine: the model.
        frames: with depth.
    """
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="topic"))
    for frame in frames:
        mapper.step(frame)
    voxels, labels, probability = mapper.map.occupied()
    codes = codes_of(voxels)
    order = np.argsort(codes)
    named = np.where(labels == UNKNOWN, 0, probability).astype(np.float32)
    return VotedLabels(codes[order], labels[order], named[order])
