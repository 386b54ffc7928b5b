"""Embeddings kept on the disk, by a digest of their image: a frozen model sees an image once, not in every epoch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sgrocc_core.errors import ConfigError
from sgrocc_core.training.language.towers import Seen

KEPT = 0.9
"""Share of the maximum size that is left when old files are removed; a round guess."""


class EmbeddingCache:
    """A folder of embeddings, one float16 safetensors file per image; those not used for longest are removed.

    A file that is damaged or cut short counts as absent. It is written under a temporary name and renamed. Several
    processes can share a folder.

    Args:
        folder: of the files; those of several models can share it.
        model: digest of the model.
        most: maximum size of all files, bytes; 0 keeps nothing.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: Path, model: str, most: float) -> None:
        self.folder, self.model, self.most = folder, model, most
        self._total = 0
        if not most:
            return
        try:
            (folder / model).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot keep embeddings in {folder}: {error}; give another language.cache, or language.cache_gb: 0"
            ) from error
        if not os.access(folder / model, os.W_OK):
            raise ConfigError(
                f"cannot write to {folder}; give another language.cache, or language.cache_gb: 0 to keep nothing"
            )
        self._total = sum(size for _, size, _ in self._files())

    def path_of(self, image: Tensor) -> Path:
        """File of an image (3, H, W) uint8."""
        plain = image.contiguous().cpu().numpy()
        digest = hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).hexdigest()[:32]
        return self.folder / self.model / digest[:2] / f"{digest}.safetensors"

    def read(self, path: Path) -> Seen | None:
        """Returns the kept embedding of one image, (1, C, h, w) and (1, D) float16; None if there is none or it is bad.

        Args:
            path: of `path_of`.
        """
        if not self.most:
            return None
        try:
            with safe_open(path, framework="pt") as file:
                found = Seen(file.get_tensor("local"), file.get_tensor("scene"))
        except (OSError, SafetensorError):
            return None
        if found.local.dim() != 4 or found.scene.dim() != 2 or found.local.dtype != torch.float16:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    def write(self, path: Path, seen: Seen) -> None:
        """Keep an embedding; what cannot be written, for example on a full disk, is not kept.

        Args:
            path: of `path_of`.
            seen: of one image, float16.
        """
        if not self.most:
            return
        part = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            save_file({"local": seen.local.cpu().contiguous(), "scene": seen.scene.cpu().contiguous()}, part)
            self._total += part.stat().st_size
            part.replace(path)
        except (OSError, SafetensorError):
            part.unlink(missing_ok=True)
        if self._total > self.most:
            self._remove_oldest()

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of the last use, size and path of every file of every model, parts of killed processes among them."""
        found = []
        for path in self.folder.glob("*/??/*"):
            if path.suffix in (".safetensors", ".part"):
                with contextlib.suppress(OSError):
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        return found

    def _remove_oldest(self) -> None:
        files = sorted(self._files())
        self._total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._total <= KEPT * self.most:
                break
            path.unlink(missing_ok=True)
            self._total -= size
