"""The coefficients: what the MLP is given, that it does not answer 0, and that nothing else learns of them."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.network.expert.lattice_encoder import cell_centres
from sgrocc_core.network.expert.projection import Projection
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.language.config import LanguageConfig
from sgrocc_core.training.language.prior import START, AttributeMLP, LanguagePrior, probe
from sgrocc_core.training.losses.regularisation import Surface, regularisation

WALL_CELL, FAR_CELL = (20, 15, 9), (2, 15, 9)
POSE = torch.tensor([[[0.0, 0.0, 1.0, 0.8], [-1.0, 0.0, 0.0, 2.4], [0.0, -1.0, 0.0, 1.44], [0.0, 0.0, 0.0, 1.0]]])
"""The camera looks along +x of the box from x = 0.8 m; FAR_CELL lies behind it."""
Values = dict[str, torch.Tensor]
K = torch.tensor([[30.0, 30.0, 31.5, 23.5]])


def row(cell: tuple[int, int, int]) -> int:
    return (cell[0] * 30 + cell[1]) * 18 + cell[2]


def at(u: float, v: float) -> Projection:
    one = torch.ones(1, 1)
    return Projection(u * one, v * one, one, one > 0)


def surface(distance: float) -> Surface:
    """A wall at z = distance before the camera."""
    planes = torch.zeros(1, 12, 16, 3)
    planes[..., 2] = 1 / distance
    full = torch.full((1, 12, 16), distance)
    return Surface(planes, full > 0, full, torch.full_like(full, 0.1), K, POSE)


def scene(misfit: float) -> tuple[dict[str, torch.Tensor], Surface, torch.Tensor]:
    """One Gaussian of a wall's cell, flat along the wall, `misfit` sigma away from it."""
    means = torch.full((1, NUM_ANCHORS, 1, 3), -50.0)
    means[0, row(WALL_CELL), 0] = (torch.tensor(WALL_CELL) + 0.5) * 0.16
    scales = torch.zeros(1, NUM_ANCHORS, 1, 3)
    scales[..., 0] = -2
    rotations = torch.tensor([1.0, 0, 0, 0]).expand(1, NUM_ANCHORS, 1, 4)
    outputs = {
        "means": means, "scales": scales, "rotations": rotations, "opacities": torch.zeros(1, NUM_ANCHORS, 1),
    }  # fmt: skip
    target = torch.zeros(1, 60, 60, 36, dtype=torch.uint8)
    for cell in (WALL_CELL, FAR_CELL):
        target[0, 2 * cell[0], 2 * cell[1], 2 * cell[2]] = 3
    return outputs, surface(20.5 * 0.16 - 0.8 + 0.1 * misfit), target


@pytest.mark.parametrize("coefficient", [0.2, 0.5, 0.99])
def test_the_loss_is_the_weighted_misfit_less_the_coefficient_s_logarithm(coefficient: float) -> None:
    outputs, wall, target = scene(2.0)
    plain = regularisation(outputs, wall, target, "semantic").item()
    assert plain == pytest.approx(2.0, rel=1e-3)
    outputs["attributes"] = torch.full((1, NUM_ANCHORS), math.log(coefficient / (1 - coefficient)))
    weighed = regularisation(outputs, wall, target, "semantic").item()
    assert weighed == pytest.approx(coefficient * plain - math.log(coefficient), rel=1e-4)


