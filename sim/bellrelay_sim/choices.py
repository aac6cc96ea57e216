"""A sender's choices in any slot, from a seed: the source log of the simulation.

The block of slot k is Philox4x32-10 with key (seed, party) and counter (k low, k high, purpose, 0).
Of its words 0 selects the setting, 1 the basis, 2 the phase, and the top bit of 3 is the bit: no
choice is derived from another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .compiled import njit
from .philox import philox4x32
from .source import Source

PURPOSE_CHOICES = 0
MAX_SEED = 2**32 - 1
BASIS_Z = 0
BASIS_X = 1

_LOW = np.uint64(0xFFFFFFFF)
_S32 = np.uint64(32)
_S31 = np.uint64(31)
_PURPOSE = np.uint64(PURPOSE_CHOICES)
_ZERO = np.uint64(0)
_TURN = 2.0 * math.pi / 2.0**32


class Party(IntEnum):
    """Second word of the key."""

    ALICE = 0
    BOB = 1


@dataclass(frozen=True)
class Choices:
    """What a sender chose in n slots; every array has shape (n,).

    basis: uint8, 0 Z, 1 X. bit: uint8, 0 or 1. intensity: uint8, index of the setting in its
    source. phase: float64, global phase in radians, [0, 2 pi).
    """

    basis: NDArray[np.uint8]
    bit: NDArray[np.uint8]
    intensity: NDArray[np.uint8]
    phase: NDArray[np.float64]


@dataclass(frozen=True)
class SourceLog:
    """Random access to the choices of one party. Raises ValueError if the seed is not 32 bits."""

    source: Source
    seed: int
    party: Party

    def __post_init__(self) -> None:
        require_seed(self.seed)

    def choices_at(self, slots: ArrayLike) -> Choices:
        """Choices in these slots: any integers >= 0, in any order, repeated or not; shape (n,)."""
        wanted = np.atleast_1d(np.asarray(slots)).astype(np.uint64)
        n = wanted.size
        basis, bit, index = (np.empty(n, np.uint8) for _ in range(3))
        phase = np.empty(n, np.float64)
        _fill(
            wanted,
            np.uint64(self.seed),
            np.uint64(self.party),
            self.source.setting_thresholds(),
            self.source.z_thresholds(),
            basis,
            bit,
            index,
            phase,
        )
        return Choices(basis, bit, index, phase)


def acquisition_seed(seed: int, acquisition: int) -> int:
    """Seed of one acquisition of a link: each has choices, and everything else, of its own."""
    require_seed(seed)
    return int(np.random.SeedSequence([seed, acquisition]).generate_state(1, np.uint32)[0])


def require_seed(seed: int) -> None:
    """ValueError unless the seed is an integer of 32 bits."""
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must lie in 0..{MAX_SEED}, got {seed}")


@njit(cache=True, inline="always")
def choose(slot, seed, party, thresholds, z_thresholds):
    """(setting index, basis, bit, phase in radians) of one slot; slot, seed, party uint64."""
    w0, w1, w2, w3 = philox4x32(slot & _LOW, slot >> _S32, _PURPOSE, _ZERO, seed, party)
    index = 0
    while w0 >= thresholds[index]:
        index += 1
    basis = BASIS_Z if w1 < z_thresholds[index] else BASIS_X
    return index, basis, np.int64(w3 >> _S31), np.float64(w2) * _TURN


@njit(cache=True)
def _fill(slots, seed, party, thresholds, z_thresholds, basis, bit, index, phase):
    for n in range(slots.shape[0]):
        i, b, v, p = choose(slots[n], seed, party, thresholds, z_thresholds)
        index[n] = i
        basis[n] = b
        bit[n] = v
        phase[n] = p
