"""Rooms from sentences: makes rooms until one holds all that is asked for, and says what none of them could hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from sgrocc_core.data.synthetic.generate import NAMESPACES, GeneratedScene, walk_through
from sgrocc_core.data.synthetic.rendering.voxelise import LabelGrid, voxelise
from sgrocc_core.data.synthetic.rooms.rooms import BOTH, EDITIONS, Scene
from sgrocc_core.data.synthetic.words.captions import caption_of
from sgrocc_core.data.synthetic.words.check import Miss, misses_of
from sgrocc_core.data.synthetic.words.make import Making
from sgrocc_core.data.synthetic.words.wish import Wish
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.lattice import CELL_SIZE

ATTEMPTS = 40
"""Rooms that are made until one holds everything; then the one that lacks least is taken."""

HOPELESS = 12
"""Rooms after which no other is made if every one of them lacked a thing altogether."""


@dataclass(frozen=True)
class AskedRoom:
    """A room that was made from a sentence.

    Attributes:
        wish: the sentence, read.
        scene: the room.
        grid: its voxels.
        misses: what it lacks.
        words: seed of the attempt.
        rng: random generator after the room.
    """

    wish: Wish
    scene: Scene
    grid: LabelGrid
    misses: tuple[Miss, ...]
    words: tuple[int, ...]
    rng: np.random.Generator

    def told(self) -> list[str]:
        """Sentences about what was guessed, not understood, or not placed."""
        return [*self.wish.understood, *self.wish.missed, *(miss.text for miss in self.misses)]

    def description(self) -> dict[str, object]:
        """What is kept beside the scene: the sentence, what was read, what is missing, the caption, the pieces."""
        pieces = [
            {
                "name": p.name,
                "x": round(float(p.origin[0]), 3),
                "y": round(float(p.origin[1]), 3),
                "yaw": round(p.yaw, 3),
            }
            for p in self.scene.pieces
        ]
        return {
            "prompt": self.wish.text,
            "read": asdict(self.wish),
            "misses": [miss.text for miss in self.misses],
            "caption": caption_of(self.scene),
            "pieces": pieces,
        }


def room_of(wish: Wish, seed: int = 0, index: int = 0, edition: int = 1, first: int = 0) -> AskedRoom:
    """Make the room of a sentence; the same arguments give the same room.

    Args:
        wish: the sentence, read.
        seed: seed of the set.
        index: index of the room in the set.
        edition: edition of the rooms.
        first: number of the first attempt.

    Raises:
        ConfigError: in none of the attempts was there a place for one of the things.
    """
    best: AskedRoom | None = None
    for attempt in range(first, first + ATTEMPTS):
        words = (NAMESPACES["prompt"], seed, index, attempt)
        rng = np.random.default_rng(words)
        scene = Making(wish, rng, edition).scene()
        grid = voxelise(scene, rng.uniform(0, CELL_SIZE, 3))
        room = AskedRoom(wish, scene, grid, tuple(misses_of(wish, scene, grid)), words, rng)
        if best is None or _badness(room) < _badness(best):
            best = room
        if not room.misses or (attempt - first >= HOPELESS and _badness(best)[0]):
            break
    assert best is not None
    grave = [miss.text for miss in best.misses if miss.grave]
    if grave:
        raise ConfigError(
            f"prompt is {wish.text!r}; in {HOPELESS + 1} rooms not everything found a place: {'; '.join(grave)}; ask "
            "for fewer things or a larger room"
        )
    return best


def _badness(room: AskedRoom) -> tuple[int, int]:
    return sum(miss.grave for miss in room.misses), len(room.misses)


def prepare_asked(
    wish: Wish, seed: int, index: int, frames: int, size: tuple[int, int], edition: int = 1
) -> tuple[GeneratedScene, AskedRoom]:
    """Make the room of a sentence and a walk through it.

    Args:
        wish: the sentence, read.
        seed: seed of the set.
        index: index of the room in the set.
        frames: number of frames.
        size: (width, height) of the images, pixels.
        edition: edition of the rooms, one of `rooms.EDITIONS`, or `rooms.BOTH`.

    Raises:
        ConfigError: there is no place for one of the things, or none for a camera.
    """
    edition = EDITIONS[index % len(EDITIONS)] if edition == BOTH else edition
    for trial in range(8):
        room = room_of(wish, seed, index, edition, trial * ATTEMPTS)
        made = walk_through(room.scene, room.grid, room.rng, room.words, frames, size, edition=edition)
        if made is not None:
            return made, room
    raise ConfigError(
        f"prompt is {wish.text!r}; in the rooms that hold all of it a camera cannot walk; ask for fewer things or a "
        "larger room"
    )
