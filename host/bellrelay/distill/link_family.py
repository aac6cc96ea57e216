"""Links that a block may have come from: what weights are tuned for before any setting is known.

Weights of `weighted_counts` must not depend on the settings of the events that they weigh. They may
depend on how many events were announced, and the counts that a link leads to follow from that but
for its asymmetry, its dark counts and its errors in X. So a family is laid over these three, one
set of weights belongs to every member, and the failure probability is shared among all of them:
then any member may be picked once the settings are known. A bound tuned for the wrong link holds
all the same; the family is that coarse because a mismatch of half a step costs about a percent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bellrelay import physics
from bellrelay.physics import Basis, RelayModel
from bellrelay.wire.outcomes import Outcome

from .sender import Kind, Sender

__all__ = ["FAMILY_SIZE", "expected_counts"]

Floats = NDArray[np.float64]

_ASYMMETRIES = 2.0 ** np.arange(-8.0, 8.5, 0.5)  # eta of Alice over eta of Bob
_DARK_COUNTS = (1e-6, 1e-5, 1e-4, 1e-3)  # per cell, over the root of eta of Alice times Bob
_FLIPS = (0.01, 0.03, 0.08, 0.2)  # errors in X beyond those of ideal interference

_STEPS_PER_OCTAVE = 4

FAMILY_SIZE = len(_ASYMMETRIES) * len(_DARK_COUNTS) * len(_FLIPS)


def expected_counts(
    alice: Sender, bob: Sender, pulses: float, announced: float, outcomes: Iterable[Outcome]
) -> tuple[Floats, Floats]:
    """Counts that every member leads to, where so many events were announced.

    Returns events and errors, (FAMILY_SIZE, a, b) each; of errors only those of X with X mean
    something. `outcomes` are those that the events were announced as.
    """
    # Shares hardly change with the rate, and are made of what is declared, however far it may be
    # off, so that blocks of one link share them.
    step = round(_STEPS_PER_OCTAVE * math.log2(max(announced, 1.0) / pulses))
    of = tuple(sorted(set(outcomes)))
    shares, wrong = _shares(alice.as_declared, bob.as_declared, step, of)
    return announced * shares, announced * wrong


@lru_cache(maxsize=64)
def _shares(
    alice: Sender, bob: Sender, step: int, outcomes: tuple[Outcome, ...]
) -> tuple[Floats, Floats]:
    """By setting, the share of all events, and of those that are errors, at a rate of events."""
    rate = 2.0 ** (step / _STEPS_PER_OCTAVE)
    root = np.sqrt(_ASYMMETRIES)[:, None, None]
    eta = _transmission(alice, bob, rate, len(outcomes) == len(Outcome))
    p = np.outer(alice.probabilities, bob.probabilities)
    events, errors = [], []
    for dark in _DARK_COUNTS:
        model = RelayModel(
            eta_a=np.minimum(eta[:, None, None] * root, 1.0),
            eta_b=np.minimum(eta[:, None, None] / root, 1.0),
            dark_count_probability=dark * float(np.median(eta)),
        )
        gain, wrong = _gains(model, alice, bob, outcomes)
        n = gain * p
        # The transmission was a guess; what is known is the sum.
        unit = 1.0 / n.sum(axis=(1, 2), keepdims=True)
        for flip in _FLIPS:
            events.append(n * unit)
            errors.append(((1.0 - flip) * wrong + flip * (gain - wrong)) * p * unit)
    return np.concatenate(events), np.concatenate(errors)


def _transmission(alice: Sender, bob: Sender, rate: float, both: bool) -> Floats:
    """Root of eta_a eta_b by asymmetry, from the leading order of all coincidences."""
    x, y = alice.declared, bob.declared
    in_x = [np.array([k is not Kind.Z for k in s.kinds]) for s in (alice, bob)]
    p, q = alice.probabilities, bob.probabilities
    root = np.sqrt(_ASYMMETRIES)
    of_pair = float(p @ x) * float(q @ y) / 2.0
    of_alice = float(p @ np.where(in_x[0], x**2, 0.0)) / 4.0
    of_bob = float(q @ np.where(in_x[1], y**2, 0.0)) / 4.0
    total = (of_pair + of_alice * root**2 + of_bob / root**2) * (1.0 if both else 0.5)
    return np.asarray(np.clip(np.sqrt(rate / total), 1e-6, 1.0))


def _gains(
    model: RelayModel, alice: Sender, bob: Sender, outcomes: tuple[Outcome, ...]
) -> tuple[Floats, Floats]:
    """Gain by setting, and error gain of X with X: (asymmetries, a, b) each."""
    shape = (len(_ASYMMETRIES), alice.settings, bob.settings)
    gain, wrong = np.empty(shape), np.zeros(shape)
    rows = _by_basis(alice)
    columns = _by_basis(bob)
    for (basis_a, of_a), (basis_b, of_b) in itertools.product(rows, columns):
        x, y = alice.declared[of_a][:, None], bob.declared[of_b][None, :]
        block = np.ix_(np.arange(shape[0]), of_a, of_b)
        if basis_a is basis_b:
            found = physics.gains(model, basis_a, x, y).pooled(outcomes)
            gain[block] = found.gain
            if basis_a is Basis.X:
                wrong[block] = found.errors
            continue
        plus, minus = physics.outcome_probabilities(model, basis_a, basis_b, x, y)
        by_outcome = {Outcome.PSI_PLUS: plus, Outcome.PSI_MINUS: minus}
        gain[block] = sum(by_outcome[o].mean(axis=(0, 1)) for o in set(outcomes))
    return gain, wrong


def _by_basis(sender: Sender) -> list[tuple[Basis, NDArray[np.intp]]]:
    found = []
    for basis, members in ((Basis.Z, (Kind.Z,)), (Basis.X, (Kind.X, Kind.VACUUM))):
        chosen = np.flatnonzero([kind in members for kind in sender.kinds])
        if chosen.size:
            found.append((basis, chosen))
    return found
