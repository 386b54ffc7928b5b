"""Boxes by name and masks of them as a teacher: OWLv2 and SAM 2 at small size with random weights, from folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sgrocc_core.classes import NAMES, UNKNOWN, label_of
from sgrocc_core.errors import ModelError
from sgrocc_core.frame import Frame
from sgrocc_core.training.teachers import boxes as module
from sgrocc_core.training.teachers.boxes import PHRASES, BoxTeacher, each_once, is_pair, opinion_of_masks
from sgrocc_core.training.teachers.opinion import Opinion
from sgrocc_core.training.teachers.published import open_teacher

FRAME = Frame(
    np.random.default_rng(0).integers(0, 256, (48, 72, 3), np.uint8),
    np.array([[60.0, 0, 36], [0, 60, 24], [0, 0, 1]]), np.eye(4), 1,
)  # fmt: skip
ENDS = "<|startoftext|>", "<|endoftext|>"
LETTERS = sorted(set("".join(["a photo of", *PHRASES])) - {" "})


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of CLIP's kind that knows the words of the phrases letter by letter."""
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), *ENDS]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


def detector(**sizes: int) -> Any:
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2} | sizes
    return transformers.Owlv2ForObjectDetection(
        transformers.Owlv2Config(
            text_config={
                **tower,
                "vocab_size": 80,
                "max_position_embeddings": 32,
                "bos_token_id": 78,
                "eos_token_id": 79,
            },
            vision_config={**tower, "image_size": 64, "patch_size": 16},
            projection_dim=16,
        )
    )


def segmenter() -> Any:
    one, widths = [1, 1, 1, 1], [8, 16, 24, 32]
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=widths,
        num_attention_heads_per_stage=one, window_size_per_stage=[8, 4, 14, 7], global_attention_blocks=[3],
        window_positional_embedding_background_size=[7, 7], image_size=[128, 128],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=widths[::-1], fpn_hidden_size=32,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
    )  # fmt: skip
    config = transformers.Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 32, "image_size": 128, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    return transformers.Sam2Model(config)


@pytest.fixture
def pair(tmp_path: Path) -> str:
    torch.manual_seed(0)
    for name, network in (("finds", detector()), ("cuts", segmenter())):
        network.save_pretrained(tmp_path / name)
    write_tokenizer(tmp_path / "finds")
    return f"{tmp_path / 'finds'}+{tmp_path / 'cuts'}"


def test_two_networks_from_folders_tell_the_class_of_pixels(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOUND", 0.0)  # random networks are sure of nothing
    teacher = open_teacher(pair)
    assert isinstance(teacher, BoxTeacher)
    opinion = teacher.look(FRAME)
    assert opinion.labels.shape == opinion.confidence.shape == (48, 72)
    assert set(np.unique(opinion.labels)) <= {*range(1, 12), UNKNOWN}
    assert 0 <= opinion.confidence.min() <= opinion.confidence.max() <= 1
    assert (BoxTeacher(pair).look(FRAME).labels == opinion.labels).all()


def test_what_is_found_nowhere_has_no_label(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOUND", 1.1)
    opinion = open_teacher(pair).look(FRAME)
    assert (opinion.labels == UNKNOWN).all() and not opinion.confidence.any()


def test_boxes_are_those_of_the_package_s_own_post_processing(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOUND", 0.0)
    teacher = BoxTeacher(pair)
    boxes, scores, numbers = teacher.boxes(FRAME.image)
    square = np.zeros((72, 72, 3), np.uint8)
    square[:48] = FRAME.image
    small = module._resized(square, (64, 64))
    pixels = teacher._detector_statistics.input(small)
    with torch.no_grad():
        outputs = teacher._detector(pixel_values=pixels, **teacher._tokens)
    theirs = transformers.Owlv2ImageProcessorPil().post_process_object_detection(outputs, 0.0, [(48, 72)])[0]
    assert np.allclose(scores, theirs["scores"], atol=1e-5) and (numbers == theirs["labels"].numpy()).all()
    assert np.allclose(boxes, np.clip(theirs["boxes"], 0, [72, 48, 72, 48]), atol=1e-3)


def test_masks_have_the_image_s_shape_and_depend_on_their_box(pair: str) -> None:
    teacher = BoxTeacher(pair)
    for value in teacher._segmenter.parameters():  # as new ones are, they hardly tell anything apart
        value *= 8
    masks = teacher.masks(FRAME.image, np.array([[2, 3, 30, 40], [40, 5, 70, 44]], np.float32))
    assert masks.shape == (2, 48, 72) and masks.min() >= 0 and masks.max() <= 1
    assert not np.allclose(masks[0], masks[1], atol=1e-4)
    assert teacher.masks(FRAME.image, np.zeros((0, 4), np.float32)).shape == (0, 48, 72)


def test_of_boxes_of_one_thing_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10], [5, 5, 5, 9]], np.float32)
    scores, labels = np.array([0.5, 0.9, 0.4, 0.3, 0.8]), np.array([5, 5, 7, 5, 5])
    assert each_once(boxes, scores, labels).tolist() == [1, 2, 3]


def test_a_pixel_has_the_class_of_the_likeliest_thing_that_covers_it() -> None:
    masks = np.zeros((3, 1, 4), np.float32)
    masks[0, 0, :2], masks[1, 0, 1:3], masks[2, 0, 3] = 1.0, 0.8, 0.4
    chair, sofa, bed = (label_of(name) for name in ("chair", "sofa", "bed"))
    opinion: Opinion = opinion_of_masks(masks, np.array([0.6, 0.3, 0.9]), np.array([chair, sofa, bed], np.uint8))
    assert opinion.labels[0].tolist() == [chair, chair, sofa, UNKNOWN]
    assert opinion.confidence[0] == pytest.approx([1.0, 0.6 / 0.84, 0.8, 0.0])


def test_every_phrase_means_a_class_of_ours() -> None:
    assert set(PHRASES.values()) <= set(NAMES[1:])


def test_names_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    assert is_pair("owlv2+sam2") and not is_pair("segformer") and not is_pair(str(tmp_path / "a+b"))


def test_absent_networks_name_the_command_that_gets_them(
    pair: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="detector google/owlv2-base-patch16-ensemble is not in.*hf download"):
        open_teacher("owlv2+sam2")
    finds = pair.partition("+")[0]
    with pytest.raises(ModelError, match=r"segmenter facebook/sam2\.1-hiera-tiny is not in.*hf download"):
        open_teacher(f"{finds}+sam2")
    with pytest.raises(ModelError, match=r"describes a owlv2; sam2 or sam2_video is needed in this place"):
        open_teacher(f"{finds}+{finds}")


def test_a_detector_without_its_tokenizer_is_refused(pair: str) -> None:
    finds = Path(pair.partition("+")[0])
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (finds / name).unlink()
    with pytest.raises(ModelError, match="the detector needs the tokenizer beside its weights"):
        open_teacher(pair)
