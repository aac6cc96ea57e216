"""Bounds of a block by weighted counts, tuned for the link that it may have come from.

For any two senders and any cells; `four_intensity_bounds` and `three_intensity` say which.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.outcomes import Outcome

from .event_classes import Cells, EventClasses, Worths
from .link_family import FAMILY_SIZE, expected_counts
from .sender import Sender
from .weighted_counts import WeightedBound, bound_by_weights

__all__ = ["TunedBounds"]

Floats = NDArray[np.float64]

# Where cells are not reported, the number of announced events is not known without the settings,
# and the family has one more dimension: their number, from 1 on in such steps.
_SUM_STEP = 1.25
_SUMS = 200


class TunedBounds:
    """All bounds of one table of counts; each has a failure probability of its own.

    Parameters
    ----------
    alice, bob
        What they sent.
    cells
        Which of their settings are counted.
    counts
        (cells,) what was counted; see :meth:`.event_classes.Cells.counts`.
    pulses
        Pairs of pulses sent.
    outcomes
        As what the events were announced.
    expected
        (cells,) counts that were expected before the settings of the block were known, to tune the
        weights for; None: a member of `link_family` is picked, and paid for.
    """

    def __init__(
        self,
        alice: Sender,
        bob: Sender,
        cells: Cells,
        counts: Floats,
        pulses: float,
        outcomes: Iterable[Outcome],
        expected: Floats | None = None,
    ) -> None:
        self.classes = EventClasses(alice, bob, cells)
        self.counts = counts
        if expected is not None:
            self.tuned_for, self._family_cost = expected, 0.0
            return
        self._family_cost = math.log(FAMILY_SIZE)
        outcomes = tuple(outcomes)
        announced = max(1.0, float(counts.sum()))
        if not cells.reported.all():
            n, _ = expected_counts(alice, bob, pulses, announced, outcomes)
            share = float(np.median(n[:, cells.reported].sum(axis=1) / n.sum(axis=(1, 2))))
            step = round(math.log(announced / share) / math.log(_SUM_STEP))
            announced = _SUM_STEP ** min(max(step, 0), _SUMS - 1)
            self._family_cost += math.log(_SUMS)
        events, errors = expected_counts(alice, bob, pulses, announced, outcomes)
        members = np.stack([cells.counts(n, m) for n, m in zip(events, errors, strict=True)])
        likelihood = (counts * np.log(members + 1e-9) - members).sum(axis=1)
        self.tuned_for = members[int(np.argmax(likelihood))]

    def bound(self, failure: float, worths: Worths | None) -> WeightedBound:
        """The inequality, before the counts are put in; of private bits where `worths` is None."""
        log_failure = -math.log(failure) + self._family_cost
        return bound_by_weights(self.classes, self.tuned_for, log_failure, worths)

    def private_bits(self, failure: float) -> tuple[float, float]:
        """(lower bound of n_vacuum + n_11 (1 - h(e_phase)), phase error of the tangent)."""
        found = self.bound(failure, None)
        return found.value(self.counts), 2.0 ** (found.weights.worths.wrong_pair - 1.0)

    def pairs_lower(self, failure: float) -> float:
        """Lower bound on the single-photon pairs among the events of key."""
        return max(0.0, self.bound(failure, Worths(1.0, 1.0, 0.0)).value(self.counts))

    def phase_errors_upper(self, failure: float) -> float:
        """Upper bound on the phase errors among the single-photon pairs of key."""
        return max(0.0, -self.bound(failure, Worths(0.0, -1.0, 0.0)).value(self.counts))
