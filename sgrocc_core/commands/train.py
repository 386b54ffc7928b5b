"""`sgrocc train`: trains a model on views in the layout of Occ-ScanNet, in stages, resumably."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

HELP = """Train a model.

  sgrocc train local --config config/train/small_local.yaml --data runs/rooms/train --heldout runs/rooms/heldout

trains the spatial expert, which works on one image, in stages: `image` (features, depth, 2D classes), `expert` (the
lattice, on frozen image features) and `joint` (both, with a low learning rate). `all` runs the three in order, each
starting from the weights of the previous one. The data is a set made by `sgrocc synth`, or Occ-ScanNet itself.
Training can be interrupted at any time; `--resume` continues exactly from the last checkpoint. The weights of every
stage are in OUT/STAGE.weights.safetensors, the curves in OUT/tensorboard and OUT/STAGE.jsonl.

  sgrocc train embodied --config config/train/small_embodied.yaml --data runs/walks/train --heldout runs/walks/heldout

trains the temporal manager on walks through scenes (`sgrocc synth --embodied`) in two phases: `manager` (only the
fusion, on the frozen spatial expert) and `everything` (all but the depth backbone, with a low learning rate).
`end_to_end` is the alternative in one phase, for comparison.

  sgrocc train stereo --config config/train/small_stereo.yaml --data runs/videos/train --heldout runs/videos/heldout

trains stereo from the camera's own motion on videos (`sgrocc synth --video`), on the frozen image engine of the weights
that it starts from. Videos that appear in the folder during the training are used too.

  sgrocc train calibrate --data runs/videos/train --start runs/stereo/stereo.weights.safetensors --out runs/stereo

scales the spread of depth, of the image engine and of stereo, by one factor each, fitted on the videos that `train
stereo` leaves out (`clip.left_out`), and writes OUT/calibrated.weights.safetensors.

  sgrocc train depths --data runs/videos/train --start runs/stereo/stereo.weights.safetensors

writes beside the packed views of videos or walks what stereo says of their depth. The stages `expert` and `joint` then
learn from that in the share `motion_share` of the views, instead of from simulated depth of a moving camera.

  sgrocc train align --data runs/rooms/train --start runs/small/image.weights.safetensors --like small --out runs/small

takes over the expert and stereo of another model: the features of the new image engine are fitted to those of the
model's own by least squares, and OUT/aligned.weights.safetensors is where the stage `expert` can start from.

  sgrocc train mean --start runs/small/expert.weights.safetensors --like small --out runs/small

writes OUT/mean.weights.safetensors, the mean of weights that were trained on from a model and of that model's own.

  sgrocc train generation --config config/generation/small.yaml --data runs/rooms/train --out runs/generation/small

trains what `sgrocc imagine` needs: `autoencoder`, then `alignment` (U-Net and alignment of occupancy and image, on true
occupancy) and `joint` (these and the spatial expert, each conditioned on the other). docs/generation.md explains it.

  sgrocc train chain --config config/train/small_gpu.yaml --like small --jobs 12 --out runs/small

does all of it in one run and needs no data: rooms and videos are rendered while the image engine, the expert of
`--like` and stereo are trained, and OUT/model.safetensors has them all. Made for a GPU and many cores.

