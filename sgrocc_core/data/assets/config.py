"""Which furniture models stand in generated rooms: a folder, a share and a cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sgrocc_core.errors import ConfigError


@dataclass(frozen=True)
class AssetConfig:
    """Which furniture models stand in generated rooms.

    Attributes:
        folder: of models, with `assets.csv` or .sh3f archives.
        share: probability that a piece of furniture is a model instead of primitives, where there is one.
        cache: folder of the prepared models; None = ~/.cache/sgrocc/assets.

    Raises:
        ConfigError: a value is not allowed.
    """

    folder: Path
    share: float = 0.5
    cache: Path | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ConfigError(f"assets: share is {self.share}; it must be above 0 and at most 1")

    @property
    def prepared(self) -> Path:
        """Folder of the prepared models."""
        if self.cache is not None:
            return self.cache
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(base) / "sgrocc" / "assets"
