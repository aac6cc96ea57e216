"""Announced events, sorted by what decides their statistics: both photon classes, and the error.

Once the relay has announced, every event belongs to a class that no party can change any more. Only
the settings are still random, drawn event by event with the odds of `photon_classes`. An error
counts as part of the class: pairs of X settings show it, pairs of single photons have one whatever
the settings were (the error that X would have shown: the phase error of the key). Where a pulse
held no photon its bit is a fair coin to everybody, and so is the error.

A *cell* is what is counted: a pair of settings, and where errors are looked at two of them,
without and with error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .photon_classes import PhotonClass, photon_classes
from .sender import Sender

__all__ = ["Cells", "EventClasses", "Worth", "Worths"]

Floats = NDArray[np.float64]


class Worth(IntEnum):
    """What an event is worth if its settings make it key."""

    NOTHING = 0
    PAIR = 1
    """Single photons of both, without phase error."""
    WRONG_PAIR = 2
    """Single photons of both, with phase error."""
    VACUUM = 3
    """No photon of Alice: nobody can know her bit."""


class Worths(NamedTuple):
    """What is credited for an event of key by its class."""

    pair: float
    wrong_pair: float
    vacuum: float

    def array(self) -> Floats:
        """(4,), by :class:`Worth`."""
        return np.array([0.0, *self])


@dataclass(frozen=True, eq=False)
class Cells:
    """What is counted of a block.

    settings_a, settings_b: number of settings. reported: (a, b) bool, pairs of settings whose
    events are counted. split: (a, b) bool, of them those whose errors are, too. key: (a, b) bool,
    of the reported ones those that make key.

    credit_empty: whether a bit that Alice sent without a photon is worth anything.

    Cells are numbered: reported pairs in row order, then the errors of the split ones.
    """

    reported: NDArray[np.bool_]
    split: NDArray[np.bool_]
    key: NDArray[np.bool_]
    credit_empty: bool = True

    def __post_init__(self) -> None:
        if np.any(self.split & ~self.reported) or np.any(self.key & ~self.reported):
            raise ValueError("errors and key need cells whose events are counted")
        if np.any(self.split & self.key):
            raise ValueError("bits of key are not disclosed, so their errors are not counted")

    @property
    def count(self) -> int:
        """How many cells."""
        return int(self.reported.sum() + self.split.sum())

    @property
    def key_cells(self) -> NDArray[np.intp]:
        """Numbers of the cells that make key."""
        return np.flatnonzero(self.key[self.reported])

    def counts(self, n: NDArray[np.generic], m: NDArray[np.generic]) -> Floats:
        """(count,) events by cell, of all events n (a, b) and errors m (a, b)."""
        wrong = np.where(self.split, m, 0).astype(np.float64)
        right = np.asarray(n, np.float64) - wrong
        return np.concatenate([right[self.reported], wrong[self.split]])

    def spread(self, values: Floats) -> tuple[Floats, Floats]:
        """Values by cell as two (a, b) arrays: without and with error; 0 where nothing counts."""
        right, wrong = np.zeros(self.reported.shape), np.zeros(self.reported.shape)
        n = int(self.reported.sum())
        right[self.reported] = values[:n]
        wrong[:] = right
        wrong[self.split] = values[n:]
        return right, wrong


class _Class(NamedTuple):
    a: int
    b: int
    error: float  # probability that a split cell shows an error
    worth: Worth


class EventClasses:
    """All classes of events of two senders, for the cells that are counted."""

    def __init__(self, alice: Sender, bob: Sender, cells: Cells) -> None:
        if cells.reported.shape != (alice.settings, bob.settings):
            raise ValueError("cells do not fit the senders")
        self.cells = cells
        self._alice, self._bob = photon_classes(alice), photon_classes(bob)
        self._classes = list(self._pairs())
        self._corners = _padded([_corners(c) for c in self._alice])
        a = np.array([c.a for c in self._classes])
        b = np.array([c.b for c in self._classes])
        self._corners_of = self._corners[a]
        self._low_b = np.stack([c.low for c in self._bob])[b]
        self._high_b = np.stack([c.high for c in self._bob])[b]
        self._error = np.array([c.error for c in self._classes])
        self.worth = np.array([c.worth for c in self._classes])

    def _pairs(self) -> list[_Class]:
        found = []
        for i, a in enumerate(self._alice):
            for j, b in enumerate(self._bob):
                worth = Worth.NOTHING
                if a.photons == 0 and self.cells.credit_empty:
                    worth = Worth.VACUUM
                pair = a.photons == b.photons == 1
                if not np.any(np.outer(a.high, b.high)[self.cells.split]):
                    found.append(_Class(i, j, 0.0, Worth.PAIR if pair else worth))
                    if pair:
                        found.append(_Class(i, j, 0.0, Worth.WRONG_PAIR))
                elif a.photons == 0 or b.photons == 0:
                    found.append(_Class(i, j, 0.5, worth))
                else:
                    found.append(_Class(i, j, 0.0, Worth.PAIR if pair else worth))
                    found.append(_Class(i, j, 1.0, Worth.WRONG_PAIR if pair else worth))
        return found

    def __len__(self) -> int:
        return len(self._classes)

    def typical_rows(self) -> tuple[NDArray[np.intp], Floats]:
        """(rows,) numbers of classes and (rows, cells) odds, all classes, in their middle."""
        found = [
            (k, a, b)
            for k, c in enumerate(self._classes)
            for a in self._alice[c.a].typical()
            for b in self._bob[c.b].typical()
        ]
        numbers = np.array([k for k, _, _ in found])
        odds_a, odds_b = (np.stack([row[i] for row in found]) for i in (1, 2))
        return numbers, self._rows(self._error[numbers], odds_a, odds_b)

    def _rows(self, errors: Floats, odds_a: Floats, odds_b: Floats) -> Floats:
        """(k, cells) probability of every cell; what is missing to 1 is not counted.

        errors: (k,) of a class each. odds_a, odds_b: (k, settings) odds of both parties in it.
        """
        both = odds_a[:, :, None] * odds_b[:, None, :]
        both /= both.sum(axis=(1, 2), keepdims=True)
        wrong = errors[:, None, None] * both
        right = np.where(self.cells.split, both - wrong, both)
        return np.concatenate([right[:, self.cells.reported], wrong[:, self.cells.split]], axis=1)

    def worst(self, values: Floats, key_values: Floats) -> tuple[Floats, Floats]:
        """For every class whether some odds let the mean of a value over its events exceed 0.

        values: (cells,) value of an event by its cell. key_values: (4, key cells) what it is in the
        cells of key, by :class:`Worth` of the class. Returns by class the mean at a corner of the
        odds, and the row of that corner: (classes,), (classes, cells). The mean is positive there
        if it is anywhere: it is bilinear in both parties' odds, so that its sign is decided in
        corners; Alice's are tried, Bob's follows for each. Cells that are not reported count 0.
        """
        right, wrong = self.cells.spread(values)
        e = self._error[:, None, None]
        by_class = (1.0 - e) * right + e * wrong
        by_class[:, self.cells.key] = key_values[self.worth]
        by_b = np.einsum("kva,kab->kvb", self._corners_of, by_class)
        low, high = self._low_b[:, None, :], self._high_b[:, None, :]
        odds_b = np.where(by_b > 0.0, high, low)
        total = self._corners_of.sum(axis=2) * odds_b.sum(axis=2)
        means = (by_b * odds_b).sum(axis=2) / total
        best = means.argmax(axis=1)
        index = np.arange(len(self))
        return means[index, best], self._rows(
            self._error, self._corners_of[index, best], odds_b[index, best]
        )


def _corners(photon_class: PhotonClass) -> Floats:
    """(corners, settings) odds at their limits, each setting on its own."""
    low, high = photon_class.low, photon_class.high
    corners = low[None, :]
    for i in np.flatnonzero(high > low):
        other = corners.copy()
        other[:, i] = high[i]
        corners = np.concatenate([corners, other])
    return corners


def _padded(corners: list[Floats]) -> Floats:
    """All to one length; the first is repeated."""
    longest = max(len(c) for c in corners)
    return np.stack([np.concatenate([c, np.repeat(c[:1], longest - len(c), 0)]) for c in corners])
