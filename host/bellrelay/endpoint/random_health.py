"""Continuous health tests of a random source: NIST SP 800-90B (2018), section 4.4.

The repetition count test (4.4.1) finds a source that is stuck, the adaptive proportion test (4.4.2)
one that prefers a value far beyond its claim. Both know of the source nothing but its claimed
min-entropy H per sample, and alarm on samples of such a source with a probability of at most alpha
per sample, or per window.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

__all__ = [
    "BINARY_WINDOW",
    "OTHER_WINDOW",
    "STARTUP_SAMPLES",
    "AdaptiveProportion",
    "RepetitionCount",
    "proportion_cutoff",
    "repetition_cutoff",
]

BINARY_WINDOW = 1024
"""Samples of a window of the adaptive proportion test, of a source with two values."""
OTHER_WINDOW = 512
"""The same, of a source with more values."""
STARTUP_SAMPLES = 1024
"""Samples that a source must have passed before any is used (start-up test, 4.3)."""


def repetition_cutoff(min_entropy: float, alpha: float) -> int:
    """Length of a run of equal samples that is an alarm: 1 + ceil(-log2(alpha) / H).

    Raises ValueError unless min_entropy > 0 and 0 < alpha < 1.
    """
    _require(min_entropy, alpha)
    return 1 + math.ceil(-math.log2(alpha) / min_entropy)


def proportion_cutoff(min_entropy: float, alpha: float, window: int) -> int:
    """Samples of a window, the first included, that equal the first: so many are an alarm.

    1 + critbinom(W, 2**-H, 1 - alpha); above the window where the claim is too low for any alarm.
    Raises ValueError unless min_entropy > 0 and 0 < alpha < 1.
    """
    _require(min_entropy, alpha)
    # bdtrc(k) is the probability of more than k.
    tail = bdtrc(np.arange(window + 1, dtype=np.float64), window, 2.0**-min_entropy)
    return 1 + int(np.argmax(tail <= alpha))


def _require(min_entropy: float, alpha: float) -> None:
    if not min_entropy > 0.0:
        raise ValueError(f"the claimed min-entropy must be above 0, got {min_entropy}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")


class RepetitionCount:
    """The repetition count test. State is carried from one call of :meth:`feed` to the next.

    Attributes
    ----------
    cutoff : int
        A run of so many equal samples is an alarm.
    """

    def __init__(self, min_entropy: float, alpha: float) -> None:
        self.cutoff = repetition_cutoff(min_entropy, alpha)
        self.restart()

    def restart(self) -> None:
        """What comes next does not follow what came before."""
        self._value = -1
        self._run = 0

    def feed(self, samples: NDArray[np.uint8]) -> int | None:
        """Take (n,) uint8; index in them of the first sample that alarms, or None."""
        n = len(samples)
        if n == 0:
            return None
        # Begin of every run; the first may go on with one that began earlier.
        begins = np.concatenate(([0], np.flatnonzero(samples[1:] != samples[:-1]) + 1))
        lengths = np.diff(np.append(begins, n))
        carried = self._run if int(samples[0]) == self._value else 0
        lengths[0] += carried
        self._value = int(samples[-1])
        self._run = int(lengths[-1])
        long = np.flatnonzero(lengths >= self.cutoff)
        if not long.size:
            return None
        first = int(long[0])
        # In a run that was too long before, already the first sample alarms.
        return max(0, int(begins[first]) + self.cutoff - 1 - (carried if first == 0 else 0))

    def feed_packed(self, packed: NDArray[np.uint8], count: int) -> int | None:
        """The same with bits, packed big-endian, of which ``count`` count."""
        return self.feed(np.unpackbits(packed, count=count))


class AdaptiveProportion:
    """The adaptive proportion test. State is carried from one call of :meth:`feed` to the next.

    Attributes
    ----------
    window, cutoff : int
        So many samples of a window, equal to its first one, are an alarm.
    """

    def __init__(self, min_entropy: float, alpha: float, window: int) -> None:
        self.window = window
        self.cutoff = proportion_cutoff(min_entropy, alpha, window)
        self.restart()

    def restart(self) -> None:
        """What comes next begins a window."""
        self._value = -1
        self._seen = 0
        self._equal = 0

    def feed(self, samples: NDArray[np.uint8]) -> int | None:
        """Take (n,) uint8; index in them of the first sample that alarms, or None."""
        alarm = None
        done = 0
        if self._seen:
            # The rest of the window that the last call left open.
            done = min(self.window - self._seen, len(samples))
            alarm = self._take(samples[:done], 0)
        whole = (len(samples) - done) // self.window
        windows = samples[done : done + whole * self.window].reshape(whole, self.window)
        equal = np.count_nonzero(windows == windows[:, :1], axis=1)
        bad = np.flatnonzero(equal >= self.cutoff)
        if bad.size and alarm is None:
            row = windows[bad[0]]
            within = int(np.flatnonzero(row == row[0])[self.cutoff - 1])
            alarm = done + int(bad[0]) * self.window + within
        done += whole * self.window
        tail = self._take(samples[done:], done)
        return alarm if alarm is not None else tail

    def _take(self, samples: NDArray[np.uint8], at: int) -> int | None:
        """Samples of one window, the first of them at index ``at`` of the call's."""
        if not len(samples):
            return None
        if not self._seen:
            self._value, self._equal = int(samples[0]), 0
        places = np.flatnonzero(samples == self._value)
        missing = self.cutoff - self._equal
        self._equal += len(places)
        self._seen = (self._seen + len(samples)) % self.window
        if self._equal < self.cutoff:
            return None
        return at + int(places[max(missing, 1) - 1]) if len(places) else at

    def feed_packed(self, packed: NDArray[np.uint8], count: int) -> int | None:
        """The same with bits, packed big-endian, of which ``count`` count."""
        return self.feed(np.unpackbits(packed, count=count))
