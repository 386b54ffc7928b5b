"""The peers behind one interface: OctoMap, Open3D's voxel block grid and vdbfusion, each where it is installed.

All work on the lattice of our voxels: their frame's origin is the lattice's, their edge length ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE

TRUNCATION = 4 * VOXEL_SIZE
"""Distance from a surface to which signed distances are kept, metres."""


@dataclass(frozen=True)
class DepthView:
    """A depth image and what follows from it.

    Attributes:
        depth: (H, W) float32, metres along the optical axis, 0 = none.
        K: (3, 3) intrinsics, pixels.
        T_wc: (4, 4) camera to the lattice's frame, metres.
        points: (N, 3) float64, its points in the lattice's frame, metres.
    """

    depth: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray
    points: np.ndarray


def depth_view(depth: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> DepthView:
    """Back-project every pixel that has depth; arguments as in `DepthView`."""
    return DepthView(depth, K, T_wc, back_project(depth, K, T_wc))


class Peer(Protocol):
    """A mapper of depth images.

    Attributes:
        name: readable, with its version.
    """

    name: str

    def insert(self, view: DepthView) -> None:
        """Map one depth image."""
        ...

    def occupied(self, centres: np.ndarray) -> np.ndarray:
        """(N,) bool: whether the voxels with these centres, (N, 3) metres, are occupied."""
        ...

    def memory_mb(self) -> float | None:
        """Bytes of the map, MB; None where the mapper does not tell."""
        ...


class OctoMap:
    """OctoMap through `pyoctomap`, with its own defaults (hit 0.7, miss 0.4, occupied from 0.5).

    Args:
        reach: longest depth that is used, metres.
        discretised: whether points of one voxel count as one ray.
    """

    def __init__(self, reach: float, discretised: bool) -> None:
        module = import_module("pyoctomap")
        self._tree, self._reach, self._discretised = module.OcTree(VOXEL_SIZE), reach, discretised
        self.name = "OctoMap, discretised" if discretised else "OctoMap, all rays"

    def insert(self, view: DepthView) -> None:
        """See `Peer`."""
        self._tree.insertPointCloud(
            view.points, view.T_wc[:3, 3].astype(np.float64), self._reach, discretize=self._discretised
        )

    def occupied(self, centres: np.ndarray) -> np.ndarray:
        """See `Peer`."""
        return np.asarray(self._tree.getLabels(np.ascontiguousarray(centres, np.float64))) == 1

    def memory_mb(self) -> float | None:
        """See `Peer`."""
        return float(self._tree.memoryUsage() / 1e6)


class Open3DGrid:
    """Open3D's voxel block grid of signed distances on the CPU; occupied are the voxels that its surface passes.

    Args:
        reach: longest depth that is used, metres.
    """

    BLOCK, BLOCKS = 8, 20_000
    """Voxels along the edge of a block, and blocks that are reserved at the start."""

    def __init__(self, reach: float) -> None:
        self._o3d = import_module("open3d")
        core = self._o3d.core
        self._device, self._reach = core.Device("CPU:0"), reach
        self._grid = self._o3d.t.geometry.VoxelBlockGrid(
            attr_names=("tsdf", "weight"), attr_dtypes=(core.float32, core.float32), attr_channels=((1,), (1,)),
            voxel_size=VOXEL_SIZE, block_resolution=self.BLOCK, block_count=self.BLOCKS, device=self._device,
        )  # fmt: skip
        self.name = f"Open3D {self._o3d.__version__}"

    def insert(self, view: DepthView) -> None:
        """See `Peer`."""
        core = self._o3d.core
        image = self._o3d.t.geometry.Image(core.Tensor(np.ascontiguousarray(view.depth, np.float32)))
        K, T_cw = core.Tensor(view.K.astype(np.float64)), core.Tensor(np.linalg.inv(view.T_wc).astype(np.float64))
        truncation = TRUNCATION / VOXEL_SIZE
        blocks = self._grid.compute_unique_block_coordinates(image, K, T_cw, 1.0, self._reach, truncation)
        self._grid.integrate(blocks, image, K, T_cw, 1.0, self._reach, truncation)

    def occupied(self, centres: np.ndarray) -> np.ndarray:
        """See `Peer`."""
        return passed(self._grid.extract_point_cloud(weight_threshold=1.0).point.positions.numpy(), centres)

    def memory_mb(self) -> float | None:
        """See `Peer`: two float32 for each voxel of the blocks in use."""
        return float(self._grid.hashmap().size() * self.BLOCK**3 * 8 / 1e6)


class VdbFusion:
    """vdbfusion with carving of free space; occupied are the voxels that its surface passes.

    Args:
        reach: longest depth that is used, metres.
    """

    def __init__(self, reach: float) -> None:
        module = import_module("vdbfusion")
        if not np.__version__.startswith("1."):  # its compiled part would end the process
            raise ImportError(f"its wheels (for Python 3.10 and older) need NumPy 1; this is {np.__version__}")
        self._volume, self._reach = module.VDBVolume(VOXEL_SIZE, TRUNCATION, True), reach
        self.name = "vdbfusion"

    def insert(self, view: DepthView) -> None:
        """See `Peer`."""
        near = np.linalg.norm(view.points - view.T_wc[:3, 3], axis=1) <= self._reach
        self._volume.integrate(view.points[near], view.T_wc.astype(np.float64))

    def occupied(self, centres: np.ndarray) -> np.ndarray:
        """See `Peer`."""
        vertices, triangles = self._volume.extract_triangle_mesh(True, 1.0)
        corners = np.asarray(vertices)[np.asarray(triangles)]
        return passed(np.concatenate([corners.reshape(-1, 3), corners.mean(1)]), centres)

    def memory_mb(self) -> float | None:
        """See `Peer`: vdbfusion does not tell."""
        return None


def passed(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Which voxels hold a point.

    Args:
        points: (M, 3) metres.
        centres: (N, 3) centres of voxels of the lattice, metres.

    Returns:
        (N,) bool.
    """
    voxels, found = (np.floor(array / VOXEL_SIZE).astype(np.int64) for array in (np.asarray(centres), points))
    low = np.minimum(voxels.min(0), found.min(0)) if len(found) else voxels.min(0)
    shape = (np.maximum(voxels.max(0), found.max(0)) if len(found) else voxels.max(0)) - low + 1
    flat = [np.ravel_multi_index((array - low).T, shape) for array in (voxels, found)]
    return np.isin(flat[0], flat[1])


def open_peers(reach: float) -> tuple[list[Peer], dict[str, str]]:
    """The peers that are installed, and why each of the others is missing.

    Args:
        reach: longest depth that is used, metres.
    """
    makers: dict[str, Callable[[], Any]] = {
        "OctoMap, all rays": lambda: OctoMap(reach, False),
        "OctoMap, discretised": lambda: OctoMap(reach, True),
        "Open3D": lambda: Open3DGrid(reach),
        "vdbfusion": lambda: VdbFusion(reach),
    }
    peers: list[Peer] = []
    missing = {}
    for name, make in makers.items():
        try:
            peers.append(make())
        except (ImportError, OSError) as error:  # the package, or a library that it needs
            missing[name] = str(error)
    return peers, missing
