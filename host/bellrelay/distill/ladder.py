"""The ladder of a sender: declared intensities, how often each is sent, how far they may be off.

Four intensities, Y.-H. Zhou, Z.-W. Yu, X.-B. Wang, Phys. Rev. A 93, 042324 (2016): the signal s in
Z makes key; mu, nu and the vacuum o, sent in X, bound what an eavesdropper may know of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sender import Kind, Sender

__all__ = ["MAX_DEVIATION", "MU", "NU", "SETTINGS", "Ladder", "O", "S"]

S, MU, NU, O = range(4)  # noqa: E741 - the field's word for the vacuum setting
"""Settings: index of an intensity in its ladder."""

SETTINGS = ("s", "mu", "nu", "o")
MAX_DEVIATION = 0.1
_LARGEST_INTENSITY = 3.0


@dataclass(frozen=True)
class Ladder:
    """What one sender is declared to send.

    s, mu, nu, o: mean photon numbers per pulse leaving the source; s > 0, mu > nu > o >= 0.
    p_s, p_mu, p_nu: probability of each per slot; o takes the rest. All four above 0.
    deviation: relative half-width; in every slot the intensity lies within x (1 +/- deviation) of
        the declared x. Bounds hold for whatever it does within, slot by slot.
    vacuum_limit: most light in the setting o, if that is more than o (1 + deviation).

    Raises ValueError naming what is out of range: a ladder that contradicts itself bounds nothing.
    """

    s: float
    mu: float
    nu: float
    o: float
    p_s: float
    p_mu: float
    p_nu: float
    deviation: float = 0.0
    vacuum_limit: float = 0.0

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a number, got {value}")
        if not 0.0 < self.s <= _LARGEST_INTENSITY:
            raise ValueError(f"s must lie above 0 and up to {_LARGEST_INTENSITY}, got {self.s}")
        if not 0.0 <= self.o < self.nu < self.mu <= _LARGEST_INTENSITY:
            raise ValueError(
                f"intensities must fall, {_LARGEST_INTENSITY} >= mu > nu > o >= 0, "
                f"got {self.mu}, {self.nu}, {self.o}"
            )
        if not 0.0 <= self.deviation <= MAX_DEVIATION:
            raise ValueError(f"deviation must lie in 0..{MAX_DEVIATION}, got {self.deviation}")
        if not 0.0 <= self.vacuum_limit <= _LARGEST_INTENSITY:
            raise ValueError(f"vacuum_limit must not be negative, got {self.vacuum_limit}")
        low, high = self.low, self.high
        for weaker, stronger in ((NU, MU), (O, NU)):
            if high[weaker] >= low[stronger]:
                raise ValueError(
                    f"{SETTINGS[stronger]} and {SETTINGS[weaker]} may be equally bright within "
                    "the deviation"
                )
        for name in ("p_s", "p_mu", "p_nu"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not self.p_o > 0.0:
            raise ValueError("p_s + p_mu + p_nu must be below 1: o takes the rest")

    @property
    def p_o(self) -> float:
        """Probability of the vacuum setting."""
        return 1.0 - math.fsum((self.p_s, self.p_mu, self.p_nu))

    @property
    def intensities(self) -> NDArray[np.float64]:
        """(4,) float64, by setting: s, mu, nu, o."""
        return np.array([self.s, self.mu, self.nu, self.o])

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(4,) float64, by setting; they sum to 1."""
        return np.array([self.p_s, self.p_mu, self.p_nu, self.p_o])

    @property
    def low(self) -> NDArray[np.float64]:
        """(4,) float64, by setting: the least that each may be."""
        least = self.intensities * (1.0 - self.deviation)
        if self.vacuum_limit > self.o:
            least[O] = 0.0
        return least

    @property
    def high(self) -> NDArray[np.float64]:
        """(4,) float64, by setting: the most that each may be."""
        most = self.intensities * (1.0 + self.deviation)
        most[O] = max(most[O], self.vacuum_limit)
        return most

    def sender(self) -> Sender:
        """The same, as bounds see it: s in Z, mu and nu in X, o the vacuum."""
        return Sender(
            (Kind.Z, Kind.X, Kind.X, Kind.VACUUM),
            self.probabilities,
            self.intensities,
            self.low,
            self.high,
        )
