"""Three intensities, each in either basis: senders, cells and bounds by weighted counts.

For senders that draw basis and intensity independently. Key is made of mu with mu in Z; Z and X of
all intensities bound it together. Settings, in this order: mu in Z, nu in Z, mu in X, nu in X, and
the vacuum o, whose basis is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.outcomes import Outcome

from .event_classes import Cells
from .sender import Kind, Sender
from .tuned_bounds import TunedBounds

__all__ = ["three_intensity_bounds", "three_intensity_cells", "three_intensity_sender"]


def three_intensity_sender(
    mu: float,
    nu: float,
    p_mu: float,
    p_nu: float,
    z_probability: float,
    deviation: float = 0.0,
    vacuum_limit: float = 0.0,
) -> Sender:
    """A sender; o has the intensity 0 and takes the rest of the probability.

    deviation, vacuum_limit: as of :class:`~bellrelay.distill.ladder.Ladder`. Raises ValueError as
    :class:`~bellrelay.distill.sender.Sender` does.
    """
    z = z_probability
    declared = np.array([mu, nu, mu, nu, 0.0])
    high = declared * (1.0 + deviation)
    high[-1] = vacuum_limit
    return Sender(
        (Kind.Z, Kind.Z, Kind.X, Kind.X, Kind.VACUUM),
        np.array([p_mu * z, p_nu * z, p_mu * (1.0 - z), p_nu * (1.0 - z), 1.0 - p_mu - p_nu]),
        declared,
        declared * (1.0 - deviation),
        high,
    )


def three_intensity_cells() -> Cells:
    """All pairs of settings are counted; errors of X with X, but of the vacuum."""
    key, split = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
    key[0, 0] = True
    split[2:4, 2:4] = True
    return Cells(np.ones((5, 5), bool), split, key)


def three_intensity_bounds(
    n: NDArray[np.int64],
    m: NDArray[np.int64],
    pulses: int,
    alice: Sender,
    bob: Sender,
    outcomes: Iterable[Outcome],
) -> TunedBounds:
    """Bounds of events n (5, 5) and errors m (5, 5) by setting of Alice and Bob."""
    cells = three_intensity_cells()
    return TunedBounds(alice, bob, cells, cells.counts(n, m), pulses, outcomes)
