"""The image towers of published vision-language models: Qwen2.5-VL, SigLIP and CLIP, through `transformers`.

Of each only the tower that sees is built: the language model behind it is neither read nor run. Local features are
those of two middle blocks (at a half and at two thirds of the depth), each normalised over its channels, and averaged;
the scene's embedding is what the tower hands to the language, pooled. The blocks and this average are our choice; the
paper says middle layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.errors import ModelError

DEPTHS = (1 / 2, 2 / 3)
"""Depths of the blocks whose features are the local ones, as shares of the tower's depth."""


@dataclass(frozen=True)
class Seen:
    """What a vision-language model sees in a batch of images.

    Attributes:
        local: (B, C, h, w), maps of local features over the whole image.
        scene: (B, D), embedding of the scene.
    """

    local: Tensor
    scene: Tensor


@dataclass(frozen=True)
class Family:
    """A kind of published model.

    Attributes:
        tower: class of `transformers` of its image tower.
        prefixes: possible prefixes of the tower's tensors in the file of weights.
        mean: of the channels that the model expects, unless its preprocessor_config.json says otherwise.
        deviation: of the channels.
    """

    tower: str
    prefixes: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


CLIP_STATISTICS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
FAMILIES = {
    "qwen2_5_vl": Family("Qwen2_5_VisionTransformerPretrainedModel", ("visual.", "model.visual."), *CLIP_STATISTICS),
    "siglip": Family("SiglipVisionModel", ("vision_model.",), HALF, HALF),
    "clip": Family("CLIPVisionModel", ("vision_model.",), *CLIP_STATISTICS),
}
"""Kinds by the `model_type` of config.json."""


def middle_blocks(depth: int) -> tuple[int, ...]:
    """Indices, from 0, of the blocks whose outputs are the local features.

    Args:
        depth: number of blocks.
    """
    return tuple(dict.fromkeys(max(1, round(depth * share)) - 1 for share in DEPTHS))


def window_order(rows: int, columns: int, window: int) -> Tensor:
    """Order in which Qwen2.5-VL's tower holds the groups of patches: window by window, row by row in each.

    Args:
        rows: of groups.
        columns: of groups.
        window: edge of a window, groups.

    Returns:
        (rows * columns,) int64, row-major number of the group at each place.
    """
    numbers = torch.arange(rows * columns).view(rows, columns)
    found = [
        numbers[top : top + window, left : left + window].reshape(-1)
        for top in range(0, rows, window)
        for left in range(0, columns, window)
    ]
    return torch.cat(found)


def patches_of(images: Tensor, patch: int, merge: int, repeats: int) -> Tensor:
    """Cut images into the rows that Qwen2.5-VL's tower takes: patches, those that are merged later side by side.

    Args:
        images: (B, 3, H, W), normalised; sides are multiples of patch * merge.
        patch: edge of a patch, pixels.
        merge: edge of a group, patches.
        repeats: frames of a patch; an image is repeated.

    Returns:
        (B * H / patch * W / patch, 3 * repeats * patch * patch).
    """
    batch, channels, height, width = images.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    cut = images.view(batch, channels, rows, merge, patch, columns, merge, patch).permute(0, 2, 5, 3, 6, 1, 4, 7)
    frames = cut.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, repeats, -1, -1)
    return frames.reshape(batch * rows * columns * merge * merge, -1)


class _Taps:
    """Collects the outputs of modules while it is open."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules

    def __enter__(self) -> list[Tensor]:
        found: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            found.append(output[0] if isinstance(output, tuple) else output)

        self._handles = [module.register_forward_hook(keep) for module in self._modules]
        return found

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _normalised(features: Tensor) -> Tensor:
    """Zero mean and unit deviation over the last axis, so that half precision holds a tower's largest activations."""
    return F.layer_norm(features.float(), features.shape[-1:])


class SquareTower:
    """SigLIP's and CLIP's tower; an image is resized to the tower's square, without a crop.

    Args:
        network: `SiglipVisionModel` or `CLIPVisionModel`.
    """

    def __init__(self, network: Any) -> None:
        self.network, config = network, network.config
        self._edge, self._patch = int(config.image_size), int(config.patch_size)
        inner = getattr(network, "vision_model", network)  # where an older transformers has it
        layers = inner.encoder.layers
        self._taps = [layers[i] for i in middle_blocks(len(layers))]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tower's input for an image, pixels."""
        return self._edge, self._edge

    def look(self, images: Tensor) -> Seen:
        """See a batch (B, 3, H, W), normalised, of `size`."""
        with _Taps(self._taps) as found:
            answer = self.network(pixel_values=images)
        side = self._edge // self._patch
        # CLIP's token of the class stands before those of the patches.
        maps = [_normalised(tokens[:, -side * side :]) for tokens in found]
        local = torch.stack(maps).mean(0).transpose(1, 2).unflatten(2, (side, side))
        pooled = getattr(answer, "pooler_output", None)
        scene = answer.last_hidden_state.mean(1) if pooled is None else pooled
        return Seen(local, _normalised(scene))


class QwenTower:
    """Qwen2.5-VL's tower; an image keeps its shape, with sides rounded to whole groups of patches.

    Args:
        network: `Qwen2_5_VisionTransformerPretrainedModel`.
    """

    def __init__(self, network: Any) -> None:
        self.network, config = network, network.config
        self._patch, self._merge = int(config.patch_size), int(config.spatial_merge_size)
        self._repeats = int(config.temporal_patch_size)
        self._window = int(config.window_size) // self._merge // self._patch
        self._taps = [network.blocks[i] for i in middle_blocks(len(network.blocks))]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """See `SquareTower.size`."""
        edge = self._patch * self._merge
        rows, columns = (max(1, round(side / edge)) * edge for side in (height, width))
        return rows, columns

    def look(self, images: Tensor) -> Seen:
        """See `SquareTower.look`."""
        batch, merge = len(images), self._merge
        rows, columns = images.shape[2] // self._patch, images.shape[3] // self._patch
        grid = torch.tensor([[1, rows, columns]] * batch, device=images.device)
        with _Taps([*self._taps, self.network.merger]) as found:
            self.network(patches_of(images, self._patch, merge, self._repeats), grid_thw=grid)
        *blocks, merged = found
        back = torch.argsort(window_order(rows // merge, columns // merge, self._window)).to(images.device)
        maps = torch.stack([_normalised(tokens) for tokens in blocks]).mean(0)
        groups = maps.view(batch, len(back), merge, merge, -1)[:, back]
        table = groups.view(batch, rows // merge, columns // merge, merge, merge, -1)
        local = table.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, rows, columns)
        return Seen(local, _normalised(merged.view(batch, len(back), -1).mean(1)))


def build_tower(kind: str, description: dict[str, Any], transformers: Any) -> Any:
    """Build a tower with random weights.

    Args:
        kind: a key of FAMILIES.
        description: of config.json.
        transformers: the package.

    Raises:
        ModelError: the description is not that of such a model.
    """
    classes = transformers
    if kind == "qwen2_5_vl":  # its tower is not among the package's public names
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as classes
    tower = getattr(classes, FAMILIES[kind].tower)
    try:
        return tower(tower.config_class(**description["vision_config"]))
    except Exception as error:  # transformers passes on its checks' exceptions
        raise ModelError(f"transformers cannot build the image tower of a {kind}: {error}") from error
