"""A model folder: `model.yaml`, which lists sizes and files, and the check of each file against its SHA-256.

Nothing here imports a network runtime.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.classes import NAMES
from sgrocc_core.depth.sweep import PLANES
from sgrocc_core.errors import ModelError
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.share import expanded, find_shared, share_roots
from sgrocc_core.yaml_file import read_yaml

FORMAT_VERSION = 5
LARGEST_SIDE = 8192
"""Largest side of a network's input, pixels."""
MOST = {
    "gaussians_per_cell": 64, "feature_channels": 4096, "offsets": 256, "feature_stride": 256, "head_stride": 256,
}  # fmt: skip
"""Largest allowed values of the whole numbers of a description; far above those of any model."""
HASHED_AT_ONCE = 1 << 20
"""Bytes read at a time while a file is hashed."""


@dataclass(frozen=True)
class ModelSpec:
    """The contents of a `model.yaml`.

    Attributes:
        name: name of the model.
        folder: folder that contains its files.
        format_version: version of the folder's format.
        image_size: (width, height) of the network's input, pixels.
        feature_stride: input pixels per feature-map pixel; see `ImageGrid`.
        head_stride: input pixels per pixel of depth, spread and thickness.
        feature_channels: C, number of channels of an anchor's features, which the memory stores.
        gaussians_per_cell: G, number of Gaussians per cell.
        offsets: K, number of the lifter's samples per anchor.
        canonical_focal: focal length for which depth was learned, pixels.
        classes: names of the labels 0 to 11.
        files: SHA-256 of each file by name.
        networks: keyword arguments of the networks (`image`, `expert` and, with stereo, `stereo`) for the torch engine
            and for training.
    """

    name: str
    folder: Path
    format_version: int = FORMAT_VERSION
    image_size: tuple[int, int] = (320, 240)
    feature_stride: int = 8
    head_stride: int = 4
    feature_channels: int = 32
    gaussians_per_cell: int = 4
    offsets: int = 8
    canonical_focal: float = 289.0
    classes: tuple[str, ...] = NAMES
    files: dict[str, str] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def has_stereo(self) -> bool:
        """Whether the model has a network for stereo from motion."""
        return "stereo.onnx" in self.files

    @property
    def has_cascade(self) -> bool:
        """Whether stereo makes a second, finer sweep."""
        return self.has_stereo and "cascade.onnx" in self.files

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of the model's graphs."""
        stereo = ("stereo.onnx",) if self.has_stereo else ()
        return ("image.onnx", "expert.onnx", *stereo, *(("cascade.onnx",) if self.has_cascade else ()))

    @property
    def planes(self) -> int:
        """Planes of the sweep that the stereo network was trained for."""
        planes: int = self.networks.get("stereo", {}).get("planes", PLANES)
        return planes

    @property
    def hypotheses(self) -> int:
        """Depths that the second sweep compares at each pixel; 0 = there is none."""
        hypotheses: int = self.networks.get("stereo", {}).get("cascade", 0)
        return hypotheses

    @property
    def grid(self) -> ImageGrid:
        """Sizes of the image engine.

        Raises:
            ConfigError: the sizes are inconsistent.
        """
        return ImageGrid(self.image_size, self.feature_stride, self.head_stride)


def model_roots() -> list[Path]:
    """Folders that are searched for a model by name: the checkout's, then the installed share of every prefix."""
    return [root / "models" for root in share_roots()]


def find_model(model: str | Path) -> Path:
    """Find the folder of a model.

    Args:
        model: a name under `model_roots`, or the path of a folder that contains a model.yaml (or of that file).

    Raises:
        ModelError: no model was found; the message lists the folders searched.
    """
    path = expanded(model)
    if path.name == "model.yaml" and path.is_file():
        return path.parent
    if (path / "model.yaml").is_file():
        return path
    if len(path.parts) > 1 or str(model) in (".", ".."):
        raise ModelError(f"no model in {path}: there is no model.yaml (`sgrocc export` makes a model folder)")
    roots = model_roots()
    for root in roots:
        if (root / path / "model.yaml").is_file():
            return root / path
    here = [root for root in roots if root.is_dir()]
    known = sorted({p.parent.name for root in here for p in root.glob("*/model.yaml")})
    places = ", ".join(str(root) for root in here) or str(roots[0])
    names = ", ".join(known) or "none"
    raise ModelError(
        f"no model named {str(model)!r}; known: {names} (searched {places}); or give a model folder's path"
    )


