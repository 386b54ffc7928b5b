"""The picture of a check: depth edges on an image, a grid on the floor in an image, and the path from above."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.checks.depth import WIDTH, depth_edges
from sgrocc_core.checks.stream import StreamCheck
from sgrocc_core.errors import DataError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import back_project, project, scale_intrinsics

PANEL = 480
"""Height of each of the three panels, pixels."""
GRID_STEP, GRID_REACH = 0.5, 5.0
"""Spacing and reach of the grid on the floor, metres."""


def write_picture(path: Path, check: StreamCheck) -> None:
    """Write the three panels side by side as a PNG.

    Args:
        path: of the picture; its folder is made.
        check: what has been looked at.

    Raises:
        DataError: nothing was looked at, or the file cannot be written.
    """
    if not check.kept:
        raise DataError("no frame could be looked at, so there is no picture")
    panels = [_edges_panel(check.kept), _floor_panel(check), _path_panel(check)]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(np.hstack(panels), cv2.COLOR_RGB2BGR)):
        raise DataError(f"the picture cannot be written to {path}")


def _fitted(image: np.ndarray, title: str) -> np.ndarray:
    width = round(image.shape[1] * PANEL / image.shape[0])
    shown = cv2.resize(image, (width, PANEL), interpolation=cv2.INTER_AREA)
    cv2.rectangle(shown, (0, 0), (width, 26), (255, 255, 255), -1)
    cv2.putText(shown, title, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return shown


def _edges_panel(kept: list[Frame]) -> np.ndarray:
    with_depth = [frame for frame in kept if frame.depth is not None]
    frame = with_depth[len(with_depth) // 2] if with_depth else kept[len(kept) // 2]
    image = frame.image.copy()
    if frame.depth is None:
        return _fitted(image, "no depth")
    height, width = image.shape[:2]
    rows = max(round(WIDTH * height / width), 8)
    edges = depth_edges(cv2.resize(frame.depth, (WIDTH, rows), interpolation=cv2.INTER_NEAREST_EXACT))
    shown = cv2.resize(edges, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    image[shown] = (255, 0, 90)
    return _fitted(image, "edges of the depth")


def _floor_height(check: StreamCheck) -> tuple[float, str]:
    """Height of the floor in the map, metres, and how it was found."""
    heights = []
    for frame in check.kept:
        if frame.depth is not None:
            scale = frame.depth.shape[1] / frame.image.shape[1]
            points = back_project(frame.depth[::4, ::4], scale_intrinsics(frame.K, scale / 4, scale / 4), frame.T_wc)
            heights.append(points[:, 2])
    lowest_camera = min(float(frame.T_wc[2, 3]) for frame in check.kept)
    if heights:
        below = np.concatenate(heights)
        below = below[below < lowest_camera]
        if len(below) > 200:
            return float(np.percentile(below, 5)), "floor from depth"
    return lowest_camera - 1.4, "floor assumed 1.4 m below"


def _floor_panel(check: StreamCheck) -> np.ndarray:
    frame = max(check.kept, key=lambda each: float(-each.T_wc[2, 2]))
    height, source = _floor_height(check)
    image = frame.image.copy()
    centre = np.round(frame.T_wc[:2, 3] / GRID_STEP) * GRID_STEP
    ticks = np.arange(-GRID_REACH, GRID_REACH + 1e-6, GRID_STEP)
    fine = np.linspace(-GRID_REACH, GRID_REACH, 400)
    for tick in ticks:
        for line in (np.stack([np.full_like(fine, tick), fine], 1), np.stack([fine, np.full_like(fine, tick)], 1)):
            points = np.column_stack([line + centre, np.full(len(line), height)])
            u, v, z = project(points, frame.K, frame.T_wc)
            front = z > 0.2
            for a, b in zip(np.flatnonzero(front[:-1] & front[1:]), np.flatnonzero(front[:-1] & front[1:]) + 1):
                ends = np.array([[u[a], v[a]], [u[b], v[b]]])
                if np.abs(ends).max() < 4 * max(image.shape):
                    cv2.line(image, tuple(map(int, ends[0])), tuple(map(int, ends[1])), (40, 220, 60), 1, cv2.LINE_AA)
    return _fitted(image, f"grid of 0.5 m at z = {height:.2f} m ({source})")


def _path_panel(check: StreamCheck) -> np.ndarray:
    canvas = np.full((PANEL, PANEL, 3), 255, np.uint8)
    poses = np.stack(check.posture.poses)
    places = poses[:, :2, 3]
    low, high = places.min(0) - 1.0, places.max(0) + 1.0
    scale = (PANEL - 60) / float((high - low).max())

    def at(point: np.ndarray) -> tuple[int, int]:
        x, y = (point - low) * scale
        return int(30 + x), int(PANEL - 30 - y)

    for a, b in itertools.pairwise(places):
        cv2.line(canvas, at(a), at(b), (60, 90, 200), 2, cv2.LINE_AA)
    for T_wc in poses:
        forward = T_wc[:2, 2]
        cv2.arrowedLine(canvas, at(T_wc[:2, 3]), at(T_wc[:2, 3] + 0.4 * forward), (220, 80, 40), 1, cv2.LINE_AA)
    length = float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())
    return _fitted(canvas, f"path from above, x right, y up: {length:.1f} m")
