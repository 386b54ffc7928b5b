"""Checks a room against what was asked for: from its solids and its voxels, not from how it was made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.classes import NAMES
from sgrocc_core.data.synthetic.rendering.voxelise import LabelGrid, class_counts
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.data.synthetic.solids.pieces import OBJECTS, Piece
from sgrocc_core.data.synthetic.words.captions import LARGE_ROOM, SMALL_ROOM, counted, looks_of, plural
from sgrocc_core.data.synthetic.words.kinds import KINDS, fits_size
from sgrocc_core.data.synthetic.words.wish import SELF, Asked, Wish

NEAR = 0.8
"""Greatest gap between things that are beside, at or in front of each other, metres."""
FACING = np.cos(0.65)
"""Least cosine between a front and the direction to what it faces."""
LEAST_VOXELS = 3
"""Voxels of its class that a piece must have; one for objects."""


@dataclass(frozen=True)
class Miss:
    """Something that was asked for and is not in the room.

    Attributes:
        number: index of the thing, -1 = the room itself.
        grave: whether a thing is missing altogether, or one is there that must not be.
        text: what is missing, in a sentence.
    """

    number: int
    grave: bool
    text: str


class Seen:
    """The pieces of a room as boxes and voxels.

    Args:
        scene: the room.
        grid: its voxels.
    """

    def __init__(self, scene: Scene, grid: LabelGrid) -> None:
        self.scene, self.grid, self.pieces = scene, grid, scene.pieces
        self.looks = looks_of(scene)

    def box(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner (3,) of a piece along the room's axes, metres; (inf, -inf) without solids."""
        s = self.scene.solids
        mine = np.flatnonzero(s.pieces == number)
        if not len(mine):
            return np.full(3, np.inf), np.full(3, -np.inf)
        R = self.scene.rotation
        centres = (s.centres[mine] - self.scene.offset) @ R
        reach = np.abs(np.einsum("ji,njk->nik", R, s.rotations[mine])) @ s.halves[mine][:, :, None]
        return (centres - reach[:, :, 0]).min(0), (centres + reach[:, :, 0]).max(0)

    def voxels(self, number: int) -> int:
        """Voxels of a piece's class in the room that its own solids of that class reach."""
        s, label = self.scene.solids, self.pieces[number].label
        mine = s.chosen((s.pieces == number) & (s.labels == label))
        if not len(mine.kinds):
            return 0
        reach = (np.abs(mine.rotations) @ mine.halves[:, :, None])[:, :, 0]
        low = np.floor(((mine.centres - reach).min(0) - self.grid.origin) / 0.08).astype(int) - 1
        high = np.ceil(((mine.centres + reach).max(0) - self.grid.origin) / 0.08).astype(int) + 1
        shape = tuple(int(n) for n in high - low)
        counts = class_counts(mine, self.grid.origin + low * 0.08, (shape[0], shape[1], shape[2]))
        return int(((counts[..., label] > 0) & (self.grid.crop(low, (shape[0], shape[1], shape[2])) == label)).sum())

    def front(self, number: int) -> np.ndarray:
        """(2,) direction in which a piece looks, in the room's frame."""
        yaw = self.pieces[number].yaw
        return np.array([np.sin(yaw), -np.cos(yaw)])

    def middle(self, number: int) -> np.ndarray:
        """(3,) the middle of a piece's box, metres."""
        low, high = self.box(number)
        return (low + high) / 2


def misses_of(wish: Wish, scene: Scene, grid: LabelGrid) -> list[Miss]:
    """What a sentence asks for and a room does not have.

    Args:
        wish: the sentence, read.
        scene: the room.
        grid: its voxels.
    """
    seen = Seen(scene, grid)
    found = [_pieces_of(k, wish, seen) for k in range(len(wish.things))]
    misses = [miss for k in range(len(wish.things)) for miss in _misses_of_thing(k, wish, seen, found)]
    for name in wish.without:
        if any(piece.name in KINDS[name].pieces for piece in scene.pieces):
            misses.append(Miss(-1, True, f"there is a {name}, which must not be there"))
    area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in scene.layout.rects[:1])
    if (wish.size == "small" and area > SMALL_ROOM) or (wish.size == "large" and area < LARGE_ROOM):
        misses.append(Miss(-1, False, f"the room has {area:.0f} square metres, which is not {wish.size}"))
    return misses


