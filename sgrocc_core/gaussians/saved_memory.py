"""Validation of saved memory arrays before they are restored: shapes, types and ranges of values."""

from __future__ import annotations

import numpy as np

from sgrocc_core.array_layout import ArrayLayout, check_arrays, check_range
from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.evidence import EVIDENCE_BOUNDS
from sgrocc_core.gaussians.update import MAX_CELL_WEIGHT, MAX_CLASS_WEIGHT, MEAN_REACH, CellFields
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_VOXELS

WHAT = "the saved memory"
FARTHEST_BLOCK = 80_000
"""Largest block coordinate, 102 km; cameras farther than 100 km from the origin are refused."""
ROUNDING = 1e-7
"""Tolerance of the bound of means, metres; in older maps they exceed it by rounding."""
UNIT = 1e-3
"""Maximum deviation of a quaternion's norm from 1."""


def memory_layout(fields: CellFields, language: int = 0) -> ArrayLayout:
    """Layout of `GaussianMemory.arrays` for a memory with these fields; B is the number of blocks.

    Args:
        fields: of the memory.
        language: numbers of a Gaussian's language feature; 0 = none.
    """
    edges = (BLOCK_VOXELS,) * 3
    layout = {"blocks": (("B", 3), np.int32), "evidence": (("B", *edges), np.float32)}
    if language:
        layout["language"] = (("B", BLOCK_CELLS**3, fields.opacities.shape[1], language), np.float16)
    return layout | {
        name: (("B", BLOCK_CELLS**3, *field.shape[1:]), field.dtype) for name, field in fields._asdict().items()
    }


def check_memory(arrays: dict[str, np.ndarray], fields: CellFields, language: int = 0) -> dict[str, np.ndarray]:
    """Check that a saved memory fits a memory with these fields.

    Args:
        arrays: the saved memory.
        fields: of the memory.
        language: numbers of a Gaussian's language feature that it must have; 0 = none.

    Returns:
        The arrays. In maps of before, whose cells have one weight only, it is that of the classes, too.

    Raises:
        DataError: an array is missing, has another shape or type than the model needs, or holds values out of range.
    """
    if "class_weight" not in arrays and "weight" in arrays:
        arrays = arrays | {"class_weight": arrays["weight"]}
    check_arrays(WHAT, arrays, memory_layout(fields, language))
    if len(np.unique(arrays["blocks"], axis=0)) != len(arrays["blocks"]):
        raise DataError(f"{WHAT} names a block twice")
    check_range(WHAT, "blocks", arrays["blocks"], -FARTHEST_BLOCK, FARTHEST_BLOCK)
    check_range(WHAT, "evidence", arrays["evidence"], *EVIDENCE_BOUNDS)
    check_range(WHAT, "means", arrays["means"], -MEAN_REACH - ROUNDING, MEAN_REACH + ROUNDING)
    check_range(WHAT, "weight", arrays["weight"], 0.0, MAX_CELL_WEIGHT)
    check_range(WHAT, "class_weight", arrays["class_weight"], 0.0, MAX_CLASS_WEIGHT)
    check_range(WHAT, "tag", arrays["tag"], 0, 1)
    check_range(WHAT, "label", arrays["label"], 0, NUM_CLASSES)
    check_range(WHAT, "length of rotations", np.linalg.norm(arrays["rotations"], axis=-1), 1 - UNIT, 1 + UNIT)
    return arrays
