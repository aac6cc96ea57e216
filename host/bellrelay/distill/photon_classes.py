"""Photon numbers of one sender's pulse, sorted by what an eavesdropper can tell apart.

Pulses with no photon are the same whatever the setting was; so are those with one, on average over
the bits, in either basis. Those with two or more betray their basis, and within it the setting only
by the photon number. Given the class of a pulse, its setting is therefore drawn with odds

    p(setting) P(photons | setting)

that nobody can influence, up to the interval in which the intensity lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sender import Kind, Sender

__all__ = ["PhotonClass", "photon_classes"]

Floats = NDArray[np.float64]

# Photon numbers get a class of their own until all but the brightest setting are that unlikely.
_NEGLIGIBLE_ODDS = 3e-3
_MOST_PHOTONS = 10


@dataclass(frozen=True, eq=False)
class PhotonClass:
    """One class. photons: 0, 1, or 2 for any more. basis: of two photons and more, else None.

    low, high: (k,), between which the odds of each setting lie; each on its own. open_ended: it
    holds all higher photon numbers, so that the odds of the weaker settings begin at 0.
    """

    photons: int
    basis: Kind | None
    low: Floats
    high: Floats
    open_ended: bool = False

    def typical(self) -> list[Floats]:
        """(k,) odds that stand for the rest, while weights are searched for."""
        return [self.low, self.high] if self.open_ended else [(self.low + self.high) / 2.0]


def photon_classes(sender: Sender) -> list[PhotonClass]:
    """All classes; together they hold every pulse, of any photon number."""
    classes = [PhotonClass(n, None, *sender.number_probability(n)) for n in (0, 1)]
    for basis in (Kind.Z, Kind.X):
        members = sender.of_basis(basis)
        if np.any(members & (sender.high > 0.0)):
            classes += _many_photons(sender, basis, members)
    return classes


def _many_photons(sender: Sender, basis: Kind, members: NDArray[np.bool_]) -> list[PhotonClass]:
    brightest = int(np.argmax(np.where(members, sender.declared, -1.0)))
    classes = []
    photons = 2
    while True:
        low, high = (np.where(members, odds, 0.0) for odds in sender.number_probability(photons))
        others = np.where(np.arange(sender.settings) == brightest, 0.0, high)
        odds = others / low[brightest]
        if odds.max() <= _NEGLIGIBLE_ODDS or photons >= _MOST_PHOTONS:
            break
        classes.append(PhotonClass(2, basis, low, high))
        photons += 1
    # With every further photon the odds of the weaker settings fall, so that one class with odds
    # anywhere between 0 and those of here holds all higher numbers.
    here = odds.copy()
    here[brightest] = 1.0
    least = np.zeros(sender.settings)
    least[brightest] = 1.0
    classes.append(PhotonClass(2, basis, least, here, open_ended=True))
    return classes