def _names_of(number: int, wish: Wish) -> set[str]:
    """Names of the pieces that count for a thing: not those of a narrower kind that is asked for too."""
    names = set(KINDS[wish.things[number].kind].pieces)
    for other in wish.things:
        narrower = set(KINDS[other.kind].pieces)
        if narrower < names:
            names -= narrower
    return names


def _pieces_of(number: int, wish: Wish, seen: Seen) -> list[int]:
    """Pieces of a thing's kind, size and look that have their voxels."""
    asked, names = wish.things[number], _names_of(number, wish)
    kind, found = KINDS[asked.kind], []
    for k, piece in enumerate(seen.pieces):
        if piece.name not in names or (asked.look and seen.looks[k] != asked.look and not _has_look(k, asked, seen)):
            continue
        if asked.size and kind.large and piece.size[0] and not fits_size(kind, asked.size, piece.size[0] - 0.06):
            if asked.size == "small" and not fits_size(kind, asked.size, piece.size[0] - 0.15):
                continue
            if asked.size == "large":
                continue
        if seen.voxels(k) >= (1 if piece.label == OBJECTS else LEAST_VOXELS):
            found.append(k)
    return found


def _has_look(number: int, asked: Asked, seen: Seen) -> bool:
    """Whether some solid of a piece is of an asked material."""
    from sgrocc_core.data.synthetic.words.colours import look

    s = seen.scene.solids
    mine = np.flatnonzero((s.pieces == number) & (s.labels == seen.pieces[number].label))
    return asked.look in ("wooden", "metal") and any(
        look(seen.scene.materials, int(s.materials[k])) == asked.look for k in mine
    )


def _misses_of_thing(number: int, wish: Wish, seen: Seen, found: list[list[int]]) -> list[Miss]:
    asked, mine = wish.things[number], found[number]
    label = KINDS[asked.kind].label
    words = f"{asked.size} {asked.look} {asked.kind}".replace("  ", " ").strip()
    wanted = 1 if asked.kind == "curtain" and not asked.exact else asked.count
    if not mine or int((seen.grid.labels == label).sum()) < LEAST_VOXELS - 2 * (label == OBJECTS):
        return [Miss(number, True, f"there is no {words} in the voxels (class {NAMES[label]})")]
    misses = []
    same = [k for k, a in enumerate(wish.things) if a.kind == asked.kind]
    most = sum(wish.things[k].count for k in same) if all(wish.things[k].exact for k in same) else 10**6
    total = len(set().union(*(found[k] for k in same)))
    if len(mine) < wanted:
        misses.append(Miss(number, False, f"there {_are(len(mine), words)}, not {wanted}"))
    elif total > most:
        misses.append(Miss(number, False, f"there {_are(total, asked.kind)}, not {most}"))
    if asked.relation:
        others = mine if asked.target == SELF else found[asked.target] if asked.target >= 0 else []
        good = [k for k in mine if _relates(k, asked, others, seen)]
        if len(good) < min(wanted, len(mine)):
            to = "" if asked.target < 0 else f" the {wish.things[asked.target].kind}"
            to = " each other" if asked.target == SELF else to
            number_of = "one" if wanted - len(good) == 1 else str(wanted - len(good))
            what = words if wanted == 1 else f"{number_of} of {wanted} {plural(words)}"
            misses.append(Miss(number, False, f"{what}: not {_RELATION_NAMES.get(asked.relation, asked.relation)}{to}"))
    return misses


_RELATION_NAMES = {
    "on wall": "on the wall",
    "wall": "against the wall",
    "corner": "in a corner",
    "middle": "in the middle",
}


def _are(number: int, words: str) -> str:
    return f"is {counted(1, words)}" if number == 1 else f"are {counted(number, words)}"


def _relates(number: int, asked: Asked, others: list[int], seen: Seen) -> bool:
    """Whether a piece stands as asked: to a wall, a corner, the middle, or to one of some other pieces."""
    if asked.relation in _ALONE:
        return bool(_ALONE[asked.relation](number, seen))
    return any(_TO_OTHERS[asked.relation](number, other, seen) for other in others if other != number)


