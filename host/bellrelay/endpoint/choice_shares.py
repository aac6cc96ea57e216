"""Whether settings and bits come as often as declared, alone and next to each other.

The bounds divide counts by the declared probabilities of settings, and take every choice as
independent of the others. So the shares of all settings, of both bits, of all (setting, bit) and of
all pairs of (setting, bit) in two slots that follow each other are held against the declaration.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

from .source_log import SETTINGS

__all__ = ["ChoiceShares"]

_KINDS = 2 * len(SETTINGS)
_SINGLE = len(SETTINGS) + 2 + _KINDS
"""Shares of one slot's choices; those of pairs come after."""


class ChoiceShares:
    """Exact binomial tests of all shares, on what is fed at once and on all that was ever fed.

    On a source that holds to its declaration, both together alarm with a probability of at most
    alpha in each call of :meth:`feed` (first half) plus alpha over the whole life (second half).

    Parameters
    ----------
    probabilities
        (4,): of the settings, as declared.
    alpha
        False alarms per call, all tests together.
    """

    def __init__(self, probabilities: NDArray[np.float64], alpha: float) -> None:
        kinds = np.repeat(np.asarray(probabilities, np.float64), 2) / 2.0
        pairs = np.outer(kinds, kinds).ravel()
        self._expected = np.concatenate((probabilities, (0.5, 0.5), kinds, pairs))
        self._alpha = alpha / 2.0
        self._calls = 0
        self._total = np.zeros(len(self._expected), np.int64)
        self._samples = np.zeros(len(self._expected), np.int64)

    def feed(self, setting: NDArray[np.uint8], bit: NDArray[np.uint8]) -> str | None:
        """Take what was sent in slots that follow each other, (n,) uint8 each.

        Returns what is wrong, in words, or None.
        """
        kind = setting * np.uint8(2) + bit
        # Pairs that share no slot are independent of each other: their counts are binomial.
        first, second = kind[0 : len(kind) // 2 * 2 : 2], kind[1::2]
        pair = first.astype(np.int64) * _KINDS + second
        kinds = np.bincount(kind, minlength=_KINDS)
        by_setting = kinds.reshape(-1, 2)
        counts = np.concatenate(
            (
                by_setting.sum(axis=1),
                by_setting.sum(axis=0),
                kinds,
                np.bincount(pair, minlength=_KINDS**2),
            )
        )
        samples = np.full(len(counts), len(kind), np.int64)
        samples[_SINGLE:] = len(pair)
        self._total += counts
        self._samples += samples
        self._calls += 1
        # Repeated looks at one growing sum: what they spend together is alpha.
        spent = self._alpha / (self._calls * (self._calls + 1))
        return self._wrong(counts, samples, self._alpha) or self._wrong(
            self._total, self._samples, spent
        )

    def _wrong(
        self, counts: NDArray[np.int64], samples: NDArray[np.int64], alpha: float
    ) -> str | None:
        k, n = counts.astype(np.float64), samples
        p = self._expected
        below = bdtr(k, n, p)
        above = np.where(counts > 0, bdtrc(np.maximum(k - 1.0, 0.0), n, p), 1.0)
        # One that is said never to come must never come.
        above = np.where((p <= 0.0) & (counts > 0), 0.0, above)
        tail = np.where(samples > 0, np.minimum(below, above), 1.0)
        worst = int(np.argmin(tail))
        if tail[worst] > alpha / (2.0 * len(tail)):
            return None
        share = counts[worst] / samples[worst]
        return (
            f"{_name(worst)} comes in {share:.6f} of {int(samples[worst])}, declared {p[worst]:.6f}"
        )


def _name(cell: int) -> str:
    if cell < len(SETTINGS):
        return f"setting {SETTINGS[cell]}"
    cell -= len(SETTINGS)
    if cell < 2:
        return f"bit {cell}"
    cell -= 2
    if cell < _KINDS:
        return _kind(cell)
    first, second = divmod(cell - _KINDS, _KINDS)
    return f"{_kind(first)}, then {_kind(second)}"


def _kind(kind: int) -> str:
    return f"setting {SETTINGS[kind // 2]} with bit {kind % 2}"
