"""Augmentation of training views: symmetries of the world, other lenses, light and depth sensors.

Geometric changes affect image, depth, labels, intrinsics, pose and grid together, photometric changes only the image.
The simulated depth sensor turns exact depth into the readings of a depth camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.geometry.camera import Letterbox

BOX_EDGE = 4.8
"""Horizontal edge of the local grid, metres."""


@dataclass(frozen=True)
class View:
    """One training view before it is batched.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, 1 inside the image.
        depth: (H, W) float32 z-depth, metres, 0 = none.
        labels: (H, W) uint8, 255 = unknown.
        K: (3, 3) intrinsics, pixels.
        T_bc: (4, 4) camera to grid (origin at its lowest corner), metres.
        target: (60, 60, 36) uint8 labels of the grid, 255 = unknown, NAMELESS = occupied without a class.
        complete: whether the grid holds all that is there. That of a recording holds what the camera saw: its matter
            has no thickness, and space that was not seen is not taken for empty.
        mirrored: whether the image is the mirror image of the one that was taken.
        motion: (2, H, W) float32, depth and spread that stereo gave, metres, 0 = none; None: not known.
    """

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    K: np.ndarray
    T_bc: np.ndarray
    target: np.ndarray
    complete: bool = True
    mirrored: bool = False
    motion: np.ndarray | None = None

    def with_motion(self, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
        """Stereo's depth and spread, each changed as a depth image is."""
        return None if self.motion is None else np.stack([change(values) for values in self.motion])


def letterboxed(view: View, size: tuple[int, int]) -> View:
    """Returns the view letterboxed to a network's input.

    Args:
        view: to resize.
        size: (width, height) of the input, pixels.
    """
    height, width = view.image.shape[:2]
    box = Letterbox((width, height), size)
    inside = box.mask()
    labels = np.where(inside > 0, box.depth(view.labels.astype(np.float32)), UNKNOWN)  # nearest neighbour, like depth
    mask = box.depth(view.mask.astype(np.float32))
    return replace(
        view,
        image=box.image(view.image),
        mask=mask.astype(np.uint8),
        depth=box.depth(view.depth),
        labels=labels.astype(np.uint8),
        K=box.intrinsics(view.K),
        motion=view.with_motion(box.depth),
    )


def mirror(view: View) -> View:
    """Returns the mirrored view: image columns, principal point, pose and the grid's y axis are reversed."""
    K = view.K.copy()
    K[0, 2] = view.image.shape[1] - 1 - K[0, 2]
    flip = np.diag([1.0, -1.0, 1.0])
    T = np.eye(4)
    T[:3, :3] = flip @ view.T_bc[:3, :3] @ np.diag([-1.0, 1.0, 1.0])
    T[:3, 3] = flip @ view.T_bc[:3, 3] + [0.0, BOX_EDGE, 0.0]
    return replace(
        view,
        image=np.ascontiguousarray(view.image[:, ::-1]),
        mask=np.ascontiguousarray(view.mask[:, ::-1]),
        depth=np.ascontiguousarray(view.depth[:, ::-1]),
        labels=np.ascontiguousarray(view.labels[:, ::-1]),
        K=K,
        T_bc=T,
        target=np.ascontiguousarray(view.target[:, ::-1]),
        mirrored=not view.mirrored,
        motion=view.with_motion(lambda values: values[:, ::-1]),
    )


def quarter_turns(view: View, turns: int) -> View:
    """Returns the view in a world rotated about the grid's vertical middle line.

    Args:
        view: to rotate.
        turns: number of rotations by 90 degrees, counter-clockwise seen from above.
    """
    if turns % 4 == 0:
        return view
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns % 4]
    R = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    middle = np.array([BOX_EDGE / 2, BOX_EDGE / 2, 0.0])
    T = np.eye(4)
    T[:3, :3] = R @ view.T_bc[:3, :3]
    T[:3, 3] = R @ (view.T_bc[:3, 3] - middle) + middle
    return replace(view, T_bc=T, target=np.ascontiguousarray(np.rot90(view.target, turns, axes=(0, 1))))


def zoom(view: View, scale: float, shift: tuple[float, float], aspect: float | None = None) -> View:
    """Returns the view with a narrower field of view, as if taken with another lens.

    Args:
        view: to change; its image is scaled up and cropped.
        scale: at least 1.
        shift: position of the crop within the available room, 0..1 in x and y.
        aspect: width / height of the image area, the rest is padding; None: unchanged.
    """
    height, width = view.image.shape[:2]
    x0, y0 = shift[0] * (width - width / scale), shift[1] * (height - height / scale)
    offset = np.array([(0.5 - x0) * scale - 0.5, (0.5 - y0) * scale - 0.5])
    K = view.K.copy()
    K[0], K[1] = K[0] * scale, K[1] * scale
    K[:2, 2] += offset
    image, mask, depth, labels, motion = view.image, view.mask, view.depth, view.labels, view.motion
    if scale > 1:
        A = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        nearest = cv2.INTER_NEAREST
        edge = cv2.BORDER_REPLICATE
        image = cv2.warpAffine(image, A, (width, height), flags=cv2.INTER_LINEAR, borderMode=edge)

        def warped(values: np.ndarray) -> np.ndarray:
            return cv2.warpAffine(values, A, (width, height), flags=nearest, borderMode=edge)

        mask, depth, labels, motion = warped(mask), warped(depth), warped(labels), view.with_motion(warped)
    if aspect is not None:
        w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
        inside = np.zeros_like(mask)
        left, top = (width - w) // 2, (height - h) // 2
        inside[top : top + h, left : left + w] = 1
        mask = mask * inside
        image, depth, labels = (
            image * inside[..., None],
            depth * inside,
            np.where(inside > 0, labels, UNKNOWN).astype(np.uint8),
        )
        motion = None if motion is None else motion * inside
    return replace(view, image=image, mask=mask, depth=depth, labels=labels, K=K, motion=motion)


