"""What a teacher says of an image, and how several teachers are merged by Boolean operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.frame import Frame

SURE = 0.6
"""Confidence from which an opinion counts; a round guess."""


@dataclass(frozen=True)
class Opinion:
    """Classes of the pixels of one image.

    Attributes:
        labels: (H, W) uint8, 1 to 11; 255 = none.
        confidence: (H, W) float32, 0 to 1; 0 where there is no label.
    """

    labels: np.ndarray
    confidence: np.ndarray

    @property
    def sure(self) -> np.ndarray:
        """(H, W) bool, pixels whose label counts."""
        return (self.labels != UNKNOWN) & (self.confidence >= SURE)


class Teacher(Protocol):
    """Tells the classes of images.

    Attributes:
        name: for reports.
    """

    name: str

    def look(self, frame: Frame) -> Opinion:
        """Returns the opinion of a frame's image, at the image's resolution."""
        ...


def opinion_of(scores: np.ndarray, labels: np.ndarray) -> Opinion:
    """Turn scores of a network's classes into an opinion in ours.

    Classes of one label add up. A pixel whose best class is none of ours has no label.

    Args:
        scores: (N, H, W) float, non-negative.
        labels: (N,) uint8 label of each class, 255 = none of ours.
    """
    total = np.maximum(scores.sum(0), 1e-12)
    order = sorted(set(labels.tolist()))
    ours = np.stack([scores[labels == label].sum(0) for label in order]) / total
    best = ours.argmax(0)
    found = np.array(order, np.uint8)[best]
    confidence = np.where(found == UNKNOWN, 0.0, ours.max(0)).astype(np.float32)
    return Opinion(found, confidence)


def merge(opinions: Sequence[Opinion]) -> Opinion:
    """Merge teachers of equal rank: a pixel keeps a label that one of them is sure of and no other contradicts.

    Written with sets: label c = (any is sure of c) AND NOT (any is sure of another label). The confidence is the
    highest of those that agree.

    Args:
        opinions: of one image, at least one.
    """
    labels = np.full(opinions[0].labels.shape, UNKNOWN, np.uint8)
    confidence = np.zeros(labels.shape, np.float32)
    disputed = np.zeros(labels.shape, np.bool_)
    for opinion in opinions:
        sure = opinion.sure
        disputed |= sure & (labels != UNKNOWN) & (labels != opinion.labels)
        labels = np.where(sure & (labels == UNKNOWN), opinion.labels, labels)
        confidence = np.where(sure, np.maximum(confidence, opinion.confidence), confidence)
    kept = (labels != UNKNOWN) & ~disputed
    return Opinion(np.where(kept, labels, UNKNOWN).astype(np.uint8), np.where(kept, confidence, 0).astype(np.float32))


def ranked(first: Opinion, second: Opinion) -> Opinion:
    """Returns the first opinion where it is sure of a label, else the second where that is.

    Args:
        first: of the teacher of higher rank.
        second: of the same image.
    """
    labels = np.where(first.sure, first.labels, np.where(second.sure, second.labels, UNKNOWN)).astype(np.uint8)
    confidence = np.where(first.sure, first.confidence, np.where(second.sure, second.confidence, 0))
    return Opinion(labels, confidence.astype(np.float32))
