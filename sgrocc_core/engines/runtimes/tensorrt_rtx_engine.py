"""Engine for NVIDIA's RTX GPUs: TensorRT for RTX as a plugin of ONNX Runtime, both from PyPI.

The plugin (`onnxruntime-ep-nv-tensorrt-rtx-cu13`) brings TensorRT for RTX along, so that NVIDIA's own registry is not
needed. It builds its engines when the model is opened and takes GPUs of compute capability 8.6, 8.9, and 12.0 on.
"""

from __future__ import annotations

from typing import Any

import onnxruntime

from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.engines.runtimes.onnxruntime_engine import OnnxRuntimeEngine, session_options
from sgrocc_core.errors import ModelError

PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
WITHOUT = "use device auto or cpu, or another engine"


class TensorRTForRTXEngine(OnnxRuntimeEngine):
    """TensorRT for RTX engine, fp32; see `engine.Engine`."""

    def __init__(self, spec: ModelSpec, device: str = "auto") -> None:
        """Build the engines.

        Args:
            spec: description of the model.
            device: `cuda` or `auto`.

        Raises:
            ModelError: the plugin is not installed or cannot be loaded, there is no GPU that it takes, or it does not
                take a graph.
        """
        if device == "cpu":
            raise ModelError("the tensorrt_rtx engine runs on a GPU only; use device cuda or auto")
        plugin = _import_plugin()
        name = plugin.get_ep_name()
        gpus = _devices(name)
        if not gpus:
            _register(plugin, name)
            gpus = _devices(name)
        if not gpus:
            raise ModelError(
                "the tensorrt_rtx engine finds no GPU that it takes (an NVIDIA GPU of compute capability 8.6, 8.9, or "
                f"12.0 and higher); {WITHOUT}"
            )
        options = session_options()
        options.add_provider_for_devices(gpus[:1], {})
        # What the plugin does not take would run on the CPU without a word.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._open_all(spec, options, None)
        gpu = gpus[0].device.metadata.get("Description", gpus[0].device.vendor)
        self.description = f"TensorRT for RTX (plugin {plugin.__version__}), {gpu}, fp32"


def _devices(name: str) -> list[Any]:
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]


def _register(plugin: Any, name: str) -> None:
    try:
        onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
    except Exception as error:  # ONNX Runtime raises classes of its own
        if "libcuda" in str(error):
            raise ModelError(
                f"the tensorrt_rtx engine finds no NVIDIA driver (libcuda.so.1), so no GPU; {WITHOUT}"
            ) from error
        raise ModelError(f"ONNX Runtime cannot load {PACKAGE}: {error}; {WITHOUT}") from error


def _import_plugin() -> Any:
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise ModelError(f"the tensorrt_rtx engine needs ONNX Runtime 1.24 or newer, not {onnxruntime.__version__}")
    try:
        import onnxruntime_ep_nv_tensorrt_rtx as plugin
    except Exception as error:  # a library that cannot be loaded raises an OSError or a class of its own
        raise ModelError(
            f"the tensorrt_rtx engine needs the Python package {PACKAGE} ({error}); install it, or {WITHOUT}"
        ) from error
    return plugin
