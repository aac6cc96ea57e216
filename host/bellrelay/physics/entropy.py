"""Binary entropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, xlog1py

from .relay_model import Floats


def binary_entropy(p: ArrayLike) -> Floats:
    """h(p) = -p log2 p - (1 - p) log2(1 - p), elementwise; 0 at both ends.

    p: probabilities 0..1. Returns float64 of the same shape. Raises ValueError outside 0..1: an
    error rate that left it is a fault upstream, and a clamped entropy would hide it.
    """
    p = np.asarray(p, np.float64)
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise ValueError(f"a probability must lie in 0..1, got {p!r}")
    return np.asarray((entr(p) - xlog1py(1.0 - p, -p)) / np.log(2.0))
