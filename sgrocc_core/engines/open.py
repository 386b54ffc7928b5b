"""Choice of an engine: the runtime, the device and the precision that a model runs with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sgrocc_core.engines.engine import Engine
from sgrocc_core.engines.model import load_spec
from sgrocc_core.errors import ConfigError

ENGINES = ("auto", "onnxruntime", "tensorrt", "torch")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("fp32", "fp16")


def open_engine(
    model: str | Path, engine: str = "auto", device: str = "auto", threads: int = 0, precision: str = "fp32"
) -> Engine:
    """Open a model.

    Args:
        model: name or folder.
        engine: one of ENGINES; `auto` selects TensorRT where it is installed and `device` is not `cpu`, else ONNX
            Runtime.
        device: one of DEVICES.
        threads: number of CPU threads; 0 = all cores.
        precision: one of PRECISIONS; fp16 needs TensorRT.

    Raises:
        ConfigError: a value is not allowed.
        ModelError: the model or the requested runtime is not available.
    """
    for key, value, allowed in (
        ("engine", engine, ENGINES),
        ("device", device, DEVICES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in allowed:
            raise ConfigError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}")
    if threads < 0:
        raise ConfigError(f"threads is {threads}; it must be 0 (all cores) or more")
    spec = load_spec(model)
    if engine == "auto":
        engine = "tensorrt" if device != "cpu" and importlib.util.find_spec("tensorrt") is not None else "onnxruntime"
    if precision == "fp16" and engine != "tensorrt":
        raise ConfigError(f"precision fp16 needs the tensorrt engine; {engine} runs fp32")
    if engine == "tensorrt":
        from sgrocc_core.engines.tensorrt_engine import TensorRTEngine

        return TensorRTEngine(spec, device, precision)
    if engine == "torch":
        from sgrocc_core.engines.torch_engine import TorchEngine

        return TorchEngine(spec, device, threads)
    from sgrocc_core.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(spec, device, threads)
