"""The best ladders for a modelled link: intensities and probabilities of both parties.

The objective is the key of a finite block, every constant included, with bounds that are tuned for
the model (:func:`~bellrelay.distill.link_rates.spare_bits`); the key that is reported is that of
bounds which are not. The search is deterministic: a simplex (J. A. Nelder, R. Mead, Comput. J. 7,
308 (1965)) in unbounded coordinates, led from long blocks, where nearly every ladder makes key, to
the length that is asked for. On even arms both parties share a ladder (6 coordinates), on uneven
ones each has its own (12), which starts from the even solution with decoys matched at the relay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from .ladder import Ladder
from .link_rates import FiniteKey, ModelledLink, finite_key, spare_bits
from .security import Security

__all__ = ["Optimum", "optimise_ladders"]

_EVEN = 1e-9
"""Arms whose etas differ by less, relatively, share one ladder."""

_LONG_BLOCK = 10**15
_PLAIN = (
    (0.5, 0.28, 0.06, 0.75, 0.03, 0.18),
    (0.32, 0.32, 0.07, 0.46, 0.06, 0.42),
)
"""Ladders s, mu, nu, p_s, p_mu, p_nu that serve where much light arrives, and where little does."""

_LIMIT = 30.0
"""Of coordinates, which are logarithms."""

Coordinates = NDArray[np.float64]


@dataclass(frozen=True)
class Optimum:
    """The best ladders that were found, their key, and how many blocks were evaluated."""

    alice: Ladder
    bob: Ladder
    key: FiniteKey
    evaluations: int


def optimise_ladders(
    link: ModelledLink,
    pulses: int,
    security: Security,
    start: tuple[Ladder, Ladder],
    steps: int = 400,
) -> Optimum:
    """Ladders with the longest key of a block of `pulses` pairs.

    Parameters
    ----------
    link
        Model; its etas must be floats.
    pulses, security
        N and what is asked of the key.
    start
        Where to begin; intensities o and deviations are kept from it.
    steps
        Evaluations of the last search per six coordinates; each earlier one has a third of it.
        More of them buy less than a per cent.

    Returns
    -------
    Never worse than `start`. With a key of length 0 the ladders are those that come nearest to one.
    """
    search = _Search(link, security, start)
    lengths = [pulses]
    if search.value(search.ladders(search.begin(pulses)), pulses) <= 0.0:
        while lengths[-1] < _LONG_BLOCK:
            lengths.append(lengths[-1] * 10)
    x = search.begin(lengths[-1])
    for n in reversed(lengths):
        x = search.improve(x, n, steps if n == pulses else max(steps // 3, 60))
    if not search.even:
        x = search.improve(search.part(x), pulses, 2 * steps)
    found = search.ladders(x)
    best = max((found, start), key=lambda pair: search.value(pair, pulses))
    return Optimum(*best, finite_key(link, *best, pulses, security), search.evaluations)


class _Search:
    """Evaluations of one link; `even` while both parties share a ladder."""

    def __init__(
        self, link: ModelledLink, security: Security, start: tuple[Ladder, Ladder]
    ) -> None:
        self.link, self.security, self.start = link, security, start
        eta_a, eta_b = float(np.asarray(link.relay.eta_a)), float(np.asarray(link.relay.eta_b))
        same_arms = abs(eta_a - eta_b) <= _EVEN * max(eta_a, eta_b)
        same_fixed = all(getattr(start[0], k) == getattr(start[1], k) for k in ("o", "deviation"))
        self.even = same_arms and same_fixed
        # Decoys interfere best where equally many photons arrive.
        self.log_ratio = math.log(eta_a / eta_b) if min(eta_a, eta_b) > 0.0 else 0.0
        self.shared = True
        self.evaluations = 0

    def begin(self, pulses: int) -> Coordinates:
        """Shared coordinates: the start's means, or a plain ladder if that is the better one."""
        given = 0.5 * (_coordinates(self.start[0]) + _coordinates(self.start[1]))
        o, deviation = self.start[0].o, self.start[0].deviation
        plain = [_coordinates(Ladder(*x[:3], o, *x[3:], deviation)) for x in _PLAIN if x[2] > o]
        return max((given, *plain), key=lambda x: self.value(self.ladders(x), pulses))

    def ladders(self, x: Coordinates) -> tuple[Ladder, Ladder]:
        """Both parties' ladders at these coordinates."""
        if not self.shared:
            return _ladder(x[:6], self.start[0]), _ladder(x[6:], self.start[1])
        half = 0.0 if self.even else 0.5 * self.log_ratio
        shift = np.array([0.0, half, 0.0, 0.0, 0.0, 0.0])
        return _ladder(x - shift, self.start[0]), _ladder(x + shift, self.start[1])

    def part(self, x: Coordinates) -> Coordinates:
        """From shared coordinates to those of each party."""
        ladders = self.ladders(x)
        self.shared = False
        return np.concatenate([_coordinates(ladder) for ladder in ladders])

    def value(self, ladders: tuple[Ladder, Ladder], pulses: int) -> float:
        """What is maximised: bits of key, or below 0 how far the block is from one."""
        self.evaluations += 1
        spare, spent = spare_bits(self.link, *ladders, pulses, self.security)
        # Without a key, sending nothing would leave most: there the share counts, not the bits.
        return spare if spare > 0.0 else spare / spent

    def improve(self, x: Coordinates, pulses: int, steps: int) -> Coordinates:
        """The best that a simplex of so many evaluations finds from x."""

        def cost(at: Coordinates) -> float:
            try:
                return -self.value(self.ladders(at), pulses)
            except ValueError:  # outside of what a ladder may be
                return math.inf

        size = x.size
        simplex = np.vstack([x, x + np.diag(np.tile([0.2, 0.2, 0.3, 0.3, 0.3, 0.3], size // 6))])
        found = minimize(
            cost,
            x,
            method="Nelder-Mead",
            options={
                "initial_simplex": simplex,
                "maxfev": steps * size // 6,
                "xatol": 1e-3,
                "fatol": 0.0,
                "adaptive": True,
            },
        )
        return np.asarray(found.x, np.float64)


def _coordinates(ladder: Ladder) -> Coordinates:
    """Logs of s and mu, logit of (nu - o) / (mu - o), log-odds of s, mu, nu against o."""
    inner = (ladder.nu - ladder.o) / (ladder.mu - ladder.o)
    odds = np.log(ladder.probabilities[:3] / ladder.probabilities[3])
    return np.array([math.log(ladder.s), math.log(ladder.mu), math.log(inner / (1 - inner)), *odds])


def _ladder(x: Coordinates, like: Ladder) -> Ladder:
    """The ladder at these coordinates; ValueError where there is none."""
    if not np.all(np.abs(x) < _LIMIT):
        raise ValueError("coordinates out of range")
    mu = math.exp(x[1])
    weights = np.exp([*x[3:], 0.0])
    p_s, p_mu, p_nu, _ = (float(w) for w in weights / weights.sum())
    return Ladder(
        s=math.exp(x[0]),
        mu=mu,
        nu=like.o + (mu - like.o) / (1.0 + math.exp(-x[2])),
        o=like.o,
        p_s=p_s,
        p_mu=p_mu,
        p_nu=p_nu,
        deviation=like.deviation,
    )
