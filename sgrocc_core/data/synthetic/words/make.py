"""Builds a room that holds what a sentence asks for, and furnishes the rest of it as its kind suggests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from sgrocc_core.data.synthetic.furniture import clutter
from sgrocc_core.data.synthetic.furniture.items import Item
from sgrocc_core.data.synthetic.rooms.layouts import Edge, Layout, draw_layout
from sgrocc_core.data.synthetic.rooms.placement import FloorPlan
from sgrocc_core.data.synthetic.rooms.programmes import PROGRAMMES
from sgrocc_core.data.synthetic.rooms.rooms import Scene, build_shell, finish
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.solids.real_materials import RealMaterials
from sgrocc_core.data.synthetic.words import spots
from sgrocc_core.data.synthetic.words.captions import LARGE_ROOM, SMALL_ROOM
from sgrocc_core.data.synthetic.words.colours import dyed
from sgrocc_core.data.synthetic.words.hanging import hang
from sgrocc_core.data.synthetic.words.kinds import KINDS, Kind, draw_item, small_thing
from sgrocc_core.data.synthetic.words.spots import Placed, Pose, Room
from sgrocc_core.data.synthetic.words.wish import SELF, Asked, Wish

SHELLS = 400
"""Empty rooms that are drawn until one has the size and the openings that are asked for."""
FILLING = 0.45
"""Pieces of a programme's furniture that stand in a room of asked things, as a share of the usual ones."""
_LOOSE = ("chair", "office chair", "stool")


