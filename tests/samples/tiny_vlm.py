"""Vision-language models of the true architectures at a small size, with random weights, as folders of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
WORDS = {**SIZES, "num_hidden_layers": 1, "vocab_size": 40, "max_position_embeddings": 8, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
EYES = {**SIZES, "image_size": 32, "patch_size": 8}


def siglip() -> Any:
    import transformers

    return transformers.SiglipModel(transformers.SiglipConfig(text_config=WORDS, vision_config=EYES))


def clip() -> Any:
    import transformers

    text = {**WORDS, "projection_dim": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config={**EYES, "projection_dim": 16}, projection_dim=16)
    return transformers.CLIPModel(config)


def write_image_text_model(folder: Path, kind: str) -> Any:
    """Write a model whose text tower reads a few words, with its tokenizer, as the hub has it; returns the model."""
    import tokenizers
    import torch
    import transformers

    text = {**WORDS, "max_position_embeddings": 12, "num_hidden_layers": 2}
    torch.manual_seed(4)
    if kind == "siglip":
        config = transformers.SiglipConfig(text_config=text, vision_config=EYES)
        model = transformers.SiglipModel(config)
    else:
        config = transformers.CLIPConfig(
            text_config={**text, "projection_dim": 16}, vision_config={**EYES, "projection_dim": 16}, projection_dim=16
        )
        model = transformers.CLIPModel(config)
    model.eval().save_pretrained(folder)
    said = "a", "photo", "of", "sofa", "chair", "table", "red", "bed", "lamp", "place", "to", "sit"
    words = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *said]
    cutter = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate(dict.fromkeys(words))}, "[UNK]")
    )
    cutter.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    cutter.post_processor = tokenizers.processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    cutter.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4] * 3, "image_std": [0.3] * 3}))
    return model


def qwen() -> Any:
    """Windows of two groups of 2 x 2 patches, so that an image of a few patches has several, and ragged ones."""
    import transformers

    vision = {
        "depth": 4, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4, "window_size": 16,
        "out_hidden_size": 20, "fullatt_block_indexes": [3], "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    text = {
        "hidden_size": 20, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": 400, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 2, 2]},
    }  # fmt: skip
    config = transformers.Qwen2_5_VLConfig(vision_config=vision, text_config=text)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


MODELS = {"siglip": siglip, "clip": clip, "qwen2_5_vl": qwen}


def write_model(folder: Path, kind: str, shard: str = "5GB") -> Any:
    """Write a model to a folder, as the hub has it; returns the model."""
    import torch

    torch.manual_seed(3)
    model = MODELS[kind]().eval()
    model.save_pretrained(folder, max_shard_size=shard)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4] * 3, "image_std": [0.3] * 3}))
    return model
