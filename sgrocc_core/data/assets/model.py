"""A prepared model of furniture: triangles with smooth normals, colours, and the cells inside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from sgrocc_core.errors import DataError


@dataclass(frozen=True)
class Model:
    """A model of furniture: origin on the floor at the middle of its footprint, back at +y, front at -y, metres.

    Attributes:
        corners: (T, 3, 3) float32 triangles.
        normals: (T, 3, 3) float32 normal at each corner.
        starts: (P + 1,) int64, the triangles of part p are starts[p] up to starts[p + 1]; the largest part first.
        colours: (P, 2, 3) float32 sRGB, the darker and the lighter colour of each part.
        textured: (P,) bool.
        inside: (X, Y, Z) bool, cells of PITCH inside.
        low: (3,) lowest corner of the cells.
        surface: half width, half depth and height of the middle of its top, where objects may stand; zeros: none.
    """

    corners: np.ndarray
    normals: np.ndarray
    starts: np.ndarray
    colours: np.ndarray
    textured: np.ndarray
    inside: np.ndarray
    low: np.ndarray
    surface: np.ndarray

    @cached_property
    def middle(self) -> np.ndarray:
        """(3,) centre of its bounding box."""
        points = self.corners.reshape(-1, 3)
        return np.asarray((points.min(0) + points.max(0)) / 2, np.float64)

    @cached_property
    def half(self) -> np.ndarray:
        """(3,) half extents of its bounding box."""
        return np.asarray(np.ptp(self.corners.reshape(-1, 3), axis=0) / 2, np.float64)


@lru_cache(maxsize=96)
def read_prepared(path: Path) -> Model:
    """A prepared model from the cache.

    Raises:
        DataError: it is not there.
    """
    try:
        with np.load(path) as stored:
            shape = tuple(stored["shape"])
            inside = np.unpackbits(stored["cells"], count=int(np.prod(shape))).reshape(shape).astype(bool)
            names = ("corners", "normals", "starts", "colours", "textured")
            corners, normals, starts, colours, textured = (stored[n] for n in names)
            return Model(corners, normals, starts, colours, textured, inside, stored["low"], stored["surface"])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not a prepared model ({error}); delete it to make it anew") from error
