"""What the mapper needs of a network: the model folder's description, the engine's protocol, and the choice of an engine.

A model is a folder with `model.yaml`, which names its sizes, its files and their SHA-256. Shapes at this border are fixed, so
that every runtime builds once. Nothing here imports a network runtime.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from sgrocc_core.classes import NAMES
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.gaussians.gaussians import History, LocalGaussians
from sgrocc_core.geometry.camera import pinhole
from sgrocc_core.geometry.depth_hits import count_hits
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.share import share_roots

FORMAT_VERSION = 4
ENGINES = ("auto", "onnxruntime", "tensorrt", "torch")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("fp32", "fp16")
HASHED_AT_ONCE = 1 << 20
"""Bytes."""
IMAGE_INPUTS = ("image", "mask", "intrinsics", "gravity")
IMAGE_OUTPUTS = ("features", "depth", "spread", "thickness")
EXPERT_INPUTS = ("features", "depth", "spread", "hits", "thickness", "intrinsics", "pose", "history", "past")
EXPERT_OUTPUTS = ("means", "scales", "rotations", "opacities", "logits", "anchor_features")
"""Names in expert.onnx; a graph may not name an output as an input, so the anchors' features are `anchor_features` there."""


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


@dataclass(frozen=True)
class ImageOutputs:
    """What the image engine says of one image; numpy float32. Sizes are those of the model's `grid`.

    Attributes:
        features: (1, C, *feature_shape); of the small model (1, 32, 30, 40).
        depth: head_shape, metres along the optical axis; of the small model (60, 80). spread: the same, metres, Laplace scale of depth.
        thickness: the same, metres, how far matter goes on behind the surface. All three mean nothing in the letterbox's padding.
    """

    features: np.ndarray
    depth: np.ndarray
    spread: np.ndarray
    thickness: np.ndarray


class Engine(Protocol):
    """A model that is ready to run; not thread-safe.

    Attributes:
        spec: of the model. description: runtime, version, device and precision, for people.
    """

    spec: ModelSpec
    description: str

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """Features and depth prior of one letterboxed image.

        Args:
            image_u8: (H, W, 3) uint8 RGB of the model's image size. mask: (H, W) float32, 0 in the padding.
            K: (3, 3) intrinsics of the letterboxed image, pixels. R_gc: (3, 3) camera to gravity-aligned frame.
        """
        ...

    def expert(
        self, features: np.ndarray, depth: np.ndarray, spread: np.ndarray, thickness: np.ndarray, K: np.ndarray, T_bc: np.ndarray,
        history: History | None = None,
    ) -> LocalGaussians:
        """Gaussians of the local box.

        Args:
            features: of `image`. depth: (H, W) float32 metres, 0 = none and in the padding.
            spread: (H, W) float32 metres, how far that depth may be off. thickness: of `image`, metres.
            K: (3, 3) pixels. T_bc: (4, 4) camera to box frame, metres. history: of the box in the memory; None: there is none.
        """
        ...


def intrinsics_vector(K: np.ndarray) -> np.ndarray:
    """(1, 4) float32 fx, fy, cx, cy of a (3, 3) matrix."""
    return pinhole(K).astype(np.float32)[None]


def image_feed(image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of image.onnx, by name, from the arguments of `Engine.image`."""
    image = np.ascontiguousarray(image_u8.transpose(2, 0, 1)[None]).astype(np.float32)
    image *= np.float32(1 / 255)
    gravity = np.ascontiguousarray(R_gc, np.float32)[None]
    inside = np.ascontiguousarray(mask, np.float32)[None, None]
    return {"image": image, "mask": inside, "intrinsics": intrinsics_vector(K), "gravity": gravity}


def expert_feed(
    features: np.ndarray, depth: np.ndarray, spread: np.ndarray, thickness: np.ndarray, K: np.ndarray, T_bc: np.ndarray,
    history: History | None, channels: int,
) -> dict[str, np.ndarray]:
    """The inputs of expert.onnx, by name, from the arguments of `Engine.expert`; channels: of the anchors' features."""
    if history is None:
        history = History(np.zeros((NUM_ANCHORS, channels), np.float32), np.zeros((NUM_ANCHORS, 3), np.float32))
    return {
        "features": np.ascontiguousarray(features, np.float32),
        "depth": np.ascontiguousarray(depth, np.float32)[None, None],
        "spread": np.ascontiguousarray(spread, np.float32)[None, None],
        "hits": count_hits(depth, K, T_bc)[None],
        "thickness": np.ascontiguousarray(thickness, np.float32)[None, None],
        "intrinsics": intrinsics_vector(K),
        "pose": np.ascontiguousarray(T_bc, np.float32)[None],
        "history": np.ascontiguousarray(history.features, np.float32)[None],
        "past": np.ascontiguousarray(history.past, np.float32)[None],
    }


def image_outputs(values: list[np.ndarray]) -> ImageOutputs:
    """Outputs of image.onnx in the order of IMAGE_OUTPUTS."""
    features, depth, spread, thickness = values
    return ImageOutputs(features, depth[0, 0], spread[0, 0], thickness[0, 0])


def expert_outputs(values: list[np.ndarray]) -> LocalGaussians:
    """Outputs of expert.onnx in the order of EXPERT_OUTPUTS."""
    return LocalGaussians(*(value[0] for value in values))


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
    raise ModelError(f"no model named {str(model)!r}; known: {names} (searched {places}); or give a model folder's path")


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
        raise ModelError(f"{path} has format_version {version}; this release reads version {FORMAT_VERSION}: export the model again")
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


def open_engine(model: str | Path, engine: str = "auto", device: str = "auto", threads: int = 0, precision: str = "fp32") -> Engine:
    """Open a model.

    Args:
        model: name or folder.
        engine: one of ENGINES; `auto` takes TensorRT where it is installed and the device may be a GPU, else ONNX Runtime.
        device: one of DEVICES. threads: of the CPU, 0 = all cores. precision: one of PRECISIONS; fp16 needs TensorRT.

    Raises:
        ConfigError: a value that is not allowed. ModelError: the model, or the runtime asked for, is not there.
    """
    for key, value, allowed in (("engine", engine, ENGINES), ("device", device, DEVICES), ("precision", precision, PRECISIONS)):
        if value not in allowed:
            raise ConfigError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}")
    if threads < 0:
        raise ConfigError(f"threads is {threads}; it must be 0 (all cores) or more")
    spec = load_spec(model)
    if engine == "auto":
        engine = "tensorrt" if device != "cpu" and importlib.util.find_spec("tensorrt") is not None else "onnxruntime"
    if precision == "fp16" and engine != "tensorrt":
        raise ConfigError(f"precision fp16 needs the tensorrt engine; {engine} runs fp32")
    if engine == "tensorrt":
        from sgrocc_core.engines.tensorrt_engine import TensorRTEngine

        return TensorRTEngine(spec, device, precision)
    if engine == "torch":
        from sgrocc_core.engines.torch_engine import TorchEngine

        return TorchEngine(spec, device, threads)
    from sgrocc_core.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(spec, device, threads)
