"""Configuration of the joint framework, read from config/generation/NAME.yaml and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sgrocc_core.engines.open import DEVICES
from sgrocc_core.errors import ConfigError
from sgrocc_core.training.config import StageConfig, made, mapping
from sgrocc_core.yaml_file import read_mapping

STAGES = ("autoencoder", "alignment", "joint")
"""The image autoencoder alone; then U-Net and alignment, conditioned on the true occupancy, beside the frozen expert;
then these and the expert together, conditioned on the expert's own reading of the image."""
TEXTS = ("sentence", "words", "clip")
SIZES = ("size", "autoencoder_channels", "unet_channels")


@dataclass(frozen=True)
class GenerationConfig:
    """Sizes of the networks and settings of a run.

    Attributes:
        model: spatial expert that perceives: networks of config/models/MODEL.yaml, weights of models/MODEL.
        size: (width, height) of the images, pixels.
        views: of one scene that are generated together in training; they share the occupancy.
        text: `sentence` (frozen sentence encoder), `words` (embeddings of words, trained here) or `clip` (the frozen
            encoder of the pretrained model).
        text_width: channels of the text's tokens.
        tokens: maximum number of tokens of a text.
        patch: pixels per side that the autoencoder folds into channels before its first layer.
        autoencoder_channels: of the levels of the autoencoder; each but the last halves the resolution.
        latents: channels of its code.
        unet_channels: of the levels of the U-Net; each but the last halves the resolution.
        unet_layers: residual blocks per level.
        heads: attention heads of each level of the U-Net.
        groups: of the group normalisations.
        deepest_attends: whether the deepest level has attention; it has none in Stable Diffusion.
        pretrained: name on the Hugging Face hub of a model whose autoencoder, U-Net and text encoder are taken from the
            user's cache; empty: all are trained here.
        train_unet: train the U-Net as well as the alignment.
        aligned: condition on the occupancy.
        alignment_channels: of the resampled occupancy.
        alignment_width: of the tokens of the bidirectional scan.
        depths: planes of the camera's volume.
        taps: of the deformable 3D convolution.
        perception: weight of the perception losses in stage `joint`; 0 keeps the expert frozen.
        no_text: share of training samples without text, for guidance.
        no_occupancy: share of training samples without occupancy; sampling starts without.
        guidance: scale of classifier-free guidance in sampling; 1: none.
        steps: denoising steps in sampling.
        seed: of all random draws.
        device: `cpu`, `cuda` or `auto`.
        amp: mixed precision on GPUs.
        threads: CPU threads of PyTorch.
        workers: processes that load data.
        average: decay of the moving average of the weights.
        checkpoint_minutes: time between checkpoints.
        validate_minutes: time between validations.
        stages: settings of each stage; `batch` counts scenes.

    Raises:
        ConfigError: a value is not allowed.
    """

    model: str = "small"
    size: tuple[int, ...] = (128, 96)
    views: int = 2
    text: str = "sentence"
    text_width: int = 128
    tokens: int = 12
    patch: int = 4
    autoencoder_channels: tuple[int, ...] = (32, 64)
    latents: int = 8
    unet_channels: tuple[int, ...] = (64, 96, 128)
    unet_layers: int = 1
    heads: int = 4
    groups: int = 16
    deepest_attends: bool = True
    pretrained: str = ""
    train_unet: bool = True
    aligned: bool = True
    alignment_channels: int = 16
    alignment_width: int = 96
    depths: int = 24
    taps: int = 4
    perception: float = 0.1
    no_text: float = 0.1
    no_occupancy: float = 0.2
    guidance: float = 2.0
    steps: int = 30
    seed: int = 1
    device: str = "auto"
    amp: bool = True
    threads: int = 1
    workers: int = 0
    average: float = 0.998
    checkpoint_minutes: float = 3.0
    validate_minutes: float = 10.0
    stages: dict[str, StageConfig] = field(default_factory=lambda: {name: StageConfig() for name in STAGES})

    def __post_init__(self) -> None:
        for name, allowed in (("text", TEXTS), ("device", DEVICES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        for name in SIZES:
            value = getattr(self, name)
            if not value or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in value):
                raise ConfigError(f"{name} is {list(value)}; it must be a list of whole numbers of 1 or more")
        for name, low, high in (
            ("views", 1, 16), ("text_width", 8, 4096), ("tokens", 2, 77), ("patch", 1, 16), ("latents", 1, 64),
            ("unet_layers", 1, 4), ("heads", 1, 256), ("groups", 1, 64), ("alignment_channels", 4, 256),
            ("alignment_width", 8, 2048), ("depths", 2, 128), ("taps", 1, 27), ("perception", 0, 100),
            ("no_text", 0, 1), ("no_occupancy", 0, 1), ("guidance", 0, 30), ("steps", 1, 1000), ("seed", 0, 2**31),
            ("threads", 1, 512),
            ("workers", 0, 64),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be from {low} to {high}")
        if not 0 <= self.average < 1:
            raise ConfigError(f"average is {self.average}; it must be from 0 to below 1")
        if min(self.checkpoint_minutes, self.validate_minutes) <= 0:
            raise ConfigError("checkpoint_minutes and validate_minutes must be positive")
        if self.alignment_width % 4:
            raise ConfigError(f"alignment_width is {self.alignment_width}; it must be a multiple of 4")
        multiple = self.stride * self.unet_stride
        if len(self.size) != 2 or any(edge % multiple or edge < multiple for edge in self.size):
            raise ConfigError(
                f"size is {list(self.size)}; width and height must be multiples of {multiple}: the autoencoder has "
                f"stride {self.stride} and the U-Net {self.unet_stride}"
            )
        wrong = [width for width in (*self.autoencoder_channels, *self.unet_channels) if width % self.groups]
        if wrong:
            raise ConfigError(f"{wrong[0]} channels cannot be divided into groups: {self.groups}")

    @property
    def stride(self) -> int:
        """Pixels per latent pixel."""
        return int(self.patch * 2 ** (len(self.autoencoder_channels) - 1))

    @property
    def unet_stride(self) -> int:
        """Latent pixels per pixel of the U-Net's deepest level, at least 2, the side of an alignment patch."""
        return int(max(2, 2 ** (len(self.unet_channels) - 1)))

    @property
    def latent_size(self) -> tuple[int, int]:
        """(height, width) of the latents."""
        return self.size[1] // self.stride, self.size[0] // self.stride


def load_generation(path: Path) -> GenerationConfig:
    """Read a configuration of the joint framework.

    Args:
        path: YAML file with keys of `GenerationConfig`; `stages` is a mapping of stage to settings.

    Raises:
        ConfigError: the file does not exist or is not YAML, or a key or value is not allowed.
    """
    values, where = read_mapping(path, "configuration of generation"), str(path)
    stages = {name: StageConfig() for name in STAGES}
    for name, stage in mapping(values.pop("stages", {}), where, "stages").items():
        if name not in STAGES:
            raise ConfigError(f"{where}: unknown stage {name!r} in stages; the stages are {', '.join(STAGES)}")
        stages[name] = made(StageConfig, mapping(stage, where, f"stages.{name}"), f"{where}: stages.{name}")
    for name in SIZES:
        if name in values:
            if not isinstance(values[name], list):
                raise ConfigError(f"{where}: {name} is {values[name]!r}; it must be a list of whole numbers")
            values[name] = tuple(values[name])
    found: GenerationConfig = made(GenerationConfig, {**values, "stages": stages}, where)
    return found
