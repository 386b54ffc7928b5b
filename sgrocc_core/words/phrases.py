"""Which classes of a map a phrase means: by names and synonyms, and by the sentence encoder where it is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sgrocc_core.classes import NAMES, label_of
from sgrocc_core.errors import QueryError
from sgrocc_core.words.encoder import INSTALL, SentenceEncoder

SYNONYMS: dict[str, tuple[str, ...]] = {
    "ceiling": ("ceiling", "roof"),
    "floor": ("floor", "ground", "carpet", "rug", "flooring"),
    "wall": ("wall", "partition", "pillar", "column"),
    "window": ("window", "pane", "daylight", "outside"),
    "chair": ("chair", "armchair", "stool", "seat", "bench", "recliner", "sit", "seating", "sitting"),
    "bed": ("bed", "mattress", "bunk", "cot", "sleep", "sleeping"),
    "sofa": ("sofa", "couch", "settee", "loveseat", "futon", "sit", "seating", "sitting", "lie down"),
    "table": ("table", "desk", "workbench", "worktop", "eat", "dine", "dinner", "write"),
    "tvs": ("tv", "tvs", "television", "monitor", "screen", "display", "telly", "watch"),
    "furniture": ("furniture", "cabinet", "cupboard", "wardrobe", "shelf", "bookshelf", "bookcase", "fridge", "dresser",
                  "refrigerator", "counter", "drawer", "closet", "sideboard", "door", "shelves", "locker", "storage"),
    "objects": ("object", "thing", "plant", "lamp", "box", "bag", "bottle", "cup", "picture", "book", "vase", "bin",
                "pillow", "cushion", "curtain", "clutter", "suitcase", "laptop", "light", "radiator", "toy"),
}  # fmt: skip
"""Words for each class; words of two classes mean both."""
EXAMPLES: dict[str, tuple[str, ...]] = {
    "ceiling": ("the ceiling of a room", "what is overhead"),
    "floor": ("the floor of a room", "where one can walk", "something to stand on", "the ground"),
    "wall": ("a wall of a room", "where a picture can be hung"),
    "window": ("a window", "a view to the outside", "where daylight and fresh air come in"),
    "chair": ("a chair", "a seat for one person", "a place to sit down", "something to sit on"),
    "bed": ("a bed", "a place to sleep", "where to lie down at night", "something to take a nap on"),
    "sofa": ("a sofa", "a soft seat for several people", "a place to sit down and relax", "something to lounge on"),
    "table": (
        "a table",
        "a desk",
        "a place to eat dinner",
        "where to put down a plate or a laptop",
        "a place to work and write",
    ),
    "tvs": ("a television", "a computer monitor", "a screen to watch films on", "where to see the news"),
    "furniture": (
        "a cupboard",
        "a wardrobe for clothes",
        "a fridge for cold food and drinks",
        "a shelf for books",
        "a place to store things",
        "a kitchen counter",
        "a door to leave the room",
        "where to hang my coat and clothes",
        "where the milk is kept",
    ),
    "objects": (
        "a small object",
        "a potted plant",
        "a lamp that gives light",
        "a bag or suitcase",
        "a cup or a bottle to drink from",
        "a picture",
        "something green that grows",
        "something to read",
        "a waste bin for rubbish",
        "a vase of flowers",
        "a pillow",
    ),
}
"""Phrases for each class, to which the encoder compares."""
NEAR, TOGETHER = 0.34, 0.06
"""Least similarity of a phrase to a class's phrases, and how far below the best one another class is still meant."""
LONGEST = 300
"""Characters of a phrase at most."""
_FILLING = frozenset({
    "a", "an", "the", "some", "any", "where", "is", "are", "was", "my", "our", "to", "for", "of", "in", "on",
    "at", "with", "and", "or", "i", "we", "can", "could", "find", "me", "show", "please", "what", "that",
    "there", "something", "somewhere", "anything", "place", "places", "all", "every", "nearest", "closest",
    "next", "room", "here", "big", "small", "large", "put", "go", "it", "which", "has", "have", "do", "does",
    "down", "you", "us", "up", "need", "want", "let", "like",
})  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """What a phrase means in a map.

    Attributes:
        phrase: the phrase.
        labels: labels of the classes, the most likely first.
        how: `name`, `synonym` or `encoder`.
    """

    phrase: str
    labels: tuple[int, ...]
    how: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(NAMES[label] for label in self.labels)


def _by_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, words in SYNONYMS.items():
        for word in words:
            found[word] = (*found.get(word, ()), name)
    return found


_WORDS = _by_word()


def _singular(word: str) -> str:
    for end, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(end) and word.removesuffix(end) + instead in _WORDS:
            return word.removesuffix(end) + instead
    return word


def meaning_of(phrase: str, encoder: SentenceEncoder | None) -> Meaning:
    """The classes that a phrase means.

    Args:
        phrase: English, such as `sofa`, `couches` or `somewhere to sit`.
        encoder: for phrases beyond names and synonyms; None = without.

    Raises:
        QueryError: empty, too long, or of no known meaning.
    """
    text = phrase.strip().lower()
    if not text:
        raise QueryError(f"the phrase is empty; name a class ({', '.join(NAMES[1:])}) or what it is for")
    if len(text) > LONGEST:
        raise QueryError(f"the phrase has {len(text)} characters; it may have at most {LONGEST}")
    if text in NAMES[1:]:
        return Meaning(phrase, (label_of(text),), "name")
    words = [_singular(word) for word in re.findall(r"[^\W\d_]+", text)]
    content = [word for word in words if word not in _FILLING]
    known = [word for word in content if word in _WORDS]
    if known and (encoder is None or len(known) == len(content)):
        names = dict.fromkeys(name for word in known for name in _WORDS[word])
        return Meaning(phrase, tuple(label_of(name) for name in names), "synonym")
    if encoder is None:
        raise QueryError(
            f"the phrase {phrase!r} is no class and no synonym of one; the classes are {', '.join(NAMES[1:])}; for "
            f"other phrases the sentence encoder is needed: {INSTALL}"
        )
    return _nearest(phrase, encoder)


def _nearest(phrase: str, encoder: SentenceEncoder) -> Meaning:
    """The classes whose phrases are nearest in meaning."""
    texts = [(name, text) for name, own in EXAMPLES.items() for text in own]
    texts += [(name, word) for name, own in SYNONYMS.items() for word in own]
    similar = encoder.encode([text for _, text in texts]) @ encoder.encode([phrase])[0]
    best: dict[str, float] = {}
    for (name, _), value in zip(texts, similar):
        best[name] = max(best.get(name, -1.0), float(value))
    order = sorted(best, key=lambda name: -best[name])
    if best[order[0]] < NEAR:
        raise QueryError(f"the phrase {phrase!r} is near to none of the classes {', '.join(NAMES[1:])}")
    meant = [name for name in order if best[name] > best[order[0]] - TOGETHER]
    return Meaning(phrase, tuple(label_of(name) for name in meant[:2]), "encoder")
