"""Depth of videos as the mapper has it online, of the image alone and with the camera's motion, and its spread.

Every variant sees the same images in the same order; the image network runs once for each image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from sgrocc_core.depth.stereo import MotionStereo
from sgrocc_core.depth.sweep import CHANNELS, MAX_SOURCES
from sgrocc_core.engines.engine import Engine
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.evaluation.spread import SpreadCalibration
from sgrocc_core.frame import MOTION_DEPTHS, Frame
from sgrocc_core.geometry.camera import Letterbox, LetterboxedCamera
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.mapping.from_motion import Motion, SeenImage, available, depth_from_motion
from sgrocc_core.report import machine, versions

REGIONS = ("moving", "all")
"""Images that an exact camera would have a source for, and all images."""


@dataclass(frozen=True)
class DepthVariant:
    """One way to come to a depth.

    Attributes:
        name: of it.
        motion_depth: one of MOTION_DEPTHS.
        sources: most sources of stereo.
        every: every n-th plane is swept.
        combined: whether stereo begins with the depth that the tracks corrected, as in the mapper.
        finer: whether the model's second sweep is made, as in the mapper.
        metres: root mean square of the errors of the told positions, each image's its own.
        degrees: the same of the told attitudes.

    Raises:
        ConfigError: names the key, the value and what is allowed.
    """

    name: str
    motion_depth: str = "stereo"
    sources: int = MAX_SOURCES
    every: int = 1
    combined: bool = True
    finer: bool = True
    metres: float = 0.0
    degrees: float = 0.0

    def __post_init__(self) -> None:
        if self.motion_depth not in MOTION_DEPTHS:
            raise ConfigError(f"motion_depth is {self.motion_depth!r}; it must be one of {', '.join(MOTION_DEPTHS)}")
        for key, low, high in (("sources", 1, MAX_SOURCES), ("every", 1, 8), ("metres", 0, 1), ("degrees", 0, 10)):
            if not low <= getattr(self, key) <= high:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; it must lie between {low} and {high}")


@dataclass
class DepthCounts:
    """Errors of depth, summed over images; every image counts the same.

    Attributes:
        sums: (2,) of the images' mean |d - d*| / d* and of the share within a factor of 1.25.
        images: how many.
        calibration: of the spread; every pixel counts the same.
    """

    sums: np.ndarray = field(default_factory=lambda: np.zeros(2))
    images: int = 0
    calibration: SpreadCalibration = field(default_factory=SpreadCalibration)

    def add(self, depth: np.ndarray, spread: np.ndarray, truth: np.ndarray) -> None:
        """Count an image; (h, w) metres, truth 0 = unknown."""
        known = truth > 0
        if not known.any():
            return
        ratio = depth[known] / truth[known]
        self.sums += np.abs(ratio - 1).mean(), (np.maximum(ratio, 1 / ratio) < 1.25).mean()
        self.images += 1
        self.calibration.add(depth, spread, truth)

    def figures(self) -> dict[str, Any]:
        """`abs_rel`, `delta1`, `calibration` and `images`; None where there are no images."""
        mean = [round(float(value), 5) for value in self.sums / self.images] if self.images else [None, None]
        return {"abs_rel": mean[0], "delta1": mean[1], "calibration": self.calibration.figures(), "images": self.images}


class _Run:
    """One variant over one video."""

    def __init__(self, variant: DepthVariant, kind: str, rng: np.random.Generator) -> None:
        self.variant, self.kind, self.rng = variant, kind, rng
        self.motion = Motion(stereo=MotionStereo(variant.sources, variant.every, variant.finer))

    def depth(self, engine: Engine, seen: SeenImage) -> tuple[np.ndarray, np.ndarray]:
        """Depth and spread of the next image, from its pose with this variant's error."""
        told = _disturbed(seen.T_wc, self.variant, self.rng)
        disturbed = replace(seen, T_wc=told)
        depth, spread, _ = depth_from_motion(self.kind, engine, self.motion, disturbed, self.variant.combined)
        return depth, spread


def _disturbed(T_wc: np.ndarray, variant: DepthVariant, rng: np.random.Generator) -> np.ndarray:
    offset, turn = (rng.normal(0, 1 / np.sqrt(3), 3) for _ in range(2))
    T = T_wc.copy()
    T[:3, :3] = T[:3, :3] @ cv2.Rodrigues(np.radians(variant.degrees) * turn)[0]
    T[:3, 3] += variant.metres * offset
    return T


