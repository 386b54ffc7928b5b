"""What a sentence asks for, read and checked."""

from __future__ import annotations

from dataclasses import dataclass

SELF = -2
"""Target of things that relate to each other, as in `two sofas facing each other`."""
RELATIONS = (
    "on", "on wall", "wall", "corner", "middle", "beside", "facing", "in front of", "at", "under", "above", "behind"
)  # fmt: skip
"""How a thing may stand: the first one, and those from `beside` on, to a target; `on wall` to `middle` without one."""
ALONE = ("on wall", "wall", "corner", "middle")
"""Relations without a target."""


@dataclass(frozen=True)
class Asked:
    """A thing that is asked for.

    Attributes:
        kind: a key of `kinds.KINDS`.
        count: how many.
        exact: whether there may be no more of them.
        size: `small`, `large` or empty.
        look: a name of `colours.HUES`, `wooden`, `metal`, or empty.
        relation: one of RELATIONS, or empty.
        target: index of the thing that it relates to, -1 = none, SELF = each other.
    """

    kind: str
    count: int = 1
    exact: bool = True
    size: str = ""
    look: str = ""
    relation: str = ""
    target: int = -1


@dataclass(frozen=True)
class Wish:
    """A sentence, read.

    Attributes:
        text: the sentence.
        room: a programme of the generator, or empty.
        size: of the room: `small`, `large` or empty.
        things: what is asked for.
        without: kinds that must not be there.
        only: whether nothing else may stand in the room.
        walls: look of the walls, or empty.
        floor: look of the floor, or empty.
        understood: sentences about words that were matched to known ones.
        missed: sentences about what was not understood.
    """

    text: str
    room: str = ""
    size: str = ""
    things: tuple[Asked, ...] = ()
    without: tuple[str, ...] = ()
    only: bool = False
    walls: str = ""
    floor: str = ""
    understood: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
