"""Cascade end to end: two engines, real messages, any error pattern."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bellrelay.distill.reconcile.cascade import SEED_BYTES, Cascade
from bellrelay.distill.reconcile.engine import Reconciler, Role, exchange

Bits = NDArray[np.uint8]
SEEDS = st.binary(min_size=SEED_BYTES, max_size=40)


def pair(
    alice: Bits, bob: Bits, seed: bytes = bytes(SEED_BYTES), rate: float = 0.03
) -> tuple[Cascade, Cascade]:
    return Cascade(Role.ALICE, alice, seed, rate), Cascade(Role.BOB, bob, seed, rate)


def random_pair(n: int, rate: float, seed: int) -> tuple[Bits, Bits]:
    rng = np.random.default_rng(seed)
    alice = rng.integers(0, 2, n, dtype=np.uint8)
    return alice, alice ^ (rng.random(n) < rate).astype(np.uint8)


def entropy(q: float) -> float:
    return -q * math.log2(q) - (1 - q) * math.log2(1 - q) if 0 < q < 1 else 0.0


def log2_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def check_both_sides(alice: Cascade, bob: Cascade, original: Bits) -> None:
    """What holds however a block ends."""
    assert alice.done
    assert bob.done
    assert alice.disclosed_bits == bob.disclosed_bits
    assert np.array_equal(alice.failed, bob.failed)
    assert np.array_equal(alice.frame_lengths, bob.frame_lengths)
    assert alice.frame_lengths.sum() == original.size
    assert np.array_equal(alice.kept, bob.kept)
    assert alice.kept.sum() == alice.frame_lengths[~alice.failed].sum()
    assert np.array_equal(alice.bits, original)
    assert alice.error_rate == bob.error_rate or alice.failed.all()


def test_both_are_reconcilers() -> None:
    for engine in pair(*random_pair(10, 0.1, 0)):
        assert isinstance(engine, Reconciler)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 400), SEEDS, st.floats(0.0, 0.5))
def test_any_bits_and_errors(data: st.DataObject, n: int, seed: bytes, rate: float) -> None:
    bits = st.binary(min_size=n, max_size=n).map(lambda b: np.frombuffer(b, np.uint8) & 1)
    a = data.draw(bits)
    errors = data.draw(st.sets(st.integers(0, n - 1), max_size=max(1, n // 10)))
    b = a.copy()
    b[list(errors)] ^= 1
    alice, bob = pair(a, b, seed, rate)
    exchange(alice, bob)
    check_both_sides(alice, bob, a)
    if not alice.failed[0] and np.array_equal(bob.bits, a):
        assert bob.error_rate == len(errors) / n


def test_no_fewer_bits_are_disclosed_than_the_error_patterns_need() -> None:
    # Alice's answers, given Bob's bits, are a prefix code for the pattern of k errors among n.
    excess = []
    for seed in range(200):
        a, b = random_pair(2000, 0.03, seed)
        alice, bob = pair(a, b, seed.to_bytes(SEED_BYTES, "big"))
        exchange(alice, bob)
        check_both_sides(alice, bob, a)
        assert np.array_equal(bob.bits, a)
        k = int((a != b).sum())
        excess.append(bob.disclosed_bits / log2_choose(2000, k))
    assert min(excess) > 0.98
    assert 1.0 < np.mean(excess) < 1.12
