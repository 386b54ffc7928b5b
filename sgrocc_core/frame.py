"""One camera frame: image, intrinsics, pose, stamp and optional depth. Its values are checked here, once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.errors import FrameError

DEPTH_SOURCES = ("mono", "topic", "fused")
"""Where a frame's depth comes from: the network alone, the depth sensor alone, or both."""
INPUT_DEPTH_SOURCES = (*DEPTH_SOURCES, "cloud")
"""What depth of an input is read: none, a depth sensor's, alone or filled, or the points of another sensor, filled."""
MOTION_DEPTHS = ("none", "tracks", "stereo")
"""What the camera's motion tells of depth: nothing, triangulated points, or earlier images compared with each."""


def depth_source_of_input(source: str) -> str:
    """How the mapper uses the depth of an input, one of DEPTH_SOURCES: projected points as those of a depth sensor."""
    return "fused" if source == "cloud" else source


SHORTEST = 0.15
"""Shortest focal length that is accepted, as a share of the image's side: a field of view of 147 degrees. The work of a
frame grows with the area that the image spans, and a pinhole image of more spans a hall from a metre away."""


@dataclass(frozen=True)
class Frame:
    """A checked input frame of the mapper.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        K: (3, 3) float64, pinhole intrinsics of the image, pixels.
        T_wc: (4, 4) float64, transform from the camera's optical frame to the map frame, metres.
        stamp_ns: Stamp of the image, nanoseconds.
        depth: (H, W) float32, metres along the optical axis, registered to the image, 0 = no reading; or None.
        camera: Name of the camera where several map into one map; depth from motion compares images of one camera only.

    Raises:
        FrameError: A value is not allowed; names the cause, the value and the allowed values.
    """

    image: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray
    stamp_ns: int
    depth: np.ndarray | None = None
    camera: str = ""

    def __post_init__(self) -> None:
        image = np.asarray(self.image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 8:
            raise FrameError(
                "bad_image",
                f"image is {image.shape} {image.dtype}; it must be (H, W, 3) uint8 of at least 8 x 8 pixels",
            )
        object.__setattr__(self, "image", np.ascontiguousarray(image))
        object.__setattr__(self, "K", checked_intrinsics(self.K, image.shape[1], image.shape[0]))
        object.__setattr__(self, "T_wc", checked_pose(self.T_wc))
        if self.depth is not None:
            object.__setattr__(self, "depth", _checked_depth(self.depth, image.shape[:2]))


def checked_intrinsics(K: np.ndarray, width: int, height: int) -> np.ndarray:
    """Check that intrinsics fit an image.

    Args:
        K: (3, 3) pinhole intrinsics, pixels.
        width: Width of the image, pixels.
        height: Height of the image, pixels.

    Returns:
        (3, 3) float64 copy.

    Raises:
        FrameError: `bad_intrinsics`.
    """
    K = np.array(K, np.float64)
    if K.shape != (3, 3) or not np.isfinite(K).all():
        raise FrameError("bad_intrinsics", f"K is {K.tolist()}; it must be 3 x 3 finite numbers")
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    if not (SHORTEST * width < fx < 50 * width and SHORTEST * height < fy < 50 * height):
        lengths = f"focal lengths fx={fx:g}, fy={fy:g} do not fit an image of {width} x {height} pixels"
        allowed = f"they must be {SHORTEST:g} to 50 times its sides (is the camera calibrated?)"
        raise FrameError("bad_intrinsics", f"{lengths}; {allowed}")
    if not (-width < cx < 2 * width and -height < cy < 2 * height):
        raise FrameError(
            "bad_intrinsics", f"principal point ({cx:g}, {cy:g}) is far outside an image of {width} x {height} pixels"
        )
    return K


def checked_pose(T_wc: np.ndarray) -> np.ndarray:
    """Check a pose and make its rotation exactly orthonormal.

    Args:
        T_wc: (4, 4) rigid transform, metres.

    Returns:
        (4, 4) float64 copy.

    Raises:
        FrameError: `bad_pose`.
    """
    T = np.array(T_wc, np.float64)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise FrameError("bad_pose", f"pose is {T.tolist()}; it must be a 4 x 4 matrix of finite numbers")
    R = T[:3, :3]
    if np.abs(R @ R.T - np.eye(3)).max() > 0.02 or np.linalg.det(R) < 0:
        raise FrameError("bad_pose", f"pose has the rotation {np.round(R, 4).tolist()}, which is not orthonormal")
    if np.abs(T[:3, 3]).max() > 1e5:
        raise FrameError(
            "bad_pose",
            f"pose has the translation {T[:3, 3].tolist()} m; at most 100 km from the map's origin is allowed",
        )
    U, _, Vt = np.linalg.svd(R)
    T[:3, :3], T[3] = U @ Vt, (0, 0, 0, 1)
    return T


def _checked_depth(depth: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    depth = np.asarray(depth)
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise FrameError("bad_depth", f"depth is {depth.shape} {depth.dtype}; it must be (H, W) float, metres")
    if depth.shape[0] * shape[1] != depth.shape[1] * shape[0]:
        sizes = f"depth of {depth.shape[1]} x {depth.shape[0]}"
        image = f"an image of {shape[1]} x {shape[0]} pixels"
        raise FrameError("bad_depth", f"{sizes} is not registered to {image}: the aspect differs")
    metres = depth.astype(np.float32)
    metres[~np.isfinite(metres) | (metres < 0) | (metres > 100)] = 0.0
    if not metres.any():
        far = depth[np.isfinite(depth) & (depth > 100)]
        told = "all are 0, NaN, infinite, negative or beyond 100 m"
        if len(far):
            told = f"all are beyond 100 m or none; their median is {np.median(far):.2g} m: millimetres?"
        raise FrameError("depth_without_readings", f"depth has no valid reading: {told}")
    return metres
