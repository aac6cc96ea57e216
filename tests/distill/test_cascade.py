"""Cascade end to end: two engines, real messages, any error pattern."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bellrelay.distill.reconcile.cascade import SEED_BYTES, Cascade
from bellrelay.distill.reconcile.cascade_frames import FRAME_BITS
from bellrelay.distill.reconcile.cascade_questions import MAX_SETS
from bellrelay.distill.reconcile.engine import (
    Reconciler,
    Role,
    exchange,
    reveals_error_pattern,
)

Bits = NDArray[np.uint8]
SEEDS = st.binary(min_size=SEED_BYTES, max_size=40)
SEED = bytes(SEED_BYTES)


def pair(alice: Bits, bob: Bits, seed: bytes = SEED, rate: float = 0.03) -> tuple[Cascade, Cascade]:
    return Cascade(Role.ALICE, alice, seed, rate), Cascade(Role.BOB, bob, seed, rate)


def random_pair(n: int, rate: float, seed: int) -> tuple[Bits, Bits]:
    rng = np.random.default_rng(seed)
    alice = rng.integers(0, 2, n, dtype=np.uint8)
    return alice, alice ^ (rng.random(n) < rate).astype(np.uint8)


def entropy(q: float) -> float:
    return -q * math.log2(q) - (1 - q) * math.log2(1 - q) if 0 < q < 1 else 0.0


def log2_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def transcript(alice: Cascade, bob: Cascade) -> list[bytes]:
    """All messages, in turn."""
    assert bob.begin() is None
    message, receiver, other = alice.begin(), bob, alice
    messages = []
    while message is not None:
        messages.append(message)
        message = receiver.receive(message)
        receiver, other = other, receiver
    return messages


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
        assert reveals_error_pattern(engine)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 400), SEEDS, st.floats(0.0, 0.5))
def test_any_bits_and_errors(data: st.DataObject, n: int, seed: bytes, rate: float) -> None:
    bits = st.binary(min_size=n, max_size=n).map(lambda b: np.frombuffer(b, np.uint8) & 1)
    a, b = data.draw(bits), data.draw(bits)
    alice, bob = pair(a, b, seed, rate)
    exchange(alice, bob)
    check_both_sides(alice, bob, a)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(100, 400), SEEDS, st.floats(0.005, 0.2))
def test_a_few_errors_anywhere_are_corrected(
    data: st.DataObject, n: int, seed: bytes, rate: float
) -> None:
    a = data.draw(st.binary(min_size=n, max_size=n).map(lambda b: np.frombuffer(b, np.uint8) & 1))
    errors = data.draw(st.sets(st.integers(0, n - 1), max_size=4))
    b = a.copy()
    b[list(errors)] ^= 1
    alice, bob = pair(a, b, seed, rate)
    exchange(alice, bob)
    check_both_sides(alice, bob, a)
    if not bob.failed[0]:
        # A wrong frame passes all subsets with probability 2^-16.
        assert np.array_equal(bob.bits, a)
        assert bob.error_rate == len(errors) / n


def test_no_fewer_bits_are_disclosed_than_the_error_patterns_need() -> None:
    # Alice's answers, given Bob's bits, are a prefix code for the pattern of k errors among n.
    ratio = []
    for seed in range(200):
        a, b = random_pair(2000, 0.03, seed)
        alice, bob = pair(a, b, seed.to_bytes(SEED_BYTES, "big"))
        exchange(alice, bob)
        check_both_sides(alice, bob, a)
        assert np.array_equal(bob.bits, a)
        ratio.append(bob.disclosed_bits / log2_choose(2000, int((a != b).sum())))
    assert min(ratio) > 0.98
    assert 1.0 < np.mean(ratio) < 1.13


@pytest.mark.parametrize(
    ("rate", "expected", "worst"),
    [
        (0.02, 0.02, 1.06),
        (0.05, 0.05, 1.07),
        (0.02, 0.014, 1.06),
        (0.02, 0.026, 1.06),
        (0.05, 0.035, 1.07),
        (0.05, 0.065, 1.07),
        (0.02, 0.08, 1.15),
        (0.05, 0.005, 1.2),
        (0.02, 0.0, 1.3),
    ],
)
def test_a_wrong_estimate_costs_bits_or_messages_and_corrects(
    rate: float, expected: float, worst: float
) -> None:
    a, b = random_pair(200_000, rate, 5)
    alice, bob = pair(a, b, rate=expected)
    messages = exchange(alice, bob)
    check_both_sides(alice, bob, a)
    assert np.array_equal(bob.bits, a)
    k = int((a != b).sum())
    assert bob.error_rate == k / a.size
    assert 1.0 < bob.disclosed_bits / (a.size * entropy(k / a.size)) < worst
    assert messages < 700


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 1000, 150_001])
def test_without_errors_a_few_messages_do(n: int) -> None:
    a, b = random_pair(n, 0.0, 1)
    alice, bob = pair(a, b)
    assert exchange(alice, bob) <= 4
    check_both_sides(alice, bob, a)
    assert np.array_equal(bob.bits, a)
    # One bit or a few cannot hide behind the parities that were asked about them.
    assert bob.failed[0] == (alice.disclosed_bits >= n)


@pytest.mark.parametrize("rate", [0.5, 1.0])
@pytest.mark.parametrize("expected", [0.02, 0.5])
@pytest.mark.parametrize("n", [10, 3000, 200_000])
def test_hopeless_blocks_end(rate: float, expected: float, n: int) -> None:
    a, b = random_pair(n, rate, 2)
    alice, bob = pair(a, b, rate=expected)
    assert exchange(alice, bob) <= MAX_SETS + 1
    check_both_sides(alice, bob, a)
    assert alice.failed.all()
    assert not alice.kept.any()
    assert math.isnan(alice.error_rate)


def test_frames_fail_one_by_one() -> None:
    n = 2 * FRAME_BITS + 1
    a, b = random_pair(n, 0.02, 3)
    rng = np.random.default_rng(4)
    b[::2] = rng.integers(0, 2, b[::2].size, dtype=np.uint8)  # bit i belongs to frame i mod 2
    alice, bob = pair(a, b, rate=0.02)
    exchange(alice, bob)
    check_both_sides(alice, bob, a)
    assert bob.frame_lengths.tolist() == [FRAME_BITS + 1, FRAME_BITS]
    assert bob.failed.tolist() == [True, False]
    assert np.array_equal(bob.kept, np.arange(n) % 2 == 1)
    assert np.array_equal(bob.bits[1::2], a[1::2])
    assert bob.error_rate == (a[1::2] != b[1::2]).mean()
    # What the failed frame disclosed is counted.
    assert bob.disclosed_bits > FRAME_BITS


def test_drift_of_the_error_rate_is_shared_by_the_frames() -> None:
    n = 3 * FRAME_BITS
    rng = np.random.default_rng(6)
    a = rng.integers(0, 2, n, dtype=np.uint8)
    b = a ^ (rng.random(n) < np.linspace(0.0, 0.06, n)).astype(np.uint8)
    alice, bob = pair(a, b)
    exchange(alice, bob)
    check_both_sides(alice, bob, a)
    assert np.array_equal(bob.bits, a)
    assert bob.disclosed_bits < 1.07 * n * entropy(float((a != b).mean()))


def test_messages_hold_parities_alone_and_their_sizes_tell_the_error_pattern_alone() -> None:
    rng = np.random.default_rng(7)
    errors = (rng.random(150_000) < 0.03).astype(np.uint8)
    sizes = []
    for _ in range(2):
        a = rng.integers(0, 2, errors.size, dtype=np.uint8)
        alice, bob = pair(a, a ^ errors)
        messages = transcript(alice, bob)
        sizes.append([len(m) for m in messages])
        sent = sum(len(m) for m in messages[::2])
        # Headers of 4 bytes, two sets of less than a byte of padding each, one agreement.
        assert bob.disclosed_bits <= 8 * sent < bob.disclosed_bits + 8 * (6 * len(messages) + 16)
    assert sizes[0] == sizes[1]


def test_nothing_secret_is_shown_and_nothing_of_the_caller_changed() -> None:
    a, b = random_pair(1000, 0.02, 8)
    before = b.copy()
    alice, bob = pair(a, b)
    exchange(alice, bob)
    assert np.array_equal(b, before)
    assert repr(bob) == "Cascade(bob, 1000 bits, done)"
    bob.bits[:] = 0
    assert np.array_equal(bob.bits, a)


def test_fresh_seeds_ask_other_questions() -> None:
    a, b = random_pair(5000, 0.02, 9)
    first = transcript(*pair(a, b, bytes(SEED_BYTES)))
    second = transcript(*pair(a, b, bytes(SEED_BYTES - 1) + b"\1"))
    assert first[0][20:] != second[0][20:]


@pytest.mark.parametrize(
    ("bits", "seed", "rate", "message"),
    [
        (np.zeros(0, np.uint8), SEED, 0.02, "0 and 1"),
        (np.full(3, 2, np.uint8), SEED, 0.02, "0 and 1"),
        (np.zeros(3), SEED, 0.02, "0 and 1"),
        (np.zeros(3, np.uint8), SEED[1:], 0.02, "16 bytes"),
        (np.zeros(3, np.uint8), SEED, 0.6, "error_rate"),
        (np.zeros(3, np.uint8), SEED, float("nan"), "error_rate"),
    ],
)
def test_refuses_arguments(bits: Bits, seed: bytes, rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cascade(Role.BOB, bits, seed, rate)
