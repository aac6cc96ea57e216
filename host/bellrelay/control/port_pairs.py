"""Coincidences of the two output ports of the beam splitter, from raw tags."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.relay.config import RelayConfig
from bellrelay.tags.coincidences import coincidences

from .calibration_bench import TagRecording

__all__ = ["PortPairs", "port_pairs"]

_SIDES = 10


@dataclass(frozen=True)
class PortPairs:
    """Pairs of a click at port c and one at port d, a window apart at most.

    Attributes
    ----------
    same
        Of the same bin.
    apart
        Mean number of pairs that lie some slots apart: these know nothing of one another, and say
        how many there would be without interference and without common changes of the light.
    slots
        Of the recording.
    clicks
        At ports c and d.
    """

    same: int
    apart: float
    slots: float
    clicks: tuple[int, int]

    @property
    def ratio(self) -> float:
        """Pairs of the same bin over those apart: the second-order correlation; nan without any."""
        return self.same / self.apart if self.apart else math.nan

    @property
    def sigma_ratio(self) -> float:
        """Its standard error."""
        if not self.apart:
            return math.inf
        sides = 2 * _SIDES
        return self.ratio * math.sqrt(1.0 / max(self.same, 1) + 1.0 / (self.apart * sides))


def port_pairs(recording: TagRecording, config: RelayConfig, window_ps: int) -> PortPairs:
    """Count them, deskewed as the relay is configured.

    Parameters
    ----------
    window_ps
        More than the pulses are apart and wide, less than half a bin's distance from the next.
    """
    ports: list[list[NDArray[np.int64]]] = [[], []]
    for channel, detector in enumerate(config.detectors):
        ports["cd".index(detector.port)].append(recording.of(channel) - detector.deskew_ps)
    c, d = (np.sort(np.concatenate(times)) for times in ports)
    period = float(config.slot_period_ps)
    # Whole slots apart, in both directions: whatever is in a slot's bins, it is there again.
    away = [
        coincidences(c + round(k * period), d, window_ps) for k in range(-_SIDES, _SIDES + 1) if k
    ]
    return PortPairs(
        coincidences(c, d, window_ps),
        float(np.mean(away)),
        (recording.end_ps - recording.begin_ps) / period,
        (len(c), len(d)),
    )