def geometry(view: View, rng: np.random.Generator) -> View:
    """Apply a random mirroring, rotation, field of view and letterbox."""
    if rng.random() < 0.5:
        view = mirror(view)
    view = quarter_turns(view, int(rng.integers(4)))
    scale = 1.0 if rng.random() < 0.4 else float(rng.uniform(1.0, 1.6))
    aspect = float(rng.uniform(1.34, 1.85)) if rng.random() < 0.4 else None
    if scale > 1.0 or aspect is not None:
        view = zoom(view, scale, (float(rng.random()), float(rng.random())), aspect)
    return view


def light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply random photometric changes.

    These are exposure, contrast, gamma, white balance, hue, saturation, blur, noise, JPEG compression and occluding
    patches.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: generator of the random draws.

    Returns:
        a new (H, W, 3) uint8 image.
    """
    image = colour(image, rng)
    if rng.random() < 0.25:
        sigma = float(rng.uniform(0.3, 1.4))
        if rng.random() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), sigma)
        else:
            length = int(rng.integers(2, 7))
            kernel = np.full((1, length), 1.0 / length, np.float32)
            image = cv2.filter2D(image, -1, kernel if rng.random() < 0.7 else kernel.T)
    if rng.random() < 0.4:
        height, width = image.shape[:2]
        noise = rng.integers(-128, 128, ((height + 1) // 2, width, 3), dtype=np.int8).astype(np.int16)
        amount = int(rng.integers(2, 14))
        noise = np.concatenate([noise, noise[::-1]], 0)[:height] * amount // 74
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    if rng.random() < 0.3:
        image = _cover(image, rng)
    return image


def colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Point-wise changes, composed into one look-up table a channel after a change of hue and saturation."""
    if rng.random() < 0.08:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    elif rng.random() < 0.6:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hue = (np.arange(256) + int(rng.integers(-14, 15))) % 180
        saturation = np.clip(np.arange(256) * rng.uniform(0.4, 1.6), 0, 255)
        table = np.stack([hue, saturation, np.arange(256)], 1).astype(np.uint8)
        image = cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB)
    ramp = np.arange(256, dtype=np.float64)[:, None] / 255
    gain = rng.uniform(0.6, 1.5) * rng.uniform(0.82, 1.2, 3)
    curve = np.clip(ramp * gain, 0, 1.2) ** rng.uniform(0.65, 1.5)
    curve = (curve - 0.45) * rng.uniform(0.65, 1.35) + 0.45 + rng.uniform(-0.1, 0.1)
    return cv2.LUT(image, (np.clip(curve, 0, 1) * 255).astype(np.uint8)[None])


def _cover(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = image.copy()
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        h, w = int(rng.integers(height // 16, height // 4)), int(rng.integers(width // 16, width // 4))
        y, x = int(rng.integers(height - h)), int(rng.integers(width - w))
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image


def sensor_depth(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate a depth camera: noise that grows with z², holes in blobs and at edges, a minimum and a maximum distance.

    Args:
        depth: (H, W) float32 exact z-depth, metres, 0 = none.
        rng: generator of the random draws.

    Returns:
        (H, W) float32, metres, 0 = no reading; on average about a third of the readings are missing.
    """
    height, width = depth.shape
    coarse = rng.standard_normal((height // 8, width // 8), dtype=np.float32)
    wavy = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    fine = cv2.resize(
        rng.standard_normal((height // 2, width // 2), dtype=np.float32),
        (width, height),
        interpolation=cv2.INTER_NEAREST,
    )
    noisy = depth + rng.uniform(0.0008, 0.005) * depth * depth * (0.7 * wavy + 0.5 * fine)
    missing = (depth < rng.uniform(0.15, 0.5)) | (depth > rng.uniform(3.0, 9.0))
    if rng.random() < 0.85:
        blobs = rng.standard_normal((height // 30, width // 30), dtype=np.float32)
        field = cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC) + 0.3 * wavy
        small = np.ascontiguousarray(field[::8, ::8]).ravel()
        missing |= field < np.quantile(small, rng.uniform(0.0, 0.6))
    step = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    if rng.random() < 0.75:  # other sensors resolve edges, or their drivers fill them
        edges = (step > 0.06 * depth + 0.02).astype(np.uint8)
        reach = int(rng.integers(1, 8))
        missing |= cv2.dilate(edges, np.ones((reach, reach), np.uint8)) > 0
    noisy[missing] = 0.0
    return np.maximum(noisy, 0.0).astype(np.float32)