class Making:
    """One attempt at a room.

    Args:
        wish: what is asked for.
        rng: random generator of the attempt.
        edition: of the rooms.

    Attributes:
        placed: the things of each index of the wish that were placed.
    """

    def __init__(self, wish: Wish, rng: np.random.Generator, edition: int) -> None:
        self.wish, self.rng = wish, rng
        self.m: Materials = RealMaterials(rng) if edition == 2 else Materials(rng)
        self.b = Builder()
        self.placed: dict[int, list[Placed]] = {k: [] for k in range(len(wish.things))}
        self._alike: dict[int, Item] = {}
        self._names = {name for asked in wish.things for name in KINDS[asked.kind].pieces}
        self._names |= {name for kind in wish.without for name in KINDS[kind].pieces}
        self._labels = {KINDS[a.kind].label for a in wish.things} | {KINDS[k].label for k in wish.without}

    def scene(self) -> Scene:
        """Build the room; what found no place is not in it."""
        layout = self._shell()
        self.room = Room(layout, FloorPlan(layout), self.rng)
        things = self.wish.things
        for number in self._order():
            asked, kind = things[number], KINDS[things[number].kind]
            if kind.where != "built":
                for count in range(self._wanted(number)):
                    if not self._place(number, asked, kind, count):
                        break
        if not self.wish.only:
            self._fill()
        name = self.wish.room or "room"
        return finish(layout, self.room.plan, self.b, self.m, name)

    def _wanted(self, number: int) -> int:
        """How many to place: televisions that come with their benches are there already."""
        asked = self.wish.things[number]
        if asked.kind == "tv" and asked.relation in ("", "on"):
            benches = sum(a.count for a in self.wish.things if a.kind == "tv bench")
            return max(0, asked.count - benches)
        return asked.count

    def _order(self) -> list[int]:
        """Indices of the things: targets first, large before small, what stands on furniture or hangs last."""
        things, done = self.wish.things, []
        rank = {"wall": 0, "free": 1, "flat": 2, "hung": 3, "surface": 4, "built": -1}
        rest = sorted(
            range(len(things)), key=lambda k: (rank[KINDS[things[k].kind].where], things[k].kind in _LOOSE, k)
        )
        while rest:
            ready = [k for k in rest if things[k].target < 0 or things[k].target in done or things[k].target == k]
            done.append((ready or rest)[0])
            rest.remove(done[-1])
        return done

    def _shell(self) -> Layout:
        """Draw empty rooms until one is of the asked size and has the asked openings; the last one otherwise."""
        wish, need = self.wish, 6.0 + 3.2 * self._footprint()
        for trial in range(SHELLS):
            layout = draw_layout(self.rng)
            area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in layout.rects[:1])
            if wish.size == "small" and area > SMALL_ROOM:
                continue
            if (wish.size == "large" and area < LARGE_ROOM) or (wish.size == "" and area < min(need, 38.0)):
                continue
            kept = len(self.m._rows)
            b = Builder()
            looks = dyed(self.m, wish.walls)
            looks.floor = dyed(self.m, wish.floor).floor  # type: ignore[method-assign]
            build_shell(layout, b, looks)
            names = [piece.name for piece in b.pieces]
            if all(self._has(names, asked) for asked in wish.things) and not any(
                name in names for kind in wish.without if KINDS[kind].where == "built" for name in KINDS[kind].pieces
            ):
                break
            if trial < SHELLS - 1:
                del self.m._rows[kept:]
        self.b = b
        for number, asked in enumerate(wish.things):
            if KINDS[asked.kind].where == "built":
                own = [k for k, piece in enumerate(b.pieces) if piece.name == asked.kind]
                self.placed[number] = [Placed(k, None, (*b.pieces[k].origin[:2], b.pieces[k].yaw)) for k in own]
        return layout

    def _footprint(self) -> float:
        """Square metres that the asked furniture covers, roughly."""
        sizes = {"bed": 3.2, "sofa": 2.0, "table": 1.3, "chair": 0.35, "furniture": 0.8}
        return sum(
            a.count * next((s for name, s in sizes.items() if KINDS[name if name != "furniture" else "cabinet"].label
                            == KINDS[a.kind].label), 0.15)
            for a in self.wish.things if KINDS[a.kind].where in ("wall", "free")
        )  # fmt: skip

    @staticmethod
    def _has(names: list[str], asked: Asked) -> bool:
        kind = KINDS[asked.kind]
        if kind.where != "built":
            return not (kind.name in ("picture", "poster", "machine", "lamp") and asked.exact and kind.name in names)
        count = sum(name in kind.pieces for name in names)
        return count == asked.count if asked.exact else count >= (1 if asked.kind == "curtain" else asked.count)

    def _place(self, number: int, asked: Asked, kind: Kind, count: int) -> bool:
        """Place one thing; whether it had a place."""
        target = self._target(asked, number, count)
        m = dyed(self.m, asked.look)
        if (
            asked.relation == "above"
            or asked.relation == "on wall"
            or (kind.where == "hung" and asked.relation != "on")
        ):
            found = hang(self.room, self.b, m, kind, asked, target, [p for ps in self.placed.values() for p in ps])
        elif kind.where == "flat":
            found = self._rug(m, kind, asked, target)
        elif kind.where in ("surface", "hung") or (asked.relation == "on" and not kind.makers):
            found = self._on(m, kind, asked, target)
        else:
            found = self._stand(m, kind, asked, number, target)
        if found is not None:
            self.placed[number].append(found)
        return found is not None

    def _target(self, asked: Asked, number: int, count: int) -> Placed | None:
        """The one of its targets that a thing relates to: they take turns."""
        others = self.placed[number] if asked.target == SELF else self.placed.get(asked.target, [])
        return others[count % len(others)] if others else None

    def _stand(self, m: Materials, kind: Kind, asked: Asked, number: int, target: Placed | None) -> Placed | None:
        """Place furniture on the floor."""
        for trial in range(4):
            item = draw_item(kind, asked.size, m) if trial or number not in self._alike else self._alike[number]
            self._alike[number] = item
            for pose, edge in self._poses(kind, asked, number, target, item):
                if (asked.relation == "under" and target) or self.room.fits(pose, item):
                    return self._put(item, pose, edge)
        return None

    def _put(self, item: Item, pose: Pose, edge: Edge | None) -> Placed:
        self.room.plan.take(*pose, item)
        frame = self.b.at(pose[0], pose[1], 0.0, pose[2])
        piece = len(self.b.pieces)
        item.build(frame.piece(item.name, (item.width, item.depth, item.height)))
        return Placed(piece, item, pose, edge)

    def _poses(
        self, kind: Kind, asked: Asked, number: int, target: Placed | None, item: Item
    ) -> Iterator[tuple[Pose, Edge | None]]:
        """Poses to try for a thing on the floor, by its relation or its kind's habit."""
        room, relation = self.room, asked.relation
        if target is not None and target.item is None:
            name = self.b.pieces[target.piece].name
            if name in ("window", "door", "curtain", "radiator"):
                return spots.by_opening(room, item, name != "door")
            return spots.facing(room, item, target) if relation == "facing" else spots.at_wall(room, item)
        if target is not None:
            ways = {
                "beside": spots.beside, "facing": spots.facing, "in front of": spots.in_front, "at": spots.around,
                "behind": spots.behind,
            }  # fmt: skip
            if relation == "under":
                return iter([(target.pose, None)])
            if relation in ways:
                return ways[relation](room, item, target)
        if relation == "corner":
            return spots.in_corner(room, item)
        if relation == "middle":
            return spots.in_middle(room, item)
        if relation == "wall" or (kind.where == "wall" and asked.target != SELF) or self._is_below(number):
            return spots.at_wall(room, item)
        tables = [
            p for k, a in enumerate(self.wish.things) if a.kind.endswith(("table", "desk")) for p in self.placed[k]
        ]
        tables = [p for p in tables if p.item is not None and p.item.height > 0.6]
        if asked.kind in _LOOSE and not relation and tables:
            return chain(*(spots.around(room, item, p) for p in tables), spots.anywhere(room, item))
        return spots.anywhere(room, item)

    def _is_below(self, number: int) -> bool:
        """Whether something is asked for above a thing; it then stands at a wall."""
        return any(a.relation == "above" and a.target == number for a in self.wish.things)

    def _rug(self, m: Materials, kind: Kind, asked: Asked, target: Placed | None) -> Placed:
        """A carpet under another thing, before it, or on the free floor."""
        r, plan = self.rng, self.room.plan
        w, d = (r.uniform(1.8, 2.6), r.uniform(1.3, 1.9)) if asked.size == "large" else (r.uniform(0.9, 1.2), 0.8)
        if asked.size == "":
            w, d = r.uniform(1.3, 2.2), r.uniform(0.9, 1.5)
        if target is not None and target.item is not None:
            x, y, yaw = target.pose
            if asked.relation != "under":
                x, y = (np.array([x, y]) + (target.item.depth / 2 + d / 2) * spots.front_of(target.pose)).tolist()
        else:
            cells = np.argwhere(plan.main & ~plan.taken)
            i, j = cells[len(cells) // 2]
            x, y, yaw = float(plan.x[i, j]), float(plan.y[i, j]), 0.0
        piece = len(self.b.pieces)
        self.b.at(x, y, 0.0, yaw).piece(kind.name, (w, d, 0.014)).box((0, 0, 0.007), (w, d, 0.014), kind.label, m.rug())
        return Placed(piece, None, (x, y, yaw))

    def _on(self, m: Materials, kind: Kind, asked: Asked, target: Placed | None) -> Placed | None:
        """Place a small object or a screen on furniture: on its target, or on anything that has a surface."""
        holders = [target] if target is not None else [p for ps in self.placed.values() for p in ps]
        holders = [p for p in holders if p.item is not None and p.item.surfaces]
        if target is None:
            holders.sort(key=lambda p: p.item is not None and p.item.surfaces[-1].use in ("soft", "high", "shelf"))
        if not holders and target is None:
            other = KINDS["desk" if kind.name == "monitor" else "side table"]
            for where in (spots.at_wall, spots.anywhere):
                item = draw_item(other, "", self.m)
                for pose, edge in where(self.room, item):
                    if self.room.fits(pose, item):
                        return self._set(m, kind, asked, self._put(item, pose, edge))
            return None
        return self._set(m, kind, asked, holders[0]) if holders else None

    def _set(self, m: Materials, kind: Kind, asked: Asked, holder: Placed) -> Placed:
        """Set a thing on a surface of a holder, away from what stands there already."""
        assert holder.item is not None
        surface = max(holder.item.surfaces, key=lambda s: (s.use != "shelf", s.z < 1.5, (s.x1 - s.x0) * (s.y1 - s.y0)))
        on = [p for p in self.b.pieces if p.within == holder.piece and p.name != "cushion"]
        k = len(on)
        spread = (surface.x1 - surface.x0) * 0.38
        across = (surface.x0 + surface.x1) / 2 + spread * (0.0, -0.8, 0.8, -0.4, 0.4, -1.1, 1.1)[k % 7]
        x, y, yaw = holder.pose
        frame = self.b.under(holder.piece).at(x, y, 0.0, yaw)
        piece = len(self.b.pieces)
        if kind.name in ("tv", "monitor"):
            from sgrocc_core.data.synthetic.furniture.storage import screen_on

            width = 0.55 if kind.name == "monitor" else 0.75 if asked.size == "small" else 0.95
            screen_on(frame.at(across, surface.y1 - 0.16, surface.z), m, width)
        else:
            along = surface.y0 + (0.35 + 0.3 * ((k // 2) % 2)) * (surface.y1 - surface.y0)
            small_thing(kind.name)(frame.at(across, along, surface.z).piece(kind.name), m, surface.room)
        return Placed(piece, None, (x, y, yaw))

    def _fill(self) -> None:
        """Furnish the rest with kinds of the room's programme that are neither asked for nor excluded, and clutter."""
        asked = bool(self.wish.things)
        for row in PROGRAMMES.get(self.wish.room, ()):
            expected = row.expected * (FILLING if asked else 0.9)
            for _ in range(
                min(int(self.rng.poisson(expected)) if asked else max(row.least, int(self.rng.poisson(expected))), 4)
            ):
                item = row.maker(self.m)
                if self._is_unwanted(item):
                    break
                poses = (spots.at_wall if row.where == "wall" else spots.anywhere)(self.room, item)
                spot = next(((p, e) for p, e in poses if self.room.fits(p, item)), None)
                if spot is None:
                    break
                placed = self._put(item, *spot)
                self._clutter(placed, 0.4)
        if not any(KINDS[a.kind].where == "surface" for a in self.wish.things):
            for number in self.placed:
                for placed in self.placed[number]:
                    self._clutter(placed, 0.25)

    def _is_unwanted(self, item: Item) -> bool:
        """Whether filling may not have an item: its kind is asked for or excluded, or its class is one of furniture."""
        from sgrocc_core.data.synthetic.solids.pieces import LABEL_OF

        label = LABEL_OF.get(item.name)
        screen = item.name == "tv bench" and KINDS["tv"].label in self._labels
        furniture = label is not None and label != KINDS["cabinet"].label and label in self._labels
        return item.name in self._names or furniture or screen

    def _clutter(self, placed: Placed, density: float) -> None:
        """Small objects on a piece of furniture, unless some are asked for or excluded."""
        if placed.item is None or {"potted plant", "books", "lamp", "cushion"} & self._names:
            return
        x, y, yaw = placed.pose
        frame = self.b.under(placed.piece).at(x, y, 0.0, yaw)
        for surface in placed.item.surfaces:
            if surface.use != "desk":
                clutter.fill_surface(frame, self.m, surface, density)
