"""Decodes the points of a PointCloud2: places, and times where the points have any, of drivers of LiDARs and cameras.

The field of the times is `t`, `time`, `timestamp`, `time_stamp`, `offset_time` or `time_offset`. Whole numbers are
nanoseconds, others seconds; large ones count from 1970, small ones from the message's stamp, as the drivers of Ouster,
Velodyne, Hesai, RoboSense and Livox write them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from sgrocc_core.errors import FrameError

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""NumPy types by the number of a PointField's datatype."""
TIMES = ("t", "time", "timestamp", "time_stamp", "offset_time", "time_offset")
LONGEST_SWEEP_NS = 1_000_000_000
"""Largest distance of a point's time from the stamp that is believed, nanoseconds; sweeps take 0.05 to 0.2 s."""
SINCE_1970 = {"s": 1e8, "ns": 1e17}
"""Numbers above this count from 1970, in each unit; below, from the message's stamp."""
FARTHEST = 1000.0
"""Distance beyond which a coordinate is no reading, metres."""


@dataclass(frozen=True)
class PointLayout:
    """How the points of a message lie in its bytes.

    Attributes:
        fields: (name, offset in bytes, datatype) of each field.
        point_step: bytes from a point to the next.
        row_step: bytes from a row to the next.
        width: points in a row.
        height: rows.
        is_bigendian: whether numbers begin with their highest byte.
    """

    fields: Sequence[tuple[str, int, int]]
    point_step: int
    row_step: int
    width: int
    height: int
    is_bigendian: bool = False


def layout_of(message: Any) -> PointLayout:
    """How the points lie in a PointCloud2 message, of ROS 1 or ROS 2."""
    fields = [(field.name, int(field.offset), int(field.datatype)) for field in message.fields]
    return PointLayout(
        fields, int(message.point_step), int(message.row_step), int(message.width), int(message.height),
        bool(message.is_bigendian),
    )  # fmt: skip


@dataclass(frozen=True)
class PointCloud:
    """Points of a sensor.

    Attributes:
        points: (N, 3) float32, metres, frame of the sensor; finite.
        offsets_ns: (N,) int64, time of each point after the message's stamp, nanoseconds; None if they have no times.
        problem: a sentence about times that are not used; empty if there is none.
    """

    points: np.ndarray
    offsets_ns: np.ndarray | None = None
    problem: str = ""


def decode_points(layout: PointLayout, data: bytes | memoryview | np.ndarray, stamp_ns: int) -> PointCloud:
    """Decode the points of a message; those that are not finite, at the sensor itself or absurdly far are left out.

    Args:
        layout: how they lie in the bytes.
        data: the bytes.
        stamp_ns: stamp of the message, nanoseconds.

    Raises:
        FrameError: `bad_cloud`, the fields or the size are wrong; `cloud_without_points`, no point is left.
    """
    rows = _rows(layout, np.frombuffer(data, np.uint8))
    points, usable = np.empty((len(rows), 3), np.float32), np.empty(len(rows), np.int64)
    x, y, z = (rows[axis].astype(rows[axis].dtype.newbyteorder("=")) for axis in "xyz")
    count = _pick(x, y, z, points, usable)
    if not count:
        raise FrameError("cloud_without_points", f"none of the cloud's {len(rows)} points is a reading")
    points, usable = points[:count], usable[:count]
    offsets, problem = _offsets(rows, stamp_ns, usable)
    return PointCloud(points, None if offsets is None else offsets[usable], problem)


def last_offset_ns(layout: PointLayout, data: bytes | memoryview | np.ndarray, stamp_ns: int) -> int:
    """Time of the last point after the message's stamp, nanoseconds; 0 without usable times or a usable layout."""
    try:
        rows = _rows(layout, np.frombuffer(data, np.uint8))
    except FrameError:
        return 0  # is told where the cloud is decoded
    offsets, _ = _offsets(rows, stamp_ns, np.arange(len(rows)))
    return 0 if offsets is None or not len(offsets) else max(int(offsets.max()), 0)


