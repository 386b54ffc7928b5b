"""Voxels and Gaussians as RViz markers: one CUBE_LIST per block, one SPHERE_LIST per size, serialised to CDR by NumPy.

As message objects, 20,000 points and colours take about 65 ms in Python; serialised directly they are only copied.
`list_marker` is the readable reference. `fast_path_agrees` compares the two at start-up, because the byte layout is
that of one version of visualization_msgs.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import Point
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_core.classes import NAMES, UNKNOWN, UNLABELLED, color_table
from sgrocc_core.gaussians.gaussians import MAX_SCALE, MIN_SCALE
from sgrocc_core.gaussians.last_view import GaussiansInView
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_ros.messages import time_message

NAMESPACE, LEGEND, GAUSSIANS = "occupancy", "legend", "gaussians"
SIZES = 6
"""Number of sphere sizes."""
_COLORS = np.concatenate([color_table().astype(np.float32) / 255.0, np.ones((256, 1), np.float32)], 1)
_ENCAPSULATION = b"\x00\x01\x00\x00"  # little-endian plain CDR
_TEXT_SIZE = 0.25
"""Height of the legend's text, metres."""


class ListMarker(Protocol):
    """A marker of many shapes of one kind and size; without any shape the marker is deleted."""

    @property
    def namespace(self) -> str:
        """Namespace of the marker."""

    @property
    def kind(self) -> int:
        """Marker type: CUBE_LIST or SPHERE_LIST."""

    @property
    def number(self) -> int:
        """Id of the marker."""

    @property
    def size(self) -> float:
        """Edge or diameter, metres."""

    @property
    def points(self) -> np.ndarray:
        """(N, 3) float64 centres, metres."""

    @property
    def colors(self) -> np.ndarray:
        """(N, 4) float32 RGBA, 0..1."""


@dataclass(frozen=True)
class BlockMarker:
    """The voxels of a block as a ListMarker.

    Attributes:
        number: id of the marker.
        voxels: (N, 3) int, voxel indices.
        labels: (N,) uint8.
    """

    number: int
    voxels: np.ndarray
    labels: np.ndarray
    namespace = NAMESPACE
    kind = Marker.CUBE_LIST
    size = VOXEL_SIZE

    @property
    def points(self) -> np.ndarray:
        """See `ListMarker`."""
        return np.asarray((self.voxels + 0.5) * VOXEL_SIZE, np.float64)

    @property
    def colors(self) -> np.ndarray:
        """See `ListMarker`."""
        return _COLORS[self.labels]


@dataclass(frozen=True)
class SphereMarker:
    """Gaussians of similar size as spheres, as a ListMarker.

    Attributes:
        number: id of the marker.
        size: diameter, metres.
        points: (N, 3) float64, centres, metres.
        colors: (N, 4) float32, RGB and opacity, 0..1.
    """

    number: int
    size: float
    points: np.ndarray
    colors: np.ndarray
    namespace = GAUSSIANS
    kind = Marker.SPHERE_LIST


def spheres(gaussians: GaussiansInView | None) -> list[SphereMarker]:
    """Convert Gaussians to spheres of SIZES sizes; sizes without Gaussians give empty markers.

    The diameter is two standard deviations, taken as the geometric mean of the three axes.

    Args:
        gaussians: the Gaussians; None gives only empty markers, which remove those shown before.
    """
    step = (MAX_SCALE - MIN_SCALE) / SIZES
    if gaussians is None:
        return [SphereMarker(n, 1.0, np.zeros((0, 3)), np.zeros((0, 4), np.float32)) for n in range(SIZES)]
    radius = np.exp(np.log(gaussians.scales).mean(1))
    size = np.clip(((radius - MIN_SCALE) / step).astype(int), 0, SIZES - 1)
    colors = _COLORS[gaussians.labels].copy()
    colors[:, 3] = gaussians.opacities
    return [
        SphereMarker(
            n, 2 * (MIN_SCALE + (n + 0.5) * step), gaussians.means[size == n].astype(np.float64), colors[size == n]
        )
        for n in range(SIZES)
    ]


def list_marker(bodies: ListMarker, frame_id: str, stamp: int) -> Marker:
    """Make one marker message. stamp: nanoseconds."""
    marker = Marker(
        header=Header(stamp=time_message(stamp), frame_id=frame_id),
        ns=bodies.namespace,
        id=bodies.number,
        type=bodies.kind,
    )
    marker.action = Marker.ADD if len(bodies.points) else Marker.DELETE
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = bodies.size
    marker.color.a = 1.0
    marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in bodies.points]
    marker.colors = [ColorRGBA(r=float(r), g=float(g), b=float(b), a=float(a)) for r, g, b, a in bodies.colors]
    return marker


def delete_all(frame_id: str, stamp: int) -> Marker:
    """Make the marker that removes all markers of the topic. stamp: nanoseconds."""
    return Marker(header=Header(stamp=time_message(stamp), frame_id=frame_id), action=Marker.DELETEALL)


