"""A teacher for things that closed sets of classes lack: boxes found by their names, and SAM 2's masks of the boxes.

OWLv2 finds what a phrase says, SAM 2 cuts it out. Both are read through `transformers` like the other published
networks, from a folder or from the user's cache, and named together as DETECTOR+SEGMENTER, such as `owlv2+sam2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.classes import UNKNOWN, label_of
from sgrocc_core.errors import ModelError
from sgrocc_core.frame import Frame
from sgrocc_core.network.hub import DESCRIPTION, describe, find_published, load_published, load_tokenizer
from sgrocc_core.training.teachers.opinion import Opinion
from sgrocc_core.training.teachers.preparation import Statistics

DETECTORS = {"owlv2": "google/owlv2-base-patch16-ensemble"}
SEGMENTERS = {"sam2": "facebook/sam2.1-hiera-tiny"}
"""Repositories on the Hugging Face hub by short name; other ones or folders of the same architectures will do."""
KINDS = {
    "owlv2": ("owlv2", "Owlv2ForObjectDetection"),
    "sam2": ("sam2", "Sam2Model"),
    "sam2_video": ("sam2", "Sam2Model"),
}
"""Part and class of `transformers` by the `model_type` of config.json; the video network holds that of images."""
PHRASES: dict[str, str] = {
    "whiteboard": "objects", "curtain": "objects", "picture on the wall": "objects", "potted plant": "objects",
    "cushion": "objects", "backpack": "objects", "lamp": "objects", "office chair": "chair", "armchair": "chair",
    "bar stool": "chair", "sofa": "sofa", "bed": "bed", "desk": "table", "table": "table", "computer monitor": "tvs",
    "television": "tvs", "laptop": "tvs", "door": "furniture", "cabinet": "furniture", "bookshelf": "furniture",
    "refrigerator": "furniture", "kitchen counter": "furniture", "window": "window",
}  # fmt: skip
"""What is looked for, and its class. Doors, whiteboards and curtains are those that closed sets confuse with walls."""
PROMPT = "a photo of a {}"
FOUND = 0.25
"""Score of a box from which it counts (round guess; OWLv2 is mostly used with 0.1 to 0.3)."""
MOST_BOXES = 64
"""Boxes of an image that are cut out, those of the highest scores."""
SAME_BOX = 0.7
"""Overlap (IoU) from which two boxes of one class are one thing, the better of the two."""
PIXEL_MEAN, PIXEL_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's statistics, which OWLv2 uses."""


def is_pair(name: str) -> bool:
    """Whether a teacher's name is DETECTOR+SEGMENTER; a folder that is called so is not."""
    return "+" in name and not Path(name).expanduser().is_dir()


