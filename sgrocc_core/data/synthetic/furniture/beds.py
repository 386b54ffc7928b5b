"""Beds: single, double and bunk beds, with pillows and with made or unmade blankets."""

from __future__ import annotations

from sgrocc_core.data.synthetic.furniture.items import BED, Item, Surface
from sgrocc_core.data.synthetic.furniture.seating import legs
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder


def bed(m: Materials) -> Item:
    """A bed with its head at the wall."""
    r = m.rng
    frame, sheet, cover, pillow = m.furniture(), m.white() if r.random() < 0.5 else m.fabric(), m.fabric(), m.fabric()
    white = m.white()
    w, d = float(r.choice([0.9, 1.2, 1.4, 1.6, 1.8])) + r.uniform(0, 0.08), r.uniform(1.92, 2.1)
    h, head, foot, box = r.uniform(0.36, 0.6), r.uniform(0.0, 0.7), r.random() < 0.25, r.random() < 0.5
    draped, rumple, shift = r.random() < 0.6, r.integers(0, 5), r.uniform(0, 0.9)
    lumps = r.random((5, 5))

    def _build(b: Builder) -> None:
        if box:
            b.box((0, 0, (h - 0.15) / 2), (w, d, h - 0.15), BED, frame)
        else:
            legs(b, w, d, h - 0.2, 0.07, BED, frame)
            b.box((0, 0, h - 0.21), (w, d, 0.12), BED, frame)
        b.cushion((0, 0, h - 0.07), (w - 0.02, d - 0.03, 0.22), BED, sheet)
        if head > 0.15:
            b.box((0, d / 2, (h + head) / 2), (w + 0.04, 0.06, h + head), BED, frame)
        if foot:
            b.box((0, -d / 2, (h + 0.15) / 2), (w + 0.04, 0.05, h + 0.15), BED, frame)
        long = d * (0.72 - 0.3 * shift * (rumple > 2))
        b.cushion((0, -d / 2 + long / 2 - 0.02, h + 0.02), (w + (0.08 if draped else -0.05), long, 0.13), BED, cover)
        if draped:
            for s in (-1, 1):
                b.box((s * (w / 2 + 0.015), -d / 2 + long / 2, h - 0.1), (0.04, long * 0.96, 0.24), BED, cover)
        for k in range(int(rumple)):
            x, y = (lumps[k, 0] - 0.5) * w * 0.7, (lumps[k, 1] - 0.6) * d * 0.6
            b.ball(
                (x, y, h + 0.06),
                (0.3 + 0.5 * lumps[k, 2], 0.25 + 0.4 * lumps[k, 3], 0.14),
                BED,
                cover,
                (6 * lumps[k, 4], 0.0, 0.0),
            )
        count = 1 if w < 1.3 else 2
        for k in range(count):
            x = (k - (count - 1) / 2) * w * 0.46
            b.cushion(
                (x, d / 2 - 0.28, h + 0.1),
                (0.62, 0.4, 0.16),
                BED,
                pillow if k % 2 else white,
                (0.15 * lumps[k, 0], 0.0, -0.25),
            )

    return Item(
        w + 0.06,
        d + 0.06,
        _build,
        (Surface(-w * 0.4, -d * 0.45, w * 0.4, d * 0.1, h + 0.08, 0.5, "soft"),),
        front=0.4,
        height=h + head,
        name="single bed" if w < 1.3 else "double bed",
    )


def bunk_bed(m: Materials) -> Item:
    """Two beds, one above the other, with a ladder."""
    r = m.rng
    frame, sheets = (m.wood() if r.random() < 0.6 else m.metal()), [m.fabric(), m.fabric()]
    w, d, high = r.uniform(0.85, 1.05), r.uniform(1.95, 2.1), r.uniform(1.3, 1.5)

    def _build(b: Builder) -> None:
        legs(b, w, d, high + 0.35, 0.07, BED, frame)
        for z, sheet in ((0.32, sheets[0]), (high, sheets[1])):
            b.box((0, 0, z), (w, d, 0.08), BED, frame)
            b.cushion((0, 0, z + 0.12), (w - 0.06, d - 0.06, 0.2), BED, sheet)
            b.cushion((0, d / 2 - 0.25, z + 0.24), (0.55, 0.36, 0.12), BED, sheets[0])
            for s in (-1, 1):
                b.box((s * (w / 2 - 0.02), 0, z + 0.28), (0.025, d, 0.06), BED, frame)
        for k in range(5):
            b.box((w / 2 + 0.02, -d * 0.3, 0.25 + 0.28 * k), (0.03, 0.4, 0.03), BED, frame)

    return Item(w + 0.08, d + 0.06, _build, front=0.5, height=high + 0.5, name="bunk bed")
