"""The table that aligns the class names of published segmentation networks with our eleven classes.

It holds every name of ADE20K's 150 classes, of COCO panoptic's 133 and of COCO-Stuff's 171, and follows NYU40's
mapping to eleven classes as the generated rooms do (docs/data.md): doors are furniture,
carpets are floor, curtains are objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sgrocc_core.classes import NAMES, UNKNOWN, label_of
from sgrocc_core.errors import DataError

ALIGNED: dict[str, str] = {
    "ceiling": "ceiling, ceiling-other, ceiling-tile, ceiling-merged",
    "floor": (
        "floor, rug, carpet, mat, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, floor-other-merged, "
        "rug-merged, stage, platform"
    ),
    "wall": (
        "wall, column, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, "
        "wall-other-merged, structural-other"
    ),
    "window": "windowpane, window-blind, window-other, blind",
    "chair": "chair, armchair, seat, bench, swivel chair, ottoman, stool",
    "bed": "bed, cradle",
    "sofa": "sofa, couch",
    "table": "table, desk, pool table, coffee table, dining table, desk-stuff, table-merged",
    "tvs": "television receiver, television, tv, crt screen, monitor, screen, computer, laptop",
    "furniture": (
        "door, door-stuff, cabinet, cabinet-merged, cupboard, shelf, wardrobe, bookcase, chest of drawers, counter, "
        "countertop, kitchen island, refrigerator, fridge, stove, oven, dishwasher, washer, buffet, case, screen door, "
        "bar, fireplace, hood, furniture-other, booth"
    ),
    "objects": (
        "curtain, plant, potted plant, plant-other, painting, mirror, mirror-stuff, lamp, bathtub, cushion, pillow, "
        "base, box, sink, toilet, flower, book, palm, towel, light, chandelier, apparel, clothes, cloth, pole, bottle, "
        "poster, plaything, basket, bag, ball, food, food-other, food-other-merged, tray, ashcan, trash can, fan, "
        "plate, microwave, pot, blanket, sculpture, sconce, vase, bulletin board, shower, radiator, glass, clock, "
        "barrel, trade name, bannister, railing, banner, cardboard, light, paper, paper-merged, textile-other, napkin, "
        "fruit, vegetable, salad, metal, plastic, wood, arcade machine, fountain, bicycle, backpack, umbrella, "
        "handbag, tie, suitcase, frisbee, sports ball, baseball bat, baseball glove, skateboard, tennis racket, "
        "wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, "
        "donut, cake, mouse, remote, keyboard, cell phone, toaster, scissors, teddy bear, hair drier, toothbrush, "
        "flag, step, stairs, stairway, escalator, canopy, solid-other, straw, leaves, branch, cage, net"
    ),
}
"""Names by our class; a name stands for what it means inside buildings."""

LEFT_OUT = (
    "building, building-other, building-other-merged, sky, sky-other, sky-other-merged, tree, tree-merged, road, "
    "grass, grass-merged, sidewalk, person, earth, mountain, mountain-merged, car, water, water-other, house, sea, "
    "field, fence, fence-merged, rock, rock-merged, railing-other, signboard, sand, skyscraper, grandstand, path, "
    "runway, river, bridge, hill, boat, hovel, bus, truck, tower, awning, streetlight, street lamp, airplane, dirt "
    "track, land, van, ship, conveyer belt, swimming pool, pool, waterfall, falls, tent, minibike, tank, animal, "
    "lake, traffic light, pier, motorcycle, train, fire hydrant, stop sign, parking meter, bird, cat, dog, horse, "
    "sheep, cow, elephant, bear, zebra, giraffe, skis, snowboard, kite, surfboard, gravel, playingfield, railroad, "
    "roof, snow, pavement, pavement-merged, dirt, dirt-merged, bush, clouds, fog, ground-other, moss, mud, stone, "
    "waterdrops"
)
"""Names of those sets that are none of our classes: outdoors, people, animals, vehicles. Such pixels have no label."""


def names_in(text: str) -> tuple[str, ...]:
    """Returns the names of a row of the table."""
    return tuple(name.strip() for name in text.split(","))


def lookup() -> dict[str, int]:
    """Returns the label of every name of the table; UNKNOWN for names that are none of our classes."""
    found = dict.fromkeys(names_in(LEFT_OUT), UNKNOWN)
    for aligned, text in ALIGNED.items():
        found |= dict.fromkeys(names_in(text), label_of(aligned))
    return found


@dataclass(frozen=True)
class Alignment:
    """What the classes of a network mean in ours.

    Attributes:
        labels: (N,) uint8 label of each of the network's classes, 1 to 11; UNKNOWN where it is none of ours.
        unknown: names that the table does not have.
    """

    labels: np.ndarray
    unknown: tuple[str, ...]

    @property
    def covered(self) -> tuple[str, ...]:
        """Names of our classes that the network can tell."""
        return tuple(NAMES[label] for label in sorted(set(self.labels.tolist()) - {UNKNOWN}))


def align_names(names: Mapping[int, str], network: str) -> Alignment:
    """Align the classes of a network.

    A name may be a list of synonyms separated by commas or semicolons, as in ADE20K; the first that the table has
    counts.

    Args:
        names: of the network's classes, by number 0 to N - 1.
        network: its name, for the message.

    Raises:
        DataError: no class of the network is one of ours.
    """
    table = lookup()
    labels, unknown = np.full(len(names), UNKNOWN, np.uint8), []
    for number in range(len(names)):
        synonyms = names_in(str(names[number]).lower().replace("_", " ").replace(";", ","))
        known = next((name for name in synonyms if name in table), None)
        if known is None:
            unknown.append(str(names[number]))
        else:
            labels[number] = table[known]
    if (labels == UNKNOWN).all():
        some = ", ".join(str(names[number]) for number in range(min(5, len(names))))
        raise DataError(
            f"the teacher {network} tells none of our classes: of its {len(names)} ({some}, ...) none is in the table "
            "of sgrocc_core/training/teachers/table.py; take a network trained on ADE20K or COCO"
        )
    return Alignment(labels, tuple(unknown))
