"""Time of the parts of a save, at a given size of the map: `python -m sgrocc_core.bench.save`.

Mapping waits only for `copy`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from time import perf_counter

import numpy as np

from sgrocc_core.engines.engine import Engine
from sgrocc_core.engines.open import open_engine
from sgrocc_core.gaussians.memory import BLOCK_ROWS
from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.map_files.file import MapFolder
from sgrocc_core.map_files.format import MapCopy
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.report import stage_table, summarise

VOXELS_IN_BLOCK = 300
"""Occupied voxels in a block that contains surfaces, as in a furnished room."""


def filled_mapper(engine: Engine, voxels: int) -> OccupancyMapper:
    """Returns a mapper with about the given number of occupied voxels, VOXELS_IN_BLOCK in each block."""
    mapper = OccupancyMapper(engine)
    count = -(-voxels // VOXELS_IN_BLOCK)
    keys = np.stack(np.unravel_index(np.arange(count), (-(-count // 32), 16, 2)), 1)
    increments = np.full((count, BLOCK_VOXELS**3), -1.0, np.float32)
    increments[:, :VOXELS_IN_BLOCK] = 1.0
    mapper.map.memory.add_evidence(keys, increments.reshape(count, *(BLOCK_VOXELS,) * 3))
    for field in mapper.map.memory.fields:
        # Write to all pages, as in use: reading pages that were never written costs nothing.
        field[: count * BLOCK_ROWS] += np.zeros(1, field.dtype)
    mapper.map.voxel_map.update()
    return mapper


def save_timings(mapper: OccupancyMapper, runs: int) -> dict[str, list[float]]:
    """Measure the parts of a save.

    Args:
        mapper: with the map to save.
        runs: number of saves.

    Returns:
        milliseconds of each run: `room` and `copy` (see MapCopy), `lists` of voxels, `write` and `write_with_picture`.
    """
    timings: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, start: float) -> None:
        timings[name].append(1e3 * (perf_counter() - start))

    with tempfile.TemporaryDirectory() as folder:
        maps = MapFolder(folder)
        for _ in range(runs):
            start = perf_counter()
            copy = MapCopy(mapper.map)
            timed("room", start)
            start = perf_counter()
            copy.take("map", 0)
            timed("copy", start)
            start = perf_counter()
            saved = copy.saved()
            timed("lists", start)
            for name, picture in (("write", False), ("write_with_picture", True)):
                start = perf_counter()
                maps.save(saved, picture=picture)
                timed(name, start)
    return dict(timings)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", default="small", metavar="NAME", help="a name under models/, or a model's folder (default small)"
    )
    parser.add_argument("--voxels", type=int, default=50_000, metavar="N", help="occupied voxels (default 50000)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="number of saves (default 10)")
    arguments = parser.parse_args()
    mapper = filled_mapper(open_engine(arguments.model), arguments.voxels)
    occupied, blocks = len(mapper.map.voxel_map.occupied()[0]), len(mapper.map.memory)
    print(f"{occupied} occupied voxels in {blocks} blocks, {mapper.map.memory.nbytes / 1e6:.0f} MB of memory")
    print(stage_table(summarise(save_timings(mapper, arguments.runs))))


if __name__ == "__main__":
    main()
