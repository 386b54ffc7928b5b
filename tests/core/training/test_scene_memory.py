"""The dense memory of training equals the mapper's memory after each view; its gradients and its bounds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.samples.recordings.streams import box_of

torch = pytest.importorskip("torch")

from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE, UNSEEN, CellView
from sgrocc_core.gaussians.gaussians import LocalGaussians
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.network.expert.lattice_encoder import cell_centres
from sgrocc_core.training.embodied.scene_memory import SceneMemory, look_of

CENTRES = cell_centres()
CORNERS = [
    np.array([3, -7, -2]),
    np.array([4, -7, -2]),
    np.array([9, 2, 0]),
    np.array([3, -6, -1]),
    np.array([3, -7, -2]),
]
SCENE = (40, 40, 20)


def outputs(gaussians: LocalGaussians) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value)[None] for name, value in vars(gaussians).items()}


def looks(seed: int) -> tuple[LocalGaussians, CellView]:
    """A box of anything, seen anyhow."""
    draw = np.random.default_rng(seed)
    box = box_of(seed=seed)
    box = LocalGaussians(**{**vars(box), "opacities": (2 * draw.normal(size=(NUM_ANCHORS, 4))).astype(np.float32)})
    state = draw.choice([UNSEEN, FREE, SURFACE, HIDDEN], NUM_ANCHORS).astype(np.uint8)
    rest = (
        draw.uniform(low, high, NUM_ANCHORS).astype(np.float32) for low, high in ((-0.2, 0.2), (0.04, 0.3), (0.01, 1))
    )
    return box, CellView(state, *rest)


def test_it_is_the_mappers_memory_while_nothing_is_saved() -> None:
    sparse, dense = GaussianMemory(4, 8), SceneMemory(SCENE, 4, 8, CENTRES)
    for step, corner in enumerate(CORNERS):
        box, view = looks(step)
        rows, stamp = dense.rows(corner), 0.5 * step
        history = sparse.history(corner, view, int(stamp * 1e9))
        features, past = dense.history(rows, look_of(view), stamp)
        np.testing.assert_allclose(features.numpy(), history.features, atol=2e-5)
        np.testing.assert_allclose(past.numpy(), history.past, atol=2e-5)
        sparse.update(corner, box, view, int(stamp * 1e9))
        after = dense.update(rows, outputs(box), 0, look_of(view), stamp)
        held, found = sparse.read(corner), dense.splattable(dense.box(rows))
        assert all(torch.equal(value, dense.splattable(after)[name]) for name, value in found.items())
        for name in ("means", "scales", "rotations", "opacities", "logits"):
            where = f"{name} after look {step}"
            np.testing.assert_allclose(found[name][0].numpy(), getattr(held, name), atol=3e-5, rtol=1e-5, err_msg=where)


def test_gradients_go_back_through_the_looks_until_they_are_cut() -> None:
    memory = SceneMemory(SCENE, 4, 8, CENTRES)
    rows = memory.rows(CORNERS[0])
    given = []
    for step in range(3):
        box, view = looks(step)
        view.state[:] = SURFACE
        found = outputs(box)
        found["features"].requires_grad_(True)
        given.append(found["features"])
        memory.update(rows, found, 0, look_of(view), float(step))
        if step == 0:
            memory.detach()
    total = memory.box(rows).features.sum()
    first, second, third = torch.autograd.grad(total, given, allow_unused=True)
    assert first is None and second is not None and third is not None
    assert second.abs().sum() > 0 and third.abs().sum() > 0


def test_a_box_outside_the_scene_is_an_error() -> None:
    memory = SceneMemory(SCENE, 1, 4, CENTRES)
    memory.rows(np.array([-30, 40, 20]))  # the last that fits
    with pytest.raises(DataError, match=r"cell \[-31, 0, 0\] lies outside a scene of \[40, 40, 20\] cells"):
        memory.rows(np.array([-31, 0, 0]))
