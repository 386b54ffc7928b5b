"""Depth of another camera than the colour camera: registered by its camera_info and the transforms, else reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sgrocc_core.checks.findings import Finding
from sgrocc_core.data.bags.topics import INFO, Selection, Topic, info_name
from sgrocc_core.depth.registration import Registration, plan_registration
from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.calibration import Calibration
from sgrocc_core.geometry.transforms import TransformLookupError, TransformTree


@dataclass
class UnregisteredDepth:
    """The depth topic of a bag whose frame is not the image's; false where there is none.

    Attributes:
        topic: the depth topic that is read; None if it is in the image's frame or absent.
        image: the colour topic.
        others: depth topics in other frames that are not read.
        info_topics: camera_info topics of the depth camera.
        calibration: from that camera_info; None until it is known.
    """

    topic: Topic | None
    image: Topic
    others: list[Topic]
    info_topics: set[str]
    calibration: Calibration | None = None
    _plans: dict[bytes, Registration | None] = field(default_factory=dict)

    @classmethod
    def of(cls, selection: Selection, topics: Sequence[Topic], registered: bool = False) -> UnregisteredDepth:
        """From the topics that are read and all topics of the bag; `registered`: the depth counts as registered."""
        depth, image = selection.depth, selection.image
        others = [t for t in topics if t.is_depth and t.count and t.frame_id != image.frame_id]
        if depth is None or registered or depth.frame_id == image.frame_id:
            return cls(None, image, others if depth is None else [], set())
        infos = {t.name for t in topics if t.kind == INFO and t.name == info_name(depth.name)}
        if not infos:
            infos = {t.name for t in topics if t.kind == INFO and t.frame_id == depth.frame_id}
        return cls(depth, image, [], infos)

    def __bool__(self) -> bool:
        return self.topic is not None

    def register(
        self, depth: np.ndarray, target: Calibration, tree: TransformTree, camera_frame: str, stamp_ns: int
    ) -> np.ndarray:
        """Depth as the colour camera would have measured it.

        Args:
            depth: (h, w) metres of the depth camera, 0 = no reading.
            target: calibration of the colour images.
            tree: all transforms.
            camera_frame: optical frame of the colour camera.
            stamp_ns: of the image, nanoseconds.

        Raises:
            FrameError: `depth_frame`: the depth camera's intrinsics or its place beside the colour camera are not
                known.
        """
        assert self.topic is not None
        if self.calibration is None:
            raise FrameError("depth_frame", self.problem("no camera_info of it"))
        try:
            T_cd = tree.lookup(camera_frame, self.topic.frame_id, stamp_ns)
        except TransformLookupError as error:
            raise FrameError("depth_frame", self.problem(str(error))) from error
        key = np.round(T_cd, 6).tobytes() + repr(target).encode()
        if key not in self._plans:
            own = self.calibration
            self._plans = {key: plan_registration(target.size, target.K, own.size, own.K, T_cd)}
        plan = self._plans[key]
        source = self.calibration.rectify(depth, nearest=True)
        if plan is None:
            return source
        if source.shape != plan.source_size[::-1]:
            size = f"{source.shape[1]} x {source.shape[0]}"
            raise FrameError("depth_frame", self.problem(f"the depth has {size} pixels, its camera_info another size"))
        return plan(np.where(np.isfinite(source), source, 0))

    def problem(self, reason: str) -> str:
        """The sentence of an error: the two frames, and why the depth cannot be registered."""
        assert self.topic is not None
        frames = (
            f"depth of {self.topic.name} is in the frame {self.topic.frame_id!r}, the images in {self.image.frame_id!r}"
        )
        return f"{frames}, and it cannot be registered: {reason}"

    def findings(self) -> list[Finding]:
        """What to know about depth in another frame."""
        if self.topic is not None:
            if self.calibration is None:
                return [
                    Finding(
                        "error",
                        "depth_frame",
                        self.problem("the bag has no camera_info of the depth camera"),
                        "Record the driver's registered (aligned) depth or the depth camera's camera_info; give "
                        "--depth-registered if it is registered all the same.",
                    )
                ]
            return [
                Finding(
                    "note",
                    "depth_registered",
                    f"depth of {self.topic.name} is in the frame {self.topic.frame_id!r}, not the images' "
                    f"{self.image.frame_id!r}; it is registered by {', '.join(sorted(self.info_topics))} and the "
                    "transforms",
                )
            ]
        if self.others:
            names = ", ".join(f"{t.name} ({t.frame_id!r})" for t in self.others)
            return [
                Finding(
                    "warning",
                    "depth_not_used",
                    f"depth in another frame than the images' ({self.image.frame_id!r}) is not used: {names}",
                    "Name it with --depth-topic to have it registered, or record registered (aligned) depth.",
                )
            ]
        return []
