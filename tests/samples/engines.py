"""The shipped model as most tests map with it: opened once a process, with one thread."""

from __future__ import annotations

import functools
import importlib.util

from sgrocc_core.engines.engine import Engine
from sgrocc_core.engines.open import open_engine

QUICK = "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"
"""The runtime that `auto` takes here, without its trial; a step with it costs less than half of ONNX Runtime's."""


@functools.cache
def small_engine() -> Engine:
    """The small model; it has no state, so that all tests of a process may share it."""
    return open_engine("small", QUICK, "cpu", 1)
