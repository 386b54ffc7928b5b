"""Speed of the loader of training views, in views per second.

It includes everything that a step needs: decoding or packed reading, augmentation and targets.

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
    """CPU time of the worker processes that have ended, seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def packed_speed(folder: Path, grid: bool, batch: int, workers: int, steps: int) -> tuple[float, float]:
    """Measure the loader on a packed folder.

    Args:
        folder: of packed scenes.
        grid: include the voxel targets of the expert's stages.
        batch: views per batch.
        workers: number of processes, at least one.
        steps: number of batches.

    Returns:
        views per second of wall time, without the first batch, and views per second of CPU time, including the start
        of the workers.

    Raises:
        DataError: there are no views.
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
    del batches  # ends the workers; their CPU time is known only afterwards
    return count * batch / wall, (count + 1) * batch / (_used() - before)


def raw_speed(root: Path, split: str, views: int) -> tuple[float, float]:
    """Measure decoding of a set in its published layout, as packing does once.

    Args:
        root: of the set.
        split: one of its lists.
        views: maximum number of views, spread evenly.

    Returns:
        views per second of wall time, and of CPU time.
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
    parser.add_argument("--data", type=Path, help="folder of a set to decode")
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
