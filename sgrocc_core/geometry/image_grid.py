"""Sizes of an image engine: its input, its feature map and its depth map."""

from __future__ import annotations

from dataclasses import dataclass

from sgrocc_core.errors import ConfigError


@dataclass(frozen=True)
class ImageGrid:
    """Sizes of an image engine.

    Attributes:
        image_size: (width, height) of the input, pixels.
        feature_stride: input pixels per feature-map pixel, along each axis.
        head_stride: input pixels per pixel of depth, spread and thickness, along each axis.

    Raises:
        ConfigError: a size is not positive, or a stride does not divide the input size.
    """

    image_size: tuple[int, int]
    feature_stride: int
    head_stride: int

    def __post_init__(self) -> None:
        width, height = self.image_size
        if min(width, height) < 1:
            raise ConfigError(f"image_size is {width} x {height}; both must be positive")
        for key in ("feature_stride", "head_stride"):
            stride = getattr(self, key)
            if stride < 1 or width % stride or height % stride:
                raise ConfigError(f"{key} is {stride}; it must divide the image's width {width} and height {height}")

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of the input, pixels."""
        return self.image_size[1], self.image_size[0]

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(height, width) of the feature map."""
        return self.image_size[1] // self.feature_stride, self.image_size[0] // self.feature_stride

    @property
    def head_shape(self) -> tuple[int, int]:
        """(height, width) of depth, spread and thickness."""
        return self.image_size[1] // self.head_stride, self.image_size[0] // self.head_stride
