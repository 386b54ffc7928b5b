"""The files of a map: copying a live map, writing it, and reading it back with all contents checked."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import safe_open

from sgrocc_core.array_layout import ArrayLayout, check_layout, check_range
from sgrocc_core.classes import NAMES, NUM_CLASSES, UNKNOWN
from sgrocc_core.engines.model import sha256_of
from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.saved_memory import FARTHEST_BLOCK
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE
from sgrocc_core.report import machine_bytes
from sgrocc_core.voxels.distances.field import MAX_DISTANCE, DistanceQuery, Distances, Unknown
from sgrocc_core.voxels.listed import ListedVoxels
from sgrocc_core.voxels.objects import FoundObject, find_objects
from sgrocc_core.voxels.query import BoxQuery, PointQuery, inside, query_box, query_points
from sgrocc_core.voxels.voxel_map import free_voxels, occupied_voxels

if TYPE_CHECKING:
    from sgrocc_core.engines.model import ModelSpec
    from sgrocc_core.mapping.live_map import LiveMap

FORMAT_VERSION = 3
MAP, GAUSSIANS, PLY, PICTURE, REPORT = "map.npz", "gaussians.safetensors", "map.ply", "map.png", "report.json"
FILES = (MAP, GAUSSIANS, PLY, PICTURE, REPORT)
LAYOUT: ArrayLayout = {
    "voxels": (("N", 3), np.int32), "labels": (("N",), np.uint8), "probability": (("N",), np.float32),
    "free": (("M", 3), np.int32), "voxel_size": ((), np.float64), "classes": (("C",), str), "frame_id": ((), str),
    "stamp_ns": ((), np.int64), "model": ((), str), "gaussians_per_cell": ((), np.int64),
    "feature_channels": ((), np.int64), "format_version": ((), np.int64), "gaussians_sha256": ((), str),
}  # fmt: skip
"""Arrays of map.npz."""
KEYS = tuple(LAYOUT)
LONGEST_TEXT = 256
"""Maximum length of a text in map.npz, characters."""
MOST_VOXELS = 100_000_000
"""Maximum number of occupied and of free voxels in a file; a building of 100 x 100 m in five storeys has a tenth."""
MOST_CHANNELS = 4096
"""Maximum number of Gaussians per cell, and of feature channels, accepted in a file; far above any model's."""
LATEST_STAMP = 2**31 * 10**9
"""Upper bound of a ROS stamp, nanoseconds."""


@dataclass(frozen=True)
class MapModel:
    """The model that made a map, with the sizes that determine the memory's arrays.

    Attributes:
        name: Name of the model.
        gaussians_per_cell: Number of Gaussians per cell.
        feature_channels: Number of features per cell.
    """

    name: str
    gaussians_per_cell: int
    feature_channels: int

    def __str__(self) -> str:
        return f"{self.name!r} ({self.gaussians_per_cell} Gaussians a cell, {self.feature_channels} features)"

    @classmethod
    def of(cls, spec: ModelSpec) -> MapModel:
        """The MapModel of a model specification."""
        return cls(spec.name, spec.gaussians_per_cell, spec.feature_channels)


