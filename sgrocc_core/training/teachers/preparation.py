"""How an image becomes the input of a published network: the statistics of its preprocessor_config.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgrocc_core.network.hub import read_statistics

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's statistics, which most networks use unless their preprocessor_config.json says otherwise."""


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
            ModelError: see `read_statistics`.
        """
        return cls(*read_statistics(folder, mean, deviation))

    def input(self, image: np.ndarray) -> Tensor:
        """(1, 3, H, W) float32 of an image (H, W, 3) uint8 RGB."""
        plain = (image.astype(np.float32) / 255 - np.array(self.mean, np.float32)) / np.array(
            self.deviation, np.float32
        )
        return torch.from_numpy(np.ascontiguousarray(plain.transpose(2, 0, 1)))[None]
