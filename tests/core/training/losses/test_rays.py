"""Losses along rays: the walk against one written by hand, projected classes, evidence, pseudo labels, the teacher."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.geometry.lattice import BOX_VOXELS, NUM_ANCHORS, VOXEL_SIZE
from sgrocc_core.training.losses.few_labels import cell_evidence, teacher_loss
from sgrocc_core.training.losses.pseudo_labels import cell_labels, head_loss, pixel_labels
from sgrocc_core.training.losses.rays import (
    evidence_along,
    evidence_loss,
    project_classes,
    projection_loss,
    walk_rays,
)
from tests.samples.rooms.little_room import cast, pose, room

VOXELS = BOX_VOXELS[0] * BOX_VOXELS[1] * BOX_VOXELS[2]
WIDTH, HEIGHT = 80, 60
K = np.array([[72.0, 0, 39.5], [0, 72.0, 29.5], [0, 0, 1]])


def camera(T):
    return torch.tensor([K[0, 0], K[1, 1], K[0, 2], K[1, 2]]).float(), torch.from_numpy(T).float()


def walked_by_hand(u, v, T):
    """Amanatides and Woo (1987), from voxel to voxel, by the nearest of the three next planes; yields flat indices."""
    direction = T[:3, :3] @ np.array([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], 1.0])
    near, far = 0.05, 20.0
    for axis in range(3):  # where the ray enters the box
        ends = sorted((side - T[axis, 3]) / direction[axis] for side in (0.0, BOX_VOXELS[axis] * VOXEL_SIZE))
        near, far = max(near, ends[0]), min(far, ends[1])
    if near >= far:
        return
    index = np.floor((T[:3, 3] + (near + 1e-7) * direction) / VOXEL_SIZE).astype(int)
    step = np.where(direction > 0, 1, -1)
    ahead = ((index + (direction > 0)) * VOXEL_SIZE - T[:3, 3]) / direction
    while all(0 <= i < n for i, n in zip(index, BOX_VOXELS)):
        axis = int(np.argmin(ahead))
        if ahead[axis] - near > 1e-4:  # grazed corners are no visits
            yield int(np.ravel_multi_index(tuple(index), BOX_VOXELS))
        near = ahead[axis]
        index[axis] += step[axis]
        ahead[axis] += VOXEL_SIZE / abs(direction[axis])


def test_rays_visit_the_voxels_of_a_walk_by_hand():
    rng = np.random.default_rng(0)
    T = pose(rng, room(rng))
    T[:3, 3] += [0.0131, 0.0077, 0.0053]
    pixels = np.column_stack([rng.uniform(0, WIDTH - 1, 60), rng.uniform(0, HEIGHT - 1, 60)]).round(2)
    walk = walk_rays(torch.from_numpy(pixels).float(), *camera(T))
    for r, (u, v) in enumerate(pixels):
        found, expected = walk.voxels[r][walk.visited[r]].tolist(), list(walked_by_hand(u, v, T))
        assert len(expected) > 10
        # A visit about as short as the bound may count for one of the two and not for the other.
        assert len(set(found) ^ set(expected)) <= 1 and [x for x in found if x in expected] == [
            x for x in expected if x in found
        ]
        assert (walk.leave[r][walk.visited[r]] > walk.enter[r][walk.visited[r]]).all()


def one_ray():
    """A ray along x through the middle of the box, from 0.5 m before it."""
    T = np.array([[0.0, 0, 1, -0.5], [-1, 0, 0, 2.42], [0, -1, 0, 1.46], [0, 0, 0, 1]])
    return walk_rays(torch.tensor([[39.5, 29.5]]), *camera(T))


def test_projection_is_a_sum_from_front_to_back():
    rng = np.random.default_rng(1)
    T = pose(rng, room(rng))
    pixels = torch.from_numpy(np.column_stack([rng.uniform(0, 79, 40), rng.uniform(0, 59, 40)])).float()
    walk = walk_rays(pixels, *camera(T))
    p = rng.uniform(0, 0.4, VOXELS)
    weights = rng.uniform(0, 2, (VOXELS, 11))
    found = project_classes(torch.from_numpy(np.log1p(-p)), torch.from_numpy(weights), walk).numpy()
    for r in range(40):
        left, scores = 1.0, np.zeros(11)
        for voxel in walk.voxels[r][walk.visited[r]].tolist():
            scores += left * p[voxel] * weights[voxel] / weights[voxel].sum()
            left *= 1 - p[voxel]
        assert found[r] == pytest.approx(scores, abs=1e-6)
        assert found[r].sum() == pytest.approx(1 - left, abs=1e-5)


def test_a_wall_hides_what_is_behind_it():
    walk = one_ray()
    along = walk.voxels[0][walk.visited[0]]
    assert len(along) == 60
    log_empty = torch.full((VOXELS,), -1e-4)
    log_empty[along[20]] = -30.0
    log_empty.requires_grad_(True)
    weights = torch.ones(VOXELS, 11)
    weights[along[20], 2], weights[along[40], 5] = 100.0, 100.0
    scores = project_classes(log_empty, weights, walk)
    assert scores[0].argmax() == 2 and scores[0].sum() > 0.99
    projection_loss(scores, torch.tensor([3]), torch.ones(12)).backward()
    assert (log_empty.grad[along[:20]] < 0).all()  # what is before it should be emptier
    assert log_empty.grad[along[21:]].abs().max() < 1e-9


def test_a_pixel_of_another_class_asks_for_matter_of_its_own():
    walk = one_ray()
    along = walk.voxels[0][walk.visited[0]]
    raw = torch.zeros(VOXELS, 11, requires_grad=True)
    scores = project_classes(torch.full((VOXELS,), -0.05), torch.softmax(raw, 1), walk)
    projection_loss(scores, torch.tensor([6]), torch.ones(12)).backward()
    assert (raw.grad[along, 5] < 0).all() and (raw.grad[along][:, [0, 10]] > 0).all()
    others = torch.ones(VOXELS, dtype=torch.bool)
    others[along] = False
    assert raw.grad[others].abs().max() == 0
    assert projection_loss(scores[:0], torch.zeros(0, dtype=torch.long), torch.ones(12)) == 0


def test_depth_frees_what_is_before_the_surface_and_asks_for_matter_at_it():
    walk = one_ray()
    along = walk.voxels[0][walk.visited[0]]
    depth = torch.tensor([0.5 + 2.0])  # 2 m into the box: voxel 25 begins there
    free, matter = evidence_along(walk, depth, torch.tensor([0.16]))
    assert walk.voxels[free].tolist() == along[:23].tolist() and walk.voxels[matter].tolist() == [along[25].item()]
    log_empty = torch.full((VOXELS,), math.log(0.5), requires_grad=True)
    loss = evidence_loss(log_empty, walk, free, matter)
    assert loss.item() == pytest.approx(2 * math.log(2))
    loss.backward()
    assert (log_empty.grad[along[:23]] < 0).all() and log_empty.grad[along[25]] > 0
    assert log_empty.grad.count_nonzero() == 24


def test_evidence_of_a_room_agrees_with_its_voxels():
    rng = np.random.default_rng(2)
    grid = room(rng)
    T = pose(rng, grid)
    depth, labels = cast(grid, K, T, HEIGHT, WIDTH)
    rows, columns = np.nonzero(depth > 0)
    pixels = torch.from_numpy(np.column_stack([columns, rows])).float()
    walk = walk_rays(pixels, *camera(T))
    z = torch.from_numpy(depth[rows, columns]).float()
    free, matter = evidence_along(walk, z, torch.full_like(z, VOXEL_SIZE))
    truth = torch.from_numpy(grid.reshape(-1))
    assert (truth[walk.voxels[free]] == 0).float().mean() > 0.999
    hit = matter.any(1)
    found = truth[(walk.voxels * matter).sum(1)[hit]]
    assert hit.float().mean() > 0.8
    assert (found == torch.from_numpy(labels[rows, columns])[hit]).float().mean() > 0.9


def test_evidence_reaches_gaussians_that_are_not_splatted():
    opacities = torch.full((NUM_ANCHORS, 2), -6.0, requires_grad=True)
    voxel = int(np.ravel_multi_index((21, 25, 7), BOX_VOXELS))
    passed, filled = (10 * 30 + 12) * 18 + 3, (11 * 30 + 12) * 18 + 3
    both = int(np.ravel_multi_index((22, 25, 7), BOX_VOXELS))  # passed by a ray, but with points of another
    cell_evidence(opacities, torch.tensor([voxel, both]), torch.tensor([filled])).backward()
    assert (opacities.grad[passed] > 0).all() and (opacities.grad[filled] < 0).all()
    assert opacities.grad.count_nonzero() == 4


def test_pixels_take_labels_of_the_class_head_where_it_is_sure():
    semantics = torch.zeros(1, 12, 2, 2)
    semantics[0, 3, 0, 0], semantics[0, 0, 0, 1], semantics[0, 5, 1, 0] = 9.0, 9.0, 1.0
    semantics[0, 7, 1, 1] = 9.0
    mask = torch.ones(1, 1, 8, 8)
    mask[..., 4:, 4:] = 0  # padding
    found = pixel_labels({"semantics": semantics}, {"mask": mask}, 0.6)
    assert found.tolist() == [[[3, 255], [255, 255]]]
    taught = torch.full((1, 2, 2), 4, dtype=torch.uint8)
    assert pixel_labels({"semantics": semantics}, {"mask": mask, "pseudo": taught}, 0.6) is taught


def test_a_cell_has_the_label_of_most_of_its_points():
    depth, labels = torch.zeros(1, 1, HEIGHT, WIDTH), torch.full((1, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    for row, column, label in ((29, 39, 3), (29, 40, 5), (30, 39, 5), (30, 40, 255), (5, 5, 7)):
        depth[0, 0, row, column], labels[0, row, column] = 2.05, label
    depth[0, 0, 5, 5] = 0  # a label without depth
    T = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 2.48], [0, -1, 0, 1.52], [0, 0, 0, 1]])[None]
    found = cell_labels(labels, depth, camera(np.eye(4))[0][None], T)[0]
    cell = (12 * 30 + 15) * 18 + 9
    assert found[cell] == 5 and (found != 255).sum() == 1


def test_heads_learn_from_known_labels_only():
    logits = torch.zeros(1, 11, 2, requires_grad=True)
    loss = head_loss(logits, torch.tensor([[4, 255]], dtype=torch.uint8), torch.ones(12))
    assert loss.item() == pytest.approx(math.log(11))
    loss.backward()
    assert logits.grad[0, 3, 0] < 0 and logits.grad[0, :, 1].abs().sum() == 0
    assert head_loss(logits, torch.full((1, 2), 255, dtype=torch.uint8), torch.ones(12)) == 0


def test_the_teacher_is_heard_where_it_is_certain_and_empty_counts_as_much_as_filled():
    def voxels(empty, first):
        """Three voxels with P(empty) and P(class 1 | occupied)."""
        weights = torch.zeros(3, 11)
        weights[:, 0], weights[:, 1] = torch.tensor(first), 1 - torch.tensor(first)
        return torch.log(torch.tensor(empty)).reshape(3, 1, 1), weights.reshape(3, 1, 1, 11)

    student, teacher = voxels([0.5, 0.5, 0.5], [0.5] * 3), voxels([0.9, 0.05, 0.5], [1.0, 1.0, 1.0])
    seen = torch.ones(3, 1, 1, dtype=torch.bool)
    found = teacher_loss(student, teacher, seen, 0.7)  # the third voxel is not certain
    assert found.item() == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-4)
    assert teacher_loss(student, teacher, seen, 0.99) == 0
