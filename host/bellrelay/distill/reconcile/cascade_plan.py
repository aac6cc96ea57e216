"""Block sizes of Cascade, from the error rate that is expected and from the parities seen so far.

Both sides compute these by themselves and must get the same, on any machine: only ``+ - * /`` and
square roots are used, which IEEE 754 rounds in one way; no logarithm, no exponential.

A block of 2^level bits at error rate q is odd with probability (1 - (1 - 2q)^(2^level)) / 2. Its
parity is worth a whole bit where that is near one half, so blocks should be large; but the larger
they are, the more errors a pass leaves to the next, the longer the chains by which errors of one
pass uncover those of the other, and the more rounds. The targets below are a compromise found by
simulation (`bench/cascade.py`): 1.4 expected errors per block at most in the first pass, of which
halving makes 0.7 to 1.4, and 1.5 of those that remain in the second.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

__all__ = [
    "LEAST_RATE",
    "Blocks",
    "covering_level",
    "first_level",
    "halve_first_pass",
    "observed_rate",
    "odd_fraction",
    "second_pass",
    "third_level",
]

LEAST_RATE = 1e-3
"""Error rates below are taken for this one: blocks stay small enough to notice that there are more
errors, at a price of a thousandth of the bits."""

_FIRST_ODD = 0.47
"""Odd fraction of blocks with 1.4 expected errors: with more, the first pass halves its blocks."""

_SECOND_ERRORS = 1.5
"""Expected errors per block of the second pass, on average over the bits."""

_THIRD_LEVEL = 12
"""Blocks of the third pass: it meets a few errors per frame, so few questions should be wasted."""

_ESTIMATE_WORTH = 50.0
"""Blocks of the first pass whose parities weigh as much as the error rate that was given."""


class Blocks(NamedTuple):
    """Blocks of 2^(level + 1) bits before bit `cut`, of 2^level bits from there on."""

    level: int
    cut: int


def covering_level(length: int) -> int:
    """Smallest level whose block holds `length` bits."""
    return (length - 1).bit_length()


def first_level(error_rate: float, length: int) -> int:
    """Level of the first pass: the smallest block that expects one error, or the whole frame.

    Between 1 and 2 errors are expected; the measured parities may ask for halves. That the block
    starts large costs nothing, as a halved block's parities are known from one question more, while
    one that started too small cannot be mended.
    """
    level = 1
    while level < covering_level(length) and error_rate * (1 << level) < 1.0:
        level += 1
    return min(level, covering_level(length))


def odd_fraction(error_rate: float, level: int) -> float:
    """Probability that a block of 2^level bits holds an odd number of errors."""
    even = 1.0 - 2.0 * error_rate
    for _ in range(level):
        even *= even
    return (1.0 - even) / 2.0


def _believed_odd(odd: int, blocks: int, error_rate: float, level: int) -> float:
    expected = odd_fraction(error_rate, level)
    return (odd + _ESTIMATE_WORTH * expected) / (blocks + _ESTIMATE_WORTH)


def halve_first_pass(odd: int, blocks: int, error_rate: float, level: int) -> bool:
    """Whether blocks of this level hold too many errors, `odd` of `blocks` being odd."""
    return level > 0 and _believed_odd(odd, blocks, error_rate, level) > _FIRST_ODD


def observed_rate(odd: int, blocks: int, error_rate: float, level: int) -> float:
    """Error rate as believed after the first pass's parities; `error_rate` was believed before."""
    even = max(1.0 - 2.0 * _believed_odd(odd, blocks, error_rate, level), 1e-6)
    for _ in range(level):
        even = sqrt(even)
    return (1.0 - even) / 2.0


def second_pass(rate: float, level: int, length: int) -> Blocks:
    """Blocks of the second pass, after a first pass of blocks of this level at this error rate."""
    left = rate - odd_fraction(rate, level) / (1 << level)
    top = covering_level(length)
    second = min(1, top)
    while second < top and left * (1 << (second + 1)) <= _SECOND_ERRORS:
        second += 1
    errors = left * (1 << second)
    if second == top or errors >= _SECOND_ERRORS:
        return Blocks(second, 0)
    large = (_SECOND_ERRORS - errors) / errors
    cut = int(large * length) >> (second + 1) << (second + 1)
    return Blocks(second, min(cut, length >> (second + 1) << (second + 1)))


def third_level(length: int) -> int:
    """Level of the third pass."""
    return min(_THIRD_LEVEL, covering_level(length))