class DepthEvaluation:
    """Counts of several variants over the frames of videos.

    Args:
        engine: the model.
        variants: what is compared; those that the model has no network for are left out.
        seed: of pose errors.
    """

    def __init__(self, engine: Engine, variants: Iterable[DepthVariant], seed: int = 0) -> None:
        self.engine, self.seed, self.videos = engine, seed, 0
        self.variants = [v for v in variants if available(v.motion_depth, engine.spec)[1] is None]
        self.counts = {v.name: {region: DepthCounts() for region in REGIONS} for v in self.variants}

    def add(self, frames: Iterable[Frame]) -> None:
        """Run and count one video: frames of one camera in order, with depth to compare with."""
        runs = [
            _Run(v, v.motion_depth, np.random.default_rng((self.seed, self.videos, i)))
            for i, v in enumerate(self.variants)
        ]
        witness = MotionStereo()  # with the exact poses: which frames have a source at all
        for frame in frames:
            seen = self._seen(frame)
            features = np.zeros((*seen.outputs.depth.shape, CHANNELS), np.float32)
            sources, _ = witness.follow(features, seen.image, seen.camera, seen.T_wc, seen.stamp_ns)
            truth = self._truth(frame, seen)
            for run in runs:
                depth, spread = run.depth(self.engine, seen)
                counts = self.counts[run.variant.name]
                counts["all"].add(depth, spread, truth)
                if sources is not None:
                    counts["moving"].add(depth, spread, truth)
        self.videos += 1

    def _seen(self, frame: Frame) -> SeenImage:
        size = frame.image.shape[1], frame.image.shape[0]
        camera = LetterboxedCamera.of(frame.K, size, self.engine.spec.image_size)
        image = camera.letterbox.image(frame.image)
        outputs = self.engine.image(image, camera.mask, camera.K, gravity_aligned_rotation(frame.T_wc[:3, :3]))
        return SeenImage(image, camera, frame.T_wc, frame.stamp_ns, outputs)

    @staticmethod
    def _truth(frame: Frame, seen: SeenImage) -> np.ndarray:
        """Depth of the middle of every pixel of the head, 0 = unknown and in the padding."""
        height, width = seen.outputs.depth.shape
        if frame.depth is None:
            return np.zeros((height, width), np.float32)
        size = frame.depth.shape[1], frame.depth.shape[0]
        exact = Letterbox(size, seen.camera.letterbox.target).depth(frame.depth)
        stride = exact.shape[0] // height
        return exact[stride // 2 :: stride, stride // 2 :: stride][:height, :width]

    def report(self) -> dict[str, Any]:
        """Figures by variant and region."""
        return {name: {region: c.figures() for region, c in counts.items()} for name, counts in self.counts.items()}


def evaluate_depth(
    engine: Engine, videos: Iterable[Iterable[Frame]], variants: Iterable[DepthVariant], seed: int = 0
) -> dict[str, Any]:
    """Evaluate the depth of videos; arguments as of `DepthEvaluation`.

    Returns:
        `variants`, the figures by name and region; the model, versions and the machine.

    Raises:
        DataError: no image has depth to compare with.
    """
    evaluation = DepthEvaluation(engine, variants, seed)
    for frames in videos:
        evaluation.add(frames)
    found = evaluation.report()
    if not any(figures["all"]["images"] for figures in found.values()):
        raise DataError("no image has depth to compare with: evaluate videos that have a depth image for every frame")
    return {
        "variants": found,
        "videos": evaluation.videos,
        "seed": seed,
        "model": {"name": engine.spec.name, "engine": engine.description},
        "versions": versions(),
        "machine": machine(),
    }


def table(report: dict[str, Any]) -> str:
    """The report as text: each variant over the images that have a source, and over all."""
    first = next(iter(report["variants"].values()))
    lines = [
        f"{report['videos']} videos, {first['all']['images']} images, {first['moving']['images']} with a source",
        f"{'':24}{'images with a source':^42}{'all images':^42}",
        f"{'':24}" + 2 * f"{'AbsRel':>8}{'<1.25':>8}{'p50':>8}{'p68':>8}{'p90':>8}  ",
    ]
    for name, regions in report["variants"].items():
        cells = []
        for region in REGIONS:
            figures = regions[region]
            calibration = figures["calibration"]
            cells += [figures["abs_rel"], figures["delta1"], *(calibration[key] for key in ("p50", "p68", "p90")), "  "]
        text = (cell if isinstance(cell, str) else "-" if cell is None else f"{cell:.3f}" for cell in cells)
        lines.append(f"{name:24}" + "".join(f"{cell:>8}" if cell != "  " else cell for cell in text))
    return "\n".join(lines)
