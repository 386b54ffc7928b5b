"""How many training views a second the loader gives, with everything that a step gets: decoding or packed reading, augmentation, targets.

python -m sgrocc_core.bench.loader_speed --packed runs/rooms/train/packed/train
python -m sgrocc_core.bench.loader_speed --data data/heldout --split test
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.errors import DataError, SgroccError
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews, loader


def _used() -> float:
    """Seconds of a core that ended worker processes have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def packed_speed(folder: Path, grid: bool, batch: int, workers: int, steps: int) -> tuple[float, float]:
    """Speed of the loader over a packed folder.

    Args:
        grid: with the voxel targets of the expert's stages. workers: processes, at least one. steps: batches to read.

    Returns:
        views a second of wall time, first batch not counted; views a second of a core, starting the workers included.

    Raises:
        DataError: no views.
    """
    data = PackedViews([folder], DatasetOptions(grid=grid))
    if not len(data):
        raise DataError(f"no packed views under {folder}; packing is the first thing that `sgrocc train` does")
    before = _used()
    batches = iter(loader(data, batch, 0, steps + 1, workers))
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    wall = time.perf_counter() - start
    del batches  # ends the workers, whose time can be asked for only then
    return count * batch / wall, (count + 1) * batch / (_used() - before)


def raw_speed(root: Path, split: str, views: int) -> tuple[float, float]:
    """Speed of decoding a set in its published layout, in this process: what packing does once.

    Returns:
        views a second of wall time, and of a core.
    """
    data = OccScanNet(root, split)
    indices = range(0, len(data), max(1, len(data) // views))
    data[0]
    start, cpu = time.perf_counter(), time.process_time()
    for index in indices:
        data[index]
    return len(indices) / (time.perf_counter() - start), len(indices) / (time.process_time() - cpu)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packed", type=Path, help="folder of packed scenes")
    parser.add_argument("--data", type=Path, help="folder of a set, to be decoded")
    parser.add_argument("--split", default="train", help="of --data (default: train)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="batches to read (default: 100)")
    args = parser.parse_args()
    try:
        for stage, grid in (("image", False), ("expert, joint", True)):
            if args.packed:
                wall, core = packed_speed(args.packed, grid, args.batch, args.workers, args.steps)
                print(
                    f"{stage}: {wall:.0f} views/s with {args.workers} worker(s), {core:.0f} views per second of a core"
                )
        if args.data:
            wall, core = raw_speed(args.data, args.split, args.batch * args.steps)
            print(f"decoding: {wall:.0f} views/s, {core:.0f} views per second of a core")
    except SgroccError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
