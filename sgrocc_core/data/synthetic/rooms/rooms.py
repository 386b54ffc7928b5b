"""Builds a scene from a seed: shell, furniture of a programme (living room, office, ...), clutter and lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.data.synthetic.furniture import clutter, seating, storage
from sgrocc_core.data.synthetic.furniture.items import OBJECTS, Item
from sgrocc_core.data.synthetic.rooms import real_items
from sgrocc_core.data.synthetic.rooms.fittings import add_fittings, add_openings
from sgrocc_core.data.synthetic.rooms.furnisher import Furnisher
from sgrocc_core.data.synthetic.rooms.layouts import FLOOR, Layout, draw_layout
from sgrocc_core.data.synthetic.rooms.openings import add_doors, add_windows
from sgrocc_core.data.synthetic.rooms.placement import FloorPlan
from sgrocc_core.data.synthetic.rooms.programmes import PROGRAMMES, Maker, Row
from sgrocc_core.data.synthetic.rooms.shell import add_shell
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.pieces import Piece
from sgrocc_core.data.synthetic.solids.primitives import Builder, Solids, rotation_zyx
from sgrocc_core.data.synthetic.solids.real_materials import RealMaterials

CHAIRS_AT_WORK = [0.6, 0.15, 0.2, 0.05]
CHAIRS_AT_HOME = [0.1, 0.55, 0.25, 0.1]
"""Probabilities of each kind of chair at tables, in the order of `seating.CHAIRS`."""


@dataclass(frozen=True)
class Scene:
    """A scene in world coordinates (z up), with random yaw and offset.

    Attributes:
        solids: all geometry.
        materials: (M, ROW) material table.
        lights: (L, 8) position, colour, intensity, radius.
        layout: shell, in the room's frame.
        plan: raster of the floor, in the room's frame.
        yaw: room to world, radians.
        offset: (3,) room to world, metres.
        ambient: (3,) linear ambient light.
        sun: (6,) direction to the sun and its linear colour, 0 = no sun.
        windows: (W, 11) as `sun_rays` expects them.
        programme: name of the furniture programme.
        models: names of the furniture models in it.
        pieces: what was placed; `solids.pieces` are indices into them.
    """

    solids: Solids
    materials: np.ndarray
    lights: np.ndarray
    layout: Layout
    plan: FloorPlan
    yaw: float
    offset: np.ndarray
    ambient: np.ndarray
    sun: np.ndarray
    windows: np.ndarray
    programme: str
    models: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) rotation, room to world."""
        return rotation_zyx(self.yaw)


EDITIONS = (1, 2)
BOTH = 0
"""In the place of an edition: both in turn, the first for scenes with an even number."""
"""Editions of the rooms: 1, those of the committed held-out rooms; 2, closer to photographs of real rooms."""


def make_scene(
    rng: np.random.Generator, programme: str | None = None, furnisher: Furnisher | None = None, edition: int = 1
) -> Scene:
    """Build a scene. It depends only on the state of the generator, the edition and the models, if there are any.

    Args:
        rng: random generator of the scene.
        programme: name of the furniture programme; None draws one.
        furnisher: draws models of furniture; None = primitives only.
        edition: one of EDITIONS.
    """
    m, b = RealMaterials(rng) if edition == 2 else Materials(rng), Builder()
    name = programme or str(rng.choice(list(PROGRAMMES), p=[0.2, 0.2, 0.16, 0.1, 0.1, 0.12, 0.12]))
    layout = draw_layout(rng)
    build_shell(layout, b, m)
    plan = FloorPlan(layout)
    density = float(np.clip(rng.beta(2, 2) * 1.1, 0.05, 1.0))
    _furnish(name, layout, plan, b, m, density, furnisher)
    _decorate(layout, plan, b, m, density)
    return finish(layout, plan, b, m, name, tuple(sorted(furnisher.used)) if furnisher else ())


def build_shell(layout: Layout, b: Builder, m: Materials) -> None:
    """Add doors, windows, walls, floors and ceilings, and what belongs to them, to a footprint."""
    add_doors(layout, b, m)
    if isinstance(m, RealMaterials):
        add_openings(layout, b, m)
    add_windows(layout, b, m)
    add_shell(layout, b, m)
    if isinstance(m, RealMaterials):
        add_fittings(layout, b, m)


