"""What a sender may send: its settings, their probabilities, and the protocols made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_SETTINGS = 16
_WORD = 2**32


@dataclass(frozen=True)
class Setting:
    """One of the things a sender chooses from in a slot.

    name: how reports call it. intensity: mean photon number per pulse leaving the source, >= 0.
    probability: of this setting, 0..1. z_probability: that the basis is Z given this setting: 1 is
    always Z, 0 always X, between them the basis is random.
    """

    name: str
    intensity: float
    probability: float
    z_probability: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.intensity) and self.intensity >= 0.0):
            raise ValueError(f"{self.name}: intensity must be >= 0, got {self.intensity}")
        for field in ("probability", "z_probability"):
            value = getattr(self, field)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{self.name}: {field} must lie in 0..1, got {value}")


@dataclass(frozen=True)
class Source:
    """A sender of phase-randomised weak coherent pulses: its settings, in index order.

    Raises ValueError if there is none, if names repeat, or if probabilities do not sum to 1.
    """

    settings: tuple[Setting, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(self.settings))
        if not 1 <= len(self.settings) <= MAX_SETTINGS:
            raise ValueError(f"a source has 1..{MAX_SETTINGS} settings, got {len(self.settings)}")
        names = [s.name for s in self.settings]
        if len(set(names)) != len(names):
            raise ValueError(f"names of settings must differ, got {names}")
        total = math.fsum(s.probability for s in self.settings)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"probabilities of the settings must sum to 1, got {total}")

    @property
    def intensities(self) -> NDArray[np.float64]:
        """Mean photon numbers, (settings,) float64."""
        return np.array([s.intensity for s in self.settings], np.float64)

    def index(self, name: str) -> int:
        """Index of the setting called `name`; KeyError if there is none."""
        for i, setting in enumerate(self.settings):
            if setting.name == name:
                return i
        raise KeyError(name)

    def setting_thresholds(self) -> NDArray[np.uint64]:
        """(settings,) uint64: a 32-bit word below threshold i, and not below i - 1, selects i.

        Probabilities are thus kept to 2**-32; the last setting takes the rounding.
        """
        edges = np.cumsum([s.probability for s in self.settings])
        thresholds = np.rint(edges * _WORD).astype(np.uint64)
        thresholds[-1] = _WORD
        return thresholds

    def z_thresholds(self) -> NDArray[np.uint64]:
        """(settings,) uint64: a 32-bit word below it selects Z."""
        return np.rint([s.z_probability * _WORD for s in self.settings]).astype(np.uint64)


def four_intensity(
    s: float = 0.4,
    mu: float = 0.3,
    nu: float = 0.05,
    o: float = 0.0,
    p_s: float = 0.45,
    p_mu: float = 0.1,
    p_nu: float = 0.3,
) -> Source:
    """The four-intensity protocol: key from s in Z; mu, nu and o, which takes the rest, in X.

    Y.-H. Zhou, Z.-W. Yu, X.-B. Wang, Phys. Rev. A 93, 042324 (2016).
    """
    return Source(
        (
            Setting("s", s, p_s, 1.0),
            Setting("mu", mu, p_mu, 0.0),
            Setting("nu", nu, p_nu, 0.0),
            Setting("o", o, _rest(p_s, p_mu, p_nu), 0.0),
        )
    )


def three_intensity(
    mu: float = 0.4,
    nu: float = 0.05,
    o: float = 0.0,
    p_mu: float = 0.5,
    p_nu: float = 0.3,
    z_probability: float = 0.5,
) -> Source:
    """Three intensities, each in a basis drawn at random; o takes the rest of the probability."""
    return Source(
        (
            Setting("mu", mu, p_mu, z_probability),
            Setting("nu", nu, p_nu, z_probability),
            Setting("o", o, _rest(p_mu, p_nu), z_probability),
        )
    )


def _rest(*probabilities: float) -> float:
    rest = 1.0 - math.fsum(probabilities)
    if rest < -1e-9:
        raise ValueError(f"probabilities must not sum to more than 1, got {probabilities}")
    return max(rest, 0.0)
