"""Logs a bag frame by frame while it is mapped, or a saved map at once.

Per frame only changes are logged: voxels by block and class, the path in pieces, and the Gaussians in view.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rerun as rr

from sgrocc_core.classes import color_table
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE
from sgrocc_core.map_files.format import REPORT, SavedMap
from sgrocc_core.mapping.mapper import MapUpdate, OccupancyMapper
from sgrocc_core.report import class_counts
from sgrocc_core.viewing import layout, shapes
from sgrocc_core.viewing.gaussians import gaussians_of_map

PATH_PIECE = 128
"""Positions per line strip of the camera's path. Each frame logs its whole strip again, so strips must stay short."""
LONGEST_REPORT = 100_000
"""Maximum number of characters of report.json that are shown."""
FREE_COLOR = (110, 190, 240)
PATH_COLOR = (30, 30, 30)


class MapLog:
    """Logs a mapper's updates.

    Args:
        stream: The recording.
        mapper: The mapper whose updates are logged.
        most_gaussians: Maximum number of Gaussians per frame.
        watched: Whether a viewer is open. If so, the views are aimed at the map of the first frame, else at the end.

    Attributes:
        frames: Number of logged frames.
    """

    def __init__(self, stream: rr.RecordingStream, mapper: OccupancyMapper, most_gaussians: int, watched: bool) -> None:
        self._stream, self._mapper, self._most, self._watched = stream, mapper, most_gaussians, watched
        self._logged: dict[tuple[int, int, int], np.ndarray] = {}
        self._piece: list[np.ndarray] = []
        self.frames = 0
        layout.log_static(stream)

    def frame(self, frame: Frame, update: MapUpdate) -> None:
        """Log a frame and its update of the map."""
        self._stream.set_time(layout.STAMP, timestamp=np.datetime64(frame.stamp_ns, "ns"))
        self._stream.set_time(layout.FRAME, sequence=self.frames)
        self._camera(frame, update.depth)
        self._path(frame.T_wc[:3, 3])
        for key in update.changed_blocks.tolist():
            self._block((key[0], key[1], key[2]))
        if (seen := self._mapper.map.gaussians_in_view(self._most)) is not None:
            self._stream.log(layout.GAUSSIANS, shapes.ellipsoids(seen))
        self.frames += 1
        if self._watched and self.frames == 1:
            self._aim()

    def end(self) -> None:
        """Aim the views at the whole map, unless a viewer was open from the start."""
        if not self._watched:
            self._aim()

    def _aim(self) -> None:
        low, high = bounds(self._mapper.map.voxel_map.occupied()[0], VOXEL_SIZE)
        self._stream.send_blueprint(
            layout.blueprint_of_bag(low + self._mapper.map.origin, high + self._mapper.map.origin)
        )

    def _camera(self, frame: Frame, depth: np.ndarray) -> None:
        height, width = frame.image.shape[:2]
        rows, columns = depth.shape
        K = scale_intrinsics(frame.K, columns / width, rows / height)
        self._stream.log(layout.CAMERA, shapes.pose(frame.T_wc))
        self._stream.log(layout.IMAGE, shapes.pinhole(frame.K, (width, height)), shapes.picture(frame.image))
        self._stream.log(
            layout.DEPTH,
            shapes.pinhole(K, (columns, rows)),
            shapes.depth_picture(depth, self._mapper.config.max_distance),
        )

    def _path(self, position: np.ndarray) -> None:
        """Log the growing piece of the path; a new piece starts at the end of the last one."""
        self._piece.append(position.astype(np.float32))
        number = max(self.frames - 1, 0) // PATH_PIECE
        strip = rr.LineStrips3D([np.array(self._piece)], colors=PATH_COLOR, radii=0.01)
        self._stream.log(f"{layout.PATH}/{number}", strip)
        if len(self._piece) == PATH_PIECE + 1:
            self._piece = self._piece[-1:]

    def _block(self, key: tuple[int, int, int]) -> None:
        """Log the classes of a block whose voxels differ from those logged before."""
        labels = self._mapper.map.voxel_map.block(key)[0]
        before = self._logged.get(key, np.zeros_like(labels))
        different = labels != before
        for label in np.union1d(labels[different], before[different]).tolist():
            if label:
                voxels = np.argwhere(labels == label) + np.array(key) * BLOCK_VOXELS
                self._stream.log(
                    layout.voxels_of(label, key), shapes.boxes(voxels, label, VOXEL_SIZE, self._mapper.map.origin)
                )
        self._logged[key] = labels


