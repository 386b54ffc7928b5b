"""Loads a model: its parts by material, upright and in the size of its table, with two colours for each part."""

from __future__ import annotations

import hashlib
import io
import posixpath
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from sgrocc_core.data.assets.entry import Entry
from sgrocc_core.errors import DataError

MOST_BYTES, MOST_TRIANGLES = 60_000_000, 400_000
"""Larger models are refused."""
SEE_THROUGH = 0.1
"""Parts of a lower opacity are not there."""
STRETCH = 1.35
"""How much more one axis may be scaled than another to reach the table's size."""


@dataclass(frozen=True)
class Loaded:
    """A model as it is in its file, in the size of its table.

    Attributes:
        corners: (T, 3, 3) float64 triangles in metres: x right, y to the back, z up, on the floor, centred.
        part: (T,) int64 part of each triangle, the largest part first.
        colours: (P, 2, 3) float64 sRGB in 0..1, the darker and the lighter colour of each part.
        textured: (P,) bool, whether the two differ because of a texture.
    """

    corners: np.ndarray
    part: np.ndarray
    colours: np.ndarray
    textured: np.ndarray


@lru_cache(maxsize=8)
def _opened(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


class _Beside(trimesh.resolvers.Resolver):
    """Gives a model its materials and textures: members of its archive, or files of its folder."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def get(self, name: str) -> bytes:
        """Contents of a file named relative to the model."""
        name = posixpath.normpath(posixpath.join(posixpath.dirname(self._entry.member), name.replace("\\", "/")))
        if self._entry.member:
            return _opened(self._entry.path).read(name)
        if name.startswith(("/", "..")):
            raise FileNotFoundError(name)
        return (self._entry.path.parent / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Nothing is written."""

    def keys(self) -> list[str]:
        """No listing."""
        return []

    def namespaced(self, namespace: str) -> _Beside:
        """The same files."""
        return self


def contents(entry: Entry) -> bytes:
    """The model's own file.

    Raises:
        DataError: it cannot be read or is too large.
    """
    try:
        if entry.member:
            size = _opened(entry.path).getinfo(entry.member).file_size
        else:
            size = entry.path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"its file has {size} bytes; at most {MOST_BYTES} are read")
        return _opened(entry.path).read(entry.member) if entry.member else entry.path.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(f"its file cannot be read ({error})") from error


def fingerprint(entry: Entry) -> str:
    """A text that changes with the contents of the model's own file.

    Raises:
        DataError: it cannot be read or is too large.
    """
    if not entry.member:
        return hashlib.sha256(contents(entry)).hexdigest()
    try:
        info = _opened(entry.path).getinfo(entry.member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"its file cannot be read ({error})") from error
    return f"{info.CRC:08x} {info.file_size}"


def load(entry: Entry) -> Loaded:
    """Load a model.

    Raises:
        DataError: it cannot be read, has no surface, or has other proportions than its table says.
    """
    data = contents(entry)
    suffix = Path(entry.member or entry.path.name).suffix.lower().lstrip(".")
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix, resolver=_Beside(entry))
        parts = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
        found = [part for part in map(_part, parts) if part is not None]
    except Exception as error:  # a damaged file fails anywhere in the reader
        raise DataError(f"its file cannot be read ({type(error).__name__}: {error})") from error
    if not found:
        raise DataError("it has no surface")
    if sum(len(c) for c, _, _ in found) > MOST_TRIANGLES:
        raise DataError(f"it has {sum(len(c) for c, _, _ in found)} triangles; at most {MOST_TRIANGLES} are read")
    areas = [float(_areas(c).sum()) for c, _, _ in found]
    found = [found[k] for k in np.argsort(-np.array(areas), kind="stable")]
    corners = np.concatenate([c for c, _, _ in found])
    return Loaded(
        _in_place(corners, entry),
        np.repeat(np.arange(len(found)), [len(c) for c, _, _ in found]),
        np.stack([colours for _, colours, _ in found]),
        np.array([textured for _, _, textured in found]),
    )