def legend(labels: Sequence[int], corner: np.ndarray, frame_id: str, stamp: int) -> list[Marker]:
    """Make a column of text with one class per line, in the colour of the class.

    Args:
        labels: labels of the classes.
        corner: (3,) lower end of the column, metres.
        frame_id: frame of the map.
        stamp: time stamp, nanoseconds.
    """
    markers = []
    for line, label in enumerate(sorted(labels, reverse=True)):
        marker = Marker(
            header=Header(stamp=time_message(stamp), frame_id=frame_id),
            ns=LEGEND,
            id=int(label),
            type=Marker.TEXT_VIEW_FACING,
        )
        marker.text = UNLABELLED if label == UNKNOWN else NAMES[label]
        marker.pose.position.x, marker.pose.position.y = float(corner[0]), float(corner[1])
        marker.pose.position.z = float(corner[2]) + 1.2 * _TEXT_SIZE * line
        marker.pose.orientation.w = 1.0
        marker.scale.z = _TEXT_SIZE
        r, g, b, a = (float(v) for v in _COLORS[label])
        marker.color = ColorRGBA(r=r, g=g, b=b, a=a)
        markers.append(marker)
    return markers


def plain(lists: Sequence[ListMarker], frame_id: str, stamp: int, first: Sequence[Marker] = ()) -> MarkerArray:
    """Make the message that `pack` serialises directly. stamp: nanoseconds."""
    return MarkerArray(markers=[*first, *(list_marker(bodies, frame_id, stamp) for bodies in lists)])


def pack(lists: Sequence[ListMarker], frame_id: str, stamp: int, first: Sequence[Marker] = ()) -> bytes:
    """Serialise a MarkerArray of the markers `first` and of the lists. stamp: nanoseconds."""
    out = _Cdr()
    if first:
        # ROS serialises these markers; only the count at the start of the array is replaced.
        out.data += serialize_message(MarkerArray(markers=list(first)))[len(_ENCAPSULATION) :]
        out.data[0:4] = struct.pack("<I", len(first) + len(lists))
    else:
        out.u32(len(lists))
    for bodies in lists:
        _pack_list(out, bodies, frame_id, stamp)
    return _ENCAPSULATION + bytes(out.data)


def fast_path_agrees() -> bool:
    """Whether `pack` and ROS agree here, field by field."""
    voxels, none = np.array([[1, -2, 3], [4, 5, 6]]), np.zeros((0, 3), int)
    ball = SphereMarker(5, 0.1, np.array([[0.5, -1.0, 2.0]]), np.array([[0.25, 0.5, 1.0, 0.75]], np.float32))
    sample: list[ListMarker] = [
        BlockMarker(3, voxels, np.array([1, 9], np.uint8)),
        BlockMarker(4, none, np.zeros(0, np.uint8)),
        ball,
    ]
    first = [delete_all("odd", 5), *legend([2, UNKNOWN], np.zeros(3), "odd", 5)]
    return deserialize_message(pack(sample, "odd", 1_500_000_000, first), MarkerArray) == plain(
        sample, "odd", 1_500_000_000, first
    )


@functools.cache
def marker_maker() -> Callable[[Sequence[ListMarker], str, int, Sequence[Marker]], Any]:
    """Return `pack` if it agrees with ROS here, else `plain`; checked once."""
    return pack if fast_path_agrees() else plain


class _Cdr:
    """Appends values with the alignment of CDR, counted from the end of the encapsulation header."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, to: int) -> None:
        self.data += bytes(-len(self.data) % to)

    def u32(self, *values: int) -> None:
        self.align(4)
        self.data += struct.pack(f"<{len(values)}I", *values)

    def text(self, value: str) -> None:
        coded = value.encode() + b"\0"
        self.u32(len(coded))
        self.data += coded

    def doubles(self, *values: float) -> None:
        self.align(8)
        self.data += struct.pack(f"<{len(values)}d", *values)


def _pack_list(out: _Cdr, bodies: ListMarker, frame_id: str, stamp: int) -> None:
    points, colors = bodies.points, bodies.colors
    sec, nanosec = divmod(int(stamp), 1_000_000_000)
    out.u32(sec, nanosec)
    out.text(frame_id)
    out.text(bodies.namespace)
    out.u32(bodies.number, bodies.kind, Marker.ADD if len(points) else Marker.DELETE)
    out.doubles(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, bodies.size, bodies.size, bodies.size)
    # The marker's own colour, opaque black, is not shown: each point has a colour.
    out.u32(0, 0, 0, struct.unpack("<I", struct.pack("<f", 1.0))[0])
    out.u32(0, 0)  # lifetime: unlimited
    out.data += b"\0"  # frame_locked
    out.u32(len(points))
    if len(points):
        out.align(8)
        out.data += points.astype("<f8").tobytes()
    out.u32(len(colors))
    out.data += colors.astype("<f4").tobytes()
    out.text("")  # texture_resource
    out.u32(0, 0)  # texture: header
    out.text("")
    out.text("")  # its format
    out.u32(0, 0)  # its data; uv_coordinates
    out.text("")  # text
    out.text("")  # mesh_resource
    out.text("")  # mesh_file: name
    out.u32(0)  # its data
    out.data += b"\0"  # mesh_use_embedded_materials
