"""The expert in pieces computes what its one graph computes, in each kernel and as a whole."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: requirements/openvino.txt")

from sgrocc_core.engines.choice import open_runtime
from sgrocc_core.engines.engine import EXPERT_OUTPUTS
from sgrocc_core.engines.example import example_history, example_views
from sgrocc_core.engines.export import example_inputs, export_model
from sgrocc_core.engines.model import load_spec, sha256_of
from sgrocc_core.engines.runtimes.openvino_engine import OpenVinoEngine
from sgrocc_core.engines.split.code import geometric_code
from sgrocc_core.engines.split.lift import lift
from sgrocc_core.engines.split.pieces import can_be_cut, gates
from sgrocc_core.engines.split.refine import WIDTH, refine
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.network.expert import lattice_encoder, refinement
from sgrocc_core.network.expert.lifter import SoftGatedLifter
from sgrocc_core.network.expert.spatial_expert import cells_of

CENTRES = lattice_encoder.cell_centres()


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


@pytest.fixture(scope="module")
def seen() -> dict[str, np.ndarray]:
    """The made-up view with holes in its depth, in the small model's sizes."""
    spec = load_spec("small")
    view, _ = example_views(spec)
    draw = np.random.default_rng(5)
    depth = np.where(draw.random((24, 32)).repeat(10, 0).repeat(10, 1) < 0.2, 0, view.depth).astype(np.float32)
    return {
        "depth": depth,
        "spread": view.spread,
        "hits": draw.poisson(1.5, (60, 60, 36)).astype(np.float32),
        "thickness": draw.uniform(0.02, 1.5, (60, 80)).astype(np.float32),
        "K": np.array([view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2]], np.float32),
        "T_bc": view.T_bc.astype(np.float32),
    }


def test_the_code_is_that_of_the_network(seen) -> None:
    found = geometric_code(*(seen[name] for name in ("depth", "spread", "hits", "thickness", "K", "T_bc")))
    with torch.inference_mode():
        expected = lattice_encoder.geometric_code(
            CENTRES, tensor(seen["depth"])[None, None], tensor(seen["spread"])[None, None],
            cells_of(tensor(seen["hits"])[None]), tensor(seen["thickness"])[None, None], tensor(seen["K"])[None],
            tensor(seen["T_bc"])[None],
        )[0].numpy()  # fmt: skip
    assert found.shape == expected.shape == (16_200, 44)
    assert (expected != 0).any(0).all()  # every channel is tried
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize(("samples", "channels"), [(8, 32), (3, 20), (1, 4)])
def test_lifted_features_are_those_of_the_network(seen, samples: int, channels: int) -> None:
    torch.manual_seed(3)
    network = SoftGatedLifter(channels, channels, channels, samples, "one_sided", "soft")
    torch.nn.init.normal_(network.query.weight, std=0.5)
    features, query = torch.randn(1, channels, 30, 40), torch.randn(1, 16_200, channels)
    with torch.inference_mode():
        expected = network(
            features, query, CENTRES, tensor(seen["depth"])[None, None], tensor(seen["thickness"])[None, None],
            tensor(seen["K"])[None], tensor(seen["T_bc"])[None],
        )[0].numpy()  # fmt: skip
        raw, table = network.query(query)[0].numpy(), network.value(features.flatten(2).transpose(1, 2))[0].numpy()
        softplus = torch.nn.functional.softplus
        gate = softplus(network.raw_alpha) / (2 * softplus(network.raw_sigma) ** 2)
    found = lift(raw, table, 40, seen["depth"], seen["thickness"], seen["K"], seen["T_bc"], float(gate))
    assert 0.2 < (expected != 0).any(1).mean() < 0.9  # cells in view and others
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(("gaussians", "blocks"), [(4, 2), (1, 1), (8, 3)])
def test_gaussians_are_those_of_the_network(seen, gaussians: int, blocks: int) -> None:
    torch.manual_seed(4)
    layers = [
        refinement.Refinement(8, 16, gaussians, "ray", refinement.MAX_STEP * 0.5**b, 0.1).eval() for b in range(blocks)
    ]
    state, each, shared = refinement.start_state(CENTRES, gaussians), [], []
    with torch.inference_mode():
        for layer in layers:
            torch.nn.init.normal_(layer.each.weight, std=1.0)
            inputs = torch.randn(1, 16_200, 8)
            state, hidden = layer(inputs, state, CENTRES, tensor(seen["T_bc"])[None, :3, 3])
            each.append(layer.each(hidden)[0].numpy())
            shared.append(layer.cell_logits(hidden)[0].numpy())
        rotations = state.rotations / state.rotations.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    assert each[0].shape == (16_200, gaussians * WIDTH)
    found = refine(tuple(each), tuple(shared), seen["T_bc"])
    wanted = (state.means, state.scales, rotations, state.opacities, state.logits)
    for name, value, expected in zip(EXPERT_OUTPUTS, found, wanted):
        assert value.shape == tuple(expected.shape), name
        assert np.abs(value - expected.numpy()).max() < 1e-4 * float(expected.abs().max()), name


