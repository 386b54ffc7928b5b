"""`sgrocc eval`: how good a model is on views with known occupancy, beside what trivial predictors score."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sgrocc_core.share import find_shared

HELP = """Score a model on views with ground truth, in the layout of Occ-ScanNet (`sgrocc synth` writes such sets).

  sgrocc eval local --data DIR --model small --json FILE
      every view through the exported model, with the model's own depth and with the sensor's; SC-IoU, mIoU, boundary F1, depth errors,
      for the whole box, in view and hidden, beside trivial baselines
  sgrocc eval statistics --data TRAINING_SET --json FILE
      what the baselines know of a training set: class by height, frequencies, best constant depth"""

STATISTICS = find_shared("config/eval/statistics.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("what", choices=("local", "statistics"), help="what to do; see above")
    parser.add_argument("--data", type=Path, required=True, help="folder of the set")
    parser.add_argument("--split", help="train, test or a list file (default: test; train for statistics)")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--limit", type=int, default=0, help="at most this many views, spread evenly over the set (default: all)")
    parser.add_argument("--model", default="small", help="a model's name or folder (default: small)")
    parser.add_argument("--engine", default="auto", help="auto, onnxruntime, tensorrt or torch (default: auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the engine (default: all)")
    parser.add_argument("--threshold", type=float, default=0.5, help="P(occupied) from which a voxel counts as occupied (default: 0.5)")
    parser.add_argument("--train-data", type=Path, help="collect the baselines' statistics from this set (default: the committed ones)")
    parser.add_argument("--no-leak", action="store_true", help="leave out views of scenes that --train-data has too")


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the report, print its main figures."""
    import json

    from sgrocc_core.data.occ_scannet import OccScanNet
    from sgrocc_core.errors import ConfigError

    if args.limit < 0:
        raise ConfigError(f"--limit is {args.limit}; it must be 0 (all views) or more")
    if not 0 < args.threshold < 1:
        raise ConfigError(f"--threshold is {args.threshold}; it must lie between 0 and 1")
    if args.no_leak and not args.train_data:
        raise ConfigError("--no-leak needs --train-data: the set whose scenes are left out")
    if args.what == "statistics":
        return _statistics(args)

    from sgrocc_core.engines.engine import open_engine
    from sgrocc_core.training.baselines import collect, load_statistics
    from sgrocc_core.training.evaluate import evaluate_local, table

    engine = open_engine(args.model, args.engine, args.device, args.threads)
    split = args.split or "test"
    data = OccScanNet(args.data, split)
    left_out: set[str] = set()
    if args.train_data:
        training = OccScanNet(args.train_data, "train")
        statistics = collect(_views(training, 400, "training set"), f"sgrocc eval local --train-data {args.train_data}")
        left_out = {scene for scene, _ in training.names} if args.no_leak else set()
    else:
        statistics = load_statistics(STATISTICS)
    report: dict[str, Any] = evaluate_local(engine, _views(data, args.limit, engine.spec.name, left_out), statistics, args.threshold)
    report["settings"] |= {"data": str(args.data), "split": split, "limit": args.limit, "no_leak": args.no_leak}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    print(f"report: {args.json}")
    return 0


def _statistics(args: argparse.Namespace) -> int:
    from sgrocc_core.data.occ_scannet import OccScanNet
    from sgrocc_core.training.baselines import collect

    split = args.split or "train"
    command = f"sgrocc eval statistics --data {args.data} --split {split} --limit {args.limit}"
    statistics = collect(_views(OccScanNet(args.data, split), args.limit, "statistics"), command)
    statistics.save(args.json)
    print(f"{statistics.views} views; best constant depth {statistics.constant_depth:.2f} m; written to {args.json}")
    return 0


def _views(data: Any, limit: int, name: str, left_out: set[str] | None = None) -> Iterator[Any]:
    """Samples of a set but those of the scenes `left_out`, at most `limit`, spread evenly, with a progress bar."""
    import numpy as np
    from tqdm import tqdm

    indices = np.array([i for i, (scene, _) in enumerate(data.names) if not left_out or scene not in left_out], np.int64)
    if 0 < limit < len(indices):
        indices = indices[np.linspace(0, len(indices) - 1, limit).round().astype(np.int64)]
    for index in tqdm(indices, desc=name, unit="view"):
        yield data[int(index)]
