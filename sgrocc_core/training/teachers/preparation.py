"""How an image becomes the input of a published network: the statistics of its preprocessor_config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgrocc_core.errors import ModelError
from sgrocc_core.network.hub import PREPARATION

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's statistics, which most networks use unless their preprocessor_config.json says otherwise."""


def read_preparation(folder: Path) -> dict[str, Any]:
    """Contents of a folder's preprocessor_config.json; empty where there is none.

    Raises:
        ModelError: it is not a description.
    """
    path = folder / PREPARATION
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} does not describe the preparation of an image: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} does not describe the preparation of an image: it holds no object")
    return values


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of the colours, as shares of 255.

    Attributes:
        mean: (3,) of red, green and blue.
        deviation: (3,).
    """

    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION

    @classmethod
    def of(cls, folder: Path, mean: tuple[float, ...] = MEAN, deviation: tuple[float, ...] = DEVIATION) -> Statistics:
        """Those of a folder; `mean` and `deviation` where it does not say.

        Raises:
            ModelError: see `read_preparation`; or they are not three numbers.
        """
        values = read_preparation(folder)
        try:
            found = [tuple(map(float, values.get(key) or default))
                     for key, default in (("image_mean", mean), ("image_std", deviation))]  # fmt: skip
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{folder / PREPARATION} does not describe the preparation of an image: {error}"
            ) from error
        return cls(*found)

    def input(self, image: np.ndarray) -> Tensor:
        """(1, 3, H, W) float32 of an image (H, W, 3) uint8 RGB."""
        plain = (image.astype(np.float32) / 255 - np.array(self.mean, np.float32)) / np.array(
            self.deviation, np.float32
        )
        return torch.from_numpy(np.ascontiguousarray(plain.transpose(2, 0, 1)))[None]
