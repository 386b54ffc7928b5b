"""Voxels as RViz markers: one CUBE_LIST a block, packed straight into CDR bytes by NumPy.

Made the ordinary way, 20,000 points and colours cost about 65 ms of Python objects; packed, they are copied. `block_marker` is the readable
reference; `fast_path_agrees` compares the two at start-up, since the packed layout is that of one version of visualization_msgs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_core.classes import NAMES, UNKNOWN, color_table
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_ros.messages import time_message

NAMESPACE, LEGEND = "occupancy", "legend"
_COLORS = np.concatenate([color_table().astype(np.float32) / 255.0, np.ones((256, 1), np.float32)], 1)
_ENCAPSULATION = b"\x00\x01\x00\x00"  # little-endian plain CDR
_TEXT_SIZE = 0.25
"""Height of the legend's letters, metres."""


@dataclass(frozen=True)
class BlockMarker:
    """A block's voxels as they are shown.

    Attributes:
        number: the marker's id. voxels: (N, 3) int indices; none deletes the marker. labels: (N,) uint8.
    """

    number: int
    voxels: np.ndarray
    labels: np.ndarray


def block_marker(block: BlockMarker, frame_id: str, stamp: int) -> Marker:
    """The marker of one block, the readable way. stamp: nanoseconds."""
    marker = Marker(header=Header(stamp=time_message(stamp), frame_id=frame_id), ns=NAMESPACE, id=block.number, type=Marker.CUBE_LIST)
    marker.action = Marker.ADD if len(block.voxels) else Marker.DELETE
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = VOXEL_SIZE
    marker.color.a = 1.0
    marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in (block.voxels + 0.5) * VOXEL_SIZE]
    marker.colors = [ColorRGBA(r=float(r), g=float(g), b=float(b), a=float(a)) for r, g, b, a in _COLORS[block.labels]]
    return marker


def delete_all(frame_id: str, stamp: int) -> Marker:
    """The marker that removes all others of this topic."""
    return Marker(header=Header(stamp=time_message(stamp), frame_id=frame_id), action=Marker.DELETEALL)


def legend(labels: Sequence[int], corner: np.ndarray, frame_id: str, stamp: int) -> list[Marker]:
    """A column of text, one class a line in its colour.

    Args:
        labels: those to name; UNKNOWN is named `unlabelled`. corner: (3,) metres, foot of the column.
    """
    markers = []
    for line, label in enumerate(sorted(labels, reverse=True)):
        marker = Marker(header=Header(stamp=time_message(stamp), frame_id=frame_id), ns=LEGEND, id=int(label), type=Marker.TEXT_VIEW_FACING)
        marker.text = "unlabelled" if label == UNKNOWN else NAMES[label]
        marker.pose.position.x, marker.pose.position.y = float(corner[0]), float(corner[1])
        marker.pose.position.z = float(corner[2]) + 1.2 * _TEXT_SIZE * line
        marker.pose.orientation.w = 1.0
        marker.scale.z = _TEXT_SIZE
        r, g, b, a = (float(v) for v in _COLORS[label])
        marker.color = ColorRGBA(r=r, g=g, b=b, a=a)
        markers.append(marker)
    return markers


def plain(blocks: Sequence[BlockMarker], frame_id: str, stamp: int, first: Sequence[Marker] = ()) -> MarkerArray:
    """What `pack` makes, the readable way."""
    return MarkerArray(markers=[*first, *(block_marker(block, frame_id, stamp) for block in blocks)])


def pack(blocks: Sequence[BlockMarker], frame_id: str, stamp: int, first: Sequence[Marker] = ()) -> bytes:
    """A serialized MarkerArray: the ordinary markers `first`, then the blocks, packed. stamp: nanoseconds."""
    out = _Cdr()
    if first:
        # The ordinary markers are serialized by ROS; only the count at the array's start is then ours.
        out.data += serialize_message(MarkerArray(markers=list(first)))[len(_ENCAPSULATION) :]
        out.data[0:4] = struct.pack("<I", len(first) + len(blocks))
    else:
        out.u32(len(blocks))
    for block in blocks:
        _pack_block(out, block, frame_id, stamp)
    return _ENCAPSULATION + bytes(out.data)


def fast_path_agrees() -> bool:
    """Whether packed markers are what ROS makes here, field by field."""
    voxels, none = np.array([[1, -2, 3], [4, 5, 6]]), np.zeros((0, 3), int)
    sample = [BlockMarker(3, voxels, np.array([1, 9], np.uint8)), BlockMarker(4, none, np.zeros(0, np.uint8))]
    first = [delete_all("odd", 5), *legend([2, UNKNOWN], np.zeros(3), "odd", 5)]
    return deserialize_message(pack(sample, "odd", 1_500_000_000, first), MarkerArray) == plain(sample, "odd", 1_500_000_000, first)


class _Cdr:
    """Appends values with CDR's alignment, counted from the end of the encapsulation."""

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


def _pack_block(out: _Cdr, block: BlockMarker, frame_id: str, stamp: int) -> None:
    sec, nanosec = divmod(int(stamp), 1_000_000_000)
    out.u32(sec, nanosec)
    out.text(frame_id)
    out.text(NAMESPACE)
    out.u32(block.number, Marker.CUBE_LIST, Marker.ADD if len(block.voxels) else Marker.DELETE)
    out.doubles(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, VOXEL_SIZE, VOXEL_SIZE, VOXEL_SIZE)
    out.u32(0, 0, 0, struct.unpack("<I", struct.pack("<f", 1.0))[0])  # the marker's own colour, which the list's colours replace
    out.u32(0, 0)  # lifetime: for ever
    out.data += b"\0"  # frame_locked
    out.u32(len(block.voxels))
    if len(block.voxels):
        out.align(8)
        out.data += ((block.voxels + 0.5) * VOXEL_SIZE).astype("<f8").tobytes()
    out.u32(len(block.voxels))
    out.data += _COLORS[block.labels].astype("<f4").tobytes()
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
