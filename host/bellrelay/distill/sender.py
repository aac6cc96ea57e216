"""A sender as bounds see it: settings, their bases, and between what every intensity lies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Sender"]

Floats = NDArray[np.float64]


class Kind(StrEnum):
    """What a setting is sent in."""

    Z = "Z"
    X = "X"
    VACUUM = "vacuum"
    """No light. What leaks all the same is encoded as in X; its bits are not looked at."""


@dataclass(frozen=True, eq=False)
class Sender:
    """Settings of one party.

    kinds: of every setting. probabilities: (k,), per slot, above 0, sum 1. declared, low, high:
    (k,), intensities: what is declared, and the interval that holds it in every slot.

    Raises ValueError where these contradict each other, and where two settings of one basis may be
    equally bright: then nothing tells their photon numbers apart.
    """

    kinds: tuple[Kind, ...]
    probabilities: Floats
    declared: Floats
    low: Floats
    high: Floats

    def __post_init__(self) -> None:
        k = len(self.kinds)
        for name in ("probabilities", "declared", "low", "high"):
            values = np.array(getattr(self, name), np.float64)
            if values.shape != (k,) or not np.all(np.isfinite(values)):
                raise ValueError(f"{name} must be {k} numbers")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if not np.all((self.low >= 0) & (self.low <= self.declared) & (self.declared <= self.high)):
            raise ValueError("intensities must satisfy 0 <= low <= declared <= high")
        if not np.all(self.probabilities > 0) or abs(self.probabilities.sum() - 1.0) > 1e-9:
            raise ValueError("probabilities must be above 0 and sum to 1")
        for basis in (Kind.Z, Kind.X):
            chosen = self.of_basis(basis)
            order = np.argsort(self.declared[chosen])
            low, high = self.low[chosen][order], self.high[chosen][order]
            if np.any(high[:-1] >= low[1:]):
                raise ValueError(f"settings of {basis} may be equally bright")

    def _content(self) -> tuple[object, ...]:
        arrays = (self.probabilities, self.declared, self.low, self.high)
        return (self.kinds, *(array.tobytes() for array in arrays))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sender) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())

    @property
    def as_declared(self) -> Sender:
        """The same with intensities that are what they are declared to be."""
        declared = self.declared
        return Sender(self.kinds, self.probabilities, declared, declared, declared)

    @property
    def settings(self) -> int:
        """How many."""
        return len(self.kinds)

    def of_basis(self, basis: Kind) -> NDArray[np.bool_]:
        """(k,) settings whose pulses of two photons or more are in this basis."""
        members = (Kind.Z,) if basis is Kind.Z else (Kind.X, Kind.VACUUM)
        return np.array([kind in members for kind in self.kinds])

    def number_probability(self, photons: int) -> tuple[Floats, Floats]:
        """Least and most that p(setting) P(photons | setting) may be: two (k,) arrays."""
        ends = np.stack([self.low, self.high])
        values = self.probabilities * poisson(ends, photons)
        most = values.max(axis=0)
        # x^n exp(-x) peaks at n.
        inside = (self.low < photons) & (photons < self.high)
        peak = self.probabilities * poisson(np.full(self.settings, float(photons)), photons)
        return values.min(axis=0), np.where(inside, peak, most)


def poisson(mean: Floats, photons: int) -> Floats:
    """Probability of a photon number, elementwise in the mean."""
    weight = np.exp(-mean)
    for k in range(1, photons + 1):
        weight = weight * mean / k
    return np.asarray(weight)