def _rows(layout: PointLayout, data: np.ndarray) -> np.ndarray:
    """View the points as a structured array (N,)."""
    fields = _fields(layout)
    order = ">" if layout.is_bigendian else "<"
    dtype = np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [f"{order}{TYPES[kind]}" for _, _, kind in fields],
            "offsets": [offset for _, offset, _ in fields],
            "itemsize": layout.point_step,
        }
    )
    step = layout.row_step or layout.width * layout.point_step
    if step < layout.width * layout.point_step or len(data) < layout.height * step:
        raise FrameError(
            "bad_cloud",
            f"the cloud holds {len(data)} bytes; {layout.height} x {layout.width} points of {layout.point_step} bytes "
            f"in rows of {step} are more",
        )
    rows = data[: layout.height * step].reshape(layout.height, step)[:, : layout.width * layout.point_step]
    return np.ascontiguousarray(rows).reshape(-1).view(dtype)


@njit(cache=True)
def _pick(x, y, z, points, usable):
    """Collect the points that are readings, and their indices; return their number."""
    count = 0
    for n in range(len(x)):
        inside = abs(x[n]) < FARTHEST and abs(y[n]) < FARTHEST and abs(z[n]) < FARTHEST  # NaN compares as false
        if inside and (x[n] != 0.0 or y[n] != 0.0 or z[n] != 0.0):
            points[count, 0], points[count, 1], points[count, 2] = x[n], y[n], z[n]
            usable[count] = n
            count += 1
    return count


def _fields(layout: PointLayout) -> list[tuple[str, int, int]]:
    """The fields that are used, checked."""
    wanted = [field for field in layout.fields if field[0] in ("x", "y", "z", *TIMES)]
    named = {name: kind for name, _, kind in wanted}
    listed = ", ".join(name for name, _, _ in layout.fields) or "none"
    if missing := [axis for axis in "xyz" if axis not in named]:
        raise FrameError("bad_cloud", f"the cloud has no field {missing[0]}; it has {listed}")
    if wrong := [axis for axis in "xyz" if TYPES.get(named[axis], "") not in ("f4", "f8")]:
        raise FrameError(
            "bad_cloud", f"the cloud's field {wrong[0]} has the datatype {named[wrong[0]]}; it must be 7 (float32) or 8"
        )
    if len(wanted) > len(named):
        raise FrameError("bad_cloud", f"the cloud has two fields of one name; it has {listed}")
    for name, offset, kind in wanted:
        size = np.dtype(TYPES.get(kind, "u1")).itemsize
        if kind not in TYPES or not 0 <= offset <= layout.point_step - size:
            raise FrameError(
                "bad_cloud",
                f"the cloud's field {name} (datatype {kind}) at byte {offset} does not fit a point of "
                f"{layout.point_step} bytes",
            )
    if not layout.width * layout.height:
        raise FrameError("cloud_without_points", "the cloud is empty")
    return wanted


def _offsets(rows: np.ndarray, stamp_ns: int, usable: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Times of the points after the stamp, (N,) int64 nanoseconds, or None; and why a field of them is not used.

    Only the times of the `usable` points (indices) must be right.
    """
    name = _first(TIMES, rows.dtype.names or ())
    if name is None or not len(rows):
        return None, ""
    times = rows[name]
    unit = "s" if times.dtype.kind == "f" else "ns"
    if unit == "s" and float(np.nanmax(np.abs(times), initial=0)) > SINCE_1970["ns"]:
        unit = "ns"  # nanoseconds since 1970 in a float64, as one driver writes them
    with np.errstate(invalid="ignore"):
        absolute = float(np.nanmax(np.abs(times.astype(np.float64)), initial=0)) > SINCE_1970[unit]
        if unit == "ns":
            offsets = times.astype(np.int64) - (stamp_ns if absolute else 0)
        else:
            offsets = np.rint(1e9 * (times.astype(np.float64) - (stamp_ns / 1e9 if absolute else 0))).astype(np.int64)
    if np.abs(offsets[usable]).max(initial=0) > LONGEST_SWEEP_NS or not np.isfinite(times[usable].astype(float)).all():
        return None, f"the times of the cloud's points (field {name}) are not within 1 s of its stamp and are not used"
    return offsets, ""


def _first(wanted: Iterable[str], names: Iterable[str]) -> str | None:
    there = set(names)
    return next((name for name in wanted if name in there), None)
