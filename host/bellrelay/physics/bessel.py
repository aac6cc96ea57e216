"""Differences of the modified Bessel function I0 that keep their relative accuracy near zero.

Gains at a relay are differences of products `exp(-A) I0(B)` that almost cancel: at 60 dB of loss
the terms are 1 and the result is 1e-12. Formed term by term, four digits are left; formed from the
power series `I0(x) = sum_k (x/2)^(2k) / (k!)^2` with the constant taken out, all of them are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0

Floats = NDArray[np.float64]

# Up to this argument the series has converged to rounding after SERIES_TERMS terms, and the
# largest term is small enough that nothing cancels; above it I0 itself is accurate enough, since
# the differences are then no longer small against I0.
SERIES_LIMIT = 4.0
SERIES_TERMS = 20
# Terms that are so much smaller than the first are not formed: most arguments need five or six.
ROUNDING = 1e-18


def i0_difference(x: Floats, dx: Floats) -> Floats:
    """`I0(x + dx) - I0(x)`, elementwise.

    `x`, `dx` float64 arrays that broadcast; any sign. Returns float64 of the broadcast shape,
    relative accuracy about 1e-14 however small the arguments are.
    """
    x, dx = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(dx, np.float64))
    small = np.maximum(np.abs(x), np.abs(x + dx)) <= SERIES_LIMIT
    p = np.where(small, (x + dx) ** 2, 0.0) / 4.0
    q = np.where(small, x**2, 0.0) / 4.0
    # u^k - v^k = (u - v) * sum u^i v^(k-1-i): the factor (u - v) is formed once, without loss.
    factor = np.where(small, dx * (2.0 * x + dx), 0.0) / 4.0
    total = np.zeros_like(factor)
    ladder = np.zeros_like(factor)
    power = np.ones_like(factor)
    weight = 1.0
    largest = max(float(p.max(initial=0.0)), float(q.max(initial=0.0)))
    for k in range(1, SERIES_TERMS + 1):
        if weight * largest ** (k - 1) < ROUNDING:
            break
        ladder = ladder * p + power
        power = power * q
        weight /= k * k
        total += weight * ladder
    exact = i0(np.where(small, 0.0, x + dx)) - i0(np.where(small, 0.0, x))
    return np.asarray(np.where(small, factor * total, exact), np.float64)


def i0_second_difference(x: Floats, dx: Floats, dy: Floats) -> Floats:
    """`I0(x + dx + dy) - I0(x + dx) - I0(x + dy) + I0(x)`, elementwise.

    `x`, `dx`, `dy` float64 arrays that broadcast. The term `dx dy / 2` of the series is formed
    exactly; higher ones are smaller by the square of the arguments, which is what is lost to
    rounding relative to it.
    """
    x, dx, dy = np.broadcast_arrays(
        np.asarray(x, np.float64), np.asarray(dx, np.float64), np.asarray(dy, np.float64)
    )
    corners = (x + dx + dy, x + dx, x + dy, x)
    largest = np.max([np.abs(c) for c in corners], axis=0)
    small = largest <= SERIES_LIMIT
    squares = [np.where(small, c**2, 0.0) / 4.0 for c in corners]
    total = np.where(small, dx * dy / 2.0, 0.0)
    powers = [s.copy() for s in squares]
    weight = 1.0
    biggest = max(float(square.max(initial=0.0)) for square in squares)
    for k in range(2, SERIES_TERMS + 1):
        weight /= k * k
        if weight * biggest ** (k - 2) < ROUNDING:
            break
        for power, square in zip(powers, squares, strict=True):
            power *= square
        total = total + weight * ((powers[0] - powers[2]) - (powers[1] - powers[3]))
    values = [i0(np.where(small, 0.0, c)) for c in corners]
    exact = (values[0] - values[2]) - (values[1] - values[3])
    return np.asarray(np.where(small, total, exact), np.float64)