A GPU is used if PyTorch finds one. For several GPUs, start one process for each:
torchrun --nproc-per-node N -m -- sgrocc_core.cli train local ...
"""

STAGES = (
    "image", "expert", "joint", "stereo", "manager", "everything", "end_to_end", "autoencoder", "alignment", "all",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "what",
        choices=("local", "stereo", "calibrate", "depths", "align", "mean", "chain", "embodied", "generation"),
        help="`local`: the spatial expert; `stereo`: depth from motion; `embodied`: the temporal manager; `chain`: "
        "image engine, expert and stereo in one run; `generation`: rooms from words",
    )
    parser.add_argument(
        "--config", type=Path, help="YAML file (default: config/train/small_local.yaml, or small_embodied.yaml)"
    )
    parser.add_argument(
        "--stage", choices=STAGES, default="all", help="stage or phase to train (default: all in order)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of training scenes (default: runs/rooms/train; none with --render)",
    )
    parser.add_argument(
        "--render",
        type=int,
        metavar="ROOMS",
        help="render new rooms during training and use the newest ROOMS of them (in OUT/rendered)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="J",
        help="with --render, or of `chain`: processes that render (default 1; chain: 2)",
    )
    parser.add_argument(
        "--assets", type=Path, metavar="DIR", help="with --render: folder of furniture models, as in `sgrocc synth`"
    )
    parser.add_argument(
        "--edition",
        type=int,
        metavar="V",
        help="with --render: edition of the rooms, as in `sgrocc synth`: 1, 2, or 0 for both in turn "
        "(default 1; chain: 2)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="overrides the configuration: processes that load data"
    )
    parser.add_argument("--mini", action="store_true", help="use the mini lists of --data and --heldout")
    parser.add_argument(
        "--no-leak", action="store_true", help="train on no embodied test scene; validate only on those"
    )
    parser.add_argument("--heldout", type=Path, metavar="DIR", help="folder of scenes for validation only")
    parser.add_argument(
        "--packed",
        type=Path,
        metavar="DIR",
        help="cache of decoded views (default: `packed` in each data folder)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/small"),
        metavar="DIR",
        help="checkpoints and logs (default: %(default)s)",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="initial weights (default: the model's own, if it has any; `none`: random)",
    )
    parser.add_argument("--like", metavar="MODEL", help="align, chain: the model whose expert is taken over")
    parser.add_argument("--resume", action="store_true", help="continue from the stage's checkpoint in OUT")
    parser.add_argument(
        "--max-minutes",
        type=float,
        metavar="M",
        help="overrides the wall time of each stage; the learning rate falls to zero within it",
    )
    parser.add_argument("--seed", type=int, help="overrides the configuration")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="overrides the configuration")


def run(args: argparse.Namespace) -> int:
    """Train; exit code 0."""
    from sgrocc_core.data.assets.config import AssetConfig
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.share import find_shared
    from sgrocc_core.training import distribution
    from sgrocc_core.training.config import LOCAL_STAGES, TWO_PHASES, load_config
    from sgrocc_core.training.data.rendering import RenderConfig
    from sgrocc_core.training.embodied.session import train_phase
    from sgrocc_core.training.session import TrainingData, train_stage
    from sgrocc_core.training.stereo.session import train_stereo

    if args.what == "calibrate":
        return _calibrate(args)
    if args.what == "depths":
        return _depths(args)
    if args.what == "align":
        return _align(args)
    if args.what == "mean":
        return _mean(args)
    if args.what == "chain":
        return _chain(args)
    if args.what == "generation":
        return _generation(args)
    stages = {"local": LOCAL_STAGES, "stereo": ("stereo",), "embodied": (*TWO_PHASES, "end_to_end")}[args.what]
    if args.stage not in (*stages, "all"):
        raise ConfigError(f"--stage is {args.stage}; the stages of {args.what} training are {', '.join(stages)}, all")
    if args.what != "local" and (args.render is not None or args.no_leak):
        raise ConfigError(
            "--render and --no-leak are of `train local`: walks and videos are read from sets that are split by scene"
        )
    for option in ("assets", "edition", "jobs"):
        if getattr(args, option) is not None and args.render is None:
            raise ConfigError(f"--{option} is given without --render; the rooms of sets are made by `sgrocc synth`")
    config = load_config(args.config or find_shared(f"config/train/small_{args.what}.yaml"))
    overrides = {name: getattr(args, name) for name in ("seed", "device", "workers")}
    config = dataclasses.replace(config, **{name: value for name, value in overrides.items() if value is not None})
    roots = args.data or ([Path("runs/rooms/train")] if args.render is None else [])
    assets = None if args.assets is None else AssetConfig(args.assets)
    rendered = None
    if args.render is not None:
        edition = 1 if args.edition is None else args.edition
        jobs = 1 if args.jobs is None else args.jobs
        rendered = RenderConfig(args.out / "rendered", keep=args.render, jobs=jobs, assets=assets, edition=edition)
    data = TrainingData(tuple(roots), args.heldout, args.packed, args.mini, args.no_leak, rendered)
    start = args.start
    plan = {"local": LOCAL_STAGES, "stereo": ("stereo",), "embodied": TWO_PHASES}[args.what]
    with distribution.joined():
        for stage in plan if args.stage == "all" else (args.stage,):
            if args.max_minutes is not None:
                limited = {**config.stages, stage: dataclasses.replace(config.stages[stage], minutes=args.max_minutes)}
                config = dataclasses.replace(config, stages=limited)
            train = {"local": train_stage, "stereo": train_stereo, "embodied": train_phase}[args.what]
            start = train(config, stage, data, args.out, start, args.resume)
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    """Scale the spread of trained weights."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.share import find_shared
    from sgrocc_core.training.config import load_config
    from sgrocc_core.training.stereo.calibrate import ENOUGH_VIDEOS, calibrate

    if args.start is None or not args.data:
        raise ConfigError("calibration needs the weights, --start FILE, and the videos of their training, --data DIR")
    config = load_config(args.config or find_shared("config/train/small_stereo.yaml"))
    out = args.out / "calibrated.weights.safetensors"
    found = calibrate(config, args.start, args.data, out, args.packed)
    for name, values in found.items():
        shares = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if key.startswith("p"))
        print(f"{name}: spread times {values['factor']:.3f}; before: {shares}")
    fewest = min(int(values["videos"]) for values in found.values())
    print(f"{fewest} videos were looked at")
    if fewest < ENOUGH_VIDEOS:
        print(
            f"warning: {fewest} videos are left out of the training; at least {ENOUGH_VIDEOS} are needed for factors "
            "that hold elsewhere: make more, or give others as --data with clip: {left_out: 1}",
            file=sys.stderr,
        )
    print(f"weights in {out}")
    return 0


