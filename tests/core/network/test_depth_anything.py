"""The base model's image engine: equal to the published network, frozen, metric, independent of gravity; weights."""

import importlib.util
import json
import shutil
import socket

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
pytest.importorskip("transformers", reason="transformers is not installed: make setup-train")

import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file

from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network.image.depth_anything import DepthAnythingEngine
from sgrocc_core.network.image.engine import build_image_engine
from sgrocc_core.network.image.heads import MAX_SPREAD, MAX_THICKNESS, MIN_SPREAD, MIN_THICKNESS
from sgrocc_core.network.image.priors import PRIORS, find_prior, prior_size, resize_positions
from sgrocc_core.network.image.small import ImageEngine
from sgrocc_core.share import find_shared
from tests.samples.tiny_prior import ARCHITECTURE, IMAGE, enliven, published

TINY = prior_size("small", ARCHITECTURE)


@pytest.fixture(scope="module")
def engine():
    return enliven(build_image_engine(IMAGE)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prior of 3 x 3 tokens, in a folder as the hub has it."""
    where = tmp_path_factory.mktemp("prior")
    published(where)
    return where


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of that folder which a test may spoil."""
    return shutil.copytree(folder, tmp_path / "prior")


def inputs(focal=598.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    camera = torch.tensor([[focal, focal, 34.5, 27.5]])
    return torch.rand(1, 3, 56, 70, generator=generator), torch.ones(1, 1, 56, 70), camera, torch.eye(3)[None]


def test_outputs_have_the_sizes_of_the_grid_and_stay_in_bounds(engine):
    out = engine(*inputs())
    assert engine.grid.image_shape == (56, 70) and engine.grid.feature_shape == engine.grid.head_shape == (8, 10)
    assert out["features"].shape == (1, 8, 8, 10) and out["semantics"].shape == (1, 12, 8, 10)
    assert all(out[name].shape == (1, 1, 8, 10) for name in ("depth", "spread", "thickness"))
    assert out["depth"].min() > 0 and out["depth"].std() > 0.1 and out["features"].std() > 0.1
    assert out["spread"].min() >= MIN_SPREAD and out["spread"].max() <= MAX_SPREAD
    assert out["thickness"].min() >= MIN_THICKNESS and out["thickness"].max() <= MAX_THICKNESS


def test_loaded_weights_give_the_published_networks_depth_at_another_size(folder):
    """transformers' own forward resizes its 3 x 3 positions at every call; ours were resized when they were loaded."""
    engine = DepthAnythingEngine(8, (70, 56), architecture=ARCHITECTURE).eval()
    assert engine.load_prior(folder) == folder
    reference = transformers.DepthAnythingForDepthEstimation.from_pretrained(folder).eval()
    image = inputs()[0]
    with torch.no_grad():
        normal = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        depth = reference((image - normal[0]) / normal[1]).predicted_depth
    assert depth.shape == (1, 56, 70) and depth.std() > 0.1
    assert torch.allclose(engine(*inputs())["depth"][0, 0], depth[0, 3::7, 3::7], rtol=1e-4)


def test_positions_keep_the_class_token_and_a_grid_of_their_own_size():
    table = torch.randn(1, 10, 4)
    assert torch.equal(resize_positions(table, (3, 3)), table)
    resized = resize_positions(table, (5, 4))
    assert resized.shape == (1, 21, 4) and torch.equal(resized[:, 0], table[:, 0])
    with pytest.raises(ModelError, match="8 entries, which is no square"):
        resize_positions(table[:, 1:], (5, 4))


def test_depth_scales_with_the_focal_length(engine):
    one, two = engine(*inputs())["depth"], engine(*inputs(focal=1196.0))["depth"]
    assert torch.allclose(two, 2 * one, rtol=1e-5)


def test_at_the_canonical_focal_length_depth_is_the_priors_own(engine):
    image, mask, camera, gravity = inputs()
    maps = engine.neck((image - engine.mean) / engine.deviation)
    assert torch.allclose(engine(image, mask, camera, gravity)["depth"], engine.metric_depth(maps), rtol=1e-6)


def test_gravity_changes_nothing(engine):
    image, mask, camera, gravity = inputs()
    other = engine(image, mask, camera, gravity.flip(2))
    assert all(torch.equal(value, other[name]) for name, value in engine(image, mask, camera, gravity).items())


def test_what_lies_in_the_padding_changes_nothing(engine):
    image, mask, camera, gravity = inputs()
    mask[:, :, :8] = 0
    other = image.clone()
    other[:, :, :8] = 0.7
    assert torch.equal(engine(image, mask, camera, gravity)["depth"], engine(other, mask, camera, gravity)["depth"])


def test_training_moves_the_heads_and_never_the_prior():
    engine = enliven(build_image_engine(IMAGE)).train()
    before = {name: value.clone() for name, value in engine.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in engine.parameters() if p.requires_grad), lr=0.1)
    out = engine(*(torch.cat([a, b]) for a, b in zip(inputs(seed=1), inputs(seed=2))))
    sum(out[name].square().mean() for name in ("features", "spread", "thickness", "semantics")).backward()
    optimizer.step()
    moved = {name.split(".")[0] for name, value in engine.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"to_features", "trunk", "shape_head", "class_head"}
    assert not any(module.training for module in engine.prior.modules())


def test_weights_are_found_in_the_users_cache_without_a_network(folder, tmp_path, monkeypatch):
    import huggingface_hub

    def refuse(*_):
        raise AssertionError("a connection was tried")

    home = tmp_path / "models--depth-anything--Depth-Anything-V2-Metric-Indoor-Small-hf"
    shutil.copytree(folder, home / "snapshots" / "abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    engine = DepthAnythingEngine(8, (70, 56), architecture=ARCHITECTURE)
    assert engine.load_prior() == home / "snapshots" / "abc"
    stored = load_file(folder / "model.safetensors")["neck.convs.0.weight"]
    assert torch.equal(engine.prior.neck.convs[0].weight, stored)


@pytest.mark.parametrize("size, licence", [("small", "99 MB, Apache-2.0"), ("base", "390 MB, CC-BY-NC-4.0")])
def test_a_cache_without_the_weights_says_how_to_get_them(size, licence, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as error:
        find_prior(PRIORS[size])
    repository = f"depth-anything/Depth-Anything-V2-Metric-Indoor-{size.capitalize()}-hf"
    command = f"`hf download {repository} config.json model.safetensors`"
    assert command in str(error.value) and licence in str(error.value) and str(tmp_path) in str(error.value)


def test_a_pickle_is_no_substitute_for_safetensors(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"has no model\.safetensors; get them .*`hf download .* --local-dir .*/prior`"
    ):
        find_prior(TINY, copy)


def describe(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"depth_estimation_type": "relative"}, "depth_estimation_type is 'relative'; .* has 'metric'"),
        ({"max_depth": 80}, "max_depth is 80; .* has 20.0"),
        ({"model_type": "dpt"}, "model_type is 'dpt'"),
        ({"backbone_config": None}, "does not describe a Depth-Anything network"),
    ],
)
def test_another_kind_of_network_is_refused(copy, values, message):
    describe(copy, **values)
    with pytest.raises(ModelError, match=message):
        DepthAnythingEngine(8, (70, 56), architecture=ARCHITECTURE).load_prior(copy)


