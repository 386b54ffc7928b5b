"""`sgrocc export`: writes trained weights as a model folder that the mapper runs."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Write a model folder: image.onnx, expert.onnx, weights.safetensors and model.yaml.

The graphs have fixed shapes and use only operators supported by ONNX Runtime and TensorRT. Each graph is run once and
compared with PyTorch. The export needs the training packages (`make setup-train`); the exported model does not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--model", default="small", help="name of a configuration under config/models, or a YAML file (default: small)"
    )
    parser.add_argument(
        "--weights", type=Path, help="safetensors file with both networks (default: models/NAME/weights.safetensors)"
    )
    parser.add_argument("--out", type=Path, help="folder to write (default: models/NAME)")
    parser.add_argument(
        "--untrained",
        action="store_true",
        help="use randomly initialised weights, for tests and speed measurements only",
    )
    parser.add_argument(
        "--prior",
        nargs="?",
        const="",
        metavar="DIR",
        help="with --untrained: load the published depth prior of the image engine from DIR (default: Hugging Face "
        "cache)",
    )


def run(args: argparse.Namespace) -> int:
    """Export, and print the files and the largest difference from PyTorch; exit code 0."""
    import torch

    from sgrocc_core.engines.export import export_model
    from sgrocc_core.engines.model import find_weights
    from sgrocc_core.engines.weights import build_networks, load_weights, read_networks
    from sgrocc_core.errors import ConfigError, ModelError
    from sgrocc_core.network.image.engine import PriorEngine
    from sgrocc_core.network.stereo.network import build_stereo

    name, networks = read_networks(args.model)
    if args.untrained and args.weights:
        raise ConfigError("--untrained and --weights exclude each other")
    if args.untrained and not args.out:
        raise ConfigError("--untrained needs --out: it must not replace a trained model")
    if args.prior is not None and not args.untrained:
        raise ConfigError("--prior needs --untrained: trained weights hold their prior")
    torch.manual_seed(0)
    image, expert = build_networks(networks)
    stereo = build_stereo(networks["stereo"], image) if "stereo" in networks else None
    own = find_weights(name)
    out = args.out or own.parent
    if not args.untrained:
        if not args.weights and not own.is_file():
            advice = "give the file with --weights, or --untrained for weights without training"
            raise ModelError(f"the model {name} has no weights: there is no {own}; {advice}")
        load_weights(args.weights or own, image, expert, stereo)
    if args.prior is not None:
        if not isinstance(image, PriorEngine):
            raise ConfigError(f"--prior: the image engine of {name} has no published prior")
        print(f"published weights from {image.load_prior(Path(args.prior) if args.prior else None)}")
    differences = export_model(image, expert, networks, name, out, stereo)
    for file in sorted(out.iterdir()):
        if file.is_file():
            print(f"{file}  {file.stat().st_size / 1e6:.2f} MB")
    worst = max(differences, key=lambda key: differences[key])
    print(f"ONNX Runtime agrees with PyTorch: largest relative difference {differences[worst]:.1e} ({worst})")
    return 0
