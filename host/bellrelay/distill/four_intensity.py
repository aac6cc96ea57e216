"""The four-intensity protocol: what is counted of a block, and its bounds by weighted counts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from bellrelay.wire.outcomes import Outcome

from .concentration import count_lower, mean_lower
from .event_classes import Cells
from .ladder import MU, NU, Ladder, O, S
from .tally import Tally
from .tuned_bounds import TunedBounds

__all__ = ["four_intensity_bounds", "four_intensity_cells", "vacuum_lower"]


def four_intensity_cells(tally: Tally, credit_empty: bool = True) -> Cells:
    """The cells that a tally reports.

    Key is s with s. Errors are looked at of mu and nu with mu and nu: those with the vacuum setting
    say nothing, and its bits need not be random.
    """
    reported = tally.n >= 0
    split = np.zeros_like(reported)
    split[MU : NU + 1, MU : NU + 1] = True
    key = np.zeros_like(reported)
    key[S, S] = True
    return Cells(reported, split & reported & (tally.m >= 0), key, credit_empty)


def four_intensity_bounds(
    tally: Tally,
    alice: Ladder,
    bob: Ladder,
    outcomes: Iterable[Outcome],
    expected: Tally | None = None,
    credit_empty: bool = True,
) -> TunedBounds:
    """Bounds of one tally; `expected` as :class:`~bellrelay.distill.tuned_bounds.TunedBounds`."""
    cells = four_intensity_cells(tally, credit_empty)
    return TunedBounds(
        alice.sender(),
        bob.sender(),
        cells,
        cells.counts(tally.n, tally.m),
        tally.pulses,
        outcomes,
        None if expected is None else cells.counts(expected.n, expected.m),
    )


def vacuum_lower(tally: Tally, alice: Ladder, failure: float) -> float:
    """Lower bound on the events of key without photon of Alice.

    From her vacuum with Bob's signal; 0 where that may hold light or is not reported.
    """
    count = float(tally.n[O, S])
    if alice.high[O] > 0.0 or count <= 0.0:
        return 0.0
    odds = alice.p_s * math.exp(-alice.high[S]) / alice.p_o
    return count_lower(odds * mean_lower(count, failure / 2.0), failure / 2.0)
