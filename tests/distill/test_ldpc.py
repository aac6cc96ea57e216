"""LDPC end to end: two engines, real messages, any error pattern."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bellrelay.distill.reconcile import ldpc_bob, ldpc_rate
from bellrelay.distill.reconcile.engine import (
    ReconcileError,
    Reconciler,
    Role,
    exchange,
    reveals_error_pattern,
)
from bellrelay.distill.reconcile.ldpc import SEED_BYTES, Ldpc
from bellrelay.distill.reconcile.ldpc_ledger import MAX_ATTEMPTS
from bellrelay.distill.reconcile.ldpc_messages import GIVEN_UP, pack_verdicts

Bits = NDArray[np.uint8]
SEED = bytes(range(SEED_BYTES))


def pair(alice: Bits, bob: Bits, rate: float, bob_rate: float | None = None) -> tuple[Ldpc, Ldpc]:
    return (
        Ldpc(Role.ALICE, alice, SEED, rate),
        Ldpc(Role.BOB, bob, SEED, rate if bob_rate is None else bob_rate),
    )


def random_pair(n: int, rate: float, seed: int) -> tuple[Bits, Bits]:
    rng = np.random.default_rng(seed)
    alice = rng.integers(0, 2, n, dtype=np.uint8)
    return alice, alice ^ (rng.random(n) < rate).astype(np.uint8)


def log2_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def check(alice: Ldpc, bob: Ldpc, original: Bits) -> None:
    """What holds however a block ends."""
    assert alice.done
    assert bob.done
    assert alice.disclosed_bits == bob.disclosed_bits > 0
    np.testing.assert_array_equal(alice.failed, bob.failed)
    np.testing.assert_array_equal(alice.kept, bob.kept)
    np.testing.assert_array_equal(alice.bits, original)
    assert alice.frame_lengths.sum() == original.size
    assert math.isnan(alice.error_rate)
    for engine in (alice, bob):
        assert isinstance(engine, Reconciler)
        assert not reveals_error_pattern(engine)
        with pytest.raises(ReconcileError):
            engine.receive(b"")
        with pytest.raises(ReconcileError):
            engine.begin()


def least(errors: Bits) -> float:
    """Bits without which no protocol tells these errors from others of their number."""
    return log2_choose(errors.size, int(errors.sum()))


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05, 0.08, 0.11])
@pytest.mark.parametrize("n", [20_000, 65_536])
def test_a_block_is_corrected(n: int, rate: float) -> None:
    a, b = random_pair(n, rate, seed=int(1e4 * rate))
    alice, bob = pair(a, b, rate)
    assert exchange(alice, bob) in (2, 4, 6)
    check(alice, bob, a)
    assert not bob.failed.any()
    np.testing.assert_array_equal(bob.bits, a)
    assert bob.error_rate == pytest.approx(float((a ^ b).mean()), rel=1e-12)
    assert least(a ^ b) - 5 < bob.disclosed_bits < 1.5 * least(a ^ b)


def test_a_large_block_takes_one_message_and_little_more_than_an_ideal_code() -> None:
    n, rate = 1_000_000, 0.05
    a, b = random_pair(n, rate, seed=1)
    alice, bob = pair(a, b, rate)
    assert exchange(alice, bob) == 2
    check(alice, bob, a)
    np.testing.assert_array_equal(bob.bits, a)
    assert least(a ^ b) < bob.disclosed_bits < 1.09 * least(a ^ b)


def test_a_block_of_several_frames() -> None:
    n, rate = 2_100_000, 0.03
    a, b = random_pair(n, rate, seed=2)
    alice, bob = pair(a, b, 1.1 * rate)
    assert exchange(alice, bob) == 2
    check(alice, bob, a)
    assert bob.frame_lengths.size == 3
    np.testing.assert_array_equal(bob.bits, a)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.3, 2.0])
@pytest.mark.parametrize("rate", [0.02, 0.06])
def test_a_wrong_estimate_costs_rounds_or_bits_but_no_frame(rate: float, factor: float) -> None:
    a, b = random_pair(40_000, rate, seed=3)
    alice, bob = pair(a, b, factor * rate)
    messages = exchange(alice, bob)
    check(alice, bob, a)
    assert not bob.failed.any()
    np.testing.assert_array_equal(bob.bits, a)
    assert (messages == 2) == (factor > 1)
    bound = 1.3 if factor < 1 else 1.25 * factor
    assert least(a ^ b) - 5 < bob.disclosed_bits < bound * least(a ^ b)


def test_the_estimate_of_bob_does_not_matter() -> None:
    a, b = random_pair(30_000, 0.03, seed=4)
    results = []
    for bobs in (0.0, 0.03, 0.5):
        alice, bob = pair(a, b, 0.035, bobs)
        exchange(alice, bob)
        np.testing.assert_array_equal(bob.bits, a)
        results.append(bob.disclosed_bits)
    assert len(set(results)) == 1


def test_no_errors_at_all() -> None:
    a, _ = random_pair(30_000, 0.0, seed=5)
    alice, bob = pair(a, a, 0.0)
    assert exchange(alice, bob) == 2
    check(alice, bob, a)
    np.testing.assert_array_equal(bob.bits, a)
    assert bob.error_rate == 0.0


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0])
def test_too_many_errors_fail_on_both_sides(rate: float) -> None:
    a, b = random_pair(30_000, rate, seed=6)
    alice, bob = pair(a, b, 0.03)
    exchange(alice, bob)
    check(alice, bob, a)
    if bob.failed.all():
        assert not bob.kept.any()
        assert math.isnan(bob.error_rate)
    else:
        # All bits flipped have the syndrome of none where all checks are even: the hash sees it.
        assert rate == 1.0


def test_attempts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ldpc_bob, "_MOST_ITERATIONS", 1)
    monkeypatch.setattr(ldpc_rate, "_STEP_GROWTH", 1.0)
    monkeypatch.setattr(ldpc_rate, "_STEP", 0.0)
    a, b = random_pair(20_000, 0.05, seed=7)
    alice, bob = pair(a, b, 0.05)
    assert exchange(alice, bob) == 2 * MAX_ATTEMPTS
    check(alice, bob, a)
    assert bob.failed.all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 0.2), st.floats(0, 0.5), st.integers(0, 99))
def test_blocks_of_any_size_end_alike_on_both_sides(
    n: int, rate: float, assumed: float, seed: int
) -> None:
    a, b = random_pair(n, rate, seed)
    alice, bob = pair(a, b, assumed)
    exchange(alice, bob)
    check(alice, bob, a)


def test_short_blocks_are_corrected_too() -> None:
    right = 0
    for seed in range(20):
        a, b = random_pair(1500, 0.04, seed)
        alice, bob = pair(a, b, 0.04)
        exchange(alice, bob)
        right += not bob.failed.any() and bool((bob.bits == a).all())
    assert right >= 19


def talk(rate: float = 0.05, assumed: float = 0.04) -> tuple[Ldpc, Ldpc, bytes, bytes]:
    """Two engines, the opening, and verdicts that ask for more."""
    a, b = random_pair(16_500, rate, seed=8)
    alice, bob = pair(a, b, assumed)
    opening = alice.begin()
    bob.begin()
    assert opening is not None
    verdicts = bob.receive(opening)
    assert verdicts is not None
    return alice, bob, opening, verdicts


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_messages_that_were_tampered_with_are_refused_or_leave_two_ends_that_agree(
    data: st.DataObject,
) -> None:
    alice, bob, _, verdicts = talk()
    target, honest = (alice, verdicts)
    if data.draw(st.booleans()):
        more = alice.receive(verdicts)
        assert more is not None
        target, honest = (bob, more)
    kind = data.draw(st.sampled_from(["cut", "longer", "changed", "other"]))
    if kind == "cut":
        message = honest[: data.draw(st.integers(0, len(honest) - 1))]
    elif kind == "longer":
        message = honest + data.draw(st.binary(min_size=1, max_size=4))
    elif kind == "changed":
        place = data.draw(st.integers(0, 1))
        changed = honest[place] ^ data.draw(st.integers(1, 255))
        message = honest[:place] + bytes([changed]) + honest[place + 1 :]
    else:
        message = data.draw(st.binary(max_size=40))
    if message == honest:
        return
    with pytest.raises(ReconcileError):
        target.receive(message)
    # And it has had enough.
    with pytest.raises(ReconcileError):
        target.receive(honest)


def test_an_opening_about_another_block_or_seed_is_refused() -> None:
    a, b = random_pair(20_000, 0.03, seed=9)
    opening = Ldpc(Role.ALICE, a, SEED, 0.03).begin()
    assert opening is not None
    for bits, seed in ((b[:-1], SEED), (b, SEED[::-1]), (b[:5000], SEED)):
        bob = Ldpc(Role.BOB, bits, seed, 0.03)
        bob.begin()
        with pytest.raises(ReconcileError):
            bob.receive(opening)


def test_an_opening_of_another_code_is_refused() -> None:
    a, b = random_pair(20_000, 0.03, seed=10)
    opening = bytearray(Ldpc(Role.ALICE, a, SEED, 0.03).begin() or b"")
    opening[9] ^= 1  # the first byte of the fingerprint
    bob = Ldpc(Role.BOB, b, SEED, 0.03)
    bob.begin()
    with pytest.raises(ReconcileError, match="other codes"):
        bob.receive(bytes(opening))


def test_asking_for_more_cuts_than_there_are_is_refused() -> None:
    alice, _, _, _ = talk()
    # A code of 64 rows or so has some 190 cuts.
    assert alice.receive(pack_verdicts(0, [150])) is not None
    with pytest.raises(ReconcileError, match="more cuts"):
        alice.receive(pack_verdicts(1, [150]))


def test_bob_may_give_up_at_once() -> None:
    alice, _, opening, _ = talk()
    before = alice.disclosed_bits
    assert alice.receive(pack_verdicts(0, [GIVEN_UP])) is None
    assert alice.done
    assert alice.failed.all()
    assert alice.disclosed_bits == before + 8
    # Parities of the opening: all of it but its head of 25 bytes.
    assert before == 8 * (len(opening) - 25)


def test_messages_before_the_beginning_are_refused() -> None:
    a, b = random_pair(20_000, 0.03, seed=11)
    opening = Ldpc(Role.ALICE, a, SEED, 0.03).begin()
    assert opening is not None
    with pytest.raises(ReconcileError):
        Ldpc(Role.BOB, b, SEED, 0.03).receive(opening)


@pytest.mark.parametrize(
    ("bits", "seed", "rate"),
    [
        (np.zeros(0, np.uint8), SEED, 0.03),
        (np.full(9, 2, np.uint8), SEED, 0.03),
        (np.zeros(9, np.int64), SEED, 0.03),
        (np.zeros((3, 3), np.uint8), SEED, 0.03),
        (np.zeros(9, np.uint8), SEED[:-1], 0.03),
        (np.zeros(9, np.uint8), SEED, 0.51),
        (np.zeros(9, np.uint8), SEED, -0.01),
        (np.zeros(9, np.uint8), SEED, math.nan),
    ],
)
def test_arguments_out_of_range_are_refused(bits: Bits, seed: bytes, rate: float) -> None:
    with pytest.raises(ValueError):
        Ldpc(Role.ALICE, bits, seed, rate)


def test_the_callers_bits_stay_as_they_are_and_no_bit_is_in_the_repr() -> None:
    a, b = random_pair(20_000, 0.03, seed=12)
    original = b.copy()
    alice, bob = pair(a, b, 0.03)
    exchange(alice, bob)
    np.testing.assert_array_equal(b, original)
    assert repr(bob) == "Ldpc(bob, 20000 bits, 1 frames, done=True)"
