"""Published vision-language models: true architectures at small size, random weights, from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.training.language.config import LanguageConfig
from sgrocc_core.training.language.published import KNOWN, VisionLanguageModel
from sgrocc_core.training.language.towers import (
    QwenTower,
    SquareTower,
    build_tower,
    middle_blocks,
    patches_of,
    window_order,
)
from tests.samples.tiny_vlm import MODELS, write_model

CPU = torch.device("cpu")
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 24, 40), np.uint8))


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    write_model(path, request.param)
    return path


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen")
    write_model(path, "qwen2_5_vl")
    return path


def opened(folder: Path | str, cache: Path | None = None) -> VisionLanguageModel:
    """A model whose embeddings are kept in a folder, or not at all."""
    kept = {"cache": str(cache)} if cache else {"cache_gb": 0.0}
    return VisionLanguageModel(LanguageConfig("vlm", str(folder), **kept), CPU)


def test_a_model_from_a_folder_has_maps_and_an_embedding_of_the_scene(folder: Path) -> None:
    model = opened(folder)
    seen = model.look(IMAGES)
    shape = (2, 16, 6, 10) if model.kind == "qwen2_5_vl" else (2, 16, 4, 4)
    assert seen.local.shape == shape and seen.scene.shape == (2, 20 if model.kind == "qwen2_5_vl" else 16)
    assert model.channels == (16, seen.scene.shape[1])
    assert seen.local.dtype == torch.float32 and not seen.local.requires_grad
    again = opened(folder).look(IMAGES.flip(0))
    assert torch.equal(again.local.flip(0), seen.local) and torch.equal(again.scene.flip(0), seen.scene)


@pytest.mark.parametrize("kind", MODELS)
def test_the_embedding_is_that_of_the_whole_model(kind: str, tmp_path: Path) -> None:
    whole = write_model(tmp_path, kind)
    model, image = opened(tmp_path), IMAGES[:1, :, :, :24]
    edge = 24 if kind == "qwen2_5_vl" else 32
    resized = torch.nn.functional.interpolate(image.float() / 255, (edge, edge), mode="bilinear", antialias=True)
    pixels = (resized - 0.4) / 0.3
    with torch.no_grad():
        if kind == "qwen2_5_vl":
            whole = whole.model.visual
            answer = whole(patches_of(pixels, 4, 2, 2), grid_thw=torch.tensor([[1, 6, 6]]))
            expected = answer.pooler_output.mean(0, keepdim=True)
        else:
            expected = whole.vision_model(pixel_values=pixels).pooler_output
    expected = torch.nn.functional.layer_norm(expected, expected.shape[-1:])
    assert torch.allclose(model.look(image).scene, expected, atol=2e-3)  # half precision


def test_a_map_s_pixel_has_the_features_of_the_patch_there(folder: Path) -> None:
    """A change of one corner of the image changes the first block's features nowhere more than in that corner."""
    model = opened(folder)
    tower = model._tower
    tower._taps = [tower.network.blocks[0] if model.kind == "qwen2_5_vl" else tower.network.encoder.layers[0]]
    for rows, columns in ((slice(0, 4), slice(0, 4)), (slice(20, 24), slice(36, 40)), (slice(12, 16), slice(8, 12))):
        changed = IMAGES[:1].clone()
        changed[:, :, rows, columns] = 255 - changed[:, :, rows, columns]
        moved = (model.look(changed).local - model.look(IMAGES[:1]).local).abs().mean(1)[0]
        height, width = moved.shape
        row, column = divmod(int(moved.argmax()), width)
        middle = (rows.start + 2) / 24 * height, (columns.start + 2) / 40 * width
        assert abs(row + 0.5 - middle[0]) <= 1 and abs(column + 0.5 - middle[1]) <= 1


@pytest.mark.parametrize("rows, columns", [(3, 5), (4, 4), (1, 7)])
def test_the_order_of_windows_is_the_tower_s_own(qwen: Path, rows: int, columns: int) -> None:
    network = opened(qwen)._tower.network
    kept: dict[str, torch.Tensor] = {}
    before = network.patch_embed.register_forward_hook(lambda _, __, output: kept.update(raster=output))
    after = network.blocks[0].register_forward_pre_hook(lambda _, inputs: kept.update(windows=inputs[0]))
    pixels = torch.randn(1, 3, rows * 8, columns * 8)
    with torch.no_grad():
        network(patches_of(pixels, 4, 2, 2), grid_thw=torch.tensor([[1, 2 * rows, 2 * columns]]))
    before.remove()
    after.remove()
    groups = kept["raster"].view(rows * columns, 4, -1)[window_order(rows, columns, 2)]
    assert torch.equal(groups.reshape_as(kept["windows"]), kept["windows"])


def test_the_patches_are_those_of_the_package_s_own_preparation() -> None:
    processor = transformers.Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=64, max_pixels=10**6, image_mean=[0.4] * 3,
        image_std=[0.3] * 3,
    )  # fmt: skip
    theirs = processor(IMAGES[0].permute(1, 2, 0).numpy(), return_tensors="pt")
    assert theirs["image_grid_thw"].tolist() == [[1, 6, 10]]
    ours = patches_of((IMAGES[:1].float() / 255 - 0.4) / 0.3, 4, 2, 2)
    assert torch.allclose(ours, theirs["pixel_values"], atol=1e-5)