def _in_place(corners: np.ndarray, entry: Entry) -> np.ndarray:
    """Turn, scale to the table's size, centre, and put on the floor."""
    turned = corners @ entry.rotation.T
    points = turned.reshape(-1, 3)
    low, high = points.min(0), points.max(0)
    if not np.isfinite(points).all() or (high - low).max() <= 0:
        raise DataError("its corners are not finite numbers, or all the same")
    thick = high - low > 0.02 * (high - low).max()
    scale = np.array(entry.size) / np.maximum(high - low, 1e-12)
    if scale[thick].max() > STRETCH * scale[thick].min():
        shape = " x ".join(f"{v:.3g}" for v in high - low)
        raise DataError(f"its shape, {shape} in its own units, is not that of "
                        f"{' x '.join(f'{v:.2f}' for v in entry.size)} m in its table")  # fmt: skip
    scale[~thick] = np.median(scale[thick])
    middle = np.r_[(low[:2] + high[:2]) / 2, low[2]]
    return np.asarray((turned - middle) * scale)


def _areas(corners: np.ndarray) -> np.ndarray:
    return np.asarray(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    )


def _part(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """Triangles of a part, its two colours, and whether they come from a texture; None if it cannot be seen."""
    corners = np.asarray(mesh.triangles, np.float64)
    areas = _areas(corners)
    if not len(corners) or not areas.sum() > 0:
        return None
    visual: Any = mesh.visual
    material: Any = getattr(visual, "material", None)
    if material is None:  # colours of faces or vertices, or none
        plain = np.asarray(visual.main_color)[:3] / 255.0
        return corners, np.stack([plain, plain]), False
    base = getattr(material, "baseColorFactor", None) if hasattr(material, "baseColorFactor") else material.main_color
    base = np.array([200, 200, 200, 255] if base is None else base, np.float64)
    base = base / 255.0 if base.max() > 1.0 else base
    opacity = getattr(material, "kwargs", {}).get("d", [1.0])
    if (len(base) > 3 and base[3] < SEE_THROUGH) or float(np.ravel(opacity)[0]) < SEE_THROUGH:
        return None
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    uv = getattr(visual, "uv", None)
    if image is None or uv is None or len(uv) != len(mesh.vertices):
        return corners, np.stack([base[:3], base[:3]]), False
    pixels = np.asarray(image.convert("RGB"), np.float64) / 255.0
    return corners, _texture_colours(pixels, np.asarray(uv)[mesh.faces].mean(1), areas), True


def _texture_colours(pixels: np.ndarray, uv: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(2, 3) mean colours of the darker and of the lighter half of what a texture shows on a part.

    Args:
        pixels: (H, W, 3) in 0..1.
        uv: (T, 2) coordinates of the triangles' middles.
        areas: (T,) their areas.
    """
    height, width = pixels.shape[:2]
    uv = np.where(np.isfinite(uv), uv, 0.0) % 1.0
    spread = np.array([0.7548777, 0.5698403])  # 25 points spread evenly near each middle
    around = (np.arange(25)[:, None] * spread % 1.0 - 0.5) * 0.06
    at = (uv[:, None] + around) % 1.0
    seen = pixels[
        np.minimum(((1 - at[..., 1]) * height).astype(int), height - 1),
        np.minimum((at[..., 0] * width).astype(int), width - 1),
    ].reshape(-1, 3)
    weight = np.repeat(areas, around.shape[0])
    bright = seen @ np.array([0.3, 0.6, 0.1])
    order = np.argsort(bright, kind="stable")
    total = np.cumsum(weight[order])
    half = order[: max(1, int(np.searchsorted(total, total[-1] / 2)))]
    dark = np.zeros(len(seen), bool)
    dark[half] = True
    halves = [np.average(seen[m], axis=0, weights=weight[m] + 1e-12) for m in (dark, ~dark) if m.any()]
    return np.stack([halves[0], halves[-1]])