def finish(layout: Layout, plan: FloorPlan, b: Builder, m: Materials, name: str, models: tuple[str, ...] = ()) -> Scene:
    """Turn a furnished room about a random angle, light it and make it a scene.

    Args:
        layout: shell.
        plan: raster of its floor.
        b: all solids.
        m: their materials.
        name: of the furniture programme.
        models: names of the furniture models.
    """
    rng = m.rng
    yaw, offset = float(rng.uniform(0, 2 * np.pi)), np.r_[rng.uniform(-3, 3, 2), rng.uniform(-0.5, 0.5)]
    R = rotation_zyx(yaw)
    lights = [
        np.r_[R @ p + offset, colour, power, radius] for p, colour, power, radius in layout.lights if power > 0.05
    ]
    if not lights:
        x0, y0, x1, y1 = layout.rects[0]
        lights = [
            np.r_[R @ np.array([(x0 + x1) / 2, (y0 + y1) / 2, layout.height - 0.2]) + offset, 1.0, 0.95, 0.85, 2.0, 0.2]
        ]
    ambient = rng.uniform(0.1, 0.5) * np.array([1.0, rng.uniform(0.93, 1.0), rng.uniform(0.8, 1.1)])
    windows = [np.r_[R @ c + offset, R @ n, 0.0, 0.0, 1.0, half_w, half_h] for c, n, half_w, half_h in layout.windows]
    sun = _draw_sun(rng, windows)
    return Scene(
        b.solids().moved(R, offset),
        m.table(),
        np.array(lights),
        layout,
        plan,
        yaw,
        offset,
        ambient,
        sun,
        np.array(windows).reshape(-1, 11),
        name,
        models,
        b.pieces,
    )


def _draw_sun(rng: np.random.Generator, windows: list[np.ndarray]) -> np.ndarray:
    """(6,) direction to the sun, roughly in front of a window, and its colour; the colour is 0 without sun."""
    if not windows or rng.random() > 0.45:
        return np.zeros(6)
    normal = windows[rng.integers(len(windows))][3:6]
    azimuth, height = np.arctan2(-normal[1], -normal[0]) + rng.uniform(-0.9, 0.9), rng.uniform(0.3, 1.0)
    direction = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    return np.r_[direction, rng.uniform(1.0, 6.0) * np.array([1.0, 0.93, 0.8])]


def _furnish(
    name: str,
    layout: Layout,
    plan: FloorPlan,
    b: Builder,
    m: Materials,
    density: float,
    furnisher: Furnisher | None,
) -> None:
    rng = m.rng
    area = plan.main.sum() * 0.05**2
    at_work = name in ("office", "meeting")
    chair: Maker = seating.CHAIRS[int(rng.choice(4, p=CHAIRS_AT_WORK if at_work else CHAIRS_AT_HOME))]
    rows: list[Row] = [*PROGRAMMES[name], *(real_items.REAL_ROWS[name] if m.real else ())]
    extra = PROGRAMMES[str(rng.choice(list(PROGRAMMES)))]
    rows += [Row(row.maker, 0.35 * row.expected, 0, row.where) for row in extra]
    rows += [
        Row(storage.shelf, 0.3),
        Row(storage.tv_bench, 0.2),
        Row(clutter.coat_stand, 0.25),
        Row(clutter.floor_thing, 1.0 + 3 * density, 0, "any"),
    ]
    if furnisher is not None:
        rows = [row._replace(maker=furnisher.instead_of(row.maker)) for row in rows]
        chair = furnisher.chair(chair, m)
    fill = rng.uniform(0.5, 1.3)
    for row in rows:
        count = max(row.least, int(rng.poisson(row.expected * fill * np.clip(area / 20, 0.5, 2.0))))
        same = row.maker(m)
        for k in range(min(count, 7)):
            item = same if k == 0 else row.maker(m) if rng.random() < 0.5 else same
            _place(
                item,
                row.where if row.where != "any" else str(rng.choice(["wall", "free"])),
                layout,
                plan,
                b,
                m,
                density,
                chair,
                furnisher,
            )


