"""What a healthy link shows: measured while it was known to be one, after a calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.ladder import MU, NU, O

from .fault_observation import PARTIES, BlockReading, Measured, Observation

__all__ = [
    "UNKNOWN",
    "Baseline",
    "NotEnoughData",
    "decoy_events",
    "measure_baseline",
    "x_events",
]

Pair = tuple[float, float]

_MOST_ERROR_Z = 0.05
_MOST_ERROR_X = 0.35
_LEAST_LIVE = 0.5


class NotEnoughData(ValueError):
    """A baseline cannot be made of these observations; the message names what is missing."""


@dataclass(frozen=True)
class Baseline:
    """Rates and shares of a healthy link; pairs are Alice's, Bob's.

    clicks_per_s, outside_per_s, suppressed_share: by detector; the latter of all its hits. live:
    share of the slots. announced: outcomes per live slot. psi_minus_share: of them. light: clicks
    per tracking slot and arm, width_ps, visibility: None where nobody measures it. error_z,
    error_x: among both signals (None: no block was corrected), and both mu or both nu.
    vacuum_share: of a sender's announced events, those with nothing sent. decoy_share: of those
    with mu or nu, the ones with mu. sifted, x_events: events that error_z and error_x rest on.
    """

    clicks_per_s: tuple[float, ...]
    outside_per_s: tuple[float, ...]
    suppressed_share: tuple[float, ...]
    live: float
    announced: float
    psi_minus_share: float
    error_z: float | None
    error_x: float
    vacuum_share: Pair
    decoy_share: Pair
    light: tuple[float | None, float | None] = (None, None)
    width_ps: float | None = None
    visibility: float | None = None
    sifted: int = 0
    x_events: int = 0

    @property
    def detectors(self) -> int:
        """How many."""
        return len(self.clicks_per_s)

    @property
    def known(self) -> bool:
        """Whether it was measured; :data:`UNKNOWN` was not."""
        return self.detectors > 0

    def doubts(self) -> str | None:
        """Why this can hardly be a healthy link, so that it must not pass for one; None: it can."""
        if self.error_z is not None and self.error_z > _MOST_ERROR_Z:
            return f"{self.error_z:.3g} of the sifted bits are wrong"
        if self.error_x > _MOST_ERROR_X:
            return f"{self.error_x:.3g} of the bits in X are wrong, where 0.25 is what pulses allow"
        if self.live < _LEAST_LIVE:
            return f"detectors could fire in {self.live:.3g} of the slots only"
        return None


UNKNOWN = Baseline((), (), (), 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0))
"""Of a link that nobody has measured: what stands against a baseline is not watched."""


def x_events(table: NDArray[np.int64]) -> int:
    """Events with both mu or both nu, of a (4, 4) table by setting: where X shows interference."""
    return int(table[MU, MU] + table[NU, NU])


def decoy_events(table: NDArray[np.int64], party: int) -> tuple[int, int, int]:
    """Events of one sender: with vacuum sent, with mu, with mu or nu."""
    by_setting = table.sum(axis=1 - party)
    return int(by_setting[O]), int(by_setting[MU]), int(by_setting[MU] + by_setting[NU])


def measure_baseline(observations: Sequence[Observation]) -> Baseline:
    """The baseline of a time in which the link was known to be healthy; ten minutes are plenty.

    Raises
    ------
    NotEnoughData
        No relay, no announcements, no block with events, or no light where it is looked for.
    """
    readings = [
        (o.span_s if o.relay.span_s is None else o.relay.span_s, o.relay)
        for o in observations
        if o.relay is not None
    ]
    if not readings:
        raise NotEnoughData("no reading of the relay")
    relays = [r for _, r in readings]
    span_s = sum(s for s, _ in readings)
    detectors = range(len(relays[0].detectors))
    clicks = [sum(r.detectors[d].clicks for r in relays) for d in detectors]
    outside = [sum(r.detectors[d].outside for r in relays) for d in detectors]
    suppressed = [sum(r.detectors[d].suppressed for r in relays) for d in detectors]
    live, slots = sum(r.live for r in relays), sum(r.slots for r in relays)
    minus = sum(r.psi_minus for r in relays)
    announced = minus + sum(r.psi_plus for r in relays)
    if not live or not announced or not min(clicks):
        raise NotEnoughData("no live slots, no announcements, or a detector without a click")
    blocks = [b for o in observations for b in o.blocks]
    n, m = _tables(blocks)
    sifted = sum(b.sifted for b in blocks)
    if not x_events(n) or not n[:, MU].sum() or not n[MU].sum():
        raise NotEnoughData("no blocks with events in X")
    light = [_mean(r.light[arm] for r in relays) for arm in (0, 1)]
    for arm, name in enumerate(PARTIES):
        # A slot clock that is not locked yet keeps it from being measured: a cut would be missed.
        if light[arm] is None and any(r.tracked[arm] for r in relays):
            raise NotEnoughData(f"light of {name}'s arm is not measured yet")
    shares = [decoy_events(n, party) for party in (0, 1)]
    return Baseline(
        clicks_per_s=tuple(c / span_s for c in clicks),
        # Of a detector that never clicked outside, once in this time is as much as is known.
        outside_per_s=tuple(max(o, 1) / span_s for o in outside),
        suppressed_share=tuple(s / (s + c) for s, c in zip(suppressed, clicks, strict=True)),
        live=live / slots,
        announced=announced / live,
        psi_minus_share=minus / announced,
        error_z=sum(b.corrected for b in blocks) / sifted if sifted else None,
        error_x=x_events(m) / x_events(n),
        vacuum_share=(shares[0][0] / int(n.sum()), shares[1][0] / int(n.sum())),
        decoy_share=(shares[0][1] / shares[0][2], shares[1][1] / shares[1][2]),
        light=(light[0], light[1]),
        width_ps=_mean(r.width_ps for r in relays),
        visibility=_mean(r.visibility for r in relays),
        sifted=sifted,
        x_events=x_events(n),
    )


def _tables(blocks: Iterable[BlockReading]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n, m = np.zeros((4, 4), np.int64), np.zeros((4, 4), np.int64)
    for block in blocks:
        if block.n is not None and block.m is not None:
            n += block.n
            m += block.m
    return n, m


def _mean(values: Iterable[Measured | None]) -> float | None:
    known = [v for v in values if v is not None]
    weight = sum(1.0 / v.sigma**2 for v in known)
    return sum(v.value / v.sigma**2 for v in known) / weight if known else None
