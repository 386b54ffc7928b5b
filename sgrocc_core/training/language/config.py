"""Settings of the language-aware prior."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sgrocc_core.errors import ConfigError

KINDS = ("none", "vlm")
OWN = "own"
"""Model whose features are the image engine's own, in the place of a vision-language model's."""


@dataclass(frozen=True)
class LanguageConfig:
    """Settings of the language-aware prior.

    Attributes:
        kind: `none`, or `vlm`: a frozen vision-language model.
        model: `own`, a key of `published.KNOWN`, a folder, or a repository of the Hugging Face hub in the user's cache.
        cache: folder of the kept embeddings; empty: `sgrocc/language` below `$XDG_CACHE_HOME` or `~/.cache`.
        cache_gb: maximum size of that folder, 10^9 bytes; 0 keeps nothing.

    Raises:
        ConfigError: a value is not allowed.
    """

    kind: str = "none"
    model: str = "siglip"
    cache: str = ""
    cache_gb: float = 8.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        if not self.model:
            raise ConfigError(f"model is empty; it must be {OWN}, a folder, or a repository of the Hugging Face hub")
        if not (self.cache_gb >= 0 and math.isfinite(self.cache_gb)):
            raise ConfigError(f"cache_gb is {self.cache_gb}; it must be a finite number of 0 or more")

    @property
    def on(self) -> bool:
        """Whether there is a language-aware prior."""
        return self.kind != "none"

    @property
    def published(self) -> bool:
        """Whether a published model sees the images."""
        return self.on and self.model != OWN
