"""The projection that compresses embeddings of an image-text model to a few numbers.

Texts and patches of images lie in two separate clouds of the common space (Liang et al. 2022, "Mind the Gap"), so each
is centred by its own mean. The axes are the principal ones of both together, each kind with the same total variance:
those along which the words of a vocabulary differ, and what a recording shows differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.errors import ModelError

FEWEST, MOST = 4, 64
"""Allowed number of numbers of a feature; 8 to 16 is what the map's memory is meant for."""


@dataclass(frozen=True)
class Projection:
    """From W dimensions to D.

    Attributes:
        axes: (W, D) float32, orthonormal columns.
        text_mean: (W,) float32, of the texts' embeddings of unit length.
        image_mean: (W,) float32, of the patches' embeddings of unit length.
        kept: share of the variance of texts and of patches that the axes keep, each 0 to 1.
    """

    axes: np.ndarray
    text_mean: np.ndarray
    image_mean: np.ndarray
    kept: tuple[float, float]

    def texts(self, embeddings: np.ndarray) -> np.ndarray:
        """Compress the embeddings of texts (N, W) to (N, D) of unit length."""
        return unit((unit(embeddings) - self.text_mean) @ self.axes)

    def images(self, embeddings: np.ndarray) -> np.ndarray:
        """Compress the embeddings of patches (N, W) to (N, D) of unit length."""
        return unit((unit(embeddings) - self.image_mean) @ self.axes)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., W) divided by their lengths, float32; a vector of zeros stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def fit(texts: np.ndarray, patches: np.ndarray, numbers: int) -> Projection:
    """Fit a projection.

    Args:
        texts: (N, W) embeddings of a vocabulary.
        patches: (M, W) embeddings of patches of images.
        numbers: D.

    Raises:
        ModelError: too many or too few numbers, or embeddings that are not finite.
    """
    width = texts.shape[1]
    most = min(MOST, width, len(texts) - 1)
    if not FEWEST <= numbers <= most:
        raise ModelError(
            f"a language feature of {numbers} numbers: it must have {FEWEST} to {most} (embeddings of {width} "
            f"dimensions, {len(texts)} texts)"
        )
    if not (np.isfinite(texts).all() and np.isfinite(patches).all()):
        raise ModelError("the image-text model gives embeddings that are not finite; its weights are damaged")
    means, spreads = [], []
    for kind in (unit(texts), unit(patches)):
        means.append(kind.mean(0))
        centred = (kind - means[-1]).astype(np.float64)
        spreads.append(centred.T @ centred / max(float((centred**2).sum()), 1e-12))
    _, vectors = np.linalg.eigh(spreads[0] + spreads[1])
    axes = vectors[:, ::-1][:, :numbers]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(numbers)] < 0, -1.0, 1.0)  # the same on any machine
    kept = [float(np.einsum("wd,wv,vd->", axes, spread, axes)) for spread in spreads]
    return Projection(axes.astype(np.float32), means[0], means[1], (kept[0], kept[1]))
