"""Device and precision of a process, and training steps that create no tensor on the CPU by accident."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError
from sgrocc_core.network.expert import lattice_encoder, refinement
from sgrocc_core.network.expert.lattice_encoder import sub_voxel_offsets
from sgrocc_core.network.expert.refinement import start_offsets
from sgrocc_core.training import compute
from sgrocc_core.training.compute import Compute, choose, use_threads
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews, loader
from sgrocc_core.training.local.step import StepObjective
from sgrocc_core.training.losses.objectives import LocalWeights
from sgrocc_core.voxels.splatting import splat_pairs, splat_torch
from tests.samples.random_gaussians import CORNER, SHAPE, random_gaussians
from tests.samples.rooms.little_room import write_scene


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int, bf16: bool = True) -> None:
    """Make PyTorch believe in GPUs that this machine lacks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)


def test_a_machine_without_gpu_computes_on_the_cpu_in_bf16_or_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0)
    monkeypatch.setattr(compute, "cpu_has_bf16", lambda: True)
    assert choose("auto", True) == Compute(torch.device("cpu"), torch.bfloat16)
    monkeypatch.setattr(compute, "cpu_has_bf16", lambda: False)
    assert choose("auto", True) == Compute(torch.device("cpu"), None)
    assert choose("cpu", False) == Compute(torch.device("cpu"), None)
    with pytest.raises(ConfigError, match="device is 'cuda', but PyTorch .* finds no CUDA device"):
        choose("cuda", True)


def test_each_process_of_a_machine_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2)
    assert [choose("auto", True, rank).device for rank in (0, 1)] == [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert choose("cpu", True, 5).device == torch.device("cpu")
    with pytest.raises(ConfigError, match="there are 2; start at most 2 processes"):
        choose("cuda", True, 2)


def test_gpus_without_bf16_use_fp16_with_scaled_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 1)
    assert choose("auto", True).dtype is torch.bfloat16
    machine(monkeypatch, 1, bf16=False)
    assert choose("auto", True).dtype is torch.float16
    assert Compute(torch.device("cpu"), torch.float16).scaler().is_enabled()
    assert not Compute(torch.device("cpu"), torch.bfloat16).scaler().is_enabled()


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("packed")
    write_scene(folder / "room", 2, 4, size=(64, 48))
    data = PackedViews([folder], DatasetOptions(grid=True, sensor_share=0.5))
    return next(iter(loader(data, 2, 0, 1, 0)))


@pytest.mark.parametrize("learn_image", [True, False])
def test_every_tensor_that_a_step_makes_is_put_on_a_device_by_name(
    batch: dict[str, torch.Tensor], learn_image: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors created without a device are on `meta` here, as they would be on the CPU in a step on a GPU, and fail."""
    image = {"channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}
    expert = {"channels": 4, "wide": 4, "hidden": 8, "feature_channels": 4, "offsets": 1, "gaussians": 1, "blocks": 1}
    networks = build_networks({"image": image, "expert": expert})
    objective = StepObjective(*networks, learn_image, LocalWeights(samples=200), Compute(torch.device("cpu")))
    weights, offsets, starts = torch.ones(12), sub_voxel_offsets(), start_offsets(1)
    # Two small tables that the networks make anew at every step, and then move to where the lattice is.
    monkeypatch.setattr(lattice_encoder, "sub_voxel_offsets", lambda: offsets)
    monkeypatch.setattr(refinement, "start_offsets", lambda gaussians: starts)
    with torch.device("meta"):
        terms = objective(batch, (weights, weights), 1, 0, range(2))
        torch.stack(list(terms.values())).sum().backward()
    assert all(value.device.type == "cpu" and bool(torch.isfinite(value)) for value in terms.values())
    assert ("depth" in terms) is learn_image and {"focal", "dense", "regularisation"} <= set(terms)
    assert networks[0].to_features.weight.grad is not None


def test_the_splat_of_other_devices_has_the_values_and_gradients_of_the_reference() -> None:
    gaussians = random_gaussians(200, seed=7)
    rng = np.random.default_rng(8)
    upstream = torch.from_numpy(rng.normal(size=SHAPE)), torch.from_numpy(rng.normal(size=(*SHAPE, 11)))
    found = []
    for splat, default in ((splat_torch.splat, "cpu"), (splat_pairs.splat, "meta")):
        inputs = [torch.from_numpy(a).requires_grad_() for a in gaussians]
        corner = torch.from_numpy(CORNER)
        with torch.device(default):  # a tensor made without naming its device would be on another one
            log_empty, weights = splat(*inputs, corner, SHAPE)
            ((log_empty * upstream[0]).sum() + (weights * upstream[1]).sum()).backward()
        found.append([log_empty.detach(), weights.detach(), *(t.grad for t in inputs)])
    for expected, value in zip(*found, strict=True):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max()))


def test_the_splat_of_other_devices_takes_a_box_without_gaussians() -> None:
    means, covariances, _, classes = (torch.from_numpy(a).requires_grad_() for a in random_gaussians(5, seed=7))
    opacities = torch.full((5,), 0.01, dtype=torch.float64, requires_grad=True)
    log_empty, weights = splat_pairs.splat(means, covariances, opacities, classes, CORNER, SHAPE)
    (log_empty.sum() + weights.sum()).backward()
    assert not log_empty.any() and not weights.any()
    assert not any(t.grad.any() for t in (means, covariances, opacities, classes))


def test_the_data_loader_is_left_as_it_is_when_one_process_trains(tmp_path: Path) -> None:
    from sgrocc_core.training.distribution import Processes, shared_loader

    write_scene(tmp_path / "room", 2, 4, size=(64, 48))
    whole = loader(PackedViews([tmp_path], DatasetOptions()), 2, 0, 1, 0)
    assert shared_loader(whole, Processes(), 2) is whole
    half = shared_loader(whole, Processes(1, 2), 2)
    expected, found = next(iter(whole)), next(iter(half))
    assert {name: value.shape[0] for name, value in found.items()} == dict.fromkeys(expected, 1)
    assert all(torch.equal(found[name][0], expected[name][1]) for name in expected)


def test_threads_are_set_for_pytorch_and_for_the_splat():
    numba = pytest.importorskip("numba")
    before = torch.get_num_threads(), numba.get_num_threads()
    try:
        use_threads(1)
        assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 1)
        use_threads(4096)
        assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS  # Numba refuses more than it started with
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
