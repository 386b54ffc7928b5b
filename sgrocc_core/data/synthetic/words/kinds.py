"""The kinds of things that a sentence may ask for: what they are called, how they are made and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgrocc_core.data.synthetic.furniture import beds, clutter, seating, storage, tables
from sgrocc_core.data.synthetic.furniture.items import Item
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.pieces import LABEL_OF, OBJECTS

Maker = Callable[[Materials], Item]


@dataclass(frozen=True)
class Kind:
    """A kind of things.

    Attributes:
        name: what it is called first.
        words: everything that it is called, in the singular.
        pieces: names of the pieces that are of this kind.
        makers: draw an item for the floor; empty for what stands on furniture, hangs, or belongs to the building.
        where: `wall`, `free`, `surface` (on furniture), `hung` (on a wall), `flat` (on the floor) or `built`.
        large: width from which one is large, metres.
        small: width up to which one is small, metres.
    """

    name: str
    words: tuple[str, ...]
    pieces: tuple[str, ...]
    makers: tuple[Maker, ...] = ()
    where: str = "wall"
    large: float = 0.0
    small: float = 99.0

    @property
    def label(self) -> int:
        """Its class."""
        return LABEL_OF.get(self.pieces[0], OBJECTS)


_CABINETS = ("wardrobe", "chest of drawers", "sideboard", "locker", "bedside cabinet", "cupboard")
_CHAIRS = (seating.dining_chair, seating.cantilever_chair)
_SURFACE_THINGS = {
    "books": ("book", "books", "stack of books", "magazine"),
    "cup": ("cup", "mug", "glass of water", "coffee cup"),
    "bottle": ("bottle", "wine bottle"),
    "bowl": ("bowl", "fruit bowl", "dish", "plate"),
    "vase": ("vase", "flower vase", "flowers"),
    "laptop": ("laptop", "notebook computer"),
    "papers": ("papers", "sheet of paper", "documents"),
    "machine": ("machine", "coffee machine", "microwave", "printer", "toaster"),
    "lamp": ("lamp", "desk lamp", "table lamp", "bedside lamp", "reading lamp"),
    "cushion": ("cushion", "pillow"),
}
_HUNG = {
    "picture": ("picture", "painting", "photograph", "artwork"),
    "poster": ("poster",),
    "whiteboard": ("whiteboard", "blackboard", "board"),
    "clock": ("clock", "wall clock"),
}
_ON_FLOOR = {
    "box": ("box", "cardboard box", "crate"),
    "bag": ("bag", "backpack", "handbag"),
    "bin": ("bin", "trash can", "waste basket", "dustbin", "waste bin"),
    "suitcase": ("suitcase", "trolley case", "luggage"),
    "basket": ("basket", "laundry basket"),
    "computer": ("computer", "desktop computer", "pc"),
    "easel": ("easel",),
}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "bed",
            ("bed", "cot", "hospital bed", "mattress"),
            ("single bed", "double bed"),
            (beds.bed,),
            "wall",
            1.5,
            1.3,
        ),
        Kind("single bed", ("single bed", "twin bed"), ("single bed",), (beds.bed,)),
        Kind("double bed", ("double bed", "queen bed", "king bed", "king size bed"), ("double bed",), (beds.bed,)),
        Kind("bunk bed", ("bunk bed", "bunk"), ("bunk bed",), (beds.bunk_bed,)),
        Kind(
            "sofa", ("sofa", "couch", "settee", "loveseat"), ("sofa", "corner sofa"), (seating.sofa,), "wall", 2.1, 1.75
        ),
        Kind("corner sofa", ("corner sofa", "sectional", "sectional sofa"), ("corner sofa",), (seating.sofa,)),
        Kind("chair", ("chair", "dining chair", "seat"), ("chair", "office chair"), _CHAIRS, "free", 0.5, 0.46),
        Kind(
            "office chair",
            ("office chair", "swivel chair", "desk chair"),
            ("office chair",),
            (seating.office_chair,),
            "free",
        ),
        Kind("armchair", ("armchair", "easy chair", "recliner"), ("armchair",), (seating.armchair,), "free", 0.8, 0.77),
        Kind("stool", ("stool", "bar stool"), ("stool",), (seating.stool,), "free"),
        Kind("pouf", ("pouf", "ottoman", "footstool"), ("pouf",), (seating.stool,), "free"),
        Kind("bench", ("bench",), ("bench",), (seating.bench,), "wall", 1.35, 1.2),
        Kind(
            "table",
            ("table", "dining table", "kitchen table", "meeting table", "conference table"),
            ("table", "round table", "long table"),
            (tables.dining_table,),
            "free",
            1.6,
            1.2,
        ),
        Kind("round table", ("round table",), ("round table",), (tables.dining_table,), "free", 1.15, 1.0),
        Kind("long table", ("long table",), ("long table",), (tables.dining_table,), "free"),
        Kind(
            "coffee table", ("coffee table", "low table"), ("coffee table",), (tables.coffee_table,), "free", 1.0, 0.8
        ),
        Kind("side table", ("side table", "end table", "bedside table"), ("side table",), (tables.side_table,), "wall"),
        Kind(
            "desk", ("desk", "writing desk", "office desk", "workstation"), ("desk",), (tables.desk,), "wall", 1.5, 1.3
        ),
        Kind("tv", ("tv", "television", "telly", "flat screen", "screen"), ("tv",), (), "hung", 1.1, 0.9),
        Kind("monitor", ("monitor", "computer screen", "computer monitor", "display"), ("monitor",), (), "surface"),
        Kind("cabinet", ("cabinet", "cupboard", "storage unit"), _CABINETS, (storage.cabinet,), "wall", 1.2, 0.8),
        Kind("wardrobe", ("wardrobe", "closet"), ("wardrobe",), (storage.cabinet,), "wall", 1.5, 1.2),
        Kind("chest of drawers", ("chest of drawers", "dresser", "drawers"), ("chest of drawers",), (storage.cabinet,)),
        Kind("sideboard", ("sideboard", "credenza", "buffet"), ("sideboard",), (storage.cabinet,), "wall", 1.7, 1.4),
        Kind("locker", ("locker",), ("locker",), (storage.cabinet,)),
        Kind(
            "bedside cabinet",
            ("bedside cabinet", "nightstand", "night stand"),
            ("bedside cabinet",),
            (storage.cabinet,),
        ),
        Kind(
            "shelf", ("shelf", "bookshelf", "bookcase", "shelving unit"), ("shelf",), (storage.shelf,), "wall", 1.3, 0.9
        ),
        Kind("fridge", ("fridge", "refrigerator", "freezer"), ("fridge",), (storage.fridge,)),
        Kind(
            "kitchen unit",
            ("kitchen unit", "kitchen counter", "counter", "kitchenette", "sink", "stove", "oven"),
            ("kitchen unit",),
            (storage.counter,),
            "wall",
            2.4,
            1.8,
        ),
        Kind("tv bench", ("tv bench", "tv stand", "tv cabinet", "media console"), ("tv bench",), (storage.tv_bench,)),
        Kind(
            "plant",
            ("plant", "potted plant", "house plant", "tree"),
            ("plant", "potted plant"),
            (clutter.plant,),
            "free",
        ),
        Kind("floor lamp", ("floor lamp", "standing lamp"), ("floor lamp",), (clutter.floor_lamp,), "free"),
        Kind("coat stand", ("coat stand", "coat rack", "hat stand"), ("coat stand",), (clutter.coat_stand,), "wall"),
        Kind("rug", ("rug", "carpet", "mat"), ("rug",), (), "flat", 1.8, 1.2),
        Kind("window", ("window",), ("window",), (), "built"),
        Kind("door", ("door", "doorway"), ("door",), (), "built"),
        Kind("curtain", ("curtain", "drape"), ("curtain",), (), "built"),
        Kind("radiator", ("radiator", "heater"), ("radiator",), (), "built"),
        *(Kind(name, words, (name,), (clutter.floor_thing,), "free") for name, words in _ON_FLOOR.items()),
        *(Kind(name, words, (name,), (), "surface") for name, words in _SURFACE_THINGS.items()),
        *(Kind(name, words, (name,), (), "hung") for name, words in _HUNG.items()),
    )
}
"""The kinds by name."""
_TRIES = 400


def draw_item(kind: Kind, size: str, m: Materials) -> Item:
    """Draw an item of a kind and size.

    Args:
        kind: a kind that has makers.
        size: `small`, `large` or empty.
        m: materials of the scene.

    Raises:
        ValueError: the makers made none; the table of kinds is wrong.
    """
    found: list[Item] = []
    for _ in range(_TRIES):
        item = kind.makers[int(m.rng.integers(len(kind.makers)))](m)
        if item.name not in kind.pieces:
            continue
        if fits_size(kind, size, item.width):
            return item
        found.append(item)
        if len(found) > 40 and kind.large == 0.0:
            break
    if not found:
        raise ValueError(f"no maker of {kind.name!r} makes one")
    return (max if size == "large" else min)(found, key=lambda item: item.width * item.height)


def fits_size(kind: Kind, size: str, width: float) -> bool:
    """Whether a width, metres, is of a size; every width is, for kinds whose sizes are not told apart."""
    if size == "" or kind.large == 0.0:
        return size == ""
    return bool(width >= kind.large if size == "large" else width <= kind.small)


def small_thing(name: str) -> Callable[..., None]:
    """The maker of a small object that stands on furniture, by the name of its piece."""
    return next(maker for maker, called in clutter.NAMES.items() if called == name)


def share_of(kind: Kind, counts: np.ndarray) -> int:
    """Number of voxels of the kind's class among counts (12,)."""
    return int(counts[kind.label])
