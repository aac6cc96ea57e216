"""Pulls a slot clock in by the light alone: raw tags and heartbeats in, phases with bounds out.

For links without a sync channel whose clocks differ by several ppm. Bare tags tell how the light
moves against the board's clock (:mod:`.light_phase`), heartbeats how trims have moved the slot
clock (:mod:`.slot_bounds`); the difference is what the loop needs, whole slots included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bellrelay.wire.payloads import Heartbeat, Tags

from .light_phase import LightPhase
from .slot_bounds import SlotBounds
from .tag_positions import TagPositions

__all__ = ["LightPullIn", "LightReading"]

_QUEUE_BYTES = 1 << 26
_SIGMAS = 5.0


@dataclass(frozen=True)
class LightReading:
    """At a heartbeat's cut.

    phase_ps: how late the light comes, give or take half_ps at most. rate_ps_per_s: against the
    untrimmed clock, sigma_rate_ps_per_s its standard error.
    """

    phase_ps: float
    half_ps: float
    rate_ps_per_s: float
    sigma_rate_ps_per_s: float


class LightPullIn:
    """Of one acquisition.

    Parameters
    ----------
    light
        New.
    untrimmed
        Slot clock that no heartbeat is ever told to.
    deskew_ps
        By detector.
    period_ps
        The slot as the board counts it.
    """

    def __init__(
        self,
        light: LightPhase,
        untrimmed: TagPositions,
        deskew_ps: Sequence[int],
        period_ps: int,
    ) -> None:
        self._light = light
        self._untrimmed = untrimmed
        self._deskew = np.array([*deskew_ps], np.int64)
        self._period_ps = period_ps
        self._bounds = SlotBounds(period_ps, untrimmed.clock_period_ps)
        self._queue: deque[bytes] = deque()
        self._queued = 0

    @property
    def given_up(self) -> str:
        """Why the light will not be found."""
        return self._light.given_up

    def raw_tags(self, payload: bytes) -> None:
        """Queue a payload of a TAGS frame; any thread, never waits. Some may be left out."""
        if self._queued < _QUEUE_BYTES:
            self._queued += len(payload)
            self._queue.append(payload)

    def heartbeat(self, beat: Heartbeat) -> LightReading | None:
        """What is known at its cut; None: the light has not been found yet."""
        cut_ps = beat.fields["cut_ps"]
        cut = self._untrimmed.now_ps(cut_ps)
        self._bounds.heartbeat(beat, cut)
        while self._queue:
            self._take(self._queue.popleft())
        self._queued = 0
        self._light.work(cut)
        if self._light.filter is None:
            return None
        late_ps, sigma_ps = self._light.at(cut)
        low, high = self._bounds.low_ps, self._bounds.high_ps
        return LightReading(
            late_ps + 0.5 * (low + high),
            0.5 * (high - low) + _SIGMAS * sigma_ps,
            self._light.filter.rate_ps_per_s,
            self._light.filter.sigma_rate_ps_per_s,
        )

    def _take(self, payload: bytes) -> None:
        tags = Tags.parse(payload)
        channel = tags.channel()
        seen = channel < len(self._deskew)
        t = tags.time()[seen] - self._deskew[channel[seen]]
        slot, position = self._untrimmed.place(t[t >= 0])
        self._light.take(slot.astype(np.int64) * self._period_ps + position)