def find_weights(model: str) -> Path:
    """Path of a named model's `weights.safetensors`, which need not exist.

    The file is searched for under `model_roots`, independently of the working directory. A model that was never
    exported has a configuration but no weights; the path is then the one in the checkout.
    """
    return find_shared(f"models/{model}/weights.safetensors")


def load_spec(model: str | Path) -> ModelSpec:
    """Read a model folder's description and check every file against its SHA-256.

    Raises:
        ModelError: the folder is missing, unreadable, of another format version or has other classes, or a file is
            missing or damaged.
    """
    folder = find_model(model)
    path = folder / "model.yaml"
    try:
        values = read_yaml(path)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a model description: it must be a mapping of keys to values")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format_version {version}; this release reads version {FORMAT_VERSION}: export the model again"
        )
    known = {f.name for f in fields(ModelSpec)} - {"folder"}
    wrong = sorted(set(values) - known)
    if wrong or "name" not in values or not isinstance(values.get("files"), dict):
        problem = f"unknown key {wrong[0]}" if wrong else "name or files is missing"
        raise ModelError(f"{path}: {problem}; the keys are {', '.join(sorted(known))}")
    try:
        values["image_size"] = tuple(int(n) for n in values.get("image_size", (320, 240)))
        values["classes"] = tuple(str(n) for n in values.get("classes", NAMES))
        spec = ModelSpec(folder=folder, **values)
        _check_values(spec)
        _ = spec.grid  # its sizes are checked when it is made
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{path}: {error}") from error
    if spec.classes != NAMES:
        raise ModelError(f"{path} has the classes {', '.join(spec.classes)}; this release maps {', '.join(NAMES)}")
    for name, digest in spec.files.items():
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise ModelError(f"{path} lists the file {name!r}; it must be the name of a file in the model's folder")
        _check_file(folder / name, str(digest))
    return spec


def _check_values(spec: ModelSpec) -> None:
    """Check types and ranges of a description; ValueError with the key, its value and what is allowed."""
    if not isinstance(spec.name, str) or not 0 < len(spec.name) <= 256:
        raise ValueError(f"name is {str(spec.name)[:80]!r}; it must be a text of 1 to 256 characters")
    if len(spec.image_size) != 2 or not all(8 <= side <= LARGEST_SIDE for side in spec.image_size):
        raise ValueError(f"image_size is {list(spec.image_size)}; it must be width and height, 8 to {LARGEST_SIDE}")
    for key, most in MOST.items():
        value = getattr(spec, key)
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{key} is {value!r}; it must be a whole number from 1 to {most}")
    focal = spec.canonical_focal
    if isinstance(focal, bool) or not isinstance(focal, (int, float)) or not 0 < focal < 1e6:
        raise ValueError(f"canonical_focal is {focal!r}; it must be a number of pixels")
    if not isinstance(spec.networks, dict):
        raise ValueError(f"networks is {spec.networks!r}; it must be a mapping")
    stereo = spec.networks.get("stereo", {})
    if not isinstance(stereo, dict):
        raise ValueError(f"networks.stereo is {stereo!r}; it must be a mapping")
    for key, value, least in (("planes", spec.planes, 8), ("cascade", spec.hypotheses, int(spec.has_cascade))):
        if type(value) is not int or not least <= value <= 256:
            raise ValueError(f"networks.stereo.{key} is {value!r}; it must be a whole number from {least} to 256")


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(HASHED_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


def _check_file(path: Path, digest: str) -> None:
    if not path.is_file():
        raise ModelError(f"model file {path} is missing")
    found = sha256_of(path)
    if found != digest:
        hashes = f"its SHA-256 is {found[:12]}..., model.yaml says {digest[:12]}..."
        raise ModelError(f"model file {path} is damaged: {hashes}; fetch or export the model again")


def require_file(spec: ModelSpec, name: str) -> Path:
    """Path of a file that an engine needs.

    Raises:
        ModelError: the model does not list that file.
    """
    if name not in spec.files:
        raise ModelError(f"the model in {spec.folder} has no {name}; it has {', '.join(spec.files) or 'no files'}")
    return spec.folder / name
