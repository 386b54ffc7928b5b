"""A little room as an imagined one: a floor, a wall and a table in the shared box, painted in the classes' colours."""

import numpy as np

from sgrocc_core.classes import COLORS, UNKNOWN
from sgrocc_core.generation.album import write_room
from sgrocc_core.generation.config import GenerationConfig
from sgrocc_core.generation.sampling import Imagined, look_around
from sgrocc_core.generation.scores import project_labels
from sgrocc_core.training.config import StageConfig

FLOOR, WALL, TABLE = 2, 3, 8
SIZE = (32, 24)


def grid():
    labels = np.zeros((60, 60, 36), np.uint8)
    labels[:, :, 3] = FLOOR
    labels[50, :, 4:] = WALL
    labels[25:35, 20:40, 4:12] = TABLE
    return labels


def probabilities(labels):
    return np.moveaxis(np.eye(12, dtype=np.float32)[labels], -1, 0)


def painted(views):
    """The room as seen by the views: colours by class, depth 2 m everywhere."""
    labels = np.stack([project_labels(grid(), K, T, SIZE) for K, T in zip(views.K, views.T_bc)])
    images = np.where((labels == UNKNOWN)[..., None], 90, COLORS[np.minimum(labels, 11)]).astype(np.uint8)
    return Imagined(images, np.full(labels.shape, 2.0, np.float32), labels, probabilities(grid()))


def write_set(out, rooms=2, views=3):
    for seed in range(rooms):
        cameras = look_around(views, SIZE)
        write_room(out, "a room with a table", seed, cameras, painted(cameras))
    return out


def tiny(steps=2, **changes):
    stages = {name: StageConfig(steps=steps, batch=2) for name in ("autoencoder", "alignment", "joint")}
    sizes = {"autoencoder_channels": (8,), "latents": 4, "unet_channels": (8, 16), "heads": 2, "groups": 8}
    return GenerationConfig(
        size=SIZE, text="words", text_width=16, tokens=6, alignment_channels=4, alignment_width=16, depths=12,
        **{**sizes, "stages": stages, "steps": 2, **changes},
    )  # fmt: skip
