"""Training at another image size than the small model's: views are letterboxed, and every stage takes a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")
pytest.importorskip("transformers", reason="transformers is not installed: make setup-train")

from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.training.config import StageConfig, TrainConfig
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.session import packed_folder
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_room import write_scene
from tests.samples.tiny_prior import EXPERT, IMAGE

SIZES = ImageGrid((70, 56), 7, 7)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    write_scene(folder / "room", 2, 1)
    return folder


def test_sizes_are_known_without_building_the_network() -> None:
    assert grid_of(IMAGE) == SIZES
    assert view_size(grid_of({})) == (320, 240)
    assert view_size(ImageGrid((644, 490), 7, 7)) == (644, 483)


def test_decoded_views_of_other_sizes_lie_apart(tmp_path: Path) -> None:
    assert packed_folder(tmp_path, "train", None) == tmp_path / "packed" / "train"
    assert packed_folder(tmp_path, "train", None, (644, 483)) == tmp_path / "packed" / "train_644x483"


def test_views_are_letterboxed_to_the_networks_input(packed: Path) -> None:
    native, boxed = (PackedViews([packed], DatasetOptions(input_size=size)).view(0) for size in (None, (70, 56)))
    assert boxed.image.shape == (56, 70, 3) and boxed.depth.shape == boxed.labels.shape == boxed.mask.shape == (56, 70)
    rows = np.flatnonzero(boxed.mask[:, 0])
    assert (rows[0], rows[-1]) == (2, 53)  # 320 x 240 fills 70 x 52 of it
    assert not boxed.depth[:2].any() and (boxed.labels[:2] == 255).all()
    scale = 70 / 320
    assert boxed.K[0, 0] == pytest.approx(native.K[0, 0] * scale)
    assert boxed.K[1, 2] == pytest.approx((native.K[1, 2] + 0.5) * 52 / 240 - 0.5 + 2)
    u, v = 35, 28  # the pixel that this one was taken from
    there = round((v - 2 + 0.5) * 240 / 52 - 0.5), round((u + 0.5) / scale - 0.5)
    assert abs(boxed.depth[v, u] - native.depth[there]) < 0.05
    assert set(np.unique(boxed.labels)) <= set(np.unique(native.labels)) | {255}


@pytest.mark.parametrize("stage", ["image", "expert", "joint"])
def test_every_stage_of_the_base_model_takes_a_step(packed: Path, tmp_path: Path, stage: str) -> None:
    stages = {name: StageConfig(steps=1, batch=1, rate=1e-3) for name in ("image", "expert", "joint")}
    config = TrainConfig(
        workers=0, amp=False, validation_views=1, stages=stages, image=IMAGE, network=ExpertConfig(**EXPERT)
    )
    local = LocalStage(config, stage, [packed], packed)
    trainer = Trainer(config, local, tmp_path)
    given = next(local.batches(local.load_data(), 0))
    batch = given.values.batch
    assert batch["image"].shape == (1, 3, 56, 70) and batch["depth"].shape == (1, 1, 8, 10)
    values = trainer.train_step(given)
    assert np.isfinite(values["loss"]) and np.isfinite(values["gradient"]) and values["gradient"] > 0
    figures = trainer.validate()
    assert "abs_rel" in figures if stage == "image" else {"predicted_sc_iou", "sensor_miou"} <= set(figures)
