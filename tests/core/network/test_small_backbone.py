"""The small image engine: shapes, bounds and the effect of the camera."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.network.image.heads import (
    CANONICAL_FOCAL,
    MAX_SPREAD,
    MAX_THICKNESS,
    MIN_SPREAD,
    MIN_THICKNESS,
    gravity_rays,
)
from sgrocc_core.network.image.small import ImageEngine


@pytest.fixture(scope="module")
def engine() -> ImageEngine:
    torch.manual_seed(0)
    return ImageEngine().eval()


def inputs(focal: float = CANONICAL_FOCAL) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    camera = torch.tensor([[focal, focal, 159.5, 119.5]])
    return torch.rand(1, 3, 240, 320, generator=generator), torch.ones(1, 1, 240, 320), camera, torch.eye(3)[None]


def test_outputs_have_the_shapes_of_the_interface_and_stay_in_bounds(engine: ImageEngine) -> None:
    with torch.no_grad():
        out = engine(*inputs())
    assert out["features"].shape == (1, 32, 30, 40)
    for name in ("depth", "spread", "thickness"):
        assert out[name].shape == (1, 1, 60, 80)
    assert out["semantics"].shape == (1, 12, 60, 80)
    assert (out["depth"] > 0).all()
    assert out["spread"].min() >= MIN_SPREAD and out["spread"].max() <= MAX_SPREAD
    assert out["thickness"].min() >= MIN_THICKNESS and out["thickness"].max() <= MAX_THICKNESS


def test_depth_scales_with_the_focal_length(engine: ImageEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "pyramid", lambda x: (x[:, :1].new_zeros(1, 64, 30, 40), torch.ones(1, 48, 60, 80)))
    with torch.no_grad():
        one, two = engine(*inputs())["depth"], engine(*inputs(2 * CANONICAL_FOCAL))["depth"]
    assert torch.allclose(two, 2 * one, rtol=1e-5)


def test_rays_point_forward_through_the_principal_point_and_are_unit() -> None:
    rays = gravity_rays(torch.tensor([[300.0, 300.0, 160.0, 120.0]]), torch.eye(3)[None], 240, 320)[0]
    assert torch.allclose(rays[:, 120, 160], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)
    assert torch.allclose(rays.norm(dim=0), torch.ones(240, 320), atol=1e-5)


def test_rays_are_turned_by_gravity() -> None:
    # a camera that looks along the horizon: image down (y) is the world's -z
    R_gc = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    rays = gravity_rays(torch.tensor([[300.0, 300.0, 160.0, 120.0]]), R_gc[None], 240, 320)[0]
    assert rays[2, 0, 160] > 0 > rays[2, 239, 160]
    assert torch.allclose(rays[:, 120, 160], torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_what_lies_in_the_padding_changes_nothing(engine: ImageEngine) -> None:
    image, mask, camera, gravity = inputs()
    mask[:, :, :30] = 0
    other = image.clone()
    other[:, :, :30] = torch.from_numpy(np.random.default_rng(0).random((1, 3, 30, 320), np.float32))
    with torch.no_grad():
        assert torch.equal(engine(image, mask, camera, gravity)["depth"], engine(other, mask, camera, gravity)["depth"])
