"""`engine: auto`: the fastest runtime that works on this machine, believed only after one frame (see `trial`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgrocc_core.engines import trial
from sgrocc_core.engines.engine import Engine
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.errors import ModelError

PACKAGES = {
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "onnxruntime_ep_nv_tensorrt_rtx",
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "torch": "torch",
}
"""The package that each runtime needs, from the fastest to the slowest on its device."""
PRECISIONS_OF = {"tensorrt": ("fp32", "fp16"), "openvino": ("fp32", "bf16")}
"""Precisions of the runtimes that have others than fp32."""
Notice = Callable[[str], object]


def open_runtime(
    spec: ModelSpec, engine: str, device: str, threads: int, precision: str, afresh: bool = False
) -> Engine:
    """Open a model with one runtime.

    Args:
        spec: description of the model.
        engine: a key of PACKAGES.
        device: `auto`, `cpu` or `cuda`.
        threads: number of CPU threads; 0 = all cores.
        precision: one that the runtime has.
        afresh: compile even if there is a compiled graph of an earlier start.

    Raises:
        ModelError: the runtime is not installed or cannot run the model on the device.
    """
    if engine == "tensorrt":
        from sgrocc_core.engines.runtimes.tensorrt_engine import TensorRTEngine

        return TensorRTEngine(spec, device, precision, afresh)
    if engine == "tensorrt_rtx":
        from sgrocc_core.engines.runtimes.tensorrt_rtx_engine import TensorRTForRTXEngine

        return TensorRTForRTXEngine(spec, device)
    if engine == "openvino":
        if precision == "bf16":
            return _openvino_bf16(spec, device, threads, afresh)
        from sgrocc_core.engines.runtimes.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(spec, device, threads, afresh=afresh)
    if engine == "torch":
        from sgrocc_core.engines.runtimes.torch_engine import TorchEngine

        return TorchEngine(spec, device, threads)
    from sgrocc_core.engines.runtimes.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(spec, device, threads)


def open_best(spec: ModelSpec, device: str, threads: int, precision: str, notice: Notice) -> Engine:
    """Open a model with the first runtime that is installed, opens it, and agrees with ONNX Runtime on one frame.

    Args:
        spec: description of the model.
        device: `auto`, `cpu` or `cuda`.
        threads: number of CPU threads; 0 = all cores.
        precision: `fp32`, `fp16` or `bf16`.
        notice: takes a line for each runtime that is installed and was not used.

    Raises:
        ModelError: none works; the message has the reason of each.
    """
    reasons = []
    for engine, where in candidates(device, precision):
        found, reason = _tried(spec, engine, where, threads, precision, notice)
        if found is not None:
            return found
        reasons.append(f"{engine}: {reason}")
        notice(f"engine auto: {engine} is not used: {reason}")
    tried = "; ".join(reasons) or f"precision {precision} needs the {engines_with(precision)} engine"
    raise ModelError(f"no engine runs the model {spec.name} with device {device} and precision {precision}: {tried}")


def candidates(device: str, precision: str) -> list[tuple[str, str]]:
    """Runtimes that are installed and claim this device and precision, with the device of each, the fastest first.

    PyTorch is the last resort: it takes seconds to import.
    """
    found = []
    if device != "cpu":
        found += [("tensorrt", "cuda"), ("tensorrt_rtx", "cuda")]
        if device == "cuda" or _onnxruntime_has_cuda():
            found.append(("onnxruntime", "cuda"))
    if device != "cuda":
        found += [("openvino", "cpu"), ("onnxruntime", "cpu")]
    found.append(("torch", device))
    return [
        (engine, where)
        for engine, where in found
        if precision in PRECISIONS_OF.get(engine, ("fp32",)) and _installed(PACKAGES[engine]) is not None
    ]


def engines_with(precision: str) -> str:
    """Names of the runtimes that have a precision other than fp32."""
    return " or ".join(engine for engine, kinds in PRECISIONS_OF.items() if precision in kinds)


def _tried(
    spec: ModelSpec, engine: str, device: str, threads: int, precision: str, notice: Notice
) -> tuple[Engine | None, str]:
    """Open a runtime and try it on one frame; where that fails on a graph from the cache, once more without the cache.

    Returns:
        The engine, None if it does not work, and why not.
    """
    reason = ""
    for afresh in (False, True):
        opened: Any = None
        try:
            opened = open_runtime(spec, engine, device, threads, precision, afresh)
            if (engine, device) == ("onnxruntime", "cpu"):
                return opened, ""  # it is what the others are compared with
            reason = _disagreement(opened, engine, threads, precision, notice)
        except Exception as error:  # whatever an installed but broken package raises
            reason = one_line(error)
        if not reason:
            return opened, ""
        from_cache = getattr(opened, "from_cache", False)
        if hasattr(opened, "close"):
            opened.close()
        if not from_cache:
            break
    return None, reason


def _disagreement(opened: Engine, engine: str, threads: int, precision: str, notice: Notice) -> str:
    try:
        expected = trial.reference(opened.spec, threads)
    except Exception as error:
        notice(f"engine auto: {engine} is not compared with ONNX Runtime, which does not work: {one_line(error)}")
        expected = None
    said = trial.disagreements(trial.run_trial(opened, expected), expected, precision)
    return next(iter(said.values()), "")


def _openvino_bf16(spec: ModelSpec, device: str, threads: int, afresh: bool) -> Engine:
    """OpenVINO with those graphs in bf16 that agree with ONNX Runtime so; geometry inside a graph may need fp32."""
    from sgrocc_core.engines.runtimes.openvino_engine import OpenVinoEngine

    opened = OpenVinoEngine(spec, device, threads, "bf16", afresh=afresh)
    expected = trial.reference(spec, threads)
    said = trial.disagreements(trial.run_trial(opened, expected), expected, "bf16")
    single = frozenset(name.partition(":")[0] for name in said)
    if not single:
        return opened
    if single >= {name for name in spec.files if name.endswith(".onnx")}:
        raise ModelError(f"precision bf16: {next(iter(said.values()))}; use precision fp32")
    return OpenVinoEngine(spec, device, threads, "bf16", single, afresh)


def one_line(error: BaseException) -> str:
    """The message of an error on one line, its class if it has none."""
    return " ".join(str(error).split())[:400] or type(error).__name__


def _installed(package: str) -> Path | None:
    """Folder of an installed package, found without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(places[0]) if places else None


def _onnxruntime_has_cuda() -> bool:
    folder = _installed("onnxruntime")
    return folder is not None and any(folder.glob("capi/*onnxruntime_providers_cuda*"))
