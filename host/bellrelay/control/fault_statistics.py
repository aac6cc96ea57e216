"""Whether what was observed lies beyond a limit, or noise may have put it there.

Every quantity comes as two columns that add up over time, numerator and denominator; what they mean
is the statistic's. A quantity *is* above a limit if one that lay at the limit would show so much
with a probability of at most `tail`; it is neither above nor below while the data cannot tell.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammainc, gammaincc, ndtri

__all__ = ["COUNTS", "EVENTS", "LEVEL", "MEAN", "SHARE", "Statistic"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Statistic(Protocol):
    """What two columns say of a quantity; arrays (n,) in, arrays (n,) out."""

    adds_up: bool
    """Whether columns of several observations are added, or the latest one counts."""

    def value(self, num: Floats, den: Floats) -> Floats:
        """The quantity; nan where there are no data."""
        ...

    def above(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        """Where it is above the limit; never without data."""
        ...

    def below(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        """Where it is below the limit; never without data."""
        ...


def _ratio(num: Floats, den: Floats) -> Floats:
    known = den > 0.0
    return np.where(known, num / np.where(known, den, 1.0), np.nan)


class _Counts:
    """Poisson: counts over how many a healthy link would have given."""

    adds_up = True

    def value(self, num: Floats, den: Floats) -> Floats:
        return _ratio(num, den)

    def above(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        # P(X >= k) of a Poisson variable of mean m is the regularised gamma function P(k, m).
        some = (num > 0.0) & (den > 0.0)
        chance = gammainc(np.where(some, num, 1.0), limit * np.where(some, den, 1.0))
        return np.asarray(some & (num > limit * den) & (chance <= tail))

    def below(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        some = den > 0.0
        chance = gammaincc(np.maximum(num, 0.0) + 1.0, limit * np.where(some, den, 1.0))
        return np.asarray(some & (num < limit * den) & (chance <= tail))


class _Share:
    """Binomial: so many of so many."""

    adds_up = True

    def value(self, num: Floats, den: Floats) -> Floats:
        return _ratio(num, den)

    def above(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        if not 0.0 <= limit < 1.0:
            return np.asarray((den > 0.0) & (limit < 0.0))
        some = (num > 0.0) & (den > 0.0)
        k, n = np.where(some, num, 1.0), np.where(some, den, 1.0)
        return np.asarray(some & (num > limit * den) & (betainc(k, n - k + 1.0, limit) <= tail))

    def below(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        if not 0.0 < limit <= 1.0:
            return np.asarray((den > 0.0) & (limit > 1.0))
        some = (den > 0.0) & (num < den)
        k, n = np.where(some, num, 0.0), np.where(some, den, 1.0)
        return np.asarray(
            some & (num < limit * den) & (betainc(n - k, k + 1.0, 1.0 - limit) <= tail)
        )


class _Mean:
    """Normal: sums of x / sigma^2 and of 1 / sigma^2 (weights of least variance)."""

    adds_up = True

    def value(self, num: Floats, den: Floats) -> Floats:
        return _ratio(num, den)

    def above(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        return np.asarray((den > 0.0) & (num - limit * den > -ndtri(tail) * np.sqrt(den)))

    def below(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        return np.asarray((den > 0.0) & (num - limit * den < ndtri(tail) * np.sqrt(den)))


class _Level:
    """No noise: what it says is so. The latest counts."""

    adds_up = False

    def value(self, num: Floats, den: Floats) -> Floats:
        return np.where(den > 0.0, num, np.nan)

    def above(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        return np.asarray((den > 0.0) & (num > limit))

    def below(self, num: Floats, den: Floats, limit: float, tail: float) -> Flags:
        return np.asarray((den > 0.0) & (num < limit))


class _Events(_Level):
    """Things that must not happen, added up over the window."""

    adds_up = True


COUNTS: Statistic = _Counts()
SHARE: Statistic = _Share()
MEAN: Statistic = _Mean()
LEVEL: Statistic = _Level()
EVENTS: Statistic = _Events()
