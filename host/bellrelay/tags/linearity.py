"""Code density: from counts of fine codes to their times, widths and non-linearity.

Arrivals that know nothing of the clock fall evenly on its period, so that the share of a code's
counts is the share of the period that the code stands for. This is the histogram test of IEEE Std
1241 (and 1057) for converters, with time for voltage and a uniform stimulus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "code_times_ps",
    "code_widths_ps",
    "differential_nonlinearity",
    "integral_nonlinearity",
    "quantisation_rms_ps",
]


def _checked(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    checked = np.asarray(counts, np.int64)
    if checked.ndim != 1 or checked.size == 0 or checked.min() < 0 or checked.sum() == 0:
        raise ValueError("counts must be a vector of counts, none negative and not all zero")
    return checked


def code_times_ps(counts: NDArray[np.int64], period_ps: int) -> NDArray[np.int64]:
    """Time of every code in the clock period: the middle of what it stands for.

    ``floor((2 below + own) period / (2 total))``, at most ``period - 1``: bit for bit what the
    gateware's calibrator writes into its table.

    Parameters
    ----------
    counts
        (n,) by code, which grows with time.
    period_ps
        Of the clock that samples.

    Returns
    -------
    (n,) int64 ps.

    Raises
    ------
    ValueError
        Without counts, or with negative ones.
    """
    own = _checked(counts)
    below = np.cumsum(own) - own
    times: NDArray[np.int64] = (2 * below + own) * period_ps // (2 * own.sum())
    return np.minimum(times, period_ps - 1)


def code_widths_ps(counts: NDArray[np.int64], period_ps: float) -> NDArray[np.float64]:
    """(n,) width in ps of every code; they add up to the period."""
    own = _checked(counts)
    return own.astype(np.float64) * float(period_ps / own.sum())


def differential_nonlinearity(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) width of every code over the mean width, less 1; NaN outside the codes in use.

    The mean runs over the codes from the first to the last one with counts. A code of no width
    has -1.
    """
    own = _checked(counts)
    used = np.flatnonzero(own)
    span = slice(used[0], used[-1] + 1)
    result = np.full(own.size, np.nan)
    result[span] = own[span] / own[span].mean() - 1
    return result


def integral_nonlinearity(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) error of every code's upper edge against equal widths, in mean widths.

    The running sum of :func:`differential_nonlinearity`, hence 0 at the last code in use (the line
    through the end points); NaN outside the codes in use.
    """
    differential = differential_nonlinearity(counts)
    used = ~np.isnan(differential)
    differential[used] = np.cumsum(differential[used])
    return differential


def quantisation_rms_ps(counts: NDArray[np.int64], period_ps: float) -> float:
    """RMS error in ps of a uniform arrival that is given the middle of its code.

    ``sqrt(sum(w**3) / (12 sum(w)))`` over the widths ``w``.
    """
    width = code_widths_ps(counts, period_ps)
    return float(np.sqrt((width**3).sum() / (12 * width.sum())))