def _place(
    item: Item,
    where: str,
    layout: Layout,
    plan: FloorPlan,
    b: Builder,
    m: Materials,
    density: float,
    chair: Maker,
    furnisher: Furnisher | None,
) -> None:
    rng = m.rng
    spot: tuple[float, float, float] | None
    if where == "wall":
        found = plan.at_wall(layout, item, rng)
        spot = None if found is None else found[:3]
    else:
        spot = plan.free(item, rng, rng.random() < 0.6)
    if spot is None:
        return
    x, y, yaw = spot
    before = plan.taken.copy()
    plan.take(x, y, yaw, item)
    under = plan.taken & ~before
    frame = b.at(x, y, 0, yaw).piece(item.name, (item.width, item.depth, item.height))
    item.build(frame)
    for surface in item.surfaces:
        if rng.random() < 0.9:
            clutter.fill_surface(frame, m, surface, density, None if furnisher is None else furnisher.small)
    tucked = real_items.tucked(item.seats, m) if m.real else furnisher.tucked(item.seats, m) if furnisher else 0.0
    if tucked:
        plan.taken = before  # the floor without the table
    for sx, sy, turn in item.seats:
        seat = chair(m)
        sx, sy = sx + tucked * np.sin(turn), sy - tucked * np.cos(turn)
        at = frame.to_room(sx, sy, 0)
        loose = Item(seat.width * 0.8, seat.depth * 0.4, seat.build, front=0.0)
        if plan.fits(float(at[0]), float(at[1]), yaw + turn, loose):
            plan.take(float(at[0]), float(at[1]), yaw + turn, seat)
            seat.build(frame.at(sx, sy, 0, turn).piece(seat.name, (seat.width, seat.depth, seat.height)))
    plan.taken |= under


def _decorate(layout: Layout, plan: FloorPlan, b: Builder, m: Materials, density: float) -> None:
    rng = m.rng
    for edge in layout.edges:
        for _ in range(rng.poisson(0.22 * edge.length * (0.5 + density))):
            along, z = rng.uniform(0.3, max(edge.length - 0.3, 0.31)), rng.uniform(1.2, 1.75)
            if edge.length > 1.0 and not any(o.overlaps(edge, along - 0.6, along + 0.6, 0.0) for o in layout.openings):
                x, y = edge.point(along, 0.0)
                storage.wall_panel(b.at(x, y, min(z, layout.height - 0.6), edge.yaw), m)
    if rng.random() < 0.1:
        _screen_on_wall(layout, b, m)
    for _ in range(rng.poisson(0.7)):
        cells = np.argwhere(plan.main)
        i, j = cells[rng.integers(len(cells))]
        w, d = rng.uniform(0.8, 2.6), rng.uniform(0.6, 1.9)
        yaw = rng.integers(2) * np.pi / 2 + (0.0 if rng.random() < 0.7 else rng.uniform(-0.5, 0.5))
        if not (plan.under(plan.x[i, j], plan.y[i, j], yaw, w, d) & ~plan.main).any():
            rug = b.at(plan.x[i, j], plan.y[i, j], 0.0, yaw).piece("rug", (w, d, 0.014))
            shape = rug.box if rng.random() < 0.8 else rug.cylinder
            shape((0.0, 0.0, 0.007), (w, d, 0.014), FLOOR, m.rug())
    for _ in range(rng.poisson(1.0 + 5 * density)):
        cells = np.argwhere(plan.main & ~plan.taken)
        if len(cells):
            i, j = cells[rng.integers(len(cells))]
            s = rng.uniform(0.04, 0.22)
            small = b.piece("thing")
            shape = (small.box, small.ball, small.cushion, small.cylinder)[rng.integers(4)]
            shape(
                (plan.x[i, j], plan.y[i, j], s * 0.3),
                (s, s * rng.uniform(0.6, 2), s * 0.6),
                OBJECTS,
                m.thing(),
                (rng.uniform(0, 6), 0.0, 0.0),
            )


def _screen_on_wall(layout: Layout, b: Builder, m: Materials) -> None:
    long = [e for e in layout.edges if e.length > 2.2]
    if long:
        edge = long[m.rng.integers(len(long))]
        along = m.rng.uniform(0.9, edge.length - 0.9)
        if not any(o.overlaps(edge, along - 0.8, along + 0.8, 0.0) for o in layout.openings):
            x, y = edge.point(along, 0.05)
            storage.screen_on(b.at(x, y, m.rng.uniform(1.0, 1.4), edge.yaw), m, m.rng.uniform(0.8, 1.5), 0.07, False)
