"""A model with stereo: the exported graphs, the engines' agreement, and models without it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx

from sgrocc_core.depth.stereo import Sources
from sgrocc_core.depth.sweep import sweep_transform
from sgrocc_core.engines import trial
from sgrocc_core.engines.export import example_inputs, export_model
from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.open import open_engine
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ModelError
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.network import weights_file
from sgrocc_core.network.stereo.network import build_stereo

K = np.array([[289.0, 0, 159.5], [0, 289.0, 119.5], [0, 0, 1]])
FINE_K = np.array([[72.25, 0, 39.5], [0, 72.25, 29.5], [0, 0, 1]])
EXPERT = {"channels": 8, "wide": 16, "hidden": 16, "offsets": 4, "gaussians": 2, "blocks": 1}
NETWORKS = {"image": {}, "expert": EXPERT, "stereo": {"planes": 32, "fine": 8, "half": 8, "quarter": 16, "cascade": 12}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A model with stereo of few channels and random weights, batch-norm statistics included."""
    torch.manual_seed(6)
    image, expert = build_networks(NETWORKS)
    stereo = build_stereo(NETWORKS["stereo"], image)
    for module in [*image.modules(), *stereo.modules()]:
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    for part in (stereo.regulariser, stereo.cascade.regulariser):
        torch.nn.init.normal_(part.shape.weight, std=0.1)
    folder = tmp_path_factory.mktemp("models") / "deep"
    return folder, export_model(image, expert, NETWORKS, "deep", folder, stereo)


def look(engine, seed: int):
    inputs, _ = example_inputs(seed=seed)
    picture = (inputs["image"][0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    return engine.image(picture, np.ones((240, 320), np.float32), K, inputs["gravity"][0].numpy())


def sources(*seen) -> Sources:
    poses = [make_pose(np.eye(3), np.array([0.1 * (k + 1), 0.02 * k, 0])) for k in range(len(seen))]
    transforms = np.stack([sweep_transform(FINE_K, np.eye(4), FINE_K, pose) for pose in poses])
    bounds = np.tile(np.array([0, 0, 79, 59], np.float32), (len(seen), 1))
    fine = np.stack([each.matching_fine for each in seen])
    return Sources(np.stack([each.matching for each in seen]), transforms, bounds, fine=fine)


def test_the_graphs_agree_with_pytorch(exported) -> None:
    differences = exported[1]
    names = {"image.onnx:matching", "image.onnx:context", "image.onnx:matching_fine", "stereo.onnx:stereo_depth"}
    assert names | {"cascade.onnx:cascade_depth", "cascade.onnx:cascade_spread"} <= set(differences)
    assert max(differences.values()) < 1e-3


def test_the_weights_are_stored_once_and_the_graphs_refer_to_them(exported) -> None:
    folder = exported[0]
    names = weights_file.read_weights(folder / "weights.safetensors")
    assert {name.split(".")[0] for name in names} == {"image", "expert", "stereo"}
    assert (folder / "image.onnx").stat().st_size + (folder / "stereo.onnx").stat().st_size < 300_000
    graph = onnx.load(str(folder / "image.onnx"), load_external_data=False).graph
    places = {t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    assert any(name.startswith("network.matching.") for name in places)
    assert any(name.startswith("network.image.") for name in places)


def test_the_description_says_that_there_is_stereo(exported) -> None:
    spec = load_spec(exported[0])
    assert spec.has_stereo and spec.planes == 32 and spec.format_version == 5
    assert spec.has_cascade and spec.hypotheses == 12 and spec.graphs[2:] == ("stereo.onnx", "cascade.onnx")


def test_without_the_second_sweep_its_files_go(exported, tmp_path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    image, expert = build_networks(NETWORKS)
    options = {**NETWORKS["stereo"], "cascade": 0}
    export_model(image, expert, {**NETWORKS, "stereo": options}, "one", folder, build_stereo(options, image))
    spec = load_spec(folder)
    assert spec.has_stereo and not spec.has_cascade and not (folder / "cascade.onnx").exists()


@pytest.mark.parametrize("kind", ["onnxruntime", "torch"])
def test_sources_without_fine_features_are_swept_once(exported, kind: str) -> None:
    engine = open_engine(exported[0], kind, "cpu", 1)
    target, other = look(engine, 0), look(engine, 1)
    both = sources(other)
    first, second = engine.stereo(target, replace(both, fine=None))[0], engine.stereo(target, both)[0]
    assert np.isfinite(second).all() and not np.allclose(first, second, rtol=1e-3)


@pytest.mark.parametrize("other_kind", ["torch", "openvino"])
def test_all_engines_give_the_same_depth_from_stereo(exported, tmp_path, monkeypatch, other_kind) -> None:
    pytest.importorskip(other_kind)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for kind in ("onnxruntime", other_kind):
        engine = open_engine(exported[0], kind, "cpu", 1)
        target, *others = (look(engine, seed) for seed in range(3))
        assert target.matching.shape == (60, 80, 16) and target.context.shape == (1, 48, 60, 80)
        found.append(engine.stereo(target, sources(*others)))
        assert target.matching_fine.shape == (120, 160, 16)
        assert not np.allclose(found[-1][0], target.depth)
    for one, other in zip(*found):
        assert one.shape == (60, 80) and one.dtype == np.float32
        assert np.mean(np.abs(one - other) > 1e-3 * other) < 1e-3


def test_the_trial_of_an_engine_looks_at_stereo_too(exported, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = trial.reference(load_spec(exported[0]), 1)
    found = trial.run_trial(open_engine(exported[0], "torch", "cpu"), expected)
    assert trial.disagreements(found, expected, "fp32") == {}
    assert np.abs(found["stereo.onnx:stereo_depth"] - found["image.onnx:depth"]).max() > 0.01
    assert np.abs(found["cascade.onnx:cascade_depth"] - found["stereo.onnx:stereo_depth"]).max() > 0.01
    found["cascade.onnx:cascade_depth"] *= 1.01
    assert list(trial.disagreements(found, expected, "fp32")) == ["cascade.onnx:cascade_depth"]


def test_a_source_that_sees_nothing_leaves_the_one_image_depth(exported) -> None:
    engine = open_engine(exported[0], "onnxruntime", "cpu", 1)
    target, other = look(engine, 0), look(engine, 1)
    away = sources(other)
    away.bounds[:] = 0, 0, -1, -1
    depth, spread = engine.stereo(target, away)
    assert np.allclose(depth, target.depth, rtol=1e-5) and np.allclose(spread, target.spread, rtol=1e-5)


@pytest.mark.parametrize("kind", ["onnxruntime", "torch"])
def test_a_model_without_stereo_says_so(kind: str) -> None:
    engine = open_engine("small", kind, "cpu", 1)
    if engine.spec.has_stereo:
        pytest.skip("the model that is shipped has stereo")
    seen = look(engine, 0)
    assert seen.matching is None
    with pytest.raises(ModelError, match=r"no stereo network: there is no stereo\.onnx"):
        engine.stereo(seen, Sources(np.zeros((1, 60, 80, 16), np.float32), np.zeros((1, 3, 4)), np.zeros((1, 4))))
