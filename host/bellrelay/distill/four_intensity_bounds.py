"""Bounds of a four-intensity block by weighted counts, tuned for the link that it came from."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.outcomes import Outcome

from .concentration import count_lower, mean_lower
from .event_classes import Worths
from .four_intensity_cells import four_intensity_classes
from .ladder import Ladder, O, S
from .link_family import FAMILY_SIZE, expected_counts
from .tally import Tally
from .weighted_counts import WeightedBound, bound_by_weights

__all__ = ["FourIntensityBounds", "vacuum_lower"]

Floats = NDArray[np.float64]

# Where cells are not reported, the number of announced events is not known without the settings,
# and the family has one more dimension.
_SUM_STEP = 1.25
_SUMS = 200


class FourIntensityBounds:
    """All bounds of one tally; each has a failure probability of its own.

    expected: counts that were expected before the settings of the block were known, to tune the
    weights for; None: a member of `link_family` is picked, and paid for.
    """

    def __init__(
        self,
        tally: Tally,
        alice: Ladder,
        bob: Ladder,
        outcomes: Iterable[Outcome],
        expected: Tally | None = None,
    ) -> None:
        self._classes = four_intensity_classes(tally, alice, bob)
        cells = self._classes.cells
        reported = cells.reported
        self._tally = tally
        self._family_cost = 0.0
        if expected is not None:
            self._tuned_for = cells.counts(expected.n, expected.m)
            return
        counts = cells.counts(tally.n, tally.m)
        announced = float(counts.sum())
        self._family_cost = math.log(FAMILY_SIZE)
        events, errors = expected_counts(
            alice.sender(), bob.sender(), tally.pulses, announced, outcomes
        )
        if not reported.all():
            # Of the events that any member expects, some are not reported.
            share = float(np.median(events[:, reported].sum(axis=1) / events.sum(axis=(1, 2))))
            rounded = _SUM_STEP ** round(
                math.log(max(announced, 1.0) / share) / math.log(_SUM_STEP)
            )
            unit = rounded / max(announced, 1.0)
            events, errors = events * unit, errors * unit
            self._family_cost += math.log(_SUMS)
        members = np.stack([cells.counts(n, m) for n, m in zip(events, errors, strict=True)])
        likelihood = (counts * np.log(members + 1e-9) - members).sum(axis=1)
        self._tuned_for = members[int(np.argmax(likelihood))]

    def bound(self, failure: float, worths: Worths | None) -> WeightedBound:
        """The inequality, before the counts are put in; of private bits where `worths` is None."""
        log_failure = -math.log(failure) + self._family_cost
        return bound_by_weights(self._classes, self._tuned_for, log_failure, worths)

    def private_bits(self, failure: float) -> tuple[float, float]:
        """(lower bound of n_vacuum + n_11 (1 - h(e_phase)), phase error of the tangent)."""
        found = self.bound(failure, None)
        tangent = 2.0 ** (found.weights.worths.wrong_pair - 1.0)
        return found.value(self._tally.n, self._tally.m), tangent

    def pairs_lower(self, failure: float) -> float:
        """Lower bound on the single-photon pairs among the events of key."""
        found = self.bound(failure, Worths(1.0, 1.0, 0.0))
        return max(0.0, found.value(self._tally.n, self._tally.m))

    def phase_errors_upper(self, failure: float) -> float:
        """Upper bound on the phase errors among the single-photon pairs of key."""
        found = self.bound(failure, Worths(0.0, -1.0, 0.0))
        return max(0.0, -found.value(self._tally.n, self._tally.m))


def vacuum_lower(tally: Tally, alice: Ladder, failure: float) -> float:
    """Lower bound on the events of key without photon of Alice.

    From her vacuum with Bob's signal; 0 where that may hold light or is not reported.
    """
    count = float(tally.n[O, S])
    if alice.high[O] > 0.0 or count <= 0.0:
        return 0.0
    odds = alice.p_s * math.exp(-alice.high[S]) / alice.p_o
    return count_lower(odds * mean_lower(count, failure / 2.0), failure / 2.0)
