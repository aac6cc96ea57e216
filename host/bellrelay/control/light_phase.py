"""How late the light comes against a clock that nobody trims, whole slots counted, from bare tags.

The rate is found by periodogram in the first tags (:mod:`.slot_phase`), the phase by a fit of the
pulses in tags that were folded by it; both are followed by a filter. Nothing of this needs a
histogram, in which clocks that differ by several ppm leave a blur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .drift_filter import DriftFilter, DriftNoise
from .pulse_monitor import measure_pulses
from .pulse_positions import TooFewCounts
from .slot_phase import RateFromTags, rate_from_tags

__all__ = ["LightPhase"]

_FEWEST, _SEARCHED = 200, 1000
"""Tags of a search: more make it slower, and no surer."""
_WORK = 4e6
"""Tags times rates that a search may look at, a tenth of a second's work."""
_SPAN_PS, _LONGEST_PS = 20_000_000_000, 500_000_000_000
"""Tags of so long at least are searched, or followed at once; and the longest search."""
_PATIENCE_PS = 3_000_000_000_000
"""A light that is not found by then is given up: the rate of so long ago is not that of now."""
_BUFFER = 1 << 20
_FOLDED = 20_000
_CERTAIN = 1.0 / 16.0
"""Of a slot: a phase that is known to so much, five standard errors of it, is in the right slot."""


class LightPhase:
    """Of one acquisition, whose slot 0 began when the senders' did, within a quarter of a slot.

    Parameters
    ----------
    period_ps, bin_ps
        The slot as the board counts it; of the histograms that tags are folded into.
    centres_ps, width_ps
        Where the pulses belong, and the standard deviation of arrival times.
    limit_ps_per_s
        Rates up to this are searched.
    noise
        Of the clocks.

    Attributes
    ----------
    filter : DriftFilter or None
        Phase and rate, once they were found.
    given_up : str
        Why they never will be.
    """

    def __init__(
        self,
        *,
        period_ps: int,
        bin_ps: int,
        centres_ps: Sequence[float],
        width_ps: float,
        limit_ps_per_s: float,
        noise: DriftNoise,
    ) -> None:
        self._period_ps = period_ps
        self._bin_ps = bin_ps
        self._centres_ps = centres_ps
        self._width_ps = width_ps
        self._limit_ps_per_s = limit_ps_per_s
        self._noise = noise
        self._parts: list[NDArray[np.int64]] = []
        self._tried_ps = 0
        self._now_ps = 0
        self._why = "no light"
        self.filter: DriftFilter | None = None
        self.given_up = ""

    def take(self, v_ps: NDArray[np.int64]) -> None:
        """Clicks of the detectors, deskewed: (n,) int64, on the untrimmed slot clock."""
        if len(v_ps) and sum(map(len, self._parts)) < _BUFFER:
            self._parts.append(v_ps)

    def work(self, until_ps: int) -> None:
        """Use what has been taken and came before this time."""
        tags = np.sort(np.concatenate(self._parts)) if self._parts else np.empty(0, np.int64)
        end = int(np.searchsorted(tags, until_ps))
        tags, later = tags[:end], tags[end:]
        span_ps = int(tags[-1] - tags[0]) if len(tags) else 0
        done = False
        if len(tags) >= _FEWEST and span_ps >= _SPAN_PS:
            try:
                done = self._search(tags) if self.filter is None else self._follow(tags)
            except TooFewCounts as error:
                self._why = str(error)
        if not done and until_ps - self._now_ps > _PATIENCE_PS:
            self.given_up = self._why
        if done:
            tags = tags[:0]
        elif self.filter is None:
            tags = tags[tags >= until_ps - _LONGEST_PS]
        self._parts = [part for part in (tags, later) if len(part)]

    def at(self, time_ps: int) -> tuple[float, float]:
        """Phase in ps at a time not before the last one used, and its standard error."""
        assert self.filter is not None
        ahead_s = (time_ps - self._now_ps) * 1e-12
        return self.filter.phase_ps + ahead_s * self.filter.rate_ps_per_s, self.filter.ahead(
            ahead_s
        )

    def _search(self, tags: NDArray[np.int64]) -> bool:
        if tags[-1] - self._tried_ps < 0.5 * (tags[-1] - tags[0]):
            # What a few more tags can say is not worth another search.
            return False
        self._tried_ps = int(tags[-1])
        found = self._rate(tags)
        unknown_ps = 5.0 * found.sigma_ps_per_s * float(tags[-1]) * 1e-12
        if unknown_ps > _CERTAIN * self._period_ps:
            # Which slot the pulses are in by now is open: a longer span knows the rate better.
            return False
        self.filter = DriftFilter(
            self._noise, _CERTAIN * self._period_ps, max(found.sigma_ps_per_s, 1.0)
        )
        self.filter.command(rate_ps_per_s=found.rate_ps_per_s)
        # Up to here the phase has grown by that rate: folded by it, the tags tell what it began at.
        self._follow(tags)
        return True

    def _rate(self, tags: NDArray[np.int64]) -> RateFromTags:
        # As finely as :func:`rate_from_tags` looks.
        rates = 20.0 * self._limit_ps_per_s * 1e-12 * float(tags[-1] - tags[0]) / self._period_ps
        number = min(max(_WORK / max(rates, 1.0), _FEWEST), _SEARCHED)
        thinned = tags[:: math.ceil(len(tags) / number)]
        return rate_from_tags(thinned, self._period_ps, limit_ps_per_s=self._limit_ps_per_s)

    def _follow(self, tags: NDArray[np.int64]) -> bool:
        assert self.filter is not None
        tags = tags[:: -(-len(tags) // _FOLDED)]
        now_ps = int(tags[-1])
        middle_ps = float(tags.mean())
        phase, _ = self.at(now_ps)
        rate = self.filter.rate_ps_per_s
        expected = phase - (now_ps - tags) * (1e-12 * rate)
        place = ((tags % self._period_ps) - expected) % self._period_ps
        bins = -(-self._period_ps // self._bin_ps)
        counts = np.bincount((place // self._bin_ps).astype(np.int64), minlength=bins)[:bins]
        found = measure_pulses(
            counts,
            bin_ps=self._bin_ps,
            period_ps=self._period_ps,
            centres_ps=self._centres_ps,
            width_ps=self._width_ps,
            fit_width=True,
        ).positions
        self.filter.pass_time((now_ps - self._now_ps) * 1e-12)
        self._now_ps = now_ps
        age_s = (now_ps - middle_ps) * 1e-12
        was = self.filter.phase_ps - age_s * rate
        self.filter.measure(was + found.shift_ps, max(found.sigma_shift_ps, 0.5), age_s)
        return True
