"""map.png: a perspective view of the map without its ceiling, a floor plan, a legend of the classes and a scale bar."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.classes import NAMES, UNKNOWN, color_table
from sgrocc_core.drawing.plan import draw_plan
from sgrocc_core.drawing.room import BACKGROUND, CEILING, draw_room
from sgrocc_core.drawing.surface import VoxelBox, coarsened

PAGE = (2000, 1240)
"""Width and height of the picture, pixels."""
SUPERSAMPLING = 2
MOST_CELLS = 8_000_000
"""Cells of the box around a map that are drawn at most; a map of more extent is drawn in coarser cells."""
INK, SOFT_INK, LINE = (38, 42, 48), (120, 124, 130), (214, 211, 204)
MARGIN, HEADER, COLUMN = 56, 150, 600


def draw_map(
    path: Path,
    voxels: np.ndarray,
    labels: np.ndarray,
    voxel_size: float,
    free: np.ndarray | None = None,
    frame_id: str = "map",
    title: str = "Semantic occupancy",
) -> None:
    """Draw a map to a PNG file.

    Args:
        path: The file.
        voxels: (N, 3) int32 indices of the occupied voxels.
        labels: (N,) uint8, 1 to 11, or 255 without a class.
        voxel_size: Edge length of a voxel, metres.
        free: (M, 3) int32 indices of the voxels observed free, or None.
        frame_id: Map frame, for the caption.
        title: Title of the picture.

    Raises:
        OSError: The file cannot be written.
    """
    write_picture(path, render_map(voxels, labels, voxel_size, free, frame_id, title))


def write_picture(path: Path, page: np.ndarray) -> None:
    """Write a picture as a PNG file.

    Args:
        path: The file.
        page: (H, W, 3) uint8 RGB.

    Raises:
        OSError: The file cannot be written.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(page, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {path}")


def render_map(
    voxels: np.ndarray,
    labels: np.ndarray,
    voxel_size: float,
    free: np.ndarray | None = None,
    frame_id: str = "map",
    title: str = "Semantic occupancy",
) -> np.ndarray:
    """The picture of a map as (1240, 2000, 3) uint8 RGB; arguments as in `draw_map`."""
    page = np.empty((PAGE[1], PAGE[0], 3), np.uint8)
    page[:] = BACKGROUND.astype(np.uint8)
    write_text(page, title, (MARGIN, 84), 40, INK, bold=True)
    count = len(voxels)
    if count == 0:
        write_text(page, "The map is empty: nothing has been seen as occupied.", (MARGIN, 130), 24, SOFT_INK)
        return page
    cells, cell_labels, factor = coarsened(voxels, labels, MOST_CELLS)
    grid = VoxelBox.of(cells, cell_labels, margin=2)
    cell_size = voxel_size * factor
    extent = np.ptp(voxels, axis=0) + 1
    metres = " x ".join(f"{value * voxel_size:.1f}" for value in extent)
    caption = f"{count:,} occupied voxels of {100 * voxel_size:g} cm   ·   {metres} m   ·   frame {frame_id}"
    write_text(page, caption, (MARGIN, 128), 24, SOFT_INK)
    room_size = (PAGE[0] - COLUMN - 2 * MARGIN - 30, PAGE[1] - HEADER - MARGIN)
    room = draw_room(grid, (room_size[0] * SUPERSAMPLING, room_size[1] * SUPERSAMPLING), round(2.4 / cell_size))
    _paste(page, room, (MARGIN, HEADER), room_size)
    left = PAGE[0] - COLUMN - MARGIN
    legend_rows = -(-len(_present(labels)) // 2)
    plan_size = (COLUMN, PAGE[1] - HEADER - MARGIN - 150 - 40 * legend_rows)
    plan, scale = draw_plan(
        grid,
        None if free is None else free // factor,
        (plan_size[0] * SUPERSAMPLING, plan_size[1] * SUPERSAMPLING),
        max(24 // factor, 1),
    )
    _paste(page, plan, (left, HEADER), plan_size)
    bottom = HEADER + plan_size[1]
    _scale_bar(page, (left, bottom + 44), scale / SUPERSAMPLING / cell_size)
    _legend(page, (left, bottom + 104), labels)
    return page


def _paste(page: np.ndarray, picture: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> None:
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    page[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]] = np.rint(small).astype(np.uint8)


def _present(labels: np.ndarray) -> list[tuple[int, int]]:
    """(label, number of voxels) of the classes in the map, in the order of the labels."""
    counts = np.bincount(labels, minlength=UNKNOWN + 1)
    return [(int(label), int(counts[label])) for label in np.flatnonzero(counts) if label]


def _legend(page: np.ndarray, corner: tuple[int, int], labels: np.ndarray) -> None:
    present = _present(labels)
    rows = -(-len(present) // 2)
    for i, (label, count) in enumerate(present):
        x, y = corner[0] + (i // rows) * (COLUMN // 2 + 10), corner[1] + (i % rows) * 40
        color = tuple(int(v) for v in color_table()[label])
        name = NAMES[label] if label < len(NAMES) else "unknown"
        cv2.rectangle(page, (x, y), (x + 26, y + 26), color, cv2.FILLED)
        cv2.rectangle(page, (x, y), (x + 26, y + 26), tuple(int(0.7 * v) for v in color), 1, cv2.LINE_AA)
        write_text(page, name + (", cut off" if label == CEILING else ""), (x + 40, y + 21), 23, INK)
        write_text(page, f"{count:,}", (x + 270, y + 21), 21, SOFT_INK, right=True)


def _scale_bar(page: np.ndarray, corner: tuple[int, int], pixels_per_metre: float) -> None:
    """Draw a bar of the largest round length that fits 45 % of the column."""
    metres = max((m for m in (0.25, 0.5, 1, 2, 5, 10, 20) if m * pixels_per_metre < COLUMN * 0.45), default=0.25)
    length = round(metres * pixels_per_metre)
    x, y = corner
    for quarter in range(4):
        x0, x1 = x + length * quarter // 4, x + length * (quarter + 1) // 4
        cv2.rectangle(page, (x0, y), (x1, y + 9), INK if quarter % 2 == 0 else (255, 255, 255), cv2.FILLED)
    cv2.rectangle(page, (x, y), (x + length, y + 9), INK, 1)
    write_text(page, f"{metres:g} m", (x + length + 14, y + 13), 23, INK)


def write_text(
    page: np.ndarray,
    text: str,
    at: tuple[int, int],
    size: int,
    color: tuple[int, int, int],
    bold: bool = False,
    right: bool = False,
) -> None:
    """Write text with the left (or right) end of its baseline at a point.

    OpenCV 5 has outline fonts; older versions have stroke fonts only.

    Args:
        page: (H, W, 3) uint8 RGB, drawn on.
        text: The text.
        at: End of the baseline, (x, y) pixels.
        size: Font size, pixels.
        color: RGB.
        bold: Whether the text is bold.
        right: Whether `at` is the right end.
    """
    if hasattr(cv2, "FontFace"):
        face, weight = cv2.FontFace("sans"), 650 if bold else 400
        if right:
            at = (at[0] - cv2.getTextSize((PAGE[0], PAGE[1]), text, (0, 0), face, size, weight)[2], at[1])
        cv2.putText(page, text, at, color, face, size, weight)
        return
    plain, scale = text.replace("·", "-"), size / 30
    if right:
        at = (at[0] - cv2.getTextSize(plain, cv2.FONT_HERSHEY_DUPLEX, scale, 1)[0][0], at[1])
    cv2.putText(page, plain, at, cv2.FONT_HERSHEY_DUPLEX, scale, color, 2 if bold else 1, cv2.LINE_AA)