def test_weights_in_several_files_are_those_in_one(tmp_path: Path, qwen: Path) -> None:
    write_model(tmp_path, "qwen2_5_vl", shard="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    assert torch.equal(opened(tmp_path).look(IMAGES).local, opened(qwen).look(IMAGES).local)


def test_files_without_the_image_tower_are_not_needed(tmp_path: Path) -> None:
    write_model(tmp_path, "qwen2_5_vl", shard="20KB")
    places = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    seeing = {file for name, file in places.items() if "visual" in name}
    words = set(places.values()) - seeing
    assert words
    for file in words:
        (tmp_path / file).unlink()
    assert opened(tmp_path).channels == (16, 20)
    (tmp_path / min(seeing)).unlink()
    with pytest.raises(ModelError, match="cannot read the weights .*model-0000"):
        opened(tmp_path)


def test_the_middle_blocks_lie_at_a_half_and_two_thirds() -> None:
    assert middle_blocks(32) == (15, 20) and middle_blocks(12) == (5, 7) and middle_blocks(1) == (0,)


def test_a_seen_image_is_not_seen_again(qwen: Path, tmp_path: Path) -> None:
    model = opened(qwen, tmp_path)
    first = model.look(IMAGES)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    model._tower = None  # it would fail
    second = model.look(IMAGES)
    assert torch.equal(first.local, second.local) and torch.equal(first.scene, second.scene)
    assert torch.equal(opened(qwen).look(IMAGES).local, first.local)  # nor does keeping change anything


def test_other_weights_do_not_take_the_kept_embeddings(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "siglip")
    cache = tmp_path / "cache"
    before = opened(tmp_path / "model", cache).look(IMAGES)
    path = tmp_path / "model" / "model.safetensors"
    weights = {name: 2 * value for name, value in safetensors_of(path).items()}
    from safetensors.torch import save_file

    save_file(weights, path)
    assert not torch.equal(opened(tmp_path / "model", cache).look(IMAGES).local, before.local)


def safetensors_of(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_an_absent_model_names_the_command_that_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name, repository in KNOWN.items():
        with pytest.raises(ModelError, match=f"hf download {repository} --include.*safetensors"):
            opened(name)
    with pytest.raises(ModelError, match="no vision-language model 'sigclip': it must be a folder, qwen2.5-vl, siglip"):
        opened("sigclip")


@pytest.mark.parametrize(
    "description, message",
    [
        ({"model_type": "bert", "vocab_size": 30522}, "describes a bert, which reads text alone"),
        ({"model_type": "llava", "vision_config": {}}, "describes a llava; a .* must be one of qwen2_5_vl, siglip"),
        ({"model_type": "resnet"}, "describes a resnet; a vision-language model must be one of"),
        ({"model_type": "clip"}, "describes a clip without an image tower"),
        ({"vocab_size": 3}, "does not describe a network"),
        ({"model_type": "clip", "vision_config": {"hidden_size": "wide"}}, "cannot build the image tower of a clip"),
    ],
)  # fmt: skip
def test_other_models_are_refused(tmp_path: Path, description: dict[str, object], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(description))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        opened(tmp_path)


def test_weights_that_are_absent_damaged_or_of_another_size_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "clip")
    description = json.loads((tmp_path / "config.json").read_text())
    description["vision_config"]["patch_size"] = 16
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match="are not those of its config.json: .* does not fit"):
        opened(tmp_path)
    description["vision_config"].update(patch_size=8, num_hidden_layers=5)
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match="lacks 16 tensors of its image tower, encoder.layers.4"):
        opened(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match="cannot read the weights"):
        opened(tmp_path)
    path.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="has no model.safetensors.*other than safetensors are not read"):
        opened(tmp_path)


def test_a_preparation_that_is_none_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "siglip")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_std": [0, 1, 1]}))
    with pytest.raises(ModelError, match="does not describe the preparation of an image: .*above 0"):
        opened(tmp_path)


def test_a_folder_that_cannot_hold_embeddings_is_refused(qwen: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep embeddings in .*give another language.cache"):
        opened(qwen, tmp_path / "file" / "cache")


PUBLISHED = {
    "qwen2_5_vl": (
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048},
        (1280, 18, 22), 2048, 668,
    ),
    "siglip": ({}, (768, 14, 14), 768, 92),
    "clip": (
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
         "patch_size": 14, "projection_dim": 768},
        (1024, 16, 16), 1024, 303,
    ),
}  # fmt: skip
"""Image towers of KNOWN: what differs from the package's defaults, the shapes at 320 x 240, millions of weights."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", PUBLISHED)
def test_the_published_sizes_have_their_shapes(kind: str) -> None:
    """The whole tower on the meta device, without weights, and two or three random blocks of its width that see."""
    changes, local, scene, millions = PUBLISHED[kind]
    with torch.device("meta"):
        whole = build_tower(kind, {"vision_config": changes}, transformers)
    assert sum(p.numel() for p in whole.parameters()) // 1_000_000 == millions
    depth = {"depth": 3, "fullatt_block_indexes": [2]} if kind == "qwen2_5_vl" else {"num_hidden_layers": 2}
    network = build_tower(kind, {"vision_config": {**changes, **depth}}, transformers).eval()
    tower = QwenTower(network) if kind == "qwen2_5_vl" else SquareTower(network)
    with torch.no_grad():
        seen = tower.look(torch.zeros(1, 3, *tower.size(240, 320)))
    assert seen.local.shape == (1, *local) and seen.scene.shape == (1, scene)
