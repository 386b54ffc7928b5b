"""`sgrocc train`: train a model on views of an Occ-ScanNet-like data set, in stages, resumably."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

HELP = """Train a model.

  sgrocc train local --config config/train/small_local.yaml --data runs/rooms/train --heldout runs/rooms/heldout

trains the spatial expert of one image in stages: `image` (features, depth, 2D classes), `expert` (the lattice, on frozen image
features), `joint` (both, slowly); `all` is the three in turn, each from the weights of the one before. Data is what `sgrocc synth`
writes, or Occ-ScanNet itself. Stop it whenever you like; `--resume` goes on exactly where the last checkpoint was. Weights of every
stage are in OUT/STAGE.weights.safetensors, curves in OUT/tensorboard and OUT/STAGE.jsonl. It trains on a GPU where PyTorch finds
one; on several, one process each: torchrun --nproc-per-node N -m -- sgrocc_core.cli train local ...
"""

STAGES = ("image", "expert", "joint", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("what", choices=("local",), help="what to train: `local` is the spatial expert of one image")
    parser.add_argument("--config", type=Path, default=Path("config/train/small_local.yaml"), help="YAML file (default: %(default)s)")
    parser.add_argument("--stage", choices=STAGES, default="all", help="stage to train (default: %(default)s)")
    parser.add_argument(
        "--data", type=Path, nargs="+", metavar="DIR", help="folders of training scenes (default: runs/rooms/train; none with --render)"
    )
    parser.add_argument(
        "--render", type=int, metavar="ROOMS", help="render new rooms while training and read the newest ROOMS of them (in OUT/rendered)"
    )
    parser.add_argument("--mini", action="store_true", help="the mini lists of Occ-ScanNet, of --data and --heldout")
    parser.add_argument("--no-leak", action="store_true", help="train on no scene of the embodied test, and validate on those alone")
    parser.add_argument("--heldout", type=Path, metavar="DIR", help="folder of scenes to validate on; never trained on")
    parser.add_argument("--packed", type=Path, metavar="DIR", help="where decoded views are kept (default: `packed` in each data folder)")
    parser.add_argument("--out", type=Path, default=Path("runs/small"), metavar="DIR", help="checkpoints and logs (default: %(default)s)")
    parser.add_argument(
        "--start", type=Path, metavar="FILE", help="weights to start from (default: the model's own, if it has any; `none`: from nothing)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the stage's checkpoint in OUT")
    parser.add_argument(
        "--max-minutes", type=float, metavar="M", help="wall time of each stage, over the configuration's; the rate falls to zero within it"
    )
    parser.add_argument("--seed", type=int, help="over the configuration's")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="over the configuration's")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from sgrocc_core.training import distribution
    from sgrocc_core.training.config import STAGES as ALL
    from sgrocc_core.training.config import load_config
    from sgrocc_core.training.rendering import RenderConfig
    from sgrocc_core.training.session import TrainingData, train_stage

    config = load_config(args.config)
    changes = {name: value for name, value in (("seed", args.seed), ("device", args.device)) if value is not None}
    config = dataclasses.replace(config, **changes)
    roots = args.data or ([Path("runs/rooms/train")] if args.render is None else [])
    rendered = None if args.render is None else RenderConfig(args.out / "rendered", keep=args.render)
    data = TrainingData(tuple(roots), args.heldout, args.packed, args.mini, args.no_leak, rendered)
    start = args.start
    with distribution.joined():
        for stage in ALL if args.stage == "all" else (args.stage,):
            if args.max_minutes is not None:
                stages = {**config.stages, stage: dataclasses.replace(config.stages[stage], minutes=args.max_minutes)}
                config = dataclasses.replace(config, stages=stages)
            start = train_stage(config, stage, data, args.out, start, args.resume)
    return 0
