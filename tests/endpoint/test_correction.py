"""Correction in steps leaves what two engines in one process leave."""

import numpy as np
import pytest

from bellrelay.distill.reconcile.cascade import Cascade
from bellrelay.distill.reconcile.engine import ReconcileError, Role, exchange
from bellrelay.distill.reconcile.ldpc import Ldpc
from bellrelay.endpoint.correction import first_step, next_step

SEED = bytes(range(32))


def block(error_rate, n=3000):
    rng = np.random.default_rng(3)
    alice = rng.integers(0, 2, n, np.uint8)
    return alice, alice ^ (rng.random(n) < error_rate).astype(np.uint8)


def in_steps(make, alice_bits, bob_bits, waits):
    """Both ends; the side that waits is made with the other's opening, in one step."""
    bits = {Role.ALICE: alice_bits, Role.BOB: bob_bits}
    opens = Role.ALICE if waits is Role.BOB else Role.BOB
    steps = {opens: first_step(make, opens, bits[opens], SEED, 0.03)}
    steps[waits] = first_step(make, waits, bits[waits], SEED, 0.03, steps[opens].answer)
    side, other = waits, opens
    while steps[side].answer is not None:
        steps[other] = next_step(steps[other].engine, steps[side].answer)
        side, other = other, side
    return [steps[role].corrected for role in Role]


@pytest.mark.parametrize(("make", "waits"), [(Ldpc, Role.BOB), (Cascade, Role.ALICE)])
@pytest.mark.parametrize("error_rate", [0.03, 0.4])
def test_it_leaves_what_engines_leave_and_nothing_of_frames_that_failed(make, waits, error_rate):
    alice_bits, bob_bits = block(error_rate)
    alice = make(Role.ALICE, alice_bits, SEED, 0.03)
    bob = make(Role.BOB, bob_bits, SEED, 0.03)
    exchange(alice, bob)
    found = in_steps(make, alice_bits, bob_bits, waits)
    for corrected, engine in zip(found, (alice, bob), strict=True):
        assert np.array_equal(corrected.kept, engine.bits[engine.kept])
        assert np.array_equal(corrected.failed, engine.failed)
        assert (corrected.bits, corrected.disclosed) == (3000, engine.disclosed_bits)
        assert corrected.error_rate == pytest.approx(engine.error_rate, nan_ok=True)
        assert "kept" not in repr(corrected)
    assert np.array_equal(found[0].kept, found[1].kept)
    if make is Ldpc:
        assert found[1].kept.size == (3000 if error_rate == 0.03 else 0)


def test_who_speaks_first_takes_no_opening():
    alice, _ = block(0.03)
    opening = first_step(Ldpc, Role.ALICE, alice, SEED, 0.03).answer
    with pytest.raises(ReconcileError, match="both sides"):
        first_step(Ldpc, Role.ALICE, alice, SEED, 0.03, opening)
