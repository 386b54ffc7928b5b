"""Converts linear light to a photograph: exposure, white balance, vignetting, blur, sensor noise and tone curve."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class CameraStyle:
    """Properties of the camera; drawn once per scene.

    Attributes:
        target: mean of the exposed image before the tone curve.
        balance: (3,) white balance gains.
        vignette: darkening towards the corners.
        noise: shot noise and read noise.
        blur: standard deviation of the blur, pixels of an image 240 pixels high.
        contrast: contrast of the tone curve.
        saturation: colour saturation.
        lift: black level.
        quality: JPEG quality.
        motion: maximum length of motion blur, pixels of an image 240 pixels high.
        sharpen: strength of the camera's sharpening.
        glare: share of the light of overexposed places that spreads around them.
    """

    target: float
    balance: np.ndarray
    vignette: float
    noise: tuple[float, float]
    blur: float
    contrast: float
    saturation: float
    lift: float
    quality: int
    motion: float
    sharpen: float
    glare: float = 0.0


def draw_real_style(rng: np.random.Generator) -> CameraStyle:
    """Draw a random camera of the second edition of the rooms: less noise, more glare, as in a phone's images."""
    style, quiet = draw_style(rng), float(rng.uniform(0.15, 0.7))
    return replace(
        style,
        noise=(style.noise[0] * quiet, style.noise[1] * quiet),
        glare=float(rng.uniform(0.05, 0.5) * (rng.random() < 0.6)),
    )


def draw_style(rng: np.random.Generator) -> CameraStyle:
    """Draw a random camera."""
    warm = rng.normal(0, 0.06)
    balance = np.array([1 + warm, 1.0 + 0.02 * rng.normal(), 1 - warm + 0.03 * rng.normal()])
    return CameraStyle(
        float(rng.uniform(0.14, 0.34)),
        balance,
        float(rng.uniform(0, 0.35) * (rng.random() < 0.7)),
        (float(rng.uniform(0.004, 0.03)), float(rng.uniform(0.002, 0.012))),
        float(rng.uniform(0.35, 0.75)),
        float(rng.uniform(0.9, 1.45)),
        float(rng.uniform(0.7, 1.3)),
        float(rng.uniform(-0.03, 0.05)),
        int(rng.integers(70, 96)),
        float(rng.uniform(0, 4) * (rng.random() < 0.5)),
        float(rng.uniform(0, 1.3) * (rng.random() < 0.7)),
    )


def take_picture(light: np.ndarray, style: CameraStyle, rng: np.random.Generator) -> np.ndarray:
    """Convert linear light (H, W, 3) float32 to an sRGB image (H, W, 3) uint8."""
    h, w = light.shape[:2]
    scale = h / 240.0
    luminance = light.mean(2)
    exposed = np.float32(
        style.target
        / (0.55 * float(np.median(luminance)) + 0.45 * float(np.minimum(luminance, 1.5).mean()) + 1e-4)
        * np.exp(rng.normal(0, 0.12))
    )
    image = light * (exposed * style.balance.astype(np.float32))
    if style.glare > 0:
        image = _with_glare(image, style.glare)
    image = cv2.GaussianBlur(np.minimum(image, 4.0), (0, 0), style.blur * scale * rng.uniform(0.9, 1.2))
    if style.motion > 0.3 and rng.random() < 0.5:
        image = _motion_blur(image, style.motion * scale * rng.random(), rng.uniform(0, np.pi))
    if style.vignette > 0:
        y, x = np.ogrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
        image *= (1 - style.vignette * 0.5 * (x * x + y * y)).astype(np.float32)[..., None]
    noise = rng.standard_normal((h, w, 3), np.float32)
    image += noise * np.sqrt(np.maximum(image, 0) * style.noise[0] ** 2 + style.noise[1] ** 2).astype(np.float32)
    image = np.maximum(image, 0)
    image = image * (1 + image / 9.0) / (1 + image * 0.75)  # shoulder: lights saturate gently
    image = np.sqrt(image) * (1 + 0.06 * (1 - np.sqrt(image)))  # close to the sRGB curve, and fast
    if style.sharpen > 0:
        image += style.sharpen * (image - cv2.GaussianBlur(image, (0, 0), 1.1 * scale))
    grey = image.mean(2, keepdims=True)
    image = grey + style.saturation * (image - grey)
    image = style.lift + (1 - style.lift) * (0.45 + style.contrast * (image - 0.45))
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def _with_glare(image: np.ndarray, share: float) -> np.ndarray:
    """Spread a share of the light above 1.2 of the exposed image (H, W, 3) over a tenth of its height."""
    h, w = image.shape[:2]
    bright = np.clip(image - 1.2, 0.0, 6.0).astype(np.float32)
    small = cv2.resize(bright, (max(w // 8, 1), max(h // 8, 1)), interpolation=cv2.INTER_AREA)
    return image + share * cv2.resize(cv2.GaussianBlur(small, (0, 0), h / 80), (w, h))


def _motion_blur(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    size = 2 * int(np.ceil(length)) + 1
    if size < 3:
        return image
    kernel = np.zeros((size, size), np.float32)
    for t in np.linspace(-length / 2, length / 2, 4 * size):
        kernel[int(round(size // 2 + t * np.sin(angle))), int(round(size // 2 + t * np.cos(angle)))] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())
