"""A model folder: `model.yaml`, which names sizes and files, and the check of every file against its SHA-256.

Nothing here imports a network runtime.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.classes import NAMES
from sgrocc_core.errors import ModelError
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.share import find_shared, share_roots

FORMAT_VERSION = 4
HASHED_AT_ONCE = 1 << 20
"""Bytes read at once while a file is hashed."""


@dataclass(frozen=True)
class ModelSpec:
    """The contents of a `model.yaml`.

    Attributes:
        name: of the model. folder: where its files lie.
        image_size: (width, height) of the network's input, pixels. feature_stride, head_stride: how much coarser the feature map is, and
            depth, spread and thickness; see `ImageGrid`.
        feature_channels: C of the anchors, which is what the memory keeps of them. gaussians_per_cell: G. offsets: K of the lifter.
        canonical_focal: focal length that depth was learned for, pixels.
        classes: names of labels 0..11.
        files: SHA-256 of each file, by name.
        networks: keyword arguments of the two networks (`image`, `expert`), for the torch engine and for training.
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
    def grid(self) -> ImageGrid:
        """The sizes of the image engine; ConfigError where they do not fit each other."""
        return ImageGrid(self.image_size, self.feature_stride, self.head_stride)


def model_roots() -> list[Path]:
    """Folders searched for a model by its name: the checkout's, then the installed share of every prefix this package lies under."""
    return [root / "models" for root in share_roots()]


def find_model(model: str | Path) -> Path:
    """The folder of a model.

    Args:
        model: a name under `model_roots`, or the path of a folder that holds a model.yaml (or of that file).

    Raises:
        ModelError: nothing there; says where was looked.
    """
    path = Path(model).expanduser()
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

    The file is searched for under `model_roots`, so the working directory does not matter. A model that was never exported has a
    configuration but no weights; the path is then the one in the checkout.
    """
    return find_shared(f"models/{model}/weights.safetensors")


def load_spec(model: str | Path) -> ModelSpec:
    """Read and check a model folder: its description, and every file against its SHA-256.

    Raises:
        ModelError: missing, not readable, of another format version or other classes, or a file is missing or damaged.
    """
    folder = find_model(model)
    path = folder / "model.yaml"
    try:
        values = yaml.safe_load(path.read_text())
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
        _ = spec.grid  # its sizes are checked when it is made
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    if spec.classes != NAMES:
        raise ModelError(f"{path} has the classes {', '.join(spec.classes)}; this release maps {', '.join(NAMES)}")
    for name, digest in spec.files.items():
        _check_file(folder / name, str(digest))
    return spec


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
    """Path of a file that an engine needs; ModelError when the model does not list it."""
    if name not in spec.files:
        raise ModelError(f"the model in {spec.folder} has no {name}; it has {', '.join(spec.files) or 'no files'}")
    return spec.folder / name
