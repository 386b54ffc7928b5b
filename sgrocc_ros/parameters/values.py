"""Parameters of the running node, checked against `table`, and the core's configuration made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sgrocc_core.classes import UNKNOWN, UNLABELLED, label_of
from sgrocc_core.errors import ConfigError
from sgrocc_core.frame import depth_source_of_input
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_ros.parameters.map_rows import CLASS_NAMES
from sgrocc_ros.parameters.table import BY_NAME, TABLE

if TYPE_CHECKING:
    from rclpy.node import Node

    from sgrocc_core.mapping.mapper import MapperConfig
    from sgrocc_ros.parameters.parameter import Parameter

SHORTEST_AUTOSAVE = 0.1
"""Shortest `autosave_period` that is accepted, seconds."""
LOWEST_RATE = 0.01
"""Lowest `max_rate` that is accepted, frames per second."""


class Parameters:
    """Checked parameter values of a running node, by name; they may be read from any thread.

    Args:
        node: node on which the parameters are declared.
        on_change: called with the names of the changed parameters after each change.

    Raises:
        ConfigError: a value is not allowed, or not in combination with another one.
    """

    def __init__(self, node: Node, on_change: Callable[[set[str]], None] = lambda names: None) -> None:
        self._values: dict[str, Any] = {}
        self._on_change = on_change
        self._rows = {row.name: row for row in TABLE}
        self._declare(node, TABLE)
        cameras = self.cameras
        own = [
            replace(row, name=f"{camera}.{row.name}") for camera in cameras if camera for row in TABLE if row.per_camera
        ]
        self._rows |= {row.name: row for row in own}
        self._declare(node, own)
        _check_cameras(self._values, cameras)
        _check_keeping(self._values)
        _check_rate(self._values)
        _check_slab(self._values)
        node.add_on_set_parameters_callback(self._set)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras; one that is empty where the only camera has no name."""
        return str(self._values["cameras"]).split(", ")

    def of_camera(self, camera: str) -> CameraParameters:
        """The values that count for a camera."""
        return CameraParameters(self, camera)

    def as_dict(self) -> dict[str, Any]:
        """Return a copy of all values."""
        return dict(self._values)

    def _declare(self, node: Node, rows: Iterable[Parameter]) -> None:
        from rcl_interfaces.msg import ParameterDescriptor

        for row in rows:
            # Dynamic type and no range: rclpy would refuse an int for a double, and would word its refusals itself.
            descriptor = ParameterDescriptor(
                name=row.name,
                description=row.description,
                additional_constraints=row.allowed,
                read_only=not row.dynamic,
                dynamic_typing=True,
            )
            default = self._values.get(row.name.rpartition(".")[2], row.default)  # of a camera: that of all cameras
            self._values[row.name] = row.check(node.declare_parameter(row.name, default, descriptor).value)

    def _set(self, changes: Iterable[Any]) -> Any:
        from rcl_interfaces.msg import SetParametersResult

        checked = {}
        try:
            for change in changes:
                if change.name in self._rows:
                    checked[change.name] = self._rows[change.name].check(change.value)
            _check_rate(self._values | checked)
            mapper_config(self._values | checked)  # values that are allowed separately may not fit each other
            _check_slab(self._values | checked)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values.update(checked)
        self._on_change(set(checked))
        return SetParametersResult(successful=True)


def mapper_config(values: Parameters | dict[str, Any]) -> MapperConfig:
    """Make the core's configuration from the node's parameters."""
    from sgrocc_core.mapping.mapper import MapperConfig

    names = (
        "motion_depth",
        "occupancy_threshold",
        "box_below",
        "box_shift",
        "max_distance",
        "max_memory_mb",
        "forget_radius",
        "language",
    )
    cameras = [camera for camera in str(values["cameras"]).split(", ") if camera]
    sources = {camera: depth_source_of_input(values[f"{camera}.depth_source"]) for camera in cameras}
    rest = {name: values[name] for name in names}
    return MapperConfig(depth_source_of_input(values["depth_source"]), camera_depth_sources=sources, **rest)


class CameraParameters:
    """The values of parameters that count for one camera: its own where it has them, else those of all cameras.

    Args:
        parameters: parameters of the node.
        camera: name of the camera; empty: the only one.
    """

    def __init__(self, parameters: Parameters, camera: str) -> None:
        self._parameters, self.camera = parameters, camera

    def __getitem__(self, name: str) -> Any:
        own = self.camera and BY_NAME[name].per_camera
        return self._parameters[f"{self.camera}.{name}" if own else name]


def labels_of(classes: str) -> list[int]:
    """Return the labels of a checked value of the parameter `classes`."""
    names = CLASS_NAMES if classes == "all" else classes.split(", ")
    return [UNKNOWN if name == UNLABELLED else label_of(name) for name in names]


def _check_keeping(values: dict[str, Any]) -> None:
    """Check the parameters for saving and loading against each other; raise ConfigError if they do not fit."""
    period = values["autosave_period"]
    if 0 < period < SHORTEST_AUTOSAVE:
        raise ConfigError(
            f"parameter autosave_period is {period}; it must be 0 (no autosave) or at least {SHORTEST_AUTOSAVE}"
        )
    if not values["map_path"]:
        for name in ("autosave_period", "load_on_start", "keep_keyframes"):
            if values[name]:
                raise ConfigError(
                    f"parameter {name} is {values[name]}, but map_path is empty; it must name the map's folder"
                )


def _check_cameras(values: dict[str, Any], cameras: list[str]) -> None:
    """Check that several cameras have a pose each; raise ConfigError if not."""
    if len(cameras) < 2:
        return
    if values["camera_frame"]:
        raise ConfigError(
            f"parameter camera_frame is {values['camera_frame']!r}, but there are {len(cameras)} cameras, each in "
            f"a frame of its own; set {cameras[0]}.camera_frame and so on, or leave it empty"
        )
    if values["pose_source"] == "pose" and not values["base_frame"]:
        raise ConfigError(
            f"parameter pose_source is pose, which is the pose of one frame, but there are {len(cameras)} cameras; "
            "base_frame must name that frame"
        )


def _check_rate(values: dict[str, Any]) -> None:
    """Check that `max_rate` is no limit or a usable one; raise ConfigError if not."""
    rate = values["max_rate"]
    if 0 < rate < LOWEST_RATE:
        raise ConfigError(f"parameter max_rate is {rate}; it must be 0 (no limit) or at least {LOWEST_RATE}")


def _check_slab(values: dict[str, Any]) -> None:
    """Check that the grid's slab is at least one voxel high; raise ConfigError if not."""
    low, high = values["grid_min_height"], values["grid_max_height"]
    if high < low + VOXEL_SIZE - 1e-9:
        raise ConfigError(
            f"parameter grid_max_height is {high}; "
            f"it must be at least {VOXEL_SIZE} above grid_min_height, which is {low}"
        )