def _depths(args: argparse.Namespace) -> int:
    """Write stereo's depth beside packed views."""
    from sgrocc_core.engines.model import find_weights
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.share import find_shared
    from sgrocc_core.training.config import load_config
    from sgrocc_core.training.stereo.motion_depths import write_motion_depths

    if not args.data:
        raise ConfigError("this needs videos or walks, --data DIR")
    config = load_config(args.config or find_shared("config/train/small_stereo.yaml"))
    weights = args.start or find_weights(config.model)
    print(f"{write_motion_depths(config, weights, args.data, args.packed)} views have a depth from motion")
    return 0


def _align(args: argparse.Namespace) -> int:
    """Take over the expert of another model."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.share import find_shared
    from sgrocc_core.training.config import load_config
    from sgrocc_core.training.local.align import align

    if args.start is None or not args.data or not args.like:
        raise ConfigError("this needs the new image engine, --start FILE, views, --data DIR, and a model, --like MODEL")
    config = load_config(args.config or find_shared("config/train/small_local.yaml"))
    out = args.out / "aligned.weights.safetensors"
    fit = align(config, args.start, args.like, args.data, out, args.packed)
    fine = "; stereo is not taken over, since one engine lacks what stereo reads or has another map at stride 2"
    if fit.fine is not None:
        fine = f", the fine ones that stereo reads {fit.fine_share:.1%}"
    print(
        f"the new features explain {fit.features:.1%} of the variance of those of {args.like}{fine}; weights in {out}"
    )
    return 0


def _mean(args: argparse.Namespace) -> int:
    """Write the mean of trained weights and of those of the model that they were trained on from."""
    from sgrocc_core.engines.model import load_spec
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.network.weights_file import mean_of

    if args.start is None or not args.like:
        raise ConfigError("this needs the trained weights, --start FILE, and the model before, --like MODEL")
    out = args.out / "mean.weights.safetensors"
    mean_of(args.start, load_spec(args.like).folder / "weights.safetensors", out)
    print(f"the mean of {args.start} and the weights of {args.like}: {out}")
    return 0


def _chain(args: argparse.Namespace) -> int:
    """Train a model from rooms alone."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.share import find_shared
    from sgrocc_core.training.chain import Chain, train_chain

    given = [name for name in ("data", "heldout", "packed", "render", "max_minutes", "device") if getattr(args, name)]
    if given or args.stage != "all":
        raise ConfigError(
            "`train chain` renders its own data and runs all stages as its configuration says: it needs --like MODEL, "
            f"and takes --config, --out, --start, --jobs, --assets, --edition, --seed; given are {', '.join(given)}"
        )
    if not args.like:
        raise ConfigError(
            "`train chain` needs --like MODEL, the model whose expert is taken over, such as --like small"
        )
    config = args.config or find_shared("config/train/small_gpu.yaml")
    options = {name: getattr(args, name) for name in ("jobs", "start", "assets", "edition", "seed")}
    said = {name: value for name, value in options.items() if value is not None}
    chain = Chain(config, args.out, args.like, **said)
    for part, seconds in train_chain(chain).items():
        print(f"{part}: {seconds:.0f} s")
    print(f"all networks in {args.out / 'model.safetensors'}")
    return 0


def _generation(args: argparse.Namespace) -> int:
    """Train the joint framework of generation and perception."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.generation.config import STAGES, load_generation
    from sgrocc_core.generation.stage import train_generation
    from sgrocc_core.share import find_shared

    foreign = [name for name in ("packed", "render", "like", "mini", "no_leak") if getattr(args, name)]
    if foreign or args.stage not in (*STAGES, "all"):
        raise ConfigError(
            f"`train generation` has the stages {', '.join(STAGES)}, all, and takes --config, --data, --heldout, "
            "--out, --start, --resume, --max-minutes, --seed, --device; "
            f"given are --stage {args.stage} {' '.join(foreign)}"
        )
    config = load_generation(args.config or find_shared("config/generation/small.yaml"))
    overrides = {name: getattr(args, name) for name in ("seed", "device", "workers")}
    config = dataclasses.replace(config, **{name: value for name, value in overrides.items() if value is not None})
    if args.max_minutes is not None:
        limited = {name: dataclasses.replace(stage, minutes=args.max_minutes) for name, stage in config.stages.items()}
        config = dataclasses.replace(config, stages=limited)
    start = args.start
    # The parts of a pretrained model include the autoencoder.
    plan = STAGES[1:] if config.pretrained and str(start) != "none" else STAGES
    for stage in plan if args.stage == "all" else (args.stage,):
        data = args.data or [Path("runs/rooms/train")]
        start = train_generation(config, stage, data, args.out, args.heldout, start, args.resume)
    return 0
