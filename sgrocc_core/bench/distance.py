"""Time of the distance field while a bag is mapped, early and late: `python -m sgrocc_core.bench.distance --bag BAG`.

After each frame three fields follow the map: `path` answers 1,000 points on a straight path of 3 m ahead of the camera,
`box` all voxel centres of the 2.4 m around that path's middle, and `map` computes every block of the map. The
other rows are topics of the node: `grid` is the grid with its floor, `cells` the distances of its cells, and `octree`
OctoMap's octree; each is made after every frame, more often than the node does. All are times of the processor on one
core, which other load on the machine lengthens less than those of the clock.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import islice
from time import thread_time

import numpy as np

from sgrocc_core.data.bags.options import BagOptions
from sgrocc_core.data.bags.reader import BagReader
from sgrocc_core.engines.open import open_engine
from sgrocc_core.frame import DEPTH_SOURCES
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.geometry.poses import heading
from sgrocc_core.map_files.octree import Octree
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.report import stage_table, summarise
from sgrocc_core.voxels.columns import ColumnMap, Columns, slab_layers, step_layers, voxels_of
from sgrocc_core.voxels.distances.field import MAX_DISTANCE, DistanceField
from sgrocc_core.voxels.distances.slab import SlabDistances

PATH_POINTS, PATH_LENGTH = 1000, 3.0
BOX = np.stack(np.meshgrid(*[np.arange(-15, 15)] * 3, indexing="ij"), -1).reshape(-1, 3)


def time_frame(fields: dict[str, DistanceField], T_wc: np.ndarray) -> dict[str, float]:
    """Milliseconds that each field takes to follow the map and to answer, after a frame with a pose (4, 4)."""
    ahead = np.asarray(heading(T_wc[:3, :3]), np.float64)
    path = T_wc[:3, 3] + np.linspace(0, PATH_LENGTH, PATH_POINTS)[:, None] * ahead
    middle = np.floor((T_wc[:3, 3] + PATH_LENGTH / 2 * ahead) / VOXEL_SIZE)
    tasks = {
        "path": lambda field: field.query(path, MAX_DISTANCE),
        "box": lambda field: field.query((middle + BOX + 0.5) * VOXEL_SIZE, MAX_DISTANCE),
        "map": lambda field: field.refresh(),
    }
    taken = {}
    for name, field in fields.items():
        start = thread_time()
        tasks[name](field)
        taken[name] = 1e3 * (thread_time() - start)
    return taken


class Topics:
    """The outputs made from the columns of a map, as in the node."""

    def __init__(self) -> None:
        self._columns, self._cells, self._tree = ColumnMap(), SlabDistances(False), Octree()
        self._revision = 0

    def time_frame(self, columns: Columns) -> dict[str, float]:
        """Milliseconds of each output after a frame that changed some blocks."""
        times = [thread_time()]
        self._columns.apply(columns)
        self._columns.grid(*slab_layers(self._columns.floor_height(), 0.15, 1.8), step_layers(0.24))
        times.append(thread_time())
        self._cells.update(self._columns, self._columns.changed_since(self._revision))
        self._cells.cells()
        self._revision = self._columns.revision
        times.append(thread_time())
        self._tree.set(columns.keys, voxels_of(columns.occupied), voxels_of(columns.free))
        self._tree.encode()
        times.append(thread_time())
        return dict(zip(("grid", "cells", "octree"), (1e3 * np.diff(times)).tolist()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bag", required=True, metavar="PATH", help="bag to map")
    parser.add_argument("--frames", type=int, default=200, metavar="N", help="maximum number of frames (default 200)")
    parser.add_argument("--depth-source", default="fused", choices=DEPTH_SOURCES, help="source of depth (fused)")
    parser.add_argument("--model", default="small", metavar="NAME", help="name or folder of the model (default small)")
    arguments = parser.parse_args()
    mapper = OccupancyMapper(open_engine(arguments.model), MapperConfig(depth_source=arguments.depth_source))
    fields = {name: DistanceField(mapper.map.voxel_map, None, False) for name in ("path", "box", "map")}
    topics, rows = Topics(), []
    with BagReader(arguments.bag, BagOptions(depth_source=arguments.depth_source)) as reader:
        for frame in islice(reader, arguments.frames):
            mapper.step(frame)
            for field in fields.values():
                field.change(mapper.map.voxel_map.judged)
            columns = mapper.map.voxel_map.columns(mapper.map.voxel_map.judged, True)
            counts = {"voxels": mapper.map.voxel_map.occupied_count}
            rows.append(time_frame(fields, frame.T_wc) | topics.time_frame(columns) | counts)
    third = max((len(rows) - 3) // 3, 1)
    for name, some in (("early", rows[3 : 3 + third]), ("late", rows[-third:])):
        timings = defaultdict(list)
        for row in some:
            for task in row.keys() - {"voxels"}:
                timings[task].append(row[task])
        print(f"{name}: {len(some)} frames, {some[0]['voxels']} to {some[-1]['voxels']} occupied voxels")
        print(stage_table(summarise(timings)))


if __name__ == "__main__":
    main()
