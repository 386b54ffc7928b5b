"""Conversion of the mapper's arrays to Rerun archetypes: boxes, ellipsoids, a pinhole camera, pictures."""

from __future__ import annotations

import cv2
import numpy as np
import rerun as rr

from sgrocc_core.gaussians.last_view import GaussiansInView

JPEG_QUALITY = 85
DEEPEST = 65.535
"""Largest depth, metres: depth is logged as millimetres in 16 bits, and larger values are clipped."""


def boxes(voxels: np.ndarray, label: int, voxel_size: float, origin: np.ndarray) -> rr.Boxes3D:
    """Voxels of one class as solid boxes.

    Args:
        voxels: (N, 3) int indices.
        label: Their class.
        voxel_size: Edge length of a voxel, metres.
        origin: (3,) origin of the lattice, metres.
    """
    centres = ((voxels + 0.5) * voxel_size + origin).astype(np.float32)
    half = np.full((len(voxels), 3), voxel_size / 2, np.float32)
    return rr.Boxes3D(
        centers=centres,
        half_sizes=half,
        class_ids=np.full(len(voxels), label, np.uint16),
        fill_mode="solid",
        show_labels=False,
    )


def ellipsoids(gaussians: GaussiansInView) -> rr.Ellipsoids3D:
    """Gaussians as solid ellipsoids of one standard deviation, in the colours of their most likely classes."""
    return rr.Ellipsoids3D(
        centers=gaussians.means, half_sizes=gaussians.scales,
        quaternions=np.roll(gaussians.rotations, -1, axis=1),  # from (w, x, y, z) to (x, y, z, w)
        class_ids=gaussians.labels.astype(np.uint16), fill_mode="solid", show_labels=False,
    )  # fmt: skip


def pose(T_wc: np.ndarray) -> rr.Transform3D:
    """The pose (4, 4) of a camera in the map, metres."""
    return rr.Transform3D(translation=T_wc[:3, 3], mat3x3=T_wc[:3, :3])


def pinhole(K: np.ndarray, size: tuple[int, int]) -> rr.Pinhole:
    """A pinhole camera in the optical frame: x right, y down, z forward.

    Args:
        K: (3, 3) intrinsics, pixels; (0, 0) is the centre of the first pixel, while Rerun's (0, 0) is its corner.
        size: (width, height) of the image, pixels.
    """
    return rr.Pinhole(
        focal_length=(K[0, 0], K[1, 1]), principal_point=(K[0, 2] + 0.5, K[1, 2] + 0.5),
        width=size[0], height=size[1], camera_xyz=rr.ViewCoordinates.RDF, image_plane_distance=0.4,
    )  # fmt: skip


def picture(image: np.ndarray) -> rr.EncodedImage:
    """An image (H, W, 3) uint8 RGB as JPEG."""
    _, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return rr.EncodedImage(contents=coded.tobytes(), media_type="image/jpeg")


def depth_picture(depth: np.ndarray, farthest: float) -> rr.EncodedDepthImage:
    """A depth image as PNG in millimetres.

    Args:
        depth: (H, W) float32 metres, 0 = none.
        farthest: Depth at the end of the colour scale, metres.
    """
    millimetres = np.rint(np.clip(depth, 0.0, DEEPEST) * 1000.0).astype(np.uint16)
    _, coded = cv2.imencode(".png", millimetres)
    return rr.EncodedDepthImage(
        coded.tobytes(),
        media_type="image/png",
        meter=1000.0,
        colormap=rr.components.Colormap.Turbo,
        depth_range=(0.0, 1000.0 * farthest),
    )
