"""`sgrocc imagine`: images, depth and voxels of a room from a sentence."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Imagine a room: images, depth and voxels of several views from a sentence.

  sgrocc imagine "a bedroom with a bed and two chairs" --views 4 --out runs/imagined
      --weights runs/generation/small/imagine.safetensors

The views share one semantic occupancy, which the spatial expert reads from the images while they are denoised. OUT is
a set in the layout of Occ-ScanNet, which `sgrocc train local --data OUT` reads, with a contact sheet OUT/imagine.png:
image, depth, classes of the image, classes of the voxels. The same seed gives the same room on one machine. The weights
come from `sgrocc train generation`; docs/generation.md says what they can do.

`sgrocc synth --prompt` builds a room from a sentence by rules, with exact labels; this command paints one.
"""
WEIGHTS = "models/imagine/imagine.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("prompt", help="what the room is to be, in English")
    parser.add_argument("--views", type=int, default=4, metavar="N", help="number of views (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/imagined"),
        metavar="DIR",
        help="folder of the set (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the same seed gives the same room (default 0)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the configuration's)")
    parser.add_argument("--guidance", type=float, metavar="G", help="weight of the words; 1: none (default: the same)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help=f"trained weights (default: {WEIGHTS})")
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="their configuration (default: config/generation/small.yaml)"
    )


def run(args: argparse.Namespace) -> int:
    """Imagine, and print what was written; exit code 0."""
    from sgrocc_core.errors import ConfigError

    for name, low, high in (("views", 1, 16), ("seed", 0, 2**31), ("steps", 1, 1000), ("guidance", 0, 30)):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{name} is {value}; it must be from {low} to {high}")
    import cv2

    from sgrocc_core.classes import NAMES
    from sgrocc_core.data.synthetic.words.reader import read_wish
    from sgrocc_core.generation.album import contact_sheet, write_room
    from sgrocc_core.generation.captions import asked_classes, classes_in
    from sgrocc_core.generation.config import load_generation
    from sgrocc_core.generation.network.text import check_prompt
    from sgrocc_core.generation.sampling import imagine, look_around
    from sgrocc_core.generation.stage import open_framework
    from sgrocc_core.progress import progress
    from sgrocc_core.share import find_shared
    from sgrocc_core.words.encoder import encoder_if_installed

    prompt = check_prompt(args.prompt)
    for said in read_wish(prompt, encoder_if_installed()).missed:
        print(f"not understood: {said}")
    config = load_generation(args.config or find_shared("config/generation/small.yaml"))
    weights = args.weights or find_shared(WEIGHTS)
    framework, perception = open_framework(config, weights)
    views = look_around(args.views, config.size)
    steps = args.steps or config.steps
    with progress(total=steps, unit="step", desc="denoising") as bar:
        room = imagine(
            framework, perception, prompt, views, args.seed, steps, args.guidance, after=lambda _: bar.update()
        )
    scene = write_room(args.out, prompt, args.seed, views, room)
    cv2.imwrite(str(args.out / "imagine.png"), contact_sheet(prompt, views, room)[:, :, ::-1])
    asked, there = asked_classes(prompt), classes_in(room.voxels)
    print(f"{len(views)} views of {scene} in {args.out}, contact sheet {args.out / 'imagine.png'}")
    print(f"classes in the voxels: {', '.join(NAMES[label] for label in sorted(there)) or 'none'}")
    if not asked:
        print("no class of furniture was recognised in the prompt: the words steer the images, but nothing is checked")
    elif asked - there:
        print(f"asked for but not there: {', '.join(NAMES[label] for label in sorted(asked - there))}")
    return 0
