"""Captions of generated rooms, written from what was placed in them.

`caption_of(scene)` is about the whole room; `caption_of(scene, seen_pieces(scene, solids))` about what a view shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from sgrocc_core.classes import NAMES
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.data.synthetic.solids.pieces import LABEL_OF, OBJECTS, Piece
from sgrocc_core.data.synthetic.words.colours import look

ROOMS: dict[str, str] = {
    "living": "living room",
    "office": "office",
    "bedroom": "bedroom",
    "kitchen": "kitchen",
    "meeting": "meeting room",
    "lounge": "lounge",
    "studio": "studio apartment",
}
"""What the programmes are called."""
SMALL_ROOM, LARGE_ROOM = 13.0, 28.0
"""Rooms below and above these areas are called small and large, square metres."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_ORDER = ("bed", "sofa", "table", "chair", "tvs", "furniture", "window", "floor", "objects")
"""Things are told in this order of their classes."""
_LEFT_OUT = frozenset({"door", "ceiling lamp", "thing", "keyboard", "blind", "radiator", "device", "machine"})
MOST_GROUPS = 9
"""Kinds of things in a caption."""
_VARIED = 0.6
"""Share of the adjectives and details that a caption with a random generator keeps."""
_IRREGULAR = {"shelf": "shelves", "chest of drawers": "chests of drawers", "pile of cushions": "piles of cushions"}
_IRREGULAR |= {"row of pictures": "rows of pictures", "box": "boxes", "bench": "benches", "tv bench": "tv benches"}
_UNCOUNTED = frozenset({"books", "papers", "boxes"})


def plural(name: str) -> str:
    """The plural of a piece's name."""
    return name if name in _UNCOUNTED else _IRREGULAR.get(name, f"{name}s")


def counted(number: int, name: str, adjective: str = "") -> str:
    """A number of things in words, such as `a white chair` or `three chairs`."""
    words = f"{adjective} {name}".strip()
    if name in _UNCOUNTED:
        return words
    if number == 1:
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    amount = NUMBERS[number] if number < len(NUMBERS) else "many"
    return f"{amount} {adjective} {plural(name)}".replace("  ", " ")


def listed(parts: Sequence[str]) -> str:
    """Parts joined by commas and a last `and`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def seen_pieces(scene: Scene, solids: np.ndarray, least: int = 40) -> list[int]:
    """Pieces that a view shows.

    Args:
        scene: the room.
        solids: (H, W) visible solid of each pixel, -1 = none, as `Renderer.depth_and_solids` gives it.
        least: pixels that a piece must fill.
    """
    hit = solids[solids >= 0]
    owners = scene.solids.pieces[hit]
    number, pixels = np.unique(owners[owners >= 0], return_counts=True)
    return [int(i) for i in number[pixels >= least]]


def looks_of(scene: Scene) -> list[str]:
    """What each piece looks like: the look of the largest of its own solids of its class; empty if it has none."""
    s, looks = scene.solids, []
    volume = s.halves.prod(1)
    for number, piece in enumerate(scene.pieces):
        mine = np.flatnonzero((s.pieces == number) & (s.labels == piece.label))
        looks.append(look(scene.materials, int(s.materials[mine[volume[mine].argmax()]])) if len(mine) else "")
    return looks


def caption_of(scene: Scene, seen: Iterable[int] | None = None, rng: np.random.Generator | None = None) -> str:
    """A sentence about a room: its kind and size, and what stands in it, how many and of which colour or material.

    Args:
        scene: the room.
        seen: indices of the pieces to speak of, such as those in a view; None speaks of all.
        rng: leaves out adjectives, details and things at random, so that one room has many captions.

    Returns:
        Such as `A small bedroom with a white double bed, a wooden desk with a chair and a monitor, and two plants.`
    """
    pieces = scene.pieces
    chosen = set(range(len(pieces)) if seen is None else seen)
    looks = looks_of(scene)
    groups: Counter[tuple[str, str, str]] = Counter()
    for number in sorted(chosen):
        piece = pieces[number]
        if piece.name in _LEFT_OUT or piece.within in chosen:
            continue
        adjective = looks[number] if piece.label != OBJECTS and piece.name not in ("window", "tv", "monitor") else ""
        groups[piece.name, _kept(adjective, rng), _kept(_detail(number, pieces, chosen), rng)] += 1
    order = sorted(groups, key=lambda group: (_place_in_order(group[0]), -groups[group], group))
    most = MOST_GROUPS if rng is None else int(rng.integers(2, MOST_GROUPS + 1))
    parts = [counted(groups[g], g[0], g[1]) + g[2] + " each" * (groups[g] > 1 and g[2] != "") for g in order[:most]]
    return f"{_room(scene)} with {listed(parts)}." if parts else f"{_room(scene)}."


def _room(scene: Scene) -> str:
    area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in scene.layout.rects[:1])
    size = "small " if area < SMALL_ROOM else "large " if area > LARGE_ROOM else ""
    name = f"{size}{ROOMS.get(scene.programme, 'room')}"
    return f"{'An' if name[0] in 'aeiou' else 'A'} {name}"


def _place_in_order(name: str) -> tuple[int, bool]:
    """Classes in their order; plain names before those of variants, such as `table` before `side table`."""
    return _ORDER.index(NAMES[LABEL_OF.get(name, OBJECTS)]), " " in name


def _kept(words: str, rng: np.random.Generator | None) -> str:
    return words if rng is None or rng.random() < _VARIED else ""


def _detail(number: int, pieces: Sequence[Piece], chosen: set[int]) -> str:
    """What stands on a piece or belongs to it: its furniture and screens, and one kind of objects, and how many."""
    inner = Counter(
        p.name for k, p in enumerate(pieces) if p.within == number and k in chosen and p.name not in _LEFT_OUT
    )
    names = sorted(inner, key=lambda n: (_place_in_order(n), -inner[n], n))
    large = [name for name in names if name in LABEL_OF]
    parts = [counted(inner[name], name) for name in [*large, *[n for n in names if n not in LABEL_OF][:1]]]
    return f" with {listed(parts)}" if parts else ""
