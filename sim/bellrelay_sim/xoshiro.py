"""Sequential random numbers for the compiled loops: xoshiro256++ with its state in an array.

D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS 47 (2021). State
in an array, rather than in a generator object, can be handed into and out of a loop, which is what
makes a stream of clicks independent of how it is cut.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compiled import njit

_S17 = np.uint64(17)
_S23, _S41 = np.uint64(23), np.uint64(41)
_S45, _S19 = np.uint64(45), np.uint64(19)
_S11 = np.uint64(11)
_UNIT = 2.0**-53
# Gaussian tails are cut here, so that a bound on how far a click strays exists: 2e-9 of them.
GAUSSIAN_CUT = 6.0


def seeded(seed: int, purpose: int) -> NDArray[np.uint64]:
    """State (4,) uint64 for one purpose of a seed, by NumPy's SeedSequence."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(purpose,))
    return sequence.generate_state(4, np.uint64).astype(np.uint64)


@njit(cache=True, inline="always")
def next_word(s):
    """Next uint64; advances the state s (4,)."""
    total = s[0] + s[3]
    result = ((total << _S23) | (total >> _S41)) + s[0]
    t = s[1] << _S17
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = (s[3] << _S45) | (s[3] >> _S19)
    return result


@njit(cache=True, inline="always")
def uniform(s):
    """Uniform float64 in [0, 1)."""
    return np.float64(next_word(s) >> _S11) * _UNIT


@njit(cache=True, inline="always")
def exponential(s):
    """Exponential float64 of mean 1; finite."""
    return -math.log1p(-uniform(s))


@njit(cache=True)
def gaussian(s):
    """Standard normal float64 within +-GAUSSIAN_CUT, by Marsaglia's polar method."""
    while True:
        u = 2.0 * uniform(s) - 1.0
        v = 2.0 * uniform(s) - 1.0
        r = u * u + v * v
        if 0.0 < r < 1.0:
            x = u * math.sqrt(-2.0 * math.log(r) / r)
            if abs(x) <= GAUSSIAN_CUT:
                return x
