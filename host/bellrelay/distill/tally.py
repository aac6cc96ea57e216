"""Counts of a block by both parties' settings: all that estimation ever sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.payloads import are_outcomes

from .ladder import SETTINGS, S
from .sift import BASIS_X, bob_flips

__all__ = ["NOT_REPORTED", "Tally", "key_mask", "pooled", "tally"]

NOT_REPORTED = -1
_N = len(SETTINGS)


@dataclass(frozen=True, eq=False)
class Tally:
    """Announced events of one Bell outcome, or of both together, by (Alice's, Bob's) setting.

    pulses: pairs of pulses that were sent, as Alice and Bob count them: slots of the block less
        removed ranges. Never the relay's count.
    n: (4, 4) int64, announced events.
    m: (4, 4) int64, those of n in which the bits disagree after Bob's flip in X. Counted where both
        bits are disclosed, which is where neither setting is s; 0 elsewhere.

    -1 in either is a cell that was not reported, as of published counts; a bound then does without.
    Expected counts of a model may be float64.

    Raises ValueError where the counts cannot be: estimation of them would mean nothing.
    """

    pulses: int
    n: NDArray[np.int64]
    m: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.pulses <= 0:
            raise ValueError(f"pulses must be positive, got {self.pulses}")
        for name in ("n", "m"):
            counts = np.array(getattr(self, name))
            if counts.shape != (_N, _N) or counts.dtype.kind not in "iuf":
                raise ValueError(f"{name} must be (4, 4) counts, got {counts.dtype} {counts.shape}")
            counts = counts.astype(np.float64 if counts.dtype.kind == "f" else np.int64)
            if not np.all((counts >= 0) | (counts == NOT_REPORTED)):
                raise ValueError(f"{name} must not be negative, but for {NOT_REPORTED}")
            counts.setflags(write=False)
            object.__setattr__(self, name, counts)
        if np.any((self.n >= 0) & (self.m > self.n)):
            raise ValueError("errors must lie between 0 and the number of events")
        if self.n[S, S] < 0:
            raise ValueError("the events of key must be reported")
        if np.any(self.m[S, :] > 0) or np.any(self.m[:, S] > 0):
            raise ValueError("errors with the signal setting are not disclosed, so not counted")
        if self.n[self.n >= 0].sum() > self.pulses:
            raise ValueError("more announced events than pulses sent")

    @property
    def n_z(self) -> int:
        """Events of key: both sent s."""
        return round(float(self.n[S, S]))

    @property
    def n_x(self) -> NDArray[np.int64]:
        """(3, 3) int64: events with settings mu, nu, o of Alice (rows) and Bob (columns)."""
        return self.n[1:, 1:]

    @property
    def m_x(self) -> NDArray[np.int64]:
        """(3, 3) int64: errors among `n_x`."""
        return self.m[1:, 1:]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tally):
            return NotImplemented
        return (
            self.pulses == other.pulses
            and np.array_equal(self.n, other.n)
            and np.array_equal(self.m, other.m)
        )

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Tally) -> Tally:
        """Events of two outcomes among the same pulses.

        Raises
        ------
        ValueError
            They are not of the same pulses.
        """
        if self.pulses != other.pulses:
            raise ValueError(f"tallies of {self.pulses} and of {other.pulses} pulses")
        return Tally(self.pulses, _sum(self.n, other.n), _sum(self.m, other.m))


def key_mask(setting_a: NDArray[np.uint8], setting_b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(n,) bool: slots whose bits make key, both parties having sent s. No others ever do."""
    mask: NDArray[np.bool_] = (setting_a == S) & (setting_b == S)
    return mask


def tally(
    outcome: NDArray[np.uint8],
    setting_a: NDArray[np.uint8],
    bit_a: NDArray[np.uint8],
    setting_b: NDArray[np.uint8],
    bit_b: NDArray[np.uint8],
    pulses: int,
) -> dict[Outcome, Tally]:
    """Count the announced events of a block.

    Parameters
    ----------
    outcome
        (n,) uint8, announced outcomes.
    setting_a, setting_b
        (n,) uint8, 0..3, what Alice and Bob sent there.
    bit_a, bit_b
        (n,) uint8, the bits; where a setting is s they are not looked at and may be anything.
        Bob's as he sent them: the flip is done here.
    pulses
        Pairs of pulses sent in the block.

    Returns
    -------
    A tally of every outcome, those that never occurred included.

    Raises
    ------
    ValueError
        Lengths differ, or a value is none that exists.
    """
    arrays = {"setting_a": setting_a, "bit_a": bit_a, "setting_b": setting_b, "bit_b": bit_b}
    for name, array in arrays.items():
        if array.shape != outcome.shape:
            raise ValueError(f"{name} has shape {array.shape}, outcome {outcome.shape}")
    for name in ("setting_a", "setting_b"):
        if arrays[name].size and int(arrays[name].max()) >= _N:
            raise ValueError(f"{name} holds something other than 0..{_N - 1}")
    if not are_outcomes(outcome):
        raise ValueError("outcome holds something other than psi-minus and psi-plus")
    disclosed = (setting_a != S) & (setting_b != S)
    if np.any(disclosed & ((bit_a | bit_b) > 1)):
        raise ValueError("bits hold something other than 0 and 1")
    wrong = disclosed & (bit_a ^ bit_b ^ bob_flips(outcome, BASIS_X)).astype(np.bool_)
    # All of it in one small number per event, so that one pass counts.
    cell = (
        (outcome * np.uint8(2) + wrong) * np.uint8(_N * _N) + setting_a * np.uint8(_N) + setting_b
    )
    shape = (max(Outcome) + 1, 2, _N, _N)
    counts = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
    return {o: Tally(pulses, counts[o].sum(axis=0), counts[o, 1]) for o in Outcome}


def pooled(tallies: Mapping[Outcome, Tally]) -> Tally:
    """Both outcomes together, for one bound on them.

    Raises
    ------
    ValueError
        There is none, or they are not of the same pulses.
    """
    if not tallies:
        raise ValueError("no tally")
    first, *rest = tallies.values()
    for each in rest:
        first = first + each
    return first


def _sum(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where((one < 0) | (other < 0), NOT_REPORTED, one + other)
