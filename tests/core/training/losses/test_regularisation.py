"""The geometric regulariser against values computed by hand: Gaussians in front of, on and oblique to planes."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.depth.layer import sensor_spread
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.training.losses.regularisation import Surface, cell_weights, regularisation, surface_of

H, W, F = 48, 64, 60.0
K = torch.tensor([[F, F, (W - 1) / 2, (H - 1) / 2]])
# The camera in the middle of the box, looking along +x of it: its z is the box's x, its x is -y, its y is -z.
POSE = torch.tensor([[[0.0, 0.0, 1.0, 0.8], [-1.0, 0.0, 0.0, 2.4], [0.0, -1.0, 0.0, 1.44], [0.0, 0.0, 0.0, 1.0]]])
CELL = (15, 15, 9)
ROW = (CELL[0] * 30 + CELL[1]) * 18 + CELL[2]
CENTRE = torch.tensor([(c + 0.5) * 0.16 for c in CELL])  # 2.48, 2.48, 1.52 m
WALL, CHAIR = 3, 5


def plane_depth(normal: tuple[float, float, float], distance: float) -> torch.Tensor:
    """(1, 1, H, W) z-depth of the plane n . X = distance, camera frame, by meeting every pixel's ray with it."""
    v, u = torch.meshgrid(torch.arange(H, dtype=torch.float64), torch.arange(W, dtype=torch.float64), indexing="ij")
    x, y = (u - K[0, 2]) / F, (v - K[0, 3]) / F
    return (distance / (normal[0] * x + normal[1] * y + normal[2])).float()[None, None]


def seen(depth: torch.Tensor, sensor: bool = True, spread: float = 0.3) -> Surface:
    return surface_of(depth, sensor_spread(depth) if sensor else torch.full_like(depth, spread), K, POSE)


def gaussian(
    mean: torch.Tensor, rotation: tuple[float, ...] = (1.0, 0, 0, 0), smallest: int = 0, opacity: float = 0.0
) -> dict[str, torch.Tensor]:
    """Outputs with one Gaussian a cell; that of CELL as said, the others far from any surface."""
    means = torch.full((1, NUM_ANCHORS, 1, 3), -50.0)
    means[0, ROW, 0] = mean
    scales = torch.zeros(1, NUM_ANCHORS, 1, 3)
    scales[..., smallest] = -2.0
    rotations = torch.tensor(rotation).expand(1, NUM_ANCHORS, 1, 4).clone()
    outputs = {
        "means": means,
        "scales": scales,
        "rotations": rotations,
        "opacities": torch.full((1, NUM_ANCHORS, 1), opacity),
    }
    return {name: value.requires_grad_() for name, value in outputs.items()}


def labelled(label: int) -> torch.Tensor:
    target = torch.zeros(1, 60, 60, 36, dtype=torch.uint8)
    target[0, 2 * CELL[0], 2 * CELL[1], 2 * CELL[2]] = label
    return target


def wall_at(x: float) -> Surface:
    """A wall facing the camera at x metres of the box's frame, measured by a sensor."""
    return seen(plane_depth((0, 0, 1), x - 0.8))


def test_the_planes_of_a_slanted_wall_are_that_wall() -> None:
    n = (0.6, 0.0, 0.8)
    surface = seen(plane_depth(n, 1.5))
    assert surface.valid.all()
    assert torch.allclose(surface.planes, torch.tensor(n).div(1.5).expand_as(surface.planes), atol=1e-4)


