"""The words that sentences about rooms are made of."""

from __future__ import annotations

from sgrocc_core.data.synthetic.words.captions import plural
from sgrocc_core.data.synthetic.words.colours import HUES
from sgrocc_core.data.synthetic.words.kinds import KINDS

ROOMS: dict[str, str] = {
    "living room": "living", "sitting room": "living", "family room": "living", "office": "office", "study": "office",
    "workplace": "office", "bedroom": "bedroom", "hotel room": "bedroom", "hospital ward": "bedroom", "ward": "bedroom",
    "dormitory": "bedroom", "nursery": "bedroom", "kitchen": "kitchen", "canteen": "kitchen", "meeting room": "meeting",
    "conference room": "meeting", "classroom": "meeting", "lounge": "lounge", "waiting room": "lounge",
    "lobby": "lounge", "cafe": "lounge", "dining room": "kitchen", "studio": "studio", "studio apartment": "studio",
    "apartment": "studio", "flat": "studio",
}  # fmt: skip
"""Programmes of the generator by what rooms are called."""
NUMBERS: dict[str, int] = {
    word: number
    for number, words in enumerate(
        ("no zero", "a an one single", "two both pair couple", "three", "four", "five", "six", "seven", "eight", "nine",
         "ten", "eleven", "twelve dozen")
    )
    for word in words.split()
    if word not in ("no", "single")
}  # fmt: skip
SOME: dict[str, int] = {
    "some": 2,
    "several": 3,
    "a few": 3,
    "few": 3,
    "many": 4,
    "multiple": 3,
    "lots of": 4,
    "a lot of": 4,
}
"""Numbers that are at least so many."""
SIZES: dict[str, str] = {
    word: size
    for size, words in {
        "small": "small tiny little compact narrow cosy cozy low short mini",
        "large": "large big huge wide long tall spacious giant enormous high",
    }.items()
    for word in words.split()
}
LOOKS: dict[str, str] = {
    **{name: name for name in HUES},
    "gray": "grey", "wooden": "wooden", "wood": "wooden", "oak": "wooden", "pine": "wooden", "walnut": "wooden",
    "metal": "metal", "steel": "metal", "metallic": "metal", "cream": "beige", "violet": "purple", "navy": "blue",
    "crimson": "red", "turquoise": "blue", "tan": "beige", "dark": "black", "golden": "yellow",
}  # fmt: skip
RELATION_WORDS: dict[str, str] = {
    "on the wall": "on wall", "on the walls": "on wall", "on a wall": "on wall", "mounted on the wall": "on wall",
    "hanging on the wall": "on wall", "wall mounted": "on wall", "against the wall": "wall", "against a wall": "wall",
    "along the wall": "wall", "along the walls": "wall", "at the wall": "wall", "by the wall": "wall",
    "against one wall": "wall", "along one wall": "wall", "against the walls": "wall",
    "in the corner": "corner", "in a corner": "corner", "in one corner": "corner",
    "in the middle": "middle", "in the middle of the room": "middle", "in the centre": "middle",
    "in the center": "middle", "in the centre of the room": "middle", "in the center of the room": "middle",
    "in its middle": "middle",
    "on top of": "on", "on": "on", "upon": "on", "beside": "beside", "next to": "beside", "near": "beside",
    "by": "beside", "close to": "beside", "to the side of": "beside", "facing": "facing", "that faces": "facing",
    "opposite": "facing", "opposite to": "facing", "across from": "facing", "looking at": "facing",
    "in front of": "in front of", "before": "in front of", "around": "at", "at": "at", "under": "under",
    "below": "under", "underneath": "under", "beneath": "under", "above": "above", "over": "above", "behind": "behind",
}  # fmt: skip
"""How a thing stands to another, by the words for it."""
WITHOUT = ("without", "no", "but no", "but not", "except", "not", "lacking")
ONLY = ("only", "nothing else", "just", "nothing but", "empty", "bare", "unfurnished")
PRONOUNS = ("it", "them", "that", "which")
BUILT = ("wall", "walls", "floor", "flooring", "ceiling")
FILLING = frozenset(
    [
        "the",
        "is",
        "are",
        "there",
        "of",
        "room",
        "has",
        "have",
        "having",
        "contains",
        "containing",
        "stands",
        "standing",
        "stand",
        "hangs",
        "hanging",
        "hung",
        "lies",
        "lying",
        "placed",
        "located",
        "positioned",
        "sits",
        "sitting",
        "set",
        "put",
        "its",
        "their",
        "this",
        "these",
        "i",
        "want",
        "would",
        "like",
        "please",
        "make",
        "me",
        "create",
        "generate",
        "need",
        "give",
        "show",
        "in",
        "to",
        "for",
        "from",
        "each",
        "all",
        "every",
        "together",
        "also",
        "plus",
        "furnished",
        "equipped",
        "where",
        "who",
        "you",
        "can",
        "be",
        "see",
        "one's",
        "size",
        "sized",
        "shaped",
        "colored",
        "coloured",
        "along",
        "as",
        "well",
        "both",
        "sides",
        "side",
        "room's",
        "interior",
        "inside",
        "home",
        "house",
        "floor-standing",
        "very",
        "quite",
        "rather",
        "antique",
        "vintage",
        "rustic",
        "modern",
        "style",
        "nice",
        "simple",
        "typical",
        "old",
        "new",
        "beautiful",
        "comfortable",
    ]
)
"""Words that ask for nothing."""


def kind_words() -> dict[str, tuple[str, bool]]:
    """The kind, and whether it is a plural, of every word or phrase for a kind."""
    found: dict[str, tuple[str, bool]] = {}
    for kind in KINDS.values():
        for word in kind.words:
            for many in {plural(word), f"{word}es" if word.endswith(("h", "x", "s")) else f"{word}s"} - {word}:
                found[many] = (kind.name, True)
    for kind in KINDS.values():
        found.update(dict.fromkeys(kind.words, (kind.name, False)))
    found.update({"shelves": ("shelf", True), "bookshelves": ("shelf", True), "tvs": ("tv", True)})
    return found


KIND_WORDS = kind_words()
"""The kind, and whether it is a plural, of every word or phrase for a kind."""
