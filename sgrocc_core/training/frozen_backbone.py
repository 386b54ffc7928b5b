"""A frozen backbone run by ONNX Runtime during training: on CPUs it takes a third of PyTorch's time."""

from __future__ import annotations

import io
import itertools
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sgrocc_core.network.image.efficientnet_engine import EfficientNetEngine

if TYPE_CHECKING:
    import onnxruntime


class _Tuple(nn.Module):
    """A backbone that returns its maps as a tuple, as PyTorch's ONNX export requires."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(x))


class FrozenBackbone:
    """Runs a frozen backbone in ONNX Runtime; the session is rebuilt after weights have been loaded.

    Args:
        backbone: (B, 3, H, W) to a list of maps.
        threads: of ONNX Runtime.
    """

    def __init__(self, backbone: nn.Module, threads: int) -> None:
        self.backbone, self.threads = backbone, threads
        self._session: onnxruntime.InferenceSession | None = None
        self._made_of = -1

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Returns the maps of (B, 3, H, W), on the CPU and without gradients."""
        version = sum(
            tensor._version for tensor in itertools.chain(self.backbone.parameters(), self.backbone.buffers())
        )
        if self._session is None or version != self._made_of:
            self._session, self._made_of = self._made(x), version
        return [
            torch.from_numpy(found) for found in self._session.run(None, {"x": x.detach().float().contiguous().numpy()})
        ]

    def _made(self, x: Tensor) -> onnxruntime.InferenceSession:
        import onnxruntime  # neither this nor the ONNX packages are needed on GPUs

        from sgrocc_core.engines.graph import OPSET

        graph: Any = io.BytesIO()  # accepted by PyTorch, against its type annotation
        # Without autocast, or the traced graph would have layers in bfloat16, which ONNX Runtime has not on CPUs.
        with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
            warnings.simplefilter("ignore")  # the tracer warns about each constant
            torch.onnx.export(
                _Tuple(self.backbone).eval(),
                (x[:1].float().contiguous(),),
                graph,
                opset_version=OPSET,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "views"}},
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # Spinning threads would take cores from PyTorch between two runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])


def run_frozen_apart(engine: nn.Module, device: torch.device, threads: int) -> None:
    """Run an image engine's frozen backbone in ONNX Runtime on CPUs; does nothing for other engines and on GPUs.

    Args:
        engine: image engine.
        device: of the training process.
        threads: of ONNX Runtime.
    """
    if isinstance(engine, EfficientNetEngine) and engine.tune == 0 and device.type == "cpu":
        engine.runner = FrozenBackbone(engine.backbone, threads)
