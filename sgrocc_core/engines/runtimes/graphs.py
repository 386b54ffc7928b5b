"""What the runtimes share: an engine from the three networks of a model, each run by the name of its graph."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from sgrocc_core.depth.stereo import Sources
from sgrocc_core.engines.engine import (
    CASCADE_OUTPUTS,
    EXPERT_OUTPUTS,
    STEREO_OUTPUTS,
    ImageOutputs,
    cascade_feed,
    expert_feed,
    expert_outputs,
    image_feed,
    image_names,
    image_outputs,
    stereo_feed,
    stereo_outputs,
)
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.gaussians.gaussians import History, LocalGaussians


class GraphEngine(ABC):
    """An engine whose networks are graphs; a runtime says how one of them is run. See `engine.Engine`."""

    spec: ModelSpec
    description: str

    @abstractmethod
    def _run(self, graph: str, outputs: tuple[str, ...], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run a graph, e.g. `image.onnx`; new arrays in the order of the outputs' names."""

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """See `engine.Engine.image`."""
        return image_outputs(self._run("image.onnx", image_names(self.spec), image_feed(image_u8, mask, K, R_gc)))

    def expert(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
        history: History | None = None,
        wanted: np.ndarray | None = None,
    ) -> LocalGaussians:
        """See `engine.Engine.expert`."""
        feed = expert_feed(features, depth, spread, thickness, K, T_bc, history, self.spec.feature_channels)
        return expert_outputs(self._run_expert(feed, wanted))

    def _run_expert(self, feed: dict[str, np.ndarray], wanted: np.ndarray | None) -> list[np.ndarray]:
        """Outputs of expert.onnx, at least of the wanted cells; a graph computes all."""
        return self._run("expert.onnx", EXPERT_OUTPUTS, feed)

    def stereo(self, seen: ImageOutputs, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
        """See `engine.Engine.stereo`; the sweeps run on the CPU."""
        feed = stereo_feed(seen, sources, self.spec.planes)
        found = stereo_outputs(self._run("stereo.onnx", STEREO_OUTPUTS, feed))
        if not self.spec.has_cascade or sources.fine is None:
            return found
        feed = cascade_feed(seen, sources, *found, self.spec.hypotheses)
        return stereo_outputs(self._run("cascade.onnx", CASCADE_OUTPUTS, feed))
