"""Pile-up: a channel resolves one tag per clock period."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["resolved"]


def resolved(
    t: NDArray[np.int64], channel: NDArray[np.uint8], clock_period_ps: int
) -> NDArray[np.bool_]:
    """Which tags pass: those a clock period or more after the last that passed on their channel.

    Parameters
    ----------
    t
        (n,) int64 ps, not decreasing within a channel.
    channel
        (n,) uint8.
    clock_period_ps
        Period of the tagging clock.

    Returns
    -------
    (n,) bool.
    """
    passes = np.zeros(t.size, dtype=np.bool_)
    last: dict[int, int] = {}
    for i, (time, c) in enumerate(zip(t.tolist(), channel.tolist(), strict=True)):
        if c not in last or time - last[c] >= clock_period_ps:
            last[c] = time
            passes[i] = True
    return passes
