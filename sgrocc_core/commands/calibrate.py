"""`sgrocc calibrate`: fits the spread of a model's depth on videos that were left out of its training."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Calibrate the spread of depth.

  sgrocc calibrate --config config/train/small_stereo.yaml --weights runs/stereo/stereo.weights.safetensors \\
      --data runs/videos/train --out runs/stereo/calibrated.safetensors

compares depth with the truth on the videos that `sgrocc train stereo` leaves out of the training (`clip.left_out`), and
scales the spread of the image engine, and of stereo where the weights have it, so that the shares of pixels below its
50, 68 and 90 % quantiles come as near to these as one factor can bring them. Use no videos that a model is scored on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="training configuration")
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="FILE", help="weights to calibrate (safetensors)"
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="sets of training videos")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="calibrated weights")
    parser.add_argument(
        "--packed", type=Path, metavar="DIR", help="where decoded videos are kept, as for `sgrocc train`"
    )
    parser.add_argument("--limit", type=int, default=24, metavar="N", help="at most so many videos (default: 24)")
    parser.add_argument("--only", choices=("image", "stereo"), help="calibrate one of the two (default: both)")


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the weights and print the factors; exit code 0."""
    from sgrocc_core.training.config import load_config
    from sgrocc_core.training.stereo.calibrate import calibrate

    found = calibrate(load_config(args.config), args.weights, args.data, args.out, args.packed, args.limit, args.only)
    for name, values in found.items():
        shares = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if key != "factor")
        print(f"{name}: spread times {values['factor']:.3f}; before: {shares}")
    print(f"weights: {args.out}")
    return 0
