"""Correction of an image's depth by the camera's motion, by tracks or stereo, for the mapper and the evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from sgrocc_core.depth.motion import MotionDepth
from sgrocc_core.depth.stereo import MotionStereo
from sgrocc_core.engines.engine import Engine, ImageOutputs
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.geometry.camera import LetterboxedCamera


@dataclass(frozen=True)
class SeenImage:
    """One image as the network got it.

    Attributes:
        image: (H, W, 3) uint8 RGB, letterboxed.
        camera: of the letterboxed image.
        T_wc: (4, 4) camera to world, metres.
        stamp_ns: stamp of the image, nanoseconds.
        outputs: output of the image engine for it.
    """

    image: np.ndarray
    camera: LetterboxedCamera
    T_wc: np.ndarray
    stamp_ns: int
    outputs: ImageOutputs


@dataclass
class Motion:
    """What depth from motion remembers of the images before.

    Attributes:
        tracks: triangulated points and the factor that they gave.
        stereo: keyframes.
        helped: whether earlier images told anything of the depth of the last image.
    """

    tracks: MotionDepth = field(default_factory=MotionDepth)
    stereo: MotionStereo = field(default_factory=MotionStereo)
    helped: bool = False


def available(kind: str, spec: ModelSpec) -> tuple[str, str | None]:
    """The way that is used where one of MOTION_DEPTHS is asked for, and a sentence if it is another one."""
    if kind != "stereo" or spec.has_stereo:
        return kind, None
    return "tracks", f"motion_depth is stereo, but the model {spec.name} has no network for it: tracks are used"


def depth_from_motion(
    kind: str, engine: Engine, motion: Motion, seen: SeenImage, combined: bool = True
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Depth and spread of an image with what the camera's motion tells of it.

    Args:
        kind: one of MOTION_DEPTHS that `available` gave.
        engine: runs the stereo network.
        motion: remembers the image for the next ones.
        seen: the image.
        combined: whether stereo begins with the depth that the tracks corrected; False is for comparison.

    Returns:
        depth and spread, (h, w) float32 metres, and a sentence to be told, None if there is none.
    """
    outputs, camera, said = seen.outputs, seen.camera, None
    motion.helped = False
    if kind == "tracks" or (kind == "stereo" and combined):
        depth, spread = motion.tracks.correct(
            seen.image, camera.mask, camera.K, seen.T_wc, seen.stamp_ns, outputs.depth, outputs.spread
        )
        outputs = replace(outputs, depth=depth, spread=spread)
        motion.helped = motion.tracks.points > 0
    if kind == "stereo" and outputs.matching is not None:
        given = seen.image, camera, seen.T_wc, seen.stamp_ns, outputs.matching_fine
        sources, said = motion.stereo.follow(outputs.matching, *given)
        if sources is not None:
            motion.helped = True
            return *engine.stereo(outputs, sources), said
    return outputs.depth, outputs.spread, said
