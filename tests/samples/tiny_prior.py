"""Depth-Anything-V2 of a few channels with random weights that do something, for the tests of the base model."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
pytest.importorskip("transformers", reason="transformers is not installed: make setup-train")

ARCHITECTURE = {
    "hidden": 24,
    "layers": 4,
    "heads": 2,
    "taps": (1, 2, 3, 4),
    "neck": (8, 8, 16, 16),
    "fusion": 8,
    "head": 8,
}
IMAGE = {"kind": "depth_anything_v2", "channels": 8, "image_size": [70, 56], "hidden": 16, "architecture": ARCHITECTURE}
EXPERT = {"channels": 12, "wide": 16, "hidden": 16, "feature_channels": 8, "offsets": 16, "gaussians": 2, "blocks": 1}
BASE = {"image": IMAGE, "expert": EXPERT}


def enliven(network, seed=0):
    """Weights that keep the size of what passes through, so that the output varies over the image; a fresh network's is
    constant."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
    return network


def published(folder, positions=3, **changes):
    """Write a prior as the hub has it (positions x positions tokens), and return the network."""
    from sgrocc_core.network.image.priors import build_prior, prior_size

    network = enliven(build_prior(prior_size("small", {**ARCHITECTURE, **changes}), (positions, positions)))
    network.config.backbone_config.image_size = 14 * positions
    network.save_pretrained(folder)
    return network
