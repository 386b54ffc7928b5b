"""Opening of a model: the checks of the settings, and the runtime, device and precision that it runs with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from sgrocc_core.engines.choice import PRECISIONS_OF, engines_with, open_best, open_runtime
from sgrocc_core.engines.engine import Engine
from sgrocc_core.engines.model import load_spec
from sgrocc_core.errors import ConfigError

ENGINES = ("auto", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "torch")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "bf16")


def open_engine(
    model: str | Path,
    engine: str = "auto",
    device: str = "auto",
    threads: int = 0,
    precision: str = "fp32",
    notice: Callable[[str], object] | None = None,
) -> Engine:
    """Open a model.

    Args:
        model: name or folder.
        engine: one of ENGINES; `auto` takes the fastest that is installed and works: each is run on one frame and
            compared with ONNX Runtime before it is believed.
        device: one of DEVICES; with `cuda` nothing runs on the CPU instead.
        threads: number of CPU threads; 0 = all cores.
        precision: one of PRECISIONS; fp16 needs TensorRT, bf16 OpenVINO and a CPU that has it.
        notice: takes a line for each engine that `auto` tried in vain; None: a warning of `logging`.

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
    runs = PRECISIONS_OF.get(engine, ("fp32",))
    if engine != "auto" and precision not in runs:
        raise ConfigError(
            f"precision {precision} needs the {engines_with(precision)} engine; {engine} runs {' and '.join(runs)}"
        )
    spec = load_spec(model)
    if engine == "auto":
        return open_best(spec, device, threads, precision, notice or logging.getLogger("sgrocc").warning)
    return open_runtime(spec, engine, device, threads, precision)
