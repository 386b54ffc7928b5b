"""Published segmentation networks as teachers: SegFormer, Mask2Former and OneFormer, through `transformers`.

Weights are read as safetensors from a folder or from the user's Hugging Face cache. They are never downloaded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.errors import DataError, ModelError
from sgrocc_core.frame import Frame
from sgrocc_core.network.hub import (
    DESCRIPTION,
    PREPARATION,
    describe,
    find_published,
    load_published,
    load_tokenizer,
    read_preparation,
)
from sgrocc_core.training.teachers.boxes import BoxTeacher, is_pair
from sgrocc_core.training.teachers.opinion import Opinion, Teacher, opinion_of
from sgrocc_core.training.teachers.preparation import Statistics
from sgrocc_core.training.teachers.table import Alignment, align_names

KNOWN = {
    "segformer": "nvidia/segformer-b2-finetuned-ade-512-512",
    "mask2former": "facebook/mask2former-swin-small-ade-semantic",
    "oneformer": "shi-labs/oneformer_ade20k_swin_tiny",
}
"""Repositories on the Hugging Face hub by short name; any other repository or folder of these architectures will do."""
ARCHITECTURES = {
    "segformer": "SegformerForSemanticSegmentation",
    "mask2former": "Mask2FormerForUniversalSegmentation",
    "oneformer": "OneFormerForUniversalSegmentation",
}
"""Classes of `transformers` by the `model_type` of config.json."""
SHORT_SIDE, MULTIPLE = 512, 32
"""Short side of the networks' input, pixels, as most were trained, and what their sides are multiples of."""
TASK = "the task is semantic"
"""OneFormer's prompt for semantic segmentation."""


def open_teacher(name: str, device: str | torch.device = "cpu") -> Teacher:
    """Open a published teacher: a segmentation network, or boxes and masks by name (DETECTOR+SEGMENTER).

    Raises:
        ModelError, DataError: see `PublishedTeacher` and `BoxTeacher`.
    """
    return BoxTeacher(name, device) if is_pair(name) else PublishedTeacher(name, device)


def find_teacher(name: str) -> Path:
    """Find the folder of a published network.

    Args:
        name: a folder, a key of KNOWN, or a repository on the Hugging Face hub that is in the user's cache.

    Raises:
        ModelError: it is not there; the message gives the command that downloads it.
    """
    return find_published(name, KNOWN, "teacher")


@dataclass(frozen=True)
class _Preparation:
    """How an image becomes a network's input."""

    short_side: int
    statistics: Statistics

    @classmethod
    def of(cls, folder: Path) -> _Preparation:
        """Read preprocessor_config.json, where there is one."""
        size = read_preparation(folder).get("size") or SHORT_SIDE
        try:
            if isinstance(size, dict):
                size = size.get("shortest_edge") or min(size.get("height", SHORT_SIDE), size.get("width", SHORT_SIDE))
            return cls(int(size), Statistics.of(folder))
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"{folder / PREPARATION} does not describe the preparation of an image: {error}"
            ) from error

    def input(self, image: np.ndarray) -> Tensor:
        """(1, 3, h, w) float32 of an image (H, W, 3) uint8 RGB."""
        height, width = image.shape[:2]
        scale = self.short_side / min(height, width)
        h, w = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (height, width))
        resized = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        return self.statistics.input(np.asarray(resized))


class PublishedTeacher:
    """A published segmentation network; see `Teacher`.

    Args:
        name: see `find_teacher`.
        device: of PyTorch.

    Attributes:
        name: of the network.
        alignment: of its classes with ours.

    Raises:
        ModelError: it is not there, cannot be read, or is of another architecture.
        DataError: none of its classes is one of ours.
    """

    def __init__(self, name: str, device: str | torch.device = "cpu") -> None:
        folder = find_teacher(name)
        self.name, self.device = name, torch.device(device)
        self.kind, description = describe(folder)
        if self.kind not in ARCHITECTURES:
            allowed = ", ".join(ARCHITECTURES)
            raise ModelError(f"{folder / DESCRIPTION} describes a {self.kind}; teachers are {allowed}")
        self.alignment: Alignment = align_names(_names_of(description, folder), name)
        self._preparation = _Preparation.of(folder)
        self._network = load_published(folder, ARCHITECTURES[self.kind], "teacher").to(self.device)
        self._task = _task_tokens(folder, self._network.config) if self.kind == "oneformer" else None

    @torch.no_grad()
    def look(self, frame: Frame) -> Opinion:
        """See `Teacher.look`."""
        image = frame.image
        scores = self.scores(self._preparation.input(image).to(self.device))
        whole = F.interpolate(scores, size=image.shape[:2], mode="bilinear", align_corners=False)
        return opinion_of(whole[0].float().cpu().numpy(), self.alignment.labels)

    def scores(self, pixels: Tensor) -> Tensor:
        """Scores (1, N, h, w) of the network's own classes, non-negative, for an input (1, 3, H, W).

        Networks of queries give each query's class times its mask, summed over the queries.
        """
        if self.kind == "segformer":
            return torch.softmax(self._network(pixel_values=pixels).logits, 1)
        more = {} if self._task is None else {"task_inputs": self._task.to(self.device)}
        found = self._network(pixel_values=pixels, **more)
        classes = torch.softmax(found.class_queries_logits, -1)[..., :-1]  # the last one is "no object"
        return torch.einsum("bqc,bqhw->bchw", classes, found.masks_queries_logits.sigmoid())


def _names_of(description: dict[str, Any], folder: Path) -> dict[int, str]:
    try:
        names = {int(number): str(name) for number, name in description["id2label"].items()}
        if sorted(names) != list(range(len(names))) or not names:
            raise ValueError("its numbers are not 0 to N - 1")
    except (KeyError, ValueError, AttributeError) as error:
        raise DataError(f"{folder / DESCRIPTION} names no classes (id2label): {error}") from error
    return names


def _task_tokens(folder: Path, config: Any) -> Tensor:
    """OneFormer's prompt as (1, L) tokens; its tokenizer lies beside the weights."""
    tokenizer = load_tokenizer(folder, "OneFormer")
    found: Tensor = tokenizer(
        [TASK], padding="max_length", max_length=config.task_seq_len, truncation=True, return_tensors="pt"
    )["input_ids"]
    return found
