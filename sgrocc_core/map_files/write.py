"""Writes the files of a map into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from sgrocc_core.drawing.picture import draw_map
from sgrocc_core.drawing.surface import write_ply
from sgrocc_core.engines.model import sha256_of
from sgrocc_core.map_files.format import (
    FILES,
    FORMAT_VERSION,
    GAUSSIANS,
    MAP,
    PICTURE,
    PLY,
    REPORT,
    SavedMap,
    metadata_of,
)


def write_map(folder: Path, saved: SavedMap, report: dict[str, Any], picture: bool, ply: bool = False) -> list[str]:
    """Write the files of a map into a folder.

    Args:
        folder: An existing folder.
        saved: The map.
        report: Content of report.json.
        picture: Whether to draw map.png.
        ply: Whether to write the surface as map.ply.

    Returns:
        Names of the written files.

    Raises:
        OSError: A file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in saved.gaussians.items()}
    try:
        save_file(arrays, folder / GAUSSIANS, metadata_of(saved.frame_id, saved.stamp_ns))
    except SafetensorError as error:
        raise OSError(f"cannot write {folder / GAUSSIANS}: {error}") from error
    (folder / GAUSSIANS).chmod(0o644)  # safetensors creates it readable by the owner only
    np.savez_compressed(
        folder / MAP, voxels=saved.voxels.astype(np.int32), labels=saved.labels.astype(np.uint8),
        free=saved.free.astype(np.int32), probability=saved.probability.astype(np.float32),
        voxel_size=np.float64(saved.voxel_size), classes=np.array(saved.classes), frame_id=np.array(saved.frame_id),
        stamp_ns=np.int64(saved.stamp_ns), format_version=np.int64(FORMAT_VERSION),
        model=np.array(saved.model.name), gaussians_per_cell=np.int64(saved.model.gaussians_per_cell),
        feature_channels=np.int64(saved.model.feature_channels),
        gaussians_sha256=np.array(sha256_of(folder / GAUSSIANS)),
    )  # fmt: skip
    if ply:
        write_ply(folder / PLY, saved.voxels, saved.labels, saved.voxel_size)
    if picture:
        try:
            draw_map(folder / PICTURE, saved.voxels, saved.labels, saved.voxel_size, saved.free, saved.frame_id)
        except (ValueError, MemoryError, cv2.error) as error:  # a map without a picture is better than none
            report = report | {"picture": f"not drawn: {error!r}"}
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    return [file for file in FILES if (folder / file).exists()]
