"""`sgrocc adapt`: adapts a model to one's own camera and rooms, from a recording without labels."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from sgrocc_core.commands.map import add_bag_arguments, bag_options

HELP = """Adapt a model to your camera and rooms, from one recording without labels.

  sgrocc adapt --bag MINE.mcap --out models/mine
  sgrocc adapt --bag MINE.mcap --teacher segformer --out models/mine

The recording needs colour images and poses; depth of a sensor helps, otherwise depth comes from the camera's motion.
Depth teaches the image engine depth, and the expert free space and surfaces. Teachers tell classes: published
segmentation networks (--teacher, a folder or one in the Hugging Face cache), else the model itself, where its class
head and its map agree. Generated rooms are mixed in, so that nothing is forgotten. A tenth of the recording is
held out; at the end a table compares the model before and after on it and on held-out rooms, and a model that is worse
is not written. It takes half an hour and some minutes on two cores; --resume continues a run that was interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--bag", required=True, metavar="PATH", help="the recording: a bag, file or folder")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the new model; must not exist"
    )
    parser.add_argument("--model", default="small", metavar="NAME", help="model that is adapted (default small)")
    parser.add_argument(
        "--teacher",
        action="append",
        metavar="NAME",
        help="teacher of classes, may be given several times: a folder, a repository of the Hugging Face hub, "
        "segformer, mask2former or oneformer; owlv2+sam2 for boxes by name, cut out; `own` and `map` are the model's "
        "class head and map (default: these two); `none`: learn depth and geometry alone",
    )
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M", help="training time (default %(default)g)")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="DIR", help="sets of rooms to mix in (default: rendered)"
    )
    parser.add_argument("--heldout", type=Path, metavar="DIR", help="set of held-out rooms (default: rendered)")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder of targets, checkpoints and logs (default: runs/adapt/NAME, by the name of --out)",
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --work")
    parser.add_argument("--seed", type=int, default=1, help="of all random draws (default %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device (default auto)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default %(default)s)")
    parser.add_argument("--force", action="store_true", help="use the bag although the checks found errors in it")
    add_bag_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Adapt; exit code 0, or 1 if the model would be worse and is not written."""
    from sgrocc_core.checks.recording import look_at_bag
    from sgrocc_core.checks.refusal import refuse_errors
    from sgrocc_core.data.bags import BagReader
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.progress import progress
    from sgrocc_core.training.adapt.recording import read_recording
    from sgrocc_core.training.adapt.run import MAP, OWN, Adaptation, AdaptOptions

    teachers = tuple(dict.fromkeys(arguments.teacher or (OWN, MAP)))
    if "none" in teachers:
        if len(teachers) > 1:
            raise ConfigError("--teacher none stands alone")
        teachers = ()
    command = shlex.join(["sgrocc", *sys.argv[1:]])
    options = AdaptOptions(
        arguments.model, arguments.out, arguments.work or Path("runs/adapt") / arguments.out.resolve().name,
        Path(arguments.bag).name, arguments.minutes, teachers, tuple(arguments.data), arguments.heldout,
        arguments.seed, arguments.device, arguments.threads, command, arguments.resume,
    )  # fmt: skip
    adaptation = Adaptation(options, lambda line: print(line, flush=True))
    with BagReader(arguments.bag, bag_options(arguments)) as bag:
        refuse_errors(look_at_bag(bag).findings(), arguments.force)
        frames = progress(bag, total=bag.image_count, desc="reading", unit="frame")
        recording = read_recording(frames, bag.image_count, adaptation.spec.image_size, options.recording)
    print(f"{len(recording.frames)} frames over {recording.distance:.1f} m; {recording.dark} black images left out")
    refused = adaptation.run(recording)
    if refused is not None:
        print(refused, file=sys.stderr)
        print(f"weights and figures are in {options.work}; try more --minutes or a longer recording", file=sys.stderr)
        return 1
    print(f"model in {options.out}; use it with --model {options.out}")
    return 0
