"""An engine that says the same depth of every image, and a video to show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sgrocc_core.frame import Frame
from tests.samples.engines import small_engine
from tests.samples.rooms.little_videos import K, look, pose, texture


class Constant:
    """The real engine, which says 3 m of every image; stereo says 2 m and asks for its sources to be kept."""

    def __init__(self, has_stereo: bool = True) -> None:
        self._engine = small_engine()
        files = {"image.onnx": "", **({"stereo.onnx": ""} if has_stereo else {})}
        self.spec, self.description = replace(self._engine.spec, files=files), "constant"
        self.asked: list[Any] = []

    def image(self, *inputs: Any) -> Any:
        seen = self._engine.image(*inputs)
        matching, context = np.zeros((60, 80, 16), np.float32), np.zeros((1, 48, 60, 80), np.float32)
        depth, spread = np.full((60, 80), 3.0, np.float32), np.full((60, 80), 0.5, np.float32)
        return replace(seen, depth=depth, spread=spread, matching=matching, context=context)

    def stereo(self, seen: Any, sources: Any) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(sources)
        return np.full((60, 80), 2.0, np.float32), np.full((60, 80), 0.1, np.float32)


def video(frames: int = 4, seed: int = 0, **changes: Any) -> Iterator[Frame]:
    picture = texture(seed)
    for k in range(frames):
        image, _ = look(pose(k), picture)
        values = {"T_wc": pose(k), "depth": np.full((240, 320), 2.0, np.float32)} | changes
        yield Frame(image, K, values["T_wc"], (k + 1) * 10**8, values["depth"])