def test_a_pixel_at_an_edge_of_the_depth_takes_its_slope_from_its_own_side() -> None:
    depth = plane_depth((0.6, 0.0, 0.8), 1.5)
    depth[..., W // 2 :] = 6.0
    surface = seen(depth)
    assert surface.valid.all()
    assert torch.allclose(
        surface.planes[0, :, : W // 8], torch.tensor([0.4, 0, 0.8 / 1.5]).expand(H // 4, W // 8, 3), atol=1e-4
    )
    assert torch.allclose(
        surface.planes[0, :, W // 8 :], torch.tensor([0, 0, 1 / 6]).expand(H // 4, W // 8, 3), atol=1e-4
    )


def test_a_patch_that_is_mostly_a_hole_or_seen_edge_on_is_no_surface() -> None:
    depth = plane_depth((0, 0, 1), 2.0)
    depth[..., :8, :8] = 0
    valid = seen(depth).valid
    assert not valid[0, :2, :2].any() and valid[0, 2:, 2:].all()
    assert (
        not seen(plane_depth((0.998, 0.0, 0.06), 0.6)).valid[0, :, W // 8].any()
    )  # nearly along the rays in the middle


def test_sigma_is_the_sensors_where_it_measured_and_the_heads_elsewhere() -> None:
    depth = plane_depth((0, 0, 1), 2.0)
    assert torch.allclose(seen(depth).sigma, torch.tensor(0.04 + 0.01 * 4))
    assert torch.allclose(seen(depth, sensor=False, spread=0.17).sigma, torch.tensor(0.17))


def test_a_flat_gaussian_on_the_wall_costs_nothing() -> None:
    assert regularisation(
        gaussian(CENTRE), wall_at(CENTRE[0].item()), labelled(WALL), "semantic"
    ).item() == pytest.approx(0, abs=1e-4)


def test_distance_counts_in_sigmas_of_the_depth() -> None:
    x = CENTRE[0].item() + 0.06  # wall 6 cm behind the Gaussian
    sigma = 0.04 + 0.01 * (x - 0.8) ** 2
    found = regularisation(gaussian(CENTRE), wall_at(x), labelled(WALL), "semantic")
    assert found.item() == pytest.approx(0.06 / sigma, rel=1e-3)


def test_a_gaussian_turned_by_an_angle_costs_one_minus_its_cosine() -> None:
    angle = math.radians(30)
    about_z = (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2))
    surface = wall_at(CENTRE[0].item())
    found = regularisation(gaussian(CENTRE, about_z), surface, labelled(WALL), "semantic")
    assert found.item() == pytest.approx(1 - math.cos(angle), abs=1e-4)
    # Its own y axis, turned by the same angle, is askew to the normal by 60 degrees.
    found = regularisation(gaussian(CENTRE, about_z, smallest=1), surface, labelled(WALL), "semantic")
    assert found.item() == pytest.approx(1 - math.cos(math.radians(60)), abs=1e-4)


def test_a_slanted_wall_is_met_by_a_gaussian_turned_as_it_is() -> None:
    # Camera-frame normal (0.6, 0, 0.8) is (0.8, -0.6, 0) in the box's axes: x turned about z by -atan(0.6 / 0.8).
    angle = -math.atan2(0.6, 0.8)
    rotation = (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2))
    camera = torch.tensor([2.4 - CENTRE[1].item(), 1.44 - CENTRE[2].item(), CENTRE[0].item() - 0.8])
    through = 0.6 * camera[0].item() + 0.8 * camera[2].item()
    on = regularisation(
        gaussian(CENTRE, rotation), seen(plane_depth((0.6, 0.0, 0.8), through)), labelled(WALL), "uniform"
    )
    assert on.item() == pytest.approx(0, abs=1e-3)
    surface = seen(plane_depth((0.6, 0.0, 0.8), through + 0.05))
    off = regularisation(gaussian(CENTRE, rotation), surface, labelled(WALL), "uniform")
    column, row = (
        int((F * camera[0] / camera[2] + K[0, 2] + 0.5) / 4),
        int((F * camera[1] / camera[2] + K[0, 3] + 0.5) / 4),
    )
    assert off.item() == pytest.approx(0.05 / surface.sigma[0, row, column].item(), rel=1e-2)


@pytest.mark.parametrize(
    ("kind", "label", "share"),
    [("semantic", CHAIR, 0.1), ("uniform", CHAIR, 1.0), ("semantic", WALL, 1.0), ("uniform", WALL, 1.0)],
)
def test_objects_are_held_ten_times_less_when_classes_count(kind: str, label: int, share: float) -> None:
    x = CENTRE[0].item() + 0.05
    expected = share * 0.05 / (0.04 + 0.01 * (x - 0.8) ** 2)
    assert regularisation(gaussian(CENTRE), wall_at(x), labelled(label), kind).item() == pytest.approx(
        expected, rel=1e-3
    )


@pytest.mark.parametrize("label", [0, 255])
def test_cells_that_are_empty_or_unknown_do_not_count(label: int) -> None:
    assert regularisation(gaussian(CENTRE), wall_at(CENTRE[0].item() + 0.05), labelled(label), "semantic").item() == 0


def test_beyond_three_sigmas_nothing_pulls() -> None:
    sigma = 0.04 + 0.01 * 1.9**2
    outputs = gaussian(CENTRE)
    assert regularisation(outputs, wall_at(CENTRE[0].item() + 3.3 * sigma), labelled(WALL), "semantic").item() == 0


def test_the_mean_over_gaussians_is_weighted_by_opacity() -> None:
    outputs = {name: value.detach().clone() for name, value in gaussian(CENTRE, opacity=math.log(0.8 / 0.2)).items()}
    other = ROW + 1  # the cell above, 0.16 m higher: on the wall
    outputs["means"][0, other, 0] = torch.tensor([CENTRE[0] + 0.05, CENTRE[1], CENTRE[2] + 0.16])
    outputs["opacities"][0, other, 0] = math.log(0.2 / 0.8)
    target = labelled(WALL)
    target[0, 2 * CELL[0], 2 * CELL[1], 2 * CELL[2] + 2] = WALL
    x = CENTRE[0].item() + 0.05
    expected = 0.8 * 0.05 / (0.04 + 0.01 * (x - 0.8) ** 2)  # of a total opacity of 1; the other costs nothing
    assert regularisation(outputs, wall_at(x), target, "semantic").item() == pytest.approx(expected, rel=1e-3)


def test_gradients_pull_the_mean_to_the_wall_and_turn_the_smallest_axis_and_leave_opacity_alone() -> None:
    angle = math.radians(20)
    outputs = gaussian(CENTRE, (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)))
    regularisation(outputs, wall_at(CENTRE[0].item() + 0.05), labelled(WALL), "semantic").backward()
    pull, turn = outputs["means"].grad, outputs["rotations"].grad
    assert pull is not None and turn is not None
    assert pull[0, ROW, 0, 0] < 0 and pull[0, ROW, 0, 1:].abs().max() < 1e-4 * pull[0, ROW, 0, 0].abs()
    assert turn[0, ROW, 0, 3] > 0  # less of z in the quaternion: back to no turn
    assert outputs["opacities"].grad is None and outputs["scales"].grad is None


def test_a_cell_weighs_as_the_most_structural_thing_in_it() -> None:
    target = labelled(CHAIR)
    target[0, 2 * CELL[0] + 1, 2 * CELL[1], 2 * CELL[2]] = WALL
    weights = cell_weights(target, "semantic")
    assert weights[0, ROW].item() == 1.0 and weights.sum().item() == 1.0
