"""A walk on a circle in the ray-cast room of boxes, long enough for a model to be adapted to it."""

from __future__ import annotations

import numpy as np

from sgrocc_core.frame import Frame
from tests.samples.rooms.box_room import K, look, pose


def frames(count: int) -> list[Frame]:
    """Frames on a circle in the room of boxes; the camera looks around."""
    made = []
    for i in range(count):
        turn = 2 * np.pi * i / count
        T_wc = pose(1.2 + 0.5 * np.cos(turn), 1.2 + 0.5 * np.sin(turn), turn)
        image, depth = look(T_wc)
        made.append(Frame(image, K, T_wc, 10**18 + i * 10**8, depth))
    return made


FRAMES = frames(60)