def bounds(voxels: np.ndarray, voxel_size: float) -> tuple[np.ndarray, np.ndarray]:
    """The box that holds all but 1 % of the voxels at each end of each axis.

    Args:
        voxels: (N, 3) int indices.
        voxel_size: Edge length of a voxel, metres.

    Returns:
        The lowest and the highest corner, (3,) metres each.
    """
    if not len(voxels):
        return np.zeros(3), np.ones(3)
    low, high = np.percentile(voxels, (1, 99), axis=0)
    return low * voxel_size, (high + 1) * voxel_size


def log_map(stream: rr.RecordingStream, saved: SavedMap, path: Path, most_gaussians: int) -> int:
    """Log a saved map at its stamp: one entity per class, free space as points, Gaussians, and a description.

    Args:
        stream: The recording.
        saved: The map.
        path: Its folder or map.npz; report.json beside it is added to the description.
        most_gaussians: Maximum number of Gaussians; the most opaque are logged.

    Returns:
        Number of logged Gaussians.

    Raises:
        DataError: The Gaussians are not those of a memory.
    """
    gaussians, found = gaussians_of_map(saved, most_gaussians)
    layout.log_static(stream)
    stream.set_time(layout.STAMP, timestamp=np.datetime64(saved.stamp_ns, "ns"))
    stream.send_blueprint(layout.blueprint_of_map(*bounds(saved.voxels, saved.voxel_size)))
    origin = np.zeros(3)
    for label in np.unique(saved.labels).tolist():
        stream.log(
            layout.voxels_of(label), shapes.boxes(saved.voxels[saved.labels == label], label, saved.voxel_size, origin)
        )
    free = ((saved.free + 0.5) * saved.voxel_size).astype(np.float32)
    stream.log(layout.FREE, rr.Points3D(free, radii=0.01, colors=FREE_COLOR))
    stream.log(layout.GAUSSIANS, shapes.ellipsoids(gaussians))
    stream.log(
        layout.ABOUT, rr.TextDocument(_about(saved, path, len(gaussians.means), found), media_type="text/markdown")
    )
    return len(gaussians.means)


def _about(saved: SavedMap, path: Path, drawn: int, found: int) -> str:
    """Description of a saved map, in Markdown."""
    colors = color_table()
    lines = [
        f"# {path}",
        f"frame `{saved.frame_id}`, newest image at {saved.stamp_ns / 1e9:.3f} s, "
        f"voxels of {100 * saved.voxel_size:g} cm", "",
        f"model `{saved.model.name}`: {saved.model.gaussians_per_cell} Gaussians a cell; "
        f"{drawn:,} of {found:,} are drawn", "",
        f"{len(saved.voxels):,} occupied voxels, {len(saved.free):,} observed free", "",
        "| class | voxels | colour |", "|---|---|---|",
    ]  # fmt: skip
    names = {layout.class_name(label): colors[label] for label in np.unique(saved.labels).tolist()}
    lines += [f"| {name} | {count:,} | {names.get(name, '')} |" for name, count in class_counts(saved.labels).items()]
    report = (path if path.is_dir() else path.parent) / REPORT
    if report.is_file():
        with report.open(errors="replace") as file:
            lines += ["", f"## {REPORT}", "", "```json", file.read(LONGEST_REPORT), "```"]
    return "\n".join(lines) + "\n"