@dataclass(frozen=True)
class SavedMap:
    """The contents of a map on disk.

    Attributes:
        voxels: (N, 3) int32, occupied voxels; the centre is (index + 0.5) * voxel_size metres in frame_id.
        labels: (N,) uint8, 1 to 11, or 255 without a class.
        probability: (N,) float32, multiples of 1/16.
        free: (M, 3) int32, indices of the voxels observed free.
        frame_id: The map frame.
        stamp_ns: Stamp of the newest frame, nanoseconds.
        gaussians: Result of `LiveMap.arrays`, from which mapping can continue; empty without Gaussians.
        model: The model that made the map.
        voxel_size: Edge length of a voxel, metres.
        classes: Class names by label.
    """

    voxels: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    free: np.ndarray
    frame_id: str
    stamp_ns: int
    gaussians: dict[str, np.ndarray]
    model: MapModel
    voxel_size: float = VOXEL_SIZE
    classes: tuple[str, ...] = NAMES

    @classmethod
    def of(cls, live: LiveMap, frame_id: str, stamp_ns: int) -> SavedMap:
        """The current state of a live map.

        Args:
            live: The map of a mapper, `mapper.map`.
            frame_id: The map frame.
            stamp_ns: Stamp of the newest frame, nanoseconds.
        """
        return MapCopy(live).take(frame_id, stamp_ns).saved()

    def query(self, points: np.ndarray) -> PointQuery:
        """State, class and probability of the voxels that points lie in.

        Args:
            points: (N, 3) metres, in frame_id.

        Raises:
            QueryError: Another shape, or coordinates that are not finite numbers.
        """
        return query_points(self, points)

    def find(self, phrase: str, language: str = "") -> list[FoundObject]:
        """The things that a phrase means, such as `sofa` or `somewhere to sit`; see `ranking.find_saved`."""
        occupied = self.voxels, self.labels, self.probability
        if not language and "language" not in self.gaussians:
            return find_objects(phrase, occupied, self.free)
        from sgrocc_core.open_vocabulary.ranking import find_saved  # imports a runtime

        return find_saved(phrase, self.gaussians, occupied, self.free, language)

    def query_box(self, low: np.ndarray, high: np.ndarray) -> BoxQuery:
        """All voxels that an axis-aligned box touches.

        Args:
            low: (3,) lowest corner, metres, in frame_id.
            high: (3,) highest corner, metres, in frame_id.

        Raises:
            QueryError: Not three finite numbers each, or a low above its high.
        """
        return query_box(self, low, high)

    def distance(
        self,
        points: np.ndarray,
        classes: Sequence[str] | None = None,
        unknown: Unknown = "free",
        max_distance: float = MAX_DISTANCE,
    ) -> DistanceQuery:
        """Euclidean distance from points to the nearest occupied voxel, as `LiveMap.distance`.

        Args:
            points: (N, 3) metres, in frame_id.
            classes: Names of the classes that count as obstacles; None for every occupied voxel.
            unknown: Whether space that is neither occupied nor observed free counts as `free` or as `occupied`.
            max_distance: Distance from which on it is not measured, metres, at most 2.

        Raises:
            QueryError: A value is not allowed; the message names it.
        """
        return self._distances.query(points, classes, unknown, max_distance)

    def read(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """State of single voxels.

        Args:
            voxels: (N, 3) int64 indices.

        Returns:
            labels: (N,) uint8, 0 where not occupied.
            probability: (N,) float32, 0 where not occupied.
            free: (N,) bool, whether observed free.
        """
        return self._listed.read(voxels)

    def within(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Voxels in a range of indices.

        Args:
            low: (3,) int64, lowest index, included.
            high: (3,) int64, highest index, included.

        Returns:
            voxels: (N, 3) int32, the occupied voxels.
            labels: (N,) uint8.
            probability: (N,) float32.
            free: (M, 3) int32, the voxels observed free.
        """
        wanted = inside(self.voxels, low, high)
        return (
            self.voxels[wanted],
            self.labels[wanted],
            self.probability[wanted],
            self.free[inside(self.free, low, high)],
        )

    @cached_property
    def _listed(self) -> ListedVoxels:
        return ListedVoxels(self.voxels, self.labels, self.probability, self.free)

    @cached_property
    def _distances(self) -> Distances:
        return Distances(self._listed)

    def check_fits(self, spec: ModelSpec, frame_id: str) -> None:
        """Check that mapping can continue from this map.

        Args:
            spec: Model of the mapper.
            frame_id: Map frame of the mapper.

        Raises:
            DataError: Frame, model or classes differ, or the map has no Gaussians; names the difference.
        """
        if self.frame_id != frame_id:
            raise DataError(f"the saved map's frame is {self.frame_id!r}; it must be the map frame {frame_id!r}")
        if self.model != MapModel.of(spec):
            raise DataError(f"the saved map was made by the model {self.model}; this is {MapModel.of(spec)}")
        if self.classes != spec.classes:
            names = ", ".join(self.classes)
            raise DataError(f"the saved map's classes are {names}; this model's are {', '.join(spec.classes)}")
        if not self.gaussians:
            raise DataError(f"there is no {GAUSSIANS} beside the saved map, from which mapping goes on")


class MapCopy:
    """Copies a live map in three steps: create, `take`, `saved`. Only `take` must run between two frames.

    Args:
        live: The map to copy; only its size is read here.
    """

    def __init__(self, live: LiveMap) -> None:
        self._live, self._room = live, live.memory.room()

    def take(self, frame_id: str, stamp_ns: int) -> MapCopy:
        """Copy the arrays and nothing else, to keep the mapper waiting as briefly as possible.

        Args:
            frame_id: The map frame.
            stamp_ns: Stamp of the newest frame, nanoseconds.

        Returns:
            This object.
        """
        self._frame_id, self._stamp_ns = frame_id, int(stamp_ns)
        self._gaussians = self._live.arrays(self._room)
        self._labels, self._sixteenths = self._live.voxel_map.published()
        return self

    def saved(self) -> SavedMap:
        """The copied map."""
        keys, evidence = self._gaussians["blocks"], self._gaussians["evidence"]
        occupied = occupied_voxels(keys, self._labels, self._sixteenths)
        free = free_voxels(keys, self._labels, evidence)
        return SavedMap(*occupied, free, self._frame_id, self._stamp_ns, self._gaussians, MapModel.of(self._live.spec))


def _check_regular(file: Path) -> None:
    """Check that a file may be opened: a pipe would block, and a device never end."""
    found = os.stat(file)
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{file} is not a regular file")
    _check_size(file, found.st_size)


def metadata_of(frame_id: str, stamp_ns: int) -> dict[str, str]:
    """Metadata of gaussians.safetensors, which say which map it belongs to."""
    return {"format_version": str(FORMAT_VERSION), "frame_id": frame_id, "stamp_ns": str(stamp_ns)}


def load_map(path: str | Path) -> SavedMap:
    """Read a saved map, with its Gaussians if there are any.

    The values of the Gaussians are checked by `LiveMap.restore`.

    Args:
        path: Folder of the map, or its map.npz.

    Returns:
        The map.

    Raises:
        DataError: The map is missing, damaged, of another version, or has invalid contents.
    """
    path = Path(path)
    link = path / MAP if path.is_dir() else path
    if not link.exists():
        raise DataError(f"no map at {link}")
    file = link.resolve()  # files of one generation, even if another process saves meanwhile
    try:
        return _load(file)
    except DataError:
        if link.resolve() == file:
            raise
        return load_map(path)  # that generation was replaced while it was read


def _load(file: Path) -> SavedMap:
    try:
        _check_regular(file)
        fields = _read_arrays(file)
    except DataError:
        raise
    except Exception as error:  # NumPy raises many types for a damaged file
        raise DataError(f"{file} is damaged or not a map: {error or type(error).__name__}") from error
    _check_values(file, fields)
    frame_id, stamp_ns = str(fields["frame_id"]), int(fields["stamp_ns"])
    return SavedMap(
        fields["voxels"], fields["labels"], fields["probability"], fields["free"], frame_id, stamp_ns,
        _load_gaussians(file.parent / GAUSSIANS, frame_id, stamp_ns, str(fields["gaussians_sha256"])),
        MapModel(str(fields["model"]), int(fields["gaussians_per_cell"]), int(fields["feature_channels"])),
        float(fields["voxel_size"]), tuple(str(name) for name in fields["classes"]),
    )  # fmt: skip


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of map.npz; type, shape and size of all are checked before memory is allocated for any."""
    with zipfile.ZipFile(file) as archive:
        inside = [key for key in KEYS if f"{key}.npy" in archive.namelist()]
        found = {key: _read_header(archive, file, key) for key in inside}
        if "format_version" in found and found["format_version"] == ((), np.dtype(np.int64)):
            version = int(_read_array(archive, "format_version"))
            if version != FORMAT_VERSION:
                raise DataError(f"{file} is of format version {version}; this program reads version {FORMAT_VERSION}")
        check_layout(f"{file} is not a map: it" if len(inside) < len(KEYS) else str(file), found, LAYOUT)
        _check_size(file, sum(int(np.prod(shape, dtype=object)) * dtype.itemsize for shape, dtype in found.values()))
        for key in ("voxels", "free"):
            if found[key][0][0] > MOST_VOXELS:
                raise DataError(f"{file}: {key!r} has {found[key][0][0]} rows; at most {MOST_VOXELS} are read")
        return {key: _read_array(archive, key) for key in KEYS}


def _read_header(archive: zipfile.ZipFile, file: Path, key: str) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(f"{key}.npy") as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise DataError(f"{file}: {key!r} has a header of another kind than NumPy writes for such an array")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype.kind == "U" and dtype.itemsize > 4 * LONGEST_TEXT:
            raise DataError(
                f"{file}: {key!r} has texts of {dtype.itemsize // 4} characters; {LONGEST_TEXT} are allowed"
            )
        return shape, dtype


def _read_array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _check_size(file: Path, size: int) -> None:
    """Refuse a map larger than half of the machine's memory before it is read."""
    most = machine_bytes() // 2
    if size > most:
        raise DataError(f"{file} holds {size / 1e9:.1f} GB of arrays; this machine reads at most {most / 1e9:.1f} GB")


def _check_values(file: Path, fields: dict[str, np.ndarray]) -> None:
    what, reach = str(file), FARTHEST_BLOCK * BLOCK_VOXELS
    check_range(what, "voxels", fields["voxels"], -reach, reach)
    check_range(what, "free", fields["free"], -reach, reach)
    check_range(what, "labels", np.where(fields["labels"] == UNKNOWN, 1, fields["labels"]), 1, NUM_CLASSES)
    check_range(what, "probability", fields["probability"], 0.0, 1.0)
    check_range(what, "voxel_size", fields["voxel_size"], VOXEL_SIZE, VOXEL_SIZE)
    check_range(what, "stamp_ns", fields["stamp_ns"], 0, LATEST_STAMP)
    for name in ("gaussians_per_cell", "feature_channels"):
        check_range(what, name, fields[name], 1, MOST_CHANNELS)


def _load_gaussians(file: Path, frame_id: str, stamp_ns: int, sha256: str) -> dict[str, np.ndarray]:
    """Read the Gaussians beside a map; none if the file is missing."""
    if not os.path.lexists(file):
        return {}
    try:
        _check_regular(file)
        with safe_open(file, framework="np") as tensors:
            metadata = tensors.metadata() or {}
            version = metadata.get("format_version")
            if version != str(FORMAT_VERSION):
                raise DataError(f"{file} is of format version {version}; this program reads version {FORMAT_VERSION}")
            if metadata != metadata_of(frame_id, stamp_ns):
                raise DataError(f"{file} belongs to another map than the {MAP} beside it: frame and stamp differ")
            if sha256_of(file) != sha256:
                raise DataError(f"{file} is damaged, or belongs to another map: its SHA-256 is not that in {MAP}")
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except DataError:
        raise
    except Exception as error:  # safetensors raises many types for a damaged file
        raise DataError(f"{file} is damaged: {error or type(error).__name__}") from error
