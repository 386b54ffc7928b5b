"""The check of a whole input: bags, folders of images and the node feed it the same way, and get the same findings.

It looks at a bounded number of frames, spread over a recording or the first ones of a live stream, and keeps only
reduced copies.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.checks.camera import check_info_sizes, check_intrinsics
from sgrocc_core.checks.depth import DepthStatistics, EdgeAlignment
from sgrocc_core.checks.findings import Finding, Findings
from sgrocc_core.checks.posture import Posture
from sgrocc_core.checks.stamps import check_stamps
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import scale_intrinsics

MOST_FRAMES = 40
"""Frames whose images and depth are looked at."""
KEEP_EVERY = 5
"""Every how many of them one is kept whole for the picture."""
MOST_STAMPS = 100_000
"""Stamps that are kept."""


class StreamCheck:
    """Collects what an input says about itself and judges whether it agrees.

    Args:
        map_frame, camera_frame: names for the messages.
        axes: axes of the camera in the input's own poses, a key of `posture.AXES`; the frames' poses are converted.

    Attributes:
        frames: frames looked at so far.
        kept: some of these frames, for the picture.
        posture: the axes of the camera and the up direction of the world, as far as seen.
    """

    def __init__(self, map_frame: str = "map", camera_frame: str = "the camera's frame", axes: str = "opencv") -> None:
        self.map_frame, self.camera_frame = map_frame, camera_frame
        self.frames = 0
        self.posture = Posture(declared=axes)
        self.kept: list[Frame] = []
        self._stamps: list[int] = []
        self._pose_stamps: list[int] = []
        self._intrinsics: dict[tuple[int, int], np.ndarray] = {}
        self._info_sizes: set[tuple[int, int]] = set()
        self._image_size: tuple[int, int] | None = None
        self._unit = DepthStatistics()
        self._edges = EdgeAlignment()
        self._others = Findings()

    @property
    def full(self) -> bool:
        """Whether enough frames have been looked at; stamps and findings may still be added."""
        return self.frames >= MOST_FRAMES

    def add_stamp(self, stamp_ns: int) -> None:
        """Add the stamp of an image, nanoseconds, in the order of arrival."""
        if len(self._stamps) < MOST_STAMPS:
            self._stamps.append(int(stamp_ns))

    def add_pose_stamps(self, oldest_ns: int, newest_ns: int) -> None:
        """Add the time that the poses cover, nanoseconds."""
        self._pose_stamps += [int(oldest_ns), int(newest_ns)]

    def add_calibration(self, K: np.ndarray, size: tuple[int, int]) -> None:
        """Add intrinsics (3, 3), pixels, for images of (width, height) pixels; the last of each size counts."""
        self._info_sizes.add(size)
        self._intrinsics[size] = np.array(K, np.float64)

    def add_image_size(self, size: tuple[int, int]) -> None:
        """Add the (width, height) of the images, pixels."""
        self._image_size = size

    def add_depth(self, depth: np.ndarray) -> None:
        """Add a decoded depth image, (H, W) metres, before readings are filtered out."""
        self._unit.add(depth)

    def add_frame(self, frame: Frame) -> None:
        """Look at a frame; after MOST_FRAMES nothing more is looked at."""
        if self.full:
            return
        self.frames += 1
        if self.frames % KEEP_EVERY == 1:
            self.kept.append(frame)
        height, width = frame.image.shape[:2]
        self._image_size = (width, height)
        self._intrinsics[width, height] = frame.K
        depth, K = frame.depth, frame.K
        if depth is not None:
            self._edges.add(frame.image, depth)
            K = scale_intrinsics(K, depth.shape[1] / width, depth.shape[0] / height)
        self.posture.add(K, frame.T_wc, depth)

    def add_finding(self, finding: Finding) -> None:
        """Add what was found elsewhere, such as in the transforms."""
        self._others.add(finding)

    def table(self) -> list[tuple[str, str]]:
        """What was looked at: pairs of a label and a value in words."""
        rows = [("frames", f"{self.frames} looked at, {len(self._stamps)} stamps")]
        if self._image_size is not None:
            width, height = self._image_size
            rows.append(("image", f"{width} x {height} pixels"))
            if (K := self._intrinsics.get(self._image_size)) is not None:
                views = [2 * np.degrees(np.arctan(n / (2 * f))) for n, f in ((width, K[0, 0]), (height, K[1, 1]))]
                rows.append(
                    (
                        "intrinsics",
                        f"fx {K[0, 0]:g}, fy {K[1, 1]:g}, cx {K[0, 2]:g}, cy {K[1, 2]:g}: "
                        f"{views[0]:.0f} x {views[1]:.0f} degrees",
                    )
                )
        median = self._unit.median
        rows.append(("depth", f"median {median:.2f} m" if np.isfinite(median) else "none"))
        best = self._edges.best()
        if best is not None:
            rows.append(("depth on image", f"shift {best[1]:+.1%}, {best[2]:+.1%} of the width, scale {best[0]:g}"))
        agreement = self.posture.agreement()
        if agreement is not None:
            rows.append(
                (
                    "camera axes",
                    ", ".join(f"{name} {share:.0%}" for name, share in agreement.items()) + " of depth agrees",
                )
            )
        up = self.posture.up()
        if up is not None:
            tilt = np.degrees(np.arccos(np.clip(up[0][2], -1, 1)))
            rows.append(("up direction", f"{tilt:.1f} degrees from z, by the {up[1]}"))
        if len(self._stamps) > 1:
            seconds = (max(self._stamps) - min(self._stamps)) / 1e9
            rows.append(("time", f"{seconds:.1f} s"))
        return rows

    def findings(self) -> Findings:
        """All findings so far."""
        found = Findings(self._others)
        size = self._image_size
        if size is not None and self._info_sizes:
            found.extend(check_info_sizes(size, self._info_sizes))
        if size is not None and size in self._intrinsics:
            found.extend(check_intrinsics(self._intrinsics[size], size))
        elif size is None and len(self._intrinsics) == 1:
            (described, K), *_ = self._intrinsics.items()
            found.extend(check_intrinsics(K, described))
        found.extend(check_stamps(self._stamps, self._pose_stamps))
        found.extend(self._unit.findings())
        found.extend(self._edges.findings())
        found.extend(self.posture.findings(self.map_frame, self.camera_frame))
        return found
