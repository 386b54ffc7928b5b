"""The update in PyTorch against Numba, value by value, for every state of a cell; and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.gaussians.confidence import CONFIDENCES, FREE, HIDDEN, SURFACE, UNSEEN
from sgrocc_core.gaussians.update import CellFields, NewFields, read_history, update_cells
from sgrocc_core.gaussians.update_torch import Cells, Look, confidence, updated

N, G, C = 4000, 4, 8
COMMON = (
    "means",
    "scales",
    "rotations",
    "opacities",
    "logits",
    "features",
    "tag",
    "weight",
    "class_weight",
    "seen_through",
)


def unit(q: np.ndarray) -> np.ndarray:
    return (q / np.linalg.norm(q, axis=-1, keepdims=True)).astype(np.float32)


def case(seed: int) -> tuple[CellFields, NewFields, dict[str, np.ndarray]]:
    """Stored cells and a view of them in all states; some were never written, some are about to be removed."""
    draw = np.random.default_rng(seed)
    normal = lambda *shape: draw.normal(size=shape).astype(np.float32)  # noqa: E731
    stored = CellFields(
        means=np.clip(0.05 * normal(N, G, 3), -0.16, 0.16),
        scales=normal(N, G, 3), rotations=unit(normal(N, G, 4)), opacities=2 * normal(N, G),
        logits=2 * normal(N, G, 11), features=normal(N, C), tag=(draw.random(N) < 0.8).astype(np.uint8),
        weight=(8 * draw.random(N)).astype(np.float32),
        class_weight=(30 * draw.random(N)).astype(np.float32), stamp=draw.integers(0, 5 * 10**9, N),
        seen_through=draw.integers(0, 3, N).astype(np.uint8), label=np.zeros(N, np.uint8),
    )  # fmt: skip
    stored.weight[stored.tag == 0] = stored.class_weight[stored.tag == 0] = 0
    stored.logits[: N // 2, :, 3] += 9  # certain of their class
    new = NewFields(
        0.1 * normal(N, G, 3),
        normal(N, G, 3),
        unit(normal(N, G, 4)),
        2 * normal(N, G),
        2 * normal(N, G, 11),
        normal(N, C),
    )
    state = draw.choice([UNSEEN, FREE, SURFACE, HIDDEN], N).astype(np.uint8)
    look = {
        "state": state,
        "residual": (0.1 * normal(N)),
        "sigma": draw.uniform(0.03, 0.3, N).astype(np.float32),
        "weight": draw.uniform(0.01, 1, N).astype(np.float32),
    }
    return stored, new, look


def as_torch(stored: CellFields | NewFields) -> Cells:
    values = stored._asdict()
    zeros = np.zeros(N, np.float32)
    arrays = {key: np.asarray(values.get(key, zeros)) for key in COMMON} | {
        "stamp": np.asarray(values.get("stamp", zeros)) * 1e-9
    }
    return Cells(**{key: torch.from_numpy(array.astype(np.float32).copy()) for key, array in arrays.items()})


def look_of(look: dict[str, np.ndarray]) -> Look:
    state, *rest = (torch.from_numpy(look[key].astype(np.float32)) for key in ("state", "residual", "sigma", "weight"))
    return Look(state.long(), *rest)


@pytest.mark.parametrize("kind", CONFIDENCES)
def test_pytorch_updates_as_numba_does(kind: str) -> None:
    stored, new, look = case(0)
    found = updated(as_torch(stored), as_torch(new), look_of(look), 6.0, kind)
    seen = np.flatnonzero(look["state"] != UNSEEN)
    centres = np.zeros((len(seen), 3), np.float32)
    views = (look[key] for key in ("state", "residual", "sigma", "weight"))
    update_cells(stored, seen, new, seen, centres, *views, 6 * 10**9, CONFIDENCES[kind])
    for name in COMMON:
        np.testing.assert_allclose(
            getattr(found, name).numpy(), getattr(stored, name), atol=2e-5, rtol=2e-5, err_msg=name
        )
    np.testing.assert_allclose(found.stamp.numpy(), stored.stamp * 1e-9, rtol=1e-6)
    assert (stored.seen_through == 3).sum() > 20  # some were removed


@pytest.mark.parametrize("kind", CONFIDENCES)
def test_pytorch_has_numbas_confidence(kind: str) -> None:
    stored, _, look = case(1)
    features, past = np.zeros((N, C), np.float32), np.zeros((N, 3), np.float32)
    read_history(
        stored, np.arange(N), look["state"], look["residual"], look["sigma"], 0, CONFIDENCES[kind], features, past
    )
    found = confidence(as_torch(stored), look_of(look), kind).numpy()
    seen = look["state"] != UNSEEN
    np.testing.assert_allclose(found[seen], past[seen, 1], atol=2e-6)


@pytest.mark.parametrize("kind", CONFIDENCES)
def test_the_kinds_of_confidence_are_its_factors(kind: str) -> None:
    stored, _, look = case(2)
    cells, seen = as_torch(stored), look_of(look)
    parts = {name: confidence(cells, seen, name) for name in CONFIDENCES}
    assert torch.equal(parts["none"], cells.tag)
    assert torch.allclose(parts["hybrid"], parts["geometric"] * parts["semantic"])
    assert ((parts[kind] >= 0) & (parts[kind] <= 1)).all()


def test_gradients_reach_the_past_by_its_share_and_the_look_by_the_rest() -> None:
    stored, new, look = case(3)
    look["state"][:] = SURFACE
    cells, fresh = as_torch(stored), as_torch(new)
    old, now = cells.features.requires_grad_(True), fresh.features.requires_grad_(True)
    by_old, by_new = torch.autograd.grad(updated(cells, fresh, look_of(look), 6.0).features.sum(), (old, now))
    assert torch.allclose(by_old + by_new, torch.ones_like(by_old), atol=1e-6)
    untold = cells.tag == 0
    assert (by_old[untold] == 0).all() and by_old[~untold].max() > 0.5
