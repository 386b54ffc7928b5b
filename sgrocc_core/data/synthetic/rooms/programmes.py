"""Furniture of each kind of room, as expected numbers of pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sgrocc_core.data.synthetic.furniture import beds, clutter, seating, storage, tables
from sgrocc_core.data.synthetic.furniture.items import Item
from sgrocc_core.data.synthetic.solids.materials import Materials

Maker = Callable[[Materials], Item]


class Row(NamedTuple):
    """One kind of furniture.

    Attributes:
        maker: draws an item.
        expected: expected number of pieces in 20 square metres.
        least: minimum number of pieces.
        where: `wall`, `free` or `any`.
    """

    maker: Maker
    expected: float
    least: int = 0
    where: str = "wall"


PROGRAMMES: dict[str, tuple[Row, ...]] = {
    "living": (
        Row(seating.sofa, 1.3, 1),
        Row(storage.tv_bench, 1.0),
        Row(tables.coffee_table, 1.0, 1, "free"),
        Row(seating.armchair, 1.2, 0, "free"),
        Row(storage.shelf, 1.2),
        Row(storage.cabinet, 1.0),
        Row(tables.dining_table, 0.5, 0, "free"),
        Row(clutter.plant, 1.3),
        Row(clutter.floor_lamp, 0.8),
        Row(tables.side_table, 0.8),
        Row(seating.sofa, 0.4, 0, "free"),
        Row(seating.stool, 0.4, 0, "free"),
    ),
    "office": (
        Row(tables.desk, 2.6, 1),
        Row(tables.desk, 1.2, 0, "free"),
        Row(storage.shelf, 1.6),
        Row(storage.cabinet, 1.4),
        Row(clutter.plant, 0.8),
        Row(seating.office_chair, 0.8, 0, "free"),
        Row(seating.sofa, 0.25),
        Row(tables.dining_table, 0.3, 0, "free"),
        Row(storage.stand_screen, 0.2),
    ),
    "bedroom": (
        Row(beds.bed, 1.2, 1),
        Row(beds.bunk_bed, 0.15),
        Row(storage.cabinet, 2.4, 1),
        Row(tables.desk, 0.6),
        Row(storage.shelf, 0.7),
        Row(tables.side_table, 0.6),
        Row(seating.armchair, 0.4, 0, "free"),
        Row(storage.tv_bench, 0.4),
        Row(clutter.floor_lamp, 0.5),
        Row(clutter.plant, 0.4),
        Row(seating.sofa, 0.2),
    ),
    "kitchen": (
        Row(storage.counter, 1.8, 1),
        Row(storage.fridge, 1.0, 1),
        Row(tables.dining_table, 1.1, 0, "free"),
        Row(storage.cabinet, 0.7),
        Row(storage.shelf, 0.5),
        Row(seating.stool, 0.8, 0, "free"),
        Row(clutter.plant, 0.4),
        Row(storage.counter, 0.3, 0, "free"),
    ),
    "meeting": (
        Row(tables.dining_table, 1.4, 1, "free"),
        Row(storage.stand_screen, 0.7),
        Row(storage.cabinet, 0.8),
        Row(storage.tv_bench, 0.4),
        Row(seating.office_chair, 1.0, 0, "free"),
        Row(clutter.plant, 0.6),
        Row(seating.sofa, 0.3),
        Row(storage.shelf, 0.4),
    ),
    "lounge": (
        Row(seating.sofa, 1.6, 1, "free"),
        Row(seating.armchair, 2.0, 0, "free"),
        Row(tables.coffee_table, 1.4, 1, "free"),
        Row(tables.dining_table, 1.0, 0, "free"),
        Row(seating.bench, 0.6),
        Row(storage.counter, 0.5),
        Row(storage.fridge, 0.3),
        Row(clutter.plant, 1.5),
        Row(storage.cabinet, 0.7),
        Row(storage.stand_screen, 0.4),
        Row(seating.stool, 1.0, 0, "free"),
        Row(storage.shelf, 0.5),
    ),
    "studio": (
        Row(beds.bed, 1.0, 1),
        Row(seating.sofa, 0.8),
        Row(storage.counter, 0.8),
        Row(tables.dining_table, 0.8, 0, "free"),
        Row(storage.tv_bench, 0.7),
        Row(storage.cabinet, 1.4),
        Row(tables.desk, 0.7),
        Row(storage.shelf, 0.8),
        Row(clutter.plant, 0.8),
        Row(seating.armchair, 0.6, 0, "free"),
        Row(storage.fridge, 0.4),
        Row(tables.coffee_table, 0.6, 0, "free"),
    ),
}
