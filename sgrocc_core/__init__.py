"""Semantic 3D occupancy maps from the images of one moving camera, without ROS.

The names in `__all__` are the public interface; they are documented in docs/api.md. All other modules and names are
internal and may change. A name is imported when it is first used, so that `import sgrocc_core` loads no other package.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgrocc_core.classes import COLORS, NAMES, UNKNOWN
    from sgrocc_core.data.bags.options import BagOptions
    from sgrocc_core.data.bags.reader import BagReader
    from sgrocc_core.engines.engine import Engine
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.errors import ConfigError, DataError, FrameError, ModelError, QueryError, SgroccError
    from sgrocc_core.frame import Frame
    from sgrocc_core.gaussians.last_view import GaussiansInView
    from sgrocc_core.map_files.file import MapFolder
    from sgrocc_core.map_files.format import SavedMap, load_map
    from sgrocc_core.mapping.live_map import LiveMap
    from sgrocc_core.mapping.mapper import OccupancyMapper
    from sgrocc_core.mapping.types import MapperConfig, MapUpdate
    from sgrocc_core.voxels.distances.field import DistanceQuery
    from sgrocc_core.voxels.objects import FoundObject
    from sgrocc_core.voxels.query import BoxQuery, PointQuery, VoxelState

__version__ = "0.1.0"

__all__ = [
    "COLORS",
    "NAMES",
    "UNKNOWN",
    "BagOptions",
    "BagReader",
    "BoxQuery",
    "ConfigError",
    "DataError",
    "DistanceQuery",
    "Engine",
    "FoundObject",
    "Frame",
    "FrameError",
    "GaussiansInView",
    "LiveMap",
    "MapFolder",
    "MapUpdate",
    "MapperConfig",
    "ModelError",
    "OccupancyMapper",
    "PointQuery",
    "QueryError",
    "SavedMap",
    "SgroccError",
    "VoxelState",
    "load_map",
    "open_engine",
]

_NAMES_BY_MODULE = {
    "classes": ("COLORS", "NAMES", "UNKNOWN"),
    "data.bags.options": ("BagOptions",),
    "data.bags.reader": ("BagReader",),
    "engines.engine": ("Engine",),
    "engines.open": ("open_engine",),
    "errors": ("ConfigError", "DataError", "FrameError", "ModelError", "QueryError", "SgroccError"),
    "frame": ("Frame",),
    "gaussians.last_view": ("GaussiansInView",),
    "map_files.file": ("MapFolder",),
    "map_files.format": ("SavedMap", "load_map"),
    "mapping.live_map": ("LiveMap",),
    "mapping.mapper": ("OccupancyMapper",),
    "mapping.types": ("MapperConfig", "MapUpdate"),
    "voxels.distances.field": ("DistanceQuery",),
    "voxels.objects": ("FoundObject",),
    "voxels.query": ("BoxQuery", "PointQuery", "VoxelState"),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES_BY_MODULE.items() for name in names}

# ONNX Runtime's wheels for Linux send usage data to their maker unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
