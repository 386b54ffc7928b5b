"""Options of `sgrocc bench engines`, `samples` and `roofline`."""

from __future__ import annotations

import argparse
from typing import Any


def add_engines(actions: Any) -> argparse.ArgumentParser:
    """Add the options of `sgrocc bench engines`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "engines",
        help="the graphs in every runtime and precision",
        description="Run the graphs in several runtimes and precisions, in turn, and compare times and values.",
    )
    parser.add_argument("--model", default="small", metavar="NAME", help="name or folder (default small)")
    parser.add_argument(
        "--engines",
        default="",
        metavar="A,B:P",
        help="runtimes, each with :precision if not fp32; the first is the measure (default: all that open)",
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="device (default cpu)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default 0: all cores)")
    parser.add_argument("--frames", type=int, default=30, metavar="N", help="timed frames (default 30)")
    return parser


def add_samples(actions: Any) -> argparse.ArgumentParser:
    """Add the options of `sgrocc bench samples`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "samples",
        help="frames a second and operations by samples per anchor, beside the paper's",
        description="Time the image network and the expert with other numbers of samples per anchor.",
    )
    parser.add_argument("--model", default="small", metavar="NAME", help="of config/models (default small)")
    parser.add_argument("--counts", default="4,8,16,24,32", metavar="K,K", help="samples (default 4,8,16,24,32)")
    parser.add_argument("--engine", default="auto", choices=("auto", "onnxruntime", "openvino", "torch"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="cuda: PyTorch (default cpu)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "bf16"), help="of PyTorch on CUDA")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default 0: all cores)")
    parser.add_argument("--frames", type=int, default=20, metavar="N", help="timed frames (default 20)")
    return parser


def add_roofline(actions: Any) -> argparse.ArgumentParser:
    """Add the options of `sgrocc bench roofline`, except those of the bag and of the model."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "roofline",
        help="each stage against the machine's ceilings",
        description="Count operations and bytes of each stage, and compare its time with the machine's ceilings.",
    )
    parser.add_argument("--bag", default="", metavar="PATH", help="bag (default: a walk through a generated room)")
    parser.add_argument("--frames", type=int, default=40, metavar="N", help="maximum number of frames (default 40)")
    return parser
