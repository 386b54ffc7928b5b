"""The two towers of SigLIP and CLIP as networks to export: patches of an image, and a phrase, in the common space.

Both models learned one embedding for a whole image. Local embeddings are taken as Zhou et al. (2022), "Extract Free
Dense Labels from CLIP", take them: the last mixing of patches is left out, so that each patch answers for itself.
SigLIP's pooling head is given one patch at a time; of CLIP's last block only the values remain, without the residual.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.errors import ModelError
from sgrocc_core.network import hub

WHAT = "image-text model"
KNOWN = {"siglip": "google/siglip-base-patch16-224", "clip": "openai/clip-vit-base-patch16"}
"""Repositories on the Hugging Face hub by short name; any other repository or folder of these kinds will do."""
KINDS = ("siglip", "clip")


class Patches(nn.Module):
    """Embeddings of an image's patches.

    Args:
        kind: of KINDS.
        model: `SiglipModel` or `CLIPModel`.
        mean: (3,) of the channels that the model expects.
        deviation: (3,) of the channels.

    Attributes:
        edge: side of the image, pixels.
        side: patches along it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, kind: str, model: Any, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        vision = model.vision_model
        self.kind, self.vision = kind, getattr(vision, "vision_model", vision)
        self.project = model.visual_projection if kind == "clip" else nn.Identity()
        self.edge = int(model.config.vision_config.image_size)
        self.side = self.edge // int(model.config.vision_config.patch_size)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """An image (1, 3, edge, edge), 0 to 255, to embeddings (1, side, side, W)."""
        tokens = self.vision.embeddings((image / 255 - self.mean) / self.deviation)
        found = self._clip(tokens) if self.kind == "clip" else self._siglip(tokens)
        return found.unflatten(1, (self.side, self.side))

    def _siglip(self, tokens: Tensor) -> Tensor:
        for layer in self.vision.encoder.layers:
            tokens = _first(layer(tokens, attention_mask=None))
        tokens, head = self.vision.post_layernorm(tokens), self.vision.head
        # Attention to a single patch is that patch's value, whatever the query.
        mixing = head.attention
        value = F.linear(tokens, mixing.in_proj_weight.chunk(3)[2], mixing.in_proj_bias.chunk(3)[2])
        pooled = head.attention.out_proj(value)
        answer: Tensor = pooled + head.mlp(head.layernorm(pooled))
        return answer

    def _clip(self, tokens: Tensor) -> Tensor:
        tokens = self.vision.pre_layrnorm(tokens)
        *layers, last = self.vision.encoder.layers
        for layer in layers:
            tokens = _first(layer(tokens, attention_mask=None))
        value = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(tokens)))
        answer: Tensor = self.project(self.vision.post_layernorm(value[:, 1:]))
        return answer


class Phrase(nn.Module):
    """The embedding of a text.

    Args:
        kind: of KINDS.
        model: `SiglipModel` or `CLIPModel`.
    """

    def __init__(self, kind: str, model: Any) -> None:
        super().__init__()
        self.kind, self.text = kind, model.text_model
        self.project = model.text_projection if kind == "clip" else nn.Identity()
        self.length = int(model.config.text_config.max_position_embeddings)

    def forward(self, ids: Tensor) -> Tensor:
        """Pieces (N, length) int64 to embeddings (N, W)."""
        answer: Tensor = self.project(self.text(input_ids=ids).pooler_output)
        return answer


def _first(answer: Any) -> Tensor:
    found: Tensor = answer[0] if isinstance(answer, tuple) else answer
    return found


def load_model(name: str) -> tuple[str, Any, Path]:
    """Load an image-text model from a folder or the user's Hugging Face cache.

    Args:
        name: a folder, a key of KNOWN, or a repository on the Hugging Face hub that is in the cache.

    Returns:
        Kind, model in eval mode, and its folder.

    Raises:
        ModelError: it is not there, is of another kind, or cannot be read.
    """
    folder = hub.find_published(name, KNOWN, WHAT, "'*.safetensors'")
    kind, _ = hub.describe(folder)
    if kind not in KINDS:
        raise ModelError(f"{folder} holds a {kind}; an {WHAT} must be one of {', '.join(KINDS)}")
    transformers = hub.require_transformers(f"an {WHAT}")
    try:
        with hub.quiet(transformers):
            model, told = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, attn_implementation="eager",
                output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # transformers has many types
        raise ModelError(f"the {WHAT} in {folder} cannot be read: {error}") from error
    lacking = sorted(told["missing_keys"])
    if lacking:
        raise ModelError(f"{folder} lacks {len(lacking)} tensors of its {kind}, {lacking[0]} among them")
    return kind, model.float().eval().requires_grad_(False), folder
