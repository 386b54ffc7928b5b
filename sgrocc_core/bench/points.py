"""Time of what else a frame may bring: `python -m sgrocc_core.bench.points --bag BAG`, a bag with sensor depth.

Every frame's depth is taken as the cloud of a sensor that turns once in 0.1 s: `--points` of its pixels with a time
each. `decode` reads the message's bytes, `move` brings the points into the map by the poses of their times, `project`
makes the image's depth of them, `alone` maps the cloud without an image, and `keyframe` writes the frame as JPEG and
PNG. All are times of the processor on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from itertools import islice
from time import thread_time

import numpy as np

from sgrocc_core.data.bags.options import BagOptions
from sgrocc_core.data.bags.reader import BagReader
from sgrocc_core.data.point_cloud import PointLayout, decode_points
from sgrocc_core.depth.points import depth_of_points, points_in_map
from sgrocc_core.engines.open import open_engine
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.map_files.keyframes import KeyframeStore
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.report import stage_table, summarise

SWEEP_NS = 100_000_000
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("t", "<u4")])


def message_of(depth: np.ndarray, K: np.ndarray, count: int) -> tuple[PointLayout, bytes]:
    """Layout and bytes of a cloud of `count` evenly chosen readings of a depth image (H, W), with a time each."""
    points = back_project(depth, K, np.eye(4))
    points = points[np.linspace(0, len(points) - 1, min(count, len(points))).astype(int)]
    rows = np.zeros(len(points), _POINT)
    rows["x"], rows["y"], rows["z"] = points.T
    rows["t"] = np.linspace(0, SWEEP_NS, len(points))
    fields = [(name, 4 * n, 7 if name in "xyz" else 6) for n, name in enumerate(_POINT.names or ())]
    return PointLayout(fields, _POINT.itemsize, 0, len(points), 1), rows.tobytes()


def time_frame(mapper: OccupancyMapper, store: KeyframeStore, frame: Frame, count: int) -> dict[str, float]:
    """Milliseconds of each part for a frame with depth."""
    assert frame.depth is not None
    layout, data = message_of(frame.depth, frame.K, count)
    times = [thread_time()]
    cloud = decode_points(layout, data, frame.stamp_ns)
    times.append(thread_time())
    points = points_in_map(cloud.points, cloud.offsets_ns, frame.stamp_ns, lambda stamp: frame.T_wc)
    times.append(thread_time())
    depth_of_points(points, frame.T_wc, frame.K, (frame.image.shape[1], frame.image.shape[0]))
    times.append(thread_time())
    mapper.observe_points(points, frame.T_wc[:3, 3], frame.stamp_ns)
    times.append(thread_time())
    store.add(frame)
    times.append(thread_time())
    return dict(zip(("decode", "move", "project", "alone", "keyframe"), (1e3 * np.diff(times)).tolist()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bag", required=True, metavar="PATH", help="bag with depth")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="maximum number of frames (default 100)")
    parser.add_argument("--points", type=int, default=60_000, metavar="N", help="points of a cloud (default 60,000)")
    parser.add_argument("--model", default="small", metavar="NAME", help="name or folder of the model (default small)")
    arguments = parser.parse_args()
    mapper, timings = OccupancyMapper(open_engine(arguments.model)), defaultdict(list)
    with BagReader(arguments.bag, BagOptions(depth_source="topic")) as reader, tempfile.TemporaryDirectory() as folder:
        store = KeyframeStore(folder)
        for number, frame in enumerate(islice(reader, arguments.frames)):
            taken = time_frame(mapper, store, frame, arguments.points)
            for part, milliseconds in taken.items():
                if number > 2:
                    timings[part].append(milliseconds)
        print(f"{arguments.points:,} points a cloud; {store.bytes / 1e3 / len(store.keyframes):.0f} kB a keyframe")
    print(stage_table(summarise(timings)))


if __name__ == "__main__":
    main()
