"""Published segmentation networks as teachers: true architectures at small size, random weights, from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.errors import DataError, ModelError
from sgrocc_core.frame import Frame
from sgrocc_core.training.teachers.opinion import opinion_of
from sgrocc_core.training.teachers.published import PublishedTeacher
from tests.samples.class_names import ADE20K

NAMES = dict(enumerate(ADE20K))
FRAME = Frame(
    np.random.default_rng(0).integers(0, 256, (48, 72, 3), np.uint8),
    np.array([[60.0, 0, 36], [0, 60, 24], [0, 0, 1]]), np.eye(4), 1,
)  # fmt: skip
SWIN = {
    "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip


def segformer() -> Any:
    sizes = {"hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1]}
    config = transformers.SegformerConfig(**sizes, decoder_hidden_size=16, id2label=NAMES)
    return transformers.SegformerForSemanticSegmentation(config)


def mask2former() -> Any:
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN), feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        num_queries=6, id2label=NAMES,
    )  # fmt: skip
    return transformers.Mask2FormerForUniversalSegmentation(config)


def oneformer() -> Any:
    config = transformers.OneFormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN), conv_dim=32, mask_dim=32, hidden_dim=32, dim_feedforward=16,
        encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=6,
        query_dec_layers=1, text_encoder_width=32, text_encoder_num_layers=1, id2label=NAMES,
    )  # fmt: skip
    return transformers.OneFormerForUniversalSegmentation(config)


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of CLIP's kind that knows single letters."""
    letters = [f"{letter}{end}" for letter in "acehikmnst" for end in ("", "</w>")]
    vocabulary = {word: number for number, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


NETWORKS = {"segformer": segformer, "mask2former": mask2former, "oneformer": oneformer}


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    torch.manual_seed(0)
    NETWORKS[request.param]().save_pretrained(tmp_path)
    if request.param == "oneformer":
        write_tokenizer(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 64}}))
    return tmp_path


@pytest.mark.parametrize("folder", NETWORKS, indirect=True)
def test_a_network_from_a_folder_tells_the_class_of_every_pixel(folder: Path) -> None:
    teacher = PublishedTeacher(str(folder))
    assert teacher.kind in NETWORKS and len(teacher.alignment.labels) == 150
    opinion = teacher.look(FRAME)
    assert opinion.labels.shape == opinion.confidence.shape == (48, 72)
    assert set(np.unique(opinion.labels)) <= {*range(1, 12), UNKNOWN}
    assert opinion.confidence.min() >= 0 and opinion.confidence.max() <= 1
    again = PublishedTeacher(str(folder)).look(FRAME)
    assert (again.labels == opinion.labels).all()


@pytest.mark.parametrize("folder", ["mask2former"], indirect=True)
def test_the_scores_of_queries_are_those_of_the_package_s_own_post_processing(folder: Path) -> None:
    teacher = PublishedTeacher(str(folder))
    pixels = torch.randn(1, 3, 64, 96)
    network = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs, scores = network(pixel_values=pixels), teacher.scores(pixels)
    theirs = transformers.Mask2FormerImageProcessorPil().post_process_semantic_segmentation(outputs, [(384, 384)])[0]
    ours = torch.nn.functional.interpolate(scores, size=(384, 384), mode="bilinear").argmax(1)[0]
    assert (
        ours == theirs
    ).float().mean() > 0.98  # they resize the masks before the sum, which is linear but for rounding


@pytest.mark.parametrize("folder", ["segformer"], indirect=True)
def test_a_network_of_other_classes_than_ours_is_refused(folder: Path) -> None:
    description = json.loads((folder / "config.json").read_text())
    description["id2label"] = {number: f"LABEL_{number}" for number in range(150)}
    (folder / "config.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="tells none of our classes"):
        PublishedTeacher(str(folder))


@pytest.mark.parametrize("folder", ["segformer"], indirect=True)
def test_weights_that_are_not_safetensors_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="has no model.safetensors.*other than safetensors are not read"):
        PublishedTeacher(str(folder))


@pytest.mark.parametrize("folder", ["oneformer"], indirect=True)
def test_oneformer_without_its_tokenizer_is_refused(folder: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="needs the tokenizer beside its weights"):
        PublishedTeacher(str(folder))


def test_an_absent_network_names_the_command_that_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="hf download nvidia/segformer-b2-finetuned-ade-512-512"):
        PublishedTeacher("segformer")
    with pytest.raises(
        ModelError, match="no teacher 'segfomer': it must be a folder, segformer, mask2former, oneformer"
    ):
        PublishedTeacher("segfomer")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="describes a bert; teachers are segformer, mask2former, oneformer"):
        PublishedTeacher(str(tmp_path))


def test_the_confidence_is_the_share_of_all_scores() -> None:
    opinion = opinion_of(np.array([2.0, 6.0])[:, None, None], np.array([3, 2], np.uint8))
    assert opinion.labels.item() == 2 and opinion.confidence.item() == pytest.approx(0.75)


@pytest.mark.slow
def test_a_network_of_full_size_takes_a_camera_s_image(tmp_path: Path) -> None:
    sizes = {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3], "decoder_hidden_size": 768}  # SegFormer-B2
    transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(**sizes, id2label=NAMES)
    ).save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    frame = Frame(image, np.array([[525.0, 0, 319.5], [0, 525, 239.5], [0, 0, 1]]), np.eye(4), 1)
    assert PublishedTeacher(str(tmp_path)).look(frame).labels.shape == (480, 640)
