"""Block sizes of Cascade, and the random orders that both sides derive from a seed."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.distill.reconcile import cascade_plan as plan
from bellrelay.distill.reconcile.cascade_frames import FRAME_BITS, frame_count
from bellrelay.distill.reconcile.cascade_shuffle import (
    expand,
    inverse,
    permutation,
    shuffle,
    unshuffle,
)

RATES = st.floats(0.0, 0.5)
LENGTHS = st.integers(1, 200_000)
SEED = bytes(16)


@given(RATES, st.integers(0, 20))
def test_odd_fraction(rate: float, level: int) -> None:
    exact = (1.0 - (1.0 - 2.0 * rate) ** (1 << level)) / 2.0
    assert plan.odd_fraction(rate, level) == pytest.approx(exact, abs=1e-9)


@given(RATES, LENGTHS)
def test_first_blocks_expect_an_error_and_less_than_two(rate: float, length: int) -> None:
    level = plan.first_level(rate, length)
    top = plan.covering_level(length)
    assert 0 <= level <= top
    assert length <= 1 << top
    if 1 < level < top:
        assert 1.0 <= rate * (1 << level) < 2.0
    elif level == top > 0:
        assert rate * (1 << (level - 1)) < 1.0


@given(st.floats(0.002, 0.4), st.integers(1, 8), st.integers(100, 10_000))
def test_what_is_seen_is_believed_the_more_blocks_there_are(
    rate: float, level: int, blocks: int
) -> None:
    if rate * (1 << level) > 2.0:
        return  # every second block is odd, whatever the rate
    odd = round(blocks * plan.odd_fraction(rate, level))
    expected = rate / 2
    seen = plan.observed_rate(odd, blocks, expected, level)
    assert expected - 1 / blocks <= seen <= rate + 1 / blocks
    more = plan.observed_rate(100 * odd, 100 * blocks, expected, level)
    assert abs(more - odd_rate(odd / blocks, level)) <= abs(seen - odd_rate(odd / blocks, level))


def odd_rate(odd: float, level: int) -> float:
    return (1 - (1 - 2 * odd) ** (1 / (1 << level))) / 2


@given(st.floats(0.001, 0.5), LENGTHS)
def test_second_blocks(rate: float, length: int) -> None:
    level = plan.first_level(rate, length)
    blocks = plan.second_pass(rate, level, length)
    top = plan.covering_level(length)
    large = 1 << (blocks.level + 1)
    assert 0 <= blocks.level <= top
    assert 0 <= blocks.cut <= length
    assert blocks.cut % large == 0
    left = rate - plan.odd_fraction(rate, level) / (1 << level)
    if 1 < blocks.level < top and length > 100 * large:
        # So many errors in the average bit's block as were aimed at, to within a block.
        share = blocks.cut / length
        errors = left * (1 << blocks.level) * (1 + share)
        assert errors == pytest.approx(1.5, abs=0.05)


def test_halves_are_asked_for_where_blocks_hold_too_many_errors() -> None:
    level = 6
    for rate, expected in ((0.015, False), (0.02, False), (0.025, True), (0.04, True)):
        odd = round(10_000 * plan.odd_fraction(rate, level))
        assert plan.halve_first_pass(odd, 10_000, 0.02, level) is expected
    assert not plan.halve_first_pass(1, 1, 0.5, 0)


def test_numbers_need_no_library_that_rounds_as_it_likes() -> None:
    # The same on every machine: what the two sides must agree on, written down once.
    assert plan.first_level(0.02, 100_000) == 6
    assert plan.observed_rate(46_000, 100_000, 0.02, 6).hex() == "0x1.3d008e942b410p-6"
    assert plan.second_pass(0.02, 6, 100_000) == (6, 83584)


@given(st.integers(1, 10_000_000))
def test_frames_are_of_one_size(n: int) -> None:
    frames = frame_count(n)
    assert frames == 1 or 3 / 4 * FRAME_BITS <= n / frames < 3 / 2 * FRAME_BITS


@given(st.binary(min_size=16, max_size=32), st.integers(1, 500))
def test_orders_are_permutations_and_undone(seed: bytes, n: int) -> None:
    order = permutation(seed, "a", n)
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(inverse(order)[order], np.arange(n))
    random = expand(seed, "b", n)
    items = np.arange(n, dtype=np.int32)
    shuffle(items, random)
    unshuffle(items, random)
    assert np.array_equal(items, np.arange(n))


def test_every_order_is_as_likely() -> None:
    trials = 24_000
    counts = Counter(
        tuple(permutation(i.to_bytes(16, "big"), "order", 4).tolist()) for i in range(trials)
    )
    assert len(counts) == math.factorial(4)
    chi2 = sum((c - 1000) ** 2 / 1000 for c in counts.values())
    assert chi2 < 49.7  # 23 degrees of freedom: exceeded once in a thousand


def test_expansion_depends_on_seed_and_label() -> None:
    words = expand(SEED, "x", 1000)
    assert words.dtype == np.uint32
    assert np.array_equal(words[:10], expand(SEED, "x", 10))
    for other in (expand(SEED, "y", 1000), expand(SEED + b"\0", "x", 1000)):
        assert (words == other).mean() < 0.01
    assert abs(np.unpackbits(words.view(np.uint8)).mean() - 0.5) < 0.02
