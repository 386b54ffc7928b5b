"""The exponential in single precision, for compiled loops that the compiler vectorises."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, forceinline=True, fastmath={"contract"})
def exp32(x):
    """Exponential of a float32, to six digits; x is cut to +-87."""
    x = min(max(x, np.float32(-87.0)), np.float32(87.0))
    t = x * np.float32(1.4426950408889634)
    whole = np.floor(t + np.float32(0.5))
    f = (t - whole) * np.float32(0.6931471805599453)
    series = np.float32(1 / 24) + f * (np.float32(1 / 120) + f * np.float32(1 / 720))
    series = np.float32(1.0) + f * (np.float32(1.0) + f * (np.float32(1 / 2) + f * (np.float32(1 / 6) + f * series)))
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return series * power.view(np.float32)
