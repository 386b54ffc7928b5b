"""A frozen vision-language model that sees training images, with its embeddings kept on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.engines.cache import cache_folder, key_of
from sgrocc_core.errors import ModelError
from sgrocc_core.network import hub
from sgrocc_core.share import expanded
from sgrocc_core.training.language.cache import EmbeddingCache
from sgrocc_core.training.language.config import OWN, LanguageConfig
from sgrocc_core.training.language.towers import FAMILIES, QwenTower, Seen, SquareTower, build_tower

WHAT = "vision-language model"
KNOWN = {
    "qwen2.5-vl": "Qwen/Qwen2.5-VL-3B-Instruct",
    "siglip": "google/siglip-base-patch16-224",
    "clip": "openai/clip-vit-large-patch14",
}
"""Repositories on the Hugging Face hub by short name; any other repository or folder of these kinds will do."""
FORMAT = 1
"""Number to raise when the features that are taken from a model change: kept embeddings are then made again."""


def find_model(name: str) -> Path:
    """Find the folder of a vision-language model.

    Args:
        name: a folder, a key of KNOWN, or a repository on the Hugging Face hub that is in the user's cache.

    Raises:
        ModelError: it is not there; the message gives the command that downloads it.
    """
    return hub.find_published(name, {**KNOWN, OWN: OWN}, WHAT, "'*.safetensors'")


class VisionLanguageModel:
    """A published vision-language model; it is frozen, and no part of the networks that are trained.

    Args:
        config: of the language-aware prior, with a published model.
        device: of PyTorch.

    Attributes:
        kind: a key of FAMILIES.
        channels: C of the local features, and D of the scene's embedding.

    Raises:
        ConfigError: the embeddings' folder cannot be written.
        ModelError: the model is not there, cannot be read, or is of another kind.
    """

    def __init__(self, config: LanguageConfig, device: torch.device) -> None:
        folder = find_model(config.model)
        self.kind, description = _described(folder)
        self.device, family = device, FAMILIES[self.kind]
        network = _load(folder, self.kind, description).eval().requires_grad_(False).to(device)
        self._tower = QwenTower(network) if self.kind == "qwen2_5_vl" else SquareTower(network)
        self._mean, self._deviation = (
            torch.tensor(value, device=device).view(3, 1, 1)
            for value in hub.read_statistics(folder, family.mean, family.deviation)
        )
        base = expanded(config.cache) if config.cache else cache_folder("language")
        self.cache = EmbeddingCache(base, _digest(folder), 1e9 * config.cache_gb)
        nothing = self._look(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        self.channels = nothing.local.shape[1], nothing.scene.shape[1]

    def look(self, images: Tensor) -> Seen:
        """See images, with kept embeddings where there are any.

        The result is rounded to half precision whether it was kept or not, so that a kept embedding changes nothing.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            float32 embeddings on the model's device.
        """
        paths = [self.cache.path_of(image) for image in images]
        found = [self.cache.read(path) for path in paths]
        for b in (b for b, seen in enumerate(found) if seen is None):
            # One by one: an embedding then does not depend on the batch in which its image came first.
            found[b] = seen = self._look(images[b : b + 1])
            self.cache.write(paths[b], seen)
        local, scene = ([getattr(seen, name) for seen in found] for name in ("local", "scene"))
        return Seen(*(torch.cat([part.to(self.device) for part in parts]).float() for parts in (local, scene)))

    @torch.no_grad()
    def _look(self, image: Tensor) -> Seen:
        """See one image, (1, 3, H, W) uint8; float16."""
        plain = image.to(self.device).float() / 255
        size = self._tower.size(*plain.shape[2:])
        resized = F.interpolate(plain, size=size, mode="bilinear", align_corners=False, antialias=True)
        with torch.autocast(self.device.type, enabled=False):
            seen = self._tower.look((resized - self._mean) / self._deviation)
        found = Seen(seen.local.half(), seen.scene.half())
        if not (found.local.isfinite().all() and found.scene.isfinite().all()):
            raise ModelError(f"the {WHAT} ({self.kind}) gives features that are not finite; its weights are damaged")
        return found


def _described(folder: Path) -> tuple[str, dict[str, Any]]:
    """Kind and description of a model, which must have a tower for images."""
    kind, description = hub.describe(folder)
    path = folder / hub.DESCRIPTION
    allowed = ", ".join(FAMILIES)
    if kind not in FAMILIES and "vocab_size" in description and "vision_config" not in description:
        raise ModelError(f"{path} describes a {kind}, which reads text alone; a {WHAT} must be one of {allowed}")
    if kind not in FAMILIES:
        raise ModelError(f"{path} describes a {kind}; a {WHAT} must be one of {allowed}")
    if not isinstance(description.get("vision_config"), dict):
        raise ModelError(f"{path} describes a {kind} without an image tower (vision_config)")
    return kind, description


def _load(folder: Path, kind: str, description: dict[str, Any]) -> Any:
    """Build the tower and fill it with its weights."""
    transformers = hub.require_transformers(f"a {WHAT}")
    with hub.quiet(transformers):
        network = build_tower(kind, description, transformers)
    tensors, own = hub.read_tensors(folder, FAMILIES[kind].prefixes), network.state_dict()
    # Before version 5, transformers had the square towers one level deeper.
    values = {name: tensors.get(name.removeprefix("vision_model.")) for name in own}
    lacking = [name for name, value in values.items() if value is None]
    if lacking:
        raise ModelError(f"{folder} lacks {len(lacking)} tensors of its image tower, {lacking[0]} among them")
    foreign = [name for name, value in values.items() if value is not None and value.shape != own[name].shape]
    if foreign:
        raise ModelError(f"the weights in {folder} are not those of its {hub.DESCRIPTION}: {foreign[0]} does not fit")
    network.load_state_dict(values)
    return network.float()


def _digest(folder: Path) -> str:
    """Digest of a model: of its descriptions, and of the size and time of its weights, which are too large to read."""
    texts = [path.read_text() for name in (hub.DESCRIPTION, hub.PREPARATION) if (path := folder / name).is_file()]
    files = sorted(folder.glob("*.safetensors"))
    marks = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return key_of(FORMAT, *texts, *marks)
