"""Fusion with the anchors' history: initially the exact identity in PyTorch and ONNX Runtime; its gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.engines.export import example_inputs, export_model
from sgrocc_core.engines.open import open_engine
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError
from sgrocc_core.gaussians.gaussians import History
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.network.expert.fusion import HistoryFusion
from sgrocc_core.network.expert.spatial_expert import ExpertConfig, SpatialExpert

SIZES = {"channels": 8, "wide": 8, "hidden": 16, "offsets": 2, "gaussians": 2, "blocks": 2}


def trained_a_little(**changes: object) -> SpatialExpert:
    """An expert whose weights, except fusion's, differ from their initial values, at which whole branches are zero."""
    torch.manual_seed(0)
    expert = SpatialExpert(ExpertConfig(**{**SIZES, **changes})).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in expert.named_parameters():
            if not name.startswith("fusion.") and value.dim() > 0:
                value.add_(0.05 * torch.randn_like(value))
    return expert


def feed(seed: int = 0) -> dict[str, torch.Tensor]:
    return example_inputs(channels=32, anchor_channels=8, seed=seed)[1]


def pasts(seed: int) -> dict[str, torch.Tensor]:
    """A history with the most extreme values that a memory can contain."""
    draw = torch.Generator().manual_seed(seed)
    past = torch.rand(1, NUM_ANCHORS, 3, generator=draw)
    past[..., 0], past[..., 2] = past[..., 0].round(), past[..., 2] * 1e5
    return {"history": 100 * torch.randn(1, NUM_ANCHORS, 8, generator=draw), "past": past}


def test_the_expert_is_the_spatial_expert_at_the_start_whatever_the_history() -> None:
    expert, inputs = trained_a_little(), feed()
    with torch.inference_mode():
        fused = expert(**{**inputs, **pasts(1)})
        alone = expert(**{key: value for key, value in inputs.items() if key not in ("history", "past")})
    assert set(fused) == set(alone) and all(torch.equal(fused[name], alone[name]) for name in alone)


def test_so_it_is_through_onnx_runtime(tmp_path: Path) -> None:
    networks = {"image": {}, "expert": SIZES}
    image, _ = build_networks(networks)
    export_model(image, trained_a_little(), networks, "tiny", tmp_path / "tiny")
    engine = open_engine(tmp_path / "tiny", "onnxruntime", "cpu", 1)
    inputs = {key: value.numpy() for key, value in feed().items()}
    K = np.array([[289.0, 0, 159.5], [0, 289.0, 119.5], [0, 0, 1]])
    depth, spread, thickness = (inputs[key][0, 0] for key in ("depth", "spread", "thickness"))
    found = []
    for past in (None, pasts(1), pasts(2)):
        history = None if past is None else History(past["history"][0].numpy(), past["past"][0].numpy())
        found.append(engine.expert(inputs["features"], depth, spread, thickness, K, inputs["pose"][0], history))
    for other in found[1:]:
        for name, value in vars(found[0]).items():
            assert np.array_equal(value, getattr(other, name)), name


def test_a_history_counts_once_fusion_has_learned() -> None:
    expert, inputs = trained_a_little(), {**feed(), **pasts(1)}
    outputs = expert(**inputs)
    gradients = torch.autograd.grad(
        outputs["opacities"].sum() + outputs["features"].square().sum(), list(expert.fusion.parameters())
    )  # type: ignore[union-attr]
    names = [name for name, _ in expert.fusion.named_parameters()]  # type: ignore[union-attr]
    moved = {name for name, gradient in zip(names, gradients, strict=True) if gradient.abs().max() > 0}
    assert moved == {"current.weight", "history.weight"}  # phi follows when the matrix behind it is no longer zero
    with torch.no_grad():
        expert.fusion.history.weight.add_(0.1)  # type: ignore[union-attr]
        changed = expert(**inputs)
    assert not torch.equal(changed["opacities"], outputs["opacities"])


def test_random_fusion_and_none() -> None:
    inputs = feed()
    assert not torch.equal(HistoryFusion(8, start="random").current.weight, torch.eye(8))
    without = trained_a_little(fusion="none")
    assert without.fusion is None
    with torch.inference_mode():
        one, two = without(**{**inputs, **pasts(1)}), without(**{**inputs, **pasts(2)})
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ConfigError, match="fusion is 'late'; it must be one of identity, random, none"):
        ExpertConfig(fusion="late")