@pytest.mark.parametrize("misfit, best", [(0.0, 1.0), (0.8, 1.0), (2.0, 0.5), (2.8, 1 / 2.8)])
def test_the_coefficient_learns_the_inverse_of_the_misfit_and_never_0(misfit: float, best: float) -> None:
    outputs, wall, target = scene(misfit)
    logits = torch.zeros(1, NUM_ANCHORS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        regularisation({**outputs, "attributes": logits}, wall, target, "semantic").backward()
        optimizer.step()
    assert torch.sigmoid(logits[0, row(WALL_CELL)]).item() == pytest.approx(best, abs=0.08)


def test_the_mlp_tells_anchors_that_fit_from_those_that_do_not() -> None:
    """Two kinds of features with misfits about 0.3 and about 2.5: it tells them apart, and answers 0 to neither."""
    torch.manual_seed(0)
    mlp = AttributeMLP(6)
    assert torch.allclose(torch.sigmoid(mlp(torch.randn(5, 6))), torch.tensor(1 / (1 + math.exp(-START))))
    kinds = torch.arange(64) % 2
    features = torch.randn(64, 6) + 2 * kinds[:, None]
    misfits = torch.where(kinds > 0, 2.5, 0.3) * (0.5 + torch.rand(64))
    optimizer = torch.optim.AdamW(mlp.parameters(), lr=1e-3)
    for _ in range(80):
        logits = mlp(features)
        optimizer.zero_grad()
        (torch.sigmoid(logits) * misfits - torch.nn.functional.logsigmoid(logits)).mean().backward()
        optimizer.step()
    found = torch.sigmoid(mlp(features)).detach()
    assert found[kinds == 0].mean() > 0.9 and 0.3 < found[kinds > 0].mean() < 0.55


def test_maps_are_probed_between_their_pixels() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 3, 4)  # cells of 8 pixels; centres at 3.5, 11.5, 19.5, 27.5
    for u, expected in ((3.5, 0.0), (11.5, 1.0), (15.5, 1.5), (17.5, 1.75), (31.0, 3.0)):
        assert probe(ramp, at(u, 10.0), (24, 32)).item() == pytest.approx(expected, abs=1e-5)
    upright = torch.arange(3.0).view(1, 1, 3, 1).expand(1, 1, 3, 4)
    assert probe(upright, at(5.0, 15.5), (24, 32)).item() == pytest.approx(1.5, abs=1e-5)


def prior_and_inputs() -> tuple[LanguagePrior, Values, Values, Values]:
    """The prior with the image engine's features, outputs of expert and image engine, and a batch."""
    torch.manual_seed(0)
    prior = LanguagePrior(LanguageConfig("vlm", "own"), 6, 4, Compute(torch.device("cpu")))
    torch.nn.init.normal_(prior.mlp.last.weight)
    outputs = {"features": torch.randn(1, NUM_ANCHORS, 4, requires_grad=True)}
    image = {"pyramid": torch.randn(1, 6, 6, 8, requires_grad=True)}
    view = torch.zeros(1, 3, 48, 64, dtype=torch.uint8)
    batch = {"image": view, "intrinsics": K, "pose": POSE, "target": scene(0)[2]}
    return prior, outputs, image, batch


def test_only_anchors_that_count_and_are_in_view_get_a_coefficient_of_their_own() -> None:
    prior, outputs, image, batch = prior_and_inputs()
    logits = prior(outputs, image, batch, cell_centres(), "semantic")
    assert logits.shape == (1, NUM_ANCHORS)
    assert (logits[0] != START).nonzero().tolist() == [[row(WALL_CELL)]]


def test_the_mlp_gets_the_features_at_the_anchor_s_pixel_its_own_and_the_scene_s() -> None:
    prior, outputs, image, batch = prior_and_inputs()
    given: list[torch.Tensor] = []
    prior.mlp.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    prior(outputs, image, batch, cell_centres(), "semantic")
    (features,) = given
    x, y, z = ((index + 0.5) * 0.16 for index in WALL_CELL)
    u, v = 30 * (2.4 - y) / (x - 0.8) + 31.5, 30 * (1.44 - z) / (x - 0.8) + 23.5
    maps = image["pyramid"].detach()[0]
    maps = (maps - maps.mean(0)) / (maps.var(0, unbiased=False) + 1e-5).sqrt()
    column, line = (u + 0.5) / 8 - 0.5, (v + 0.5) / 8 - 0.5
    left, top = int(column), int(line)
    a, b = column - left, line - top
    local = (
        (1 - b) * ((1 - a) * maps[:, top, left] + a * maps[:, top, left + 1])
        + b * ((1 - a) * maps[:, top + 1, left] + a * maps[:, top + 1, left + 1])
    )  # fmt: skip
    expected = torch.cat([local, outputs["features"].detach()[0, row(WALL_CELL)], maps.mean((1, 2))])
    assert torch.allclose(features[0], expected, atol=1e-5)


def test_nothing_but_the_mlp_learns_of_the_coefficients() -> None:
    prior, outputs, image, batch = prior_and_inputs()
    prior(outputs, image, batch, cell_centres(), "semantic").sum().backward()
    assert outputs["features"].grad is None and image["pyramid"].grad is None
    assert all(p.grad is not None for p in prior.mlp.parameters())


def test_a_view_without_anchors_that_count_is_no_error() -> None:
    prior, outputs, image, batch = prior_and_inputs()
    logits = prior(outputs, image, {**batch, "target": torch.zeros_like(batch["target"])}, cell_centres(), "uniform")
    assert (logits == START).all()
    logits.sum().backward()
    assert prior.mlp.last.bias.grad is not None  # as several processes need it
