"""An alarm with hysteresis: two limits, two times to hold them, and nothing in between moves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Alarm", "Transition"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Transition:
    """An alarm was raised or cleared.

    index: of the observation in the batch. time_s: then. since_s: when what led to it began.
    """

    index: int
    raised: bool
    time_s: float
    since_s: float


class Alarm:
    """Raised once the quantity lies beyond its limit for `raise_s`, cleared once it lies within the
    narrower limit for `clear_s`. Noise that cannot tell beyond from within does neither, and an
    observation that breaks the run starts it anew: at the limit nothing flaps.

    Parameters
    ----------
    raise_s, clear_s
        Link time for which every observation must say the same; 0: one is enough.
    """

    def __init__(self, raise_s: float, clear_s: float) -> None:
        self.raised = False
        self._hold_s = {False: raise_s, True: clear_s}
        self._run_began_s: float | None = None

    def run(self, times: Floats, beyond: Flags, within: Callable[[], Flags]) -> list[Transition]:
        """Take observations in their order.

        Parameters
        ----------
        times
            (n,) link time of their ends, s, rising.
        beyond
            (n,) whether the quantity lay beyond the limit.
        within
            Gives (n,) whether it lay within the narrower limit; asked for only if that matters.
        """
        if not self.raised and not beyond.any():
            self._run_began_s = None
            return []
        inside = within()
        out: list[Transition] = []
        at = 0
        while at < len(times):
            flags = inside if self.raised else beyond
            if not flags[at]:
                # What comes next that matters: nothing before it changes anything.
                self._run_began_s = None
                ahead = np.flatnonzero(flags[at:])
                if not len(ahead):
                    break
                at += int(ahead[0])
            time_s = float(times[at])
            if self._run_began_s is None:
                self._run_began_s = time_s
            if time_s - self._run_began_s >= self._hold_s[self.raised]:
                self.raised = not self.raised
                out.append(Transition(at, self.raised, time_s, self._run_began_s))
                self._run_began_s = None
            at += 1
        return out
