"""`sgrocc export-language`: exports an image-text model, so that maps can be asked in any words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sgrocc_core.commands.map import add_bag_arguments, bag_options

if TYPE_CHECKING:
    import numpy as np

HELP = """Export an image-text model (SigLIP, CLIP), so that maps can be asked in any words.

  sgrocc export-language --model siglip --bag walk.mcap --out runs/language
  sgrocc map --bag walk.mcap --language runs/language --out runs/mine
  sgrocc find runs/mine "a red armchair"

The model comes from a folder or from the user's Hugging Face cache; nothing is downloaded. A projection from its
embeddings to a few numbers is fitted to the words that `sgrocc find` knows and to images: of a recording, best one
like those to be mapped, or else of generated rooms. Both towers are written as ONNX graphs and compared with PyTorch.
The export needs the training packages (`make setup-train`); the exported model does not."""
GENERATED_ROOMS, FRAMES_EACH = 4, 6
"""Rooms, and frames of each, that stand in for a recording."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--model",
        default="siglip",
        metavar="NAME",
        help="siglip, clip, a folder, or a repository of the Hugging Face hub that is in the cache (default siglip)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--numbers", type=int, default=16, metavar="D", help="numbers of a feature (default 16)")
    parser.add_argument("--bag", default="", metavar="PATH", help="recording to fit the projection to")
    parser.add_argument(
        "--frames",
        type=int,
        default=60,
        metavar="N",
        help="images of the recording at most (default 60)",
    )
    add_bag_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Export, and print what the projection keeps; exit code 0."""
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.open_vocabulary.export import export_language

    if args.frames < 1:
        raise ConfigError(f"--frames is {args.frames}; it must be at least 1")
    images = _recorded(args) if args.bag else _generated()
    told = export_language(args.model, args.out, images, args.numbers)
    for file in sorted(args.out.iterdir()):
        print(f"{file}  {file.stat().st_size / 1e6:.2f} MB")
    print(
        f"{args.numbers} numbers keep {told.kept[0]:.0%} of the variance of the vocabulary and {told.kept[1]:.0%} "
        f"of that of {told.patches} patches; ONNX Runtime differs from PyTorch by {told.difference:.1e}"
    )
    return 0


def _recorded(args: argparse.Namespace) -> Iterator[np.ndarray]:
    from itertools import islice

    from sgrocc_core.data.bags.cameras import CamerasReader, options_of_cameras

    with CamerasReader(args.bag, options_of_cameras(bag_options(args))) as bag:
        for frame in islice(bag, args.frames):
            yield frame.image


def _generated() -> Iterator[np.ndarray]:
    from sgrocc_core.data.synthetic.generate import prepare, render_frame
    from sgrocc_core.data.synthetic.rendering.render import Renderer

    size = 320, 240
    for index in range(GENERATED_ROOMS):
        made = prepare("train", 9, index, FRAMES_EACH, size)
        renderer = Renderer(made.scene, made.style)
        for number in range(FRAMES_EACH):
            yield render_frame(made, renderer, number, size).view.image
