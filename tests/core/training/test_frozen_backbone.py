"""Training with a published backbone: a frozen one does not change, a tuned one has a smaller learning rate."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.network import weights_file
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.network.image.efficientnet_engine import EfficientNetEngine
from sgrocc_core.training.config import StageConfig, TrainConfig
from sgrocc_core.training.frozen_backbone import FrozenBackbone
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_room import write_scene

IMAGE = {"kind": "efficientnet_lite", "channels": 8, "pyramid": 8}
EXPERT = ExpertConfig(channels=4, wide=4, hidden=8, feature_channels=8, offsets=1, gaussians=1, blocks=1)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    write_scene(folder / "room", 2, 1)
    return folder


def trainer(packed: Path, out: Path, stage: str = "image", steps: int = 2, tune: float = 0.0) -> Trainer:
    stages = {name: StageConfig(steps=steps, batch=2, rate=1e-3) for name in ("image", "expert", "joint")}
    config = TrainConfig(
        workers=0,
        device="cpu",
        amp=False,
        validation_views=1,
        stages=stages,
        image={**IMAGE, "tune": tune},
        network=EXPERT,
    )
    return Trainer(config, LocalStage(config, stage, [packed], packed), out)


def engine_of(run: Trainer) -> EfficientNetEngine:
    engine = run.stage.networks["image."]
    assert isinstance(engine, EfficientNetEngine)
    return engine


def take_steps(run: Trainer, last: int) -> None:
    """Train up to a step, without saving."""
    for given in run.stage.batches(run.stage.load_data(), run.step):
        run.train_step(given)
        if run.step == last:
            break


def backbone_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {name: value for name, value in weights.items() if name.startswith("image.backbone.")}
    assert found
    return found


def test_a_frozen_backbone_stays_bit_by_bit(packed: Path, tmp_path: Path) -> None:
    run = trainer(packed, tmp_path)
    assert engine_of(run).runner is not None
    before = {name: value.clone() for name, value in engine_of(run).backbone.state_dict().items()}
    pyramid = engine_of(run).levels.laterals[0].weight.clone()
    run.run()
    assert all(torch.equal(before[name], value) for name, value in engine_of(run).backbone.state_dict().items())
    assert not torch.equal(pyramid, engine_of(run).levels.laterals[0].weight)
    assert not any("backbone" in name for name in [*run.names.values(), *run.average])
    stored = backbone_of(weights_file.read_weights(tmp_path / "image.weights.safetensors"))
    assert all(torch.equal(before[name.removeprefix("image.backbone.")], value) for name, value in stored.items())


def test_a_tuned_backbone_follows_at_its_share_of_the_rate_and_keeps_its_statistics(
    packed: Path, tmp_path: Path
) -> None:
    run = trainer(packed, tmp_path, tune=0.1)
    assert engine_of(run).runner is None
    shares = {id(p): group["share"] for group in run.optimizer.param_groups for p in group["params"]}
    assert {shares[id(p)] for p in engine_of(run).backbone.parameters()} == {0.1}
    assert {shares[id(p)] for p in engine_of(run).levels.parameters()} == {1.0}
    before = {name: value.clone() for name, value in engine_of(run).backbone.state_dict().items()}
    take_steps(run, 1)
    after = engine_of(run).backbone.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name, _ in engine_of(run).backbone.named_parameters()} == changed


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(packed: Path, tmp_path: Path) -> None:
    whole, first = trainer(packed, tmp_path / "whole"), trainer(packed, tmp_path / "parts")
    engine_of(first).load_state_dict(engine_of(whole).state_dict())
    take_steps(whole, 2)
    take_steps(first, 1)
    first.save()
    second = trainer(packed, tmp_path / "parts")
    second.resume()
    take_steps(second, 2)
    expected, found = engine_of(whole).state_dict(), engine_of(second).state_dict()
    assert all(torch.allclose(expected[name], found[name], atol=1e-6) for name in expected)
    assert all(
        torch.equal(backbone_of_state, found[name])
        for name, backbone_of_state in expected.items()
        if "backbone" in name
    )


def test_the_expert_learns_on_the_frozen_engine(packed: Path, tmp_path: Path) -> None:
    run = trainer(packed, tmp_path, "expert")
    before = {name: value.clone() for name, value in engine_of(run).state_dict().items()}
    take_steps(run, 1)
    after = engine_of(run).state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "to_features.weight",
        "to_features.bias",
    }


def test_onnx_runtime_gives_the_backbones_maps_also_after_other_weights_were_loaded() -> None:
    backbone, other = EfficientNetEngine(8, pyramid=8).backbone, EfficientNetEngine(8, pyramid=8).backbone
    runner = FrozenBackbone(backbone, 1)
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        with torch.no_grad():
            expected = backbone(x)
        for found, wanted in zip(runner(x), expected, strict=True):
            assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))
        backbone.load_state_dict(other.state_dict())


def test_a_backbone_run_apart_is_the_same_within_autocast_of_a_cpu_with_bfloat16() -> None:
    torch.manual_seed(0)
    engine = EfficientNetEngine(channels=8, pyramid=8, variant="lite0")
    image = torch.rand(1, 3, 64, 96)
    alone = FrozenBackbone(engine.backbone, 1)(image)
    with torch.autocast("cpu", torch.bfloat16):
        within = FrozenBackbone(engine.backbone, 1)(image)
    assert all(torch.equal(a, b) for a, b in zip(alone, within, strict=True))