class BoxTeacher:
    """Boxes by name, cut out; see `Teacher`.

    Args:
        name: DETECTOR+SEGMENTER, each a folder, a short name, or a repository that is in the user's cache.
        device: of PyTorch.
        phrases: what is looked for, and the name of its class in ours.

    Attributes:
        name: as given.

    Raises:
        ModelError: a network is not there, cannot be read, or is of another architecture.
    """

    def __init__(self, name: str, device: str | torch.device = "cpu", phrases: Mapping[str, str] | None = None) -> None:
        self.name, self.device = name, torch.device(device)
        first, _, second = name.partition("+")
        places = find_published(first, DETECTORS, "detector"), find_published(second, SEGMENTERS, "segmenter")
        wanted = phrases or PHRASES
        self.labels = np.array([label_of(label) for label in wanted.values()], np.uint8)
        self._detector, self._segmenter = (
            _load(place, kind).to(self.device) for place, kind in zip(places, ("owlv2", "sam2"))
        )
        self._detector_statistics = Statistics.of(places[0], PIXEL_MEAN, PIXEL_DEVIATION)
        self._segmenter_statistics = Statistics.of(places[1])
        self._tokens = {key: value.to(self.device) for key, value in _tokens(places[0], self._detector, wanted).items()}

    @torch.no_grad()
    def look(self, frame: Frame) -> Opinion:
        """See `Teacher.look`."""
        boxes, scores, numbers = self.boxes(frame.image)
        labels = self.labels[numbers]
        kept = each_once(boxes, scores, labels)[:MOST_BOXES]
        masks = self.masks(frame.image, boxes[kept])
        return opinion_of_masks(masks, scores[kept], labels[kept])

    def boxes(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes of the phrases in an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (N, 4) float32 left, top, right, bottom, pixels of the image; (N,) scores, FOUND to 1; (N,) numbers of the
            phrases.
        """
        side = self._detector.config.vision_config.image_size
        height, width = image.shape[:2]
        # The image lies at the top left of a square; boxes are shares of that square.
        square = np.zeros((max(height, width),) * 2 + (3,), np.uint8)
        square[:height, :width] = image
        pixels = self._detector_statistics.input(_resized(square, (side, side))).to(self.device)
        outputs = self._detector(pixel_values=pixels, **self._tokens)
        logits, numbers = outputs.logits[0].max(-1)
        best = logits.sigmoid()
        found = best >= FOUND
        x, y, w, h = (outputs.pred_boxes[0][found] * max(height, width)).unbind(-1)
        corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1).float().cpu().numpy()
        corners = np.clip(corners, 0, [width, height, width, height]).astype(np.float32)
        return corners, best[found].float().cpu().numpy(), numbers[found].cpu().numpy()

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Probability that a pixel belongs to the thing in a box.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) float32, pixels.

        Returns:
            (N, H, W) float32.
        """
        height, width = image.shape[:2]
        if not len(boxes):
            return np.zeros((0, height, width), np.float32)
        side = self._segmenter.config.prompt_encoder_config.image_size
        pixels = self._segmenter_statistics.input(_resized(image, (side, side))).to(self.device)
        scaled = torch.from_numpy(boxes * (np.array([side / width, side / height] * 2, np.float32)))
        outputs = self._segmenter(pixel_values=pixels, input_boxes=scaled[None].to(self.device), multimask_output=False)
        whole = F.interpolate(
            outputs.pred_masks[0, :, :1].float(), size=(height, width), mode="bilinear", align_corners=False
        )
        return np.asarray(whole[:, 0].sigmoid().cpu().numpy(), np.float32)


def each_once(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Numbers of the boxes that stay where several of one class overlap by SAME_BOX, the best first.

    Args:
        boxes: (N, 4) left, top, right, bottom.
        scores: (N,).
        labels: (N,) of their classes.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    whole = np.flatnonzero((sides > 0).all(1))
    rectangles = np.concatenate([boxes[:, :2], sides], 1)[whole].tolist()
    kept = cv2.dnn.NMSBoxesBatched(rectangles, scores[whole].tolist(), labels[whole].tolist(), 0.0, SAME_BOX)
    return np.asarray(whole[np.asarray(kept, np.int64)], np.int64)


def opinion_of_masks(masks: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Opinion:
    """The opinion that masks of things give.

    A pixel gets the class of the thing with the highest score times mask there, if it lies inside that mask. Its
    confidence is the mask times this class's share of the best products of all classes: two classes that are as likely
    leave a half.

    Args:
        masks: (N, H, W) float32, 0 to 1.
        scores: (N,) of the things.
        labels: (N,) uint8.
    """
    shape = masks.shape[1:]
    if not len(masks):
        return Opinion(np.full(shape, UNKNOWN, np.uint8), np.zeros(shape, np.float32))
    order = sorted(set(labels.tolist()))
    weighed = np.stack([(masks * scores[:, None, None])[labels == label].max(0) for label in order])
    inside = np.stack([masks[labels == label].max(0) for label in order])
    best = weighed.argmax(0)[None]
    sure = np.take_along_axis(inside, best, 0)[0]
    share = np.take_along_axis(weighed, best, 0)[0] / np.maximum(weighed.sum(0), 1e-12)
    found = np.where(sure > 0.5, np.array(order, np.uint8)[best[0]], UNKNOWN).astype(np.uint8)
    return Opinion(found, np.where(found == UNKNOWN, 0, sure * share).astype(np.float32))


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    smaller = size[0] < image.shape[1]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR))


def _load(folder: Path, part: str) -> Any:
    kind, _ = describe(folder)
    if KINDS.get(kind, ("", ""))[0] != part:
        allowed = " or ".join(name for name, (belongs, _) in KINDS.items() if belongs == part)
        raise ModelError(f"{folder / DESCRIPTION} describes a {kind}; {allowed} is needed in this place")
    return load_published(folder, KINDS[kind][1], "teacher")


def _tokens(folder: Path, detector: Any, phrases: Mapping[str, str]) -> dict[str, Tensor]:
    """The phrases as `input_ids` and `attention_mask` (N, L); the tokenizer lies beside the detector's weights."""
    tokenizer = load_tokenizer(folder, "the detector")
    prompts = [PROMPT.format(phrase) for phrase in phrases]
    length = detector.config.text_config.max_position_embeddings
    tokens = tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return {key: tokens[key] for key in ("input_ids", "attention_mask")}