def test_a_network_of_other_widths_is_refused(folder):
    other = {**ARCHITECTURE, "fusion": 12}
    with pytest.raises(ModelError, match="is another than .*Small-hf: .* does not fit"):
        DepthAnythingEngine(8, (70, 56), architecture=other).load_prior(folder)


def test_a_file_that_lacks_a_tensor_is_refused(copy):
    tensors = load_file(copy / "model.safetensors")
    del tensors["head.conv2.weight"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 tensors, head\.conv2\.weight among them"):
        DepthAnythingEngine(8, (70, 56), architecture=ARCHITECTURE).load_prior(copy)


def test_a_damaged_file_is_refused(copy):
    (copy / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(ModelError, match="cannot read the prior"):
        DepthAnythingEngine(8, (70, 56), architecture=ARCHITECTURE).load_prior(copy)


def test_without_transformers_the_message_says_what_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the Python package transformers; run `make setup-train`"):
        build_image_engine(IMAGE)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "magic"}, "'magic'; it must be one of small, efficientnet_lite, depth_anything_v2$"),
        ({"kind": "depth_anything_v2", "size": "huge"}, "size is 'huge'; it must be one of small, base"),
        (
            {"kind": "depth_anything_v2", "image_size": [640, 480]},
            "image_size is 640 x 480; both must be multiples of 14",
        ),
        ({"kind": "depth_anything_v2", "canonical_focal": 0}, "canonical_focal is 0"),
        ({"kind": "depth_anything_v2", "colour": 1}, "does not take these arguments: .*colour"),
        ({"kind": "depth_anything_v2", "architecture": {"colour": 1}}, "architecture: .*colour"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build_image_engine(options)


def test_features_that_the_expert_does_not_take_are_refused():
    with pytest.raises(ConfigError, match="the image engine has channels 8 and the expert feature_channels 32"):
        build_networks({"image": IMAGE, "expert": {}})


def test_the_small_engine_is_the_default_kind():
    assert isinstance(build_image_engine({"channels": 8}), ImageEngine)


@pytest.mark.slow
@pytest.mark.parametrize("size, fusion, millions", [("small", 64, 24.8), ("base", 128, 97.5)])
def test_at_full_size_the_networks_are_the_published_ones(size, fusion, millions):
    """24.8 and 97.5 million parameters, say their authors."""
    values = yaml.safe_load(find_shared("config/models/base.yaml").read_text())["image"]
    engine = build_image_engine({**values, "size": size}).eval()
    table = engine.prior.backbone.embeddings.position_embeddings
    assert table.shape[1] == 1 + 35 * 46
    published = 1 + 37 * 37  # positions of their square images
    parameters = sum(p.numel() for p in engine.prior.parameters()) - table.numel() + published * table.shape[2]
    assert parameters / 1e6 == pytest.approx(millions, abs=0.05)
    camera = torch.tensor([[581.0, 581.0, 321.5, 244.5]])
    with torch.inference_mode():
        out = engine(torch.rand(1, 3, 490, 644), torch.ones(1, 1, 490, 644), camera, torch.eye(3)[None])
    assert out["features"].shape == (1, 96, 70, 92) and out["depth"].shape == (1, 1, 70, 92)
    assert out["pyramid"].shape == (1, 3 * fusion, 70, 92)