def test_only_the_variant_that_the_kernels_compute_is_cut() -> None:
    spec = load_spec("small")
    assert can_be_cut(spec)
    for change in ({"lifter": "hard"}, {"gate": "symmetric"}, {"refinement": "free"}, {"head": "dense"}):
        networks = spec.networks | {"expert": spec.networks["expert"] | change}
        assert not can_be_cut(dataclasses.replace(spec, networks=networks))
    assert not can_be_cut(dataclasses.replace(spec, networks={}))


def outputs(engine) -> dict[str, np.ndarray]:
    view, _ = example_views(engine.spec)
    draw = np.random.default_rng(1)
    features = draw.standard_normal((1, engine.spec.feature_channels, *engine.spec.grid.feature_shape))
    thickness = draw.uniform(0.1, 0.8, engine.spec.grid.head_shape)
    history = example_history(engine.spec)
    return vars(engine.expert(features, view.depth, view.spread, thickness, view.K, view.T_bc, history))


def agree(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, wanted in expected.items():
        assert np.abs(found[name] - wanted).max() <= 1e-4 * np.abs(wanted).max(), name


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
def test_kernels_give_the_values_of_the_whole_graph(own_cache: None) -> None:
    spec = load_spec("small")
    split = OpenVinoEngine(spec, "cpu", 1)
    assert split.description.endswith("expert in kernels")
    # Of the graph as PyTorch computes it: where a point lies on a threshold of the lifter, ONNX Runtime rounds to its
    # other side, and 16 of 194,400 scales differ by up to 0.09 % from those of both others.
    agree(outputs(split), outputs(open_runtime(spec, "torch", "cpu", 1, "fp32")))


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "fusion"), [(1, "identity"), (3, "random"), (2, "none")])
def test_other_numbers_of_blocks_are_cut_too(own_cache: None, tmp_path: Path, blocks: int, fusion: str) -> None:
    torch.manual_seed(6)
    options = {"channels": 8, "wide": 8, "hidden": 16, "feature_channels": 8, "gaussians": 2, "offsets": 3}
    networks = {
        "image": {"channels": 8, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
        "expert": options | {"blocks": blocks, "fusion": fusion},
    }
    image, expert = build_networks(networks)
    export_model(image, expert, networks, "tiny", tmp_path / "tiny")
    spec = load_spec(tmp_path / "tiny")
    split = OpenVinoEngine(spec, "cpu", 1)
    assert split.description.endswith("geometry in kernels")
    assert len(gates(spec.folder / "weights.safetensors", blocks)) == blocks
    agree(outputs(split), outputs(open_runtime(spec, "onnxruntime", "cpu", 1, "fp32")))


@pytest.mark.slow
def test_a_graph_of_another_exporter_runs_whole(own_cache: None, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "renamed"
    shutil.copytree(load_spec("small").folder, folder)
    graph = onnx.load(str(folder / "expert.onnx"), load_external_data=False)
    for number, node in enumerate(graph.graph.node):
        node.name = f"node_{number}"
    onnx.save(graph, str(folder / "expert.onnx"))
    description = yaml.safe_load((folder / "model.yaml").read_text())
    description["files"]["expert.onnx"] = sha256_of(folder / "expert.onnx")
    (folder / "model.yaml").write_text(yaml.safe_dump(description))
    whole = OpenVinoEngine(load_spec(folder), "cpu", 1)
    assert "kernels" not in whole.description
    agree(outputs(whole), outputs(OpenVinoEngine(load_spec("small"), "cpu", 1)))


@pytest.mark.slow
def test_graphs_are_kept_and_their_outputs_are_the_callers_own(own_cache: None) -> None:
    spec = load_spec("small")
    first, again = OpenVinoEngine(spec, "cpu", 1), OpenVinoEngine(spec, "cpu", 1)
    assert not first.from_cache and again.from_cache
    inputs = [dict(zip(given, map(torch.Tensor.numpy, given.values()))) for given in example_inputs()][1]
    before = first._run("expert.onnx", EXPERT_OUTPUTS, inputs)
    kept = [value.copy() for value in before]
    first._run("expert.onnx", EXPERT_OUTPUTS, inputs | {"depth": 0.8 * inputs["depth"]})
    assert all(np.array_equal(a, b) for a, b in zip(before, kept))
    assert all(np.array_equal(a, b) for a, b in zip(kept, again._run("expert.onnx", EXPERT_OUTPUTS, inputs)))