def _wall_gap(number: int, seen: Seen) -> float:
    """Metres between the back of a piece and the nearest wall behind it."""
    back, middle = -seen.front(number), seen.middle(number)
    low, high = seen.box(number)
    return min(
        (
            abs(edge.at - (high if edge.outward > 0 else low)[edge.axis])
            for edge in seen.scene.layout.edges
            if back[edge.axis] * edge.outward > 0.9 and edge.start - 0.05 < middle[1 - edge.axis] < edge.end + 0.05
        ),
        default=np.inf,
    )


def _at_wall(number: int, seen: Seen) -> bool:
    return _wall_gap(number, seen) < 0.2


def _on_wall(number: int, seen: Seen) -> bool:
    return _wall_gap(number, seen) < 0.2 and seen.box(number)[0][2] > 0.5


def _in_corner(number: int, seen: Seen) -> bool:
    low, high = seen.box(number)
    gaps = {0: np.inf, 1: np.inf}
    for edge in seen.scene.layout.edges:
        other = 1 - edge.axis
        if low[other] < edge.end + 0.1 and high[other] > edge.start - 0.1:
            gap = abs(edge.at - (high if edge.outward > 0 else low)[edge.axis])
            gaps[edge.axis] = min(gaps[edge.axis], float(gap))
    return max(gaps.values()) < 0.45


def _in_middle(number: int, seen: Seen) -> bool:
    x0, y0, x1, y1 = seen.scene.layout.rects[0]
    return float(np.hypot(*(seen.middle(number)[:2] - ((x0 + x1) / 2, (y0 + y1) / 2)))) < 1.3


def _gap(number: int, other: int, seen: Seen) -> float:
    """Metres between the boxes of two pieces on the floor."""
    (a, b), (c, d) = seen.box(number), seen.box(other)
    return float(np.linalg.norm(np.maximum(0.0, np.maximum(a - d, c - b))[:2]))


def _on(number: int, other: int, seen: Seen) -> bool:
    (a, b), (c, d) = seen.box(number), seen.box(other)
    over = (((a + b) / 2 > c - 0.05) & ((a + b) / 2 < d + 0.05))[:2].all()
    piece: Piece = seen.pieces[number]
    return bool(over and (piece.within == other or abs(a[2] - d[2]) < 0.1) and a[2] > c[2] + 0.1)


def _faces(number: int, other: int, seen: Seen) -> bool:
    away = (seen.middle(other) - seen.middle(number))[:2]
    return float(seen.front(number) @ away) > FACING * float(np.linalg.norm(away))


def _in_front(number: int, other: int, seen: Seen) -> bool:
    away = (seen.middle(number) - seen.middle(other))[:2]
    return float(seen.front(other) @ away) > 0.6 * float(np.linalg.norm(away)) and _gap(number, other, seen) < 1.2


def _behind(number: int, other: int, seen: Seen) -> bool:
    away = (seen.middle(number) - seen.middle(other))[:2]
    return float(-seen.front(other) @ away) > 0.6 * float(np.linalg.norm(away)) and _gap(number, other, seen) < NEAR


def _under(number: int, other: int, seen: Seen) -> bool:
    (a, b), (c, d) = seen.box(number), seen.box(other)
    return bool((np.minimum(b, d) > np.maximum(a, c))[:2].all() and a[2] < 0.3 and b[2] < d[2])


def _above(number: int, other: int, seen: Seen) -> bool:
    return seen.box(number)[0][2] > seen.box(other)[1][2] - 0.35 and _gap(number, other, seen) < 0.3


_ALONE = {"wall": _at_wall, "on wall": _on_wall, "corner": _in_corner, "middle": _in_middle}
_TO_OTHERS = {
    "on": _on,
    "beside": lambda a, b, seen: _gap(a, b, seen) < NEAR,
    "facing": _faces,
    "in front of": _in_front,
    "at": lambda a, b, seen: _gap(a, b, seen) < NEAR,
    "under": _under,
    "above": _above,
    "behind": _behind,
}
