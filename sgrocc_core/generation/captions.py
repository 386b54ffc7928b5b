"""Captions of views from their labels, and the classes that a prompt asks for.

A view's caption names what is seen in it: kinds with their numbers. It is used where a scene has no caption of its own.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from sgrocc_core.classes import NUM_CLASSES, label_of

NOUNS: dict[str, tuple[str, ...]] = {
    "window": ("window",),
    "chair": ("chair", "armchair", "stool", "bench", "seat"),
    "bed": ("bed", "bunk bed", "cot"),
    "sofa": ("sofa", "couch", "settee"),
    "table": ("table", "desk"),
    "tvs": ("tv", "television", "screen", "monitor", "display"),
    "furniture": ("cabinet", "shelf", "wardrobe", "bookcase", "cupboard", "drawer", "dresser", "counter", "fridge"),
    "objects": ("plant", "lamp", "picture", "pillow", "book", "box", "vase", "curtain", "cup"),
}
"""Nouns of each class but the shell of the room; the first is that of captions."""
IRREGULAR = {"shelf": "shelves", "couch": "couches", "bench": "benches", "box": "boxes"}
NUMBERS = ("", "a", "two", "three", "four", "five", "several")
KINDS = {"bed": "bedroom", "sofa": "living room", "table": "dining room", "tvs": "lounge", "chair": "meeting room"}
"""Kind of room by the first class that is seen in it."""
LEAST_PIXELS = 0.004
"""Share of the image from which a connected region of a class is named."""
LEAST_VOXELS = 3
"""Voxels from which a class is in a grid, as in the generator."""


def plural(noun: str) -> str:
    """Returns the plural of a noun of `NOUNS`."""
    return IRREGULAR.get(noun, f"{noun}s")


def seen_things(labels: np.ndarray) -> dict[str, int]:
    """Count the connected regions of each class that are large enough to be named.

    Args:
        labels: (H, W) uint8.

    Returns:
        number of regions by class name, in the order of NOUNS.
    """
    found = {}
    for name in NOUNS:
        count, _, stats, _ = cv2.connectedComponentsWithStats((labels == label_of(name)).astype(np.uint8))
        large = int((stats[1:count, cv2.CC_STAT_AREA] >= LEAST_PIXELS * labels.size).sum())
        if large:
            found[name] = large
    return found


def caption_of_view(labels: np.ndarray, rng: np.random.Generator) -> str:
    """Write a caption of one view.

    Args:
        labels: (H, W) uint8.
        rng: draws the order and the words.
    """
    things = seen_things(labels)
    kind = next((KINDS[name] for name in KINDS if name in things), "room") if rng.random() < 0.5 else "room"
    names = list(things)
    rng.shuffle(names)
    parts = []
    for name in names:
        noun = NOUNS[name][int(rng.integers(len(NOUNS[name])))] if rng.random() < 0.3 else NOUNS[name][0]
        count = min(things[name], len(NUMBERS) - 1)
        parts.append(f"{NUMBERS[count]} {noun if count == 1 else plural(noun)}")
    if not parts:
        return f"an empty {kind}"
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"a {kind} with {listed}"


def asked_classes(prompt: str) -> set[int]:
    """Returns the labels of the classes whose nouns are in a prompt."""
    text = prompt.lower()
    found = set()
    for name, nouns in NOUNS.items():
        words = {form for noun in nouns for form in (noun, plural(noun))} | {name}
        if any(re.search(rf"\b{re.escape(word)}\b", text) for word in words):
            found.add(label_of(name))
    return found


def classes_in(labels: np.ndarray) -> set[int]:
    """Returns the labels that fill at least LEAST_VOXELS voxels.

    Args:
        labels: any shape, uint8.
    """
    counts = np.bincount(labels.ravel(), minlength=256)
    return {label for label in range(1, NUM_CLASSES + 1) if counts[label] >= LEAST_VOXELS}
