"""What Cascade does with messages that are late, cut, changed or made up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.distill.reconcile.cascade import SEED_BYTES, Cascade
from bellrelay.distill.reconcile.engine import ReconcileError, Role, exchange

SEED = bytes(SEED_BYTES)
N = 999  # with blocks of 64: 16 parities in the first message


def engines(n: int = N, errors: int = 20, **bob_differs: object) -> tuple[Cascade, Cascade]:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 2, n, dtype=np.uint8)
    b = a.copy()
    b[rng.choice(n, errors, replace=False)] ^= 1
    settings_of_bob = {"bits": b, "seed": SEED, "error_rate": 0.02} | bob_differs
    return Cascade(Role.ALICE, a, SEED, 0.02), Cascade(Role.BOB, **settings_of_bob)  # type: ignore[arg-type]


def first_message(alice: Cascade, bob: Cascade) -> bytes:
    assert bob.begin() is None
    message = alice.begin()
    assert message is not None
    return message


def step_changed(message: bytes) -> bytes:
    return message[:16] + b"\1" + message[17:]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: b"", "differ"),
        (lambda m: m[:10], "differ"),
        (lambda m: b"x" + m[1:], "differ"),
        (lambda m: m[:18], "another step"),
        (step_changed, "another step"),
        (lambda m: m[:-1], "short"),
        (lambda m: m + b"\0", "long"),
    ],
)
def test_first_message_malformed(change: Callable[[bytes], bytes], text: str) -> None:
    alice, bob = engines()
    message = first_message(alice, bob)
    with pytest.raises(ReconcileError, match=text):
        bob.receive(change(message))
    with pytest.raises(ReconcileError, match="any more"):
        bob.receive(message)


def test_padding_must_be_zero() -> None:
    alice, bob = engines(n=64 * 13)
    message = first_message(alice, bob)
    assert len(message) == 16 + 4 + 2  # 13 parities
    with pytest.raises(ReconcileError, match="zeros"):
        bob.receive(message[:-1] + bytes([message[-1] | 1]))


@pytest.mark.parametrize(
    "differs",
    [
        {"seed": bytes(SEED_BYTES - 1) + b"\1"},
        {"error_rate": 0.021},
        {"bits": np.zeros(N + 1, np.uint8)},
    ],
)
def test_settings_that_differ_are_noticed(differs: dict[str, object]) -> None:
    alice, bob = engines(**differs)
    with pytest.raises(ReconcileError, match="differ in length"):
        bob.receive(first_message(alice, bob))


def test_replay_and_reflection() -> None:
    alice, bob = engines()
    first = first_message(alice, bob)
    reply = bob.receive(first)
    assert reply is not None
    with pytest.raises(ReconcileError):
        bob.receive(first)
    second = alice.receive(reply)
    assert second is not None
    with pytest.raises(ReconcileError):
        alice.receive(second)


def test_out_of_turn() -> None:
    alice, bob = engines()
    with pytest.raises(ReconcileError, match="begin"):
        bob.receive(b"")
    alice.begin()
    with pytest.raises(ReconcileError, match="before"):
        alice.begin()
    alice, bob = engines()
    exchange(alice, bob)
    for engine in (alice, bob):
        with pytest.raises(ReconcileError, match="any more"):
            engine.receive(b"")


def test_one_who_speaks_first_is_needed() -> None:
    with pytest.raises(ReconcileError, match="first"):
        exchange(engines()[0], engines()[0])
    with pytest.raises(ReconcileError, match="first"):
        exchange(engines()[1], engines()[1])


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 300), st.integers(0, 40))
def test_parities_that_were_changed_end_the_exchange(
    random: st.DataObject, n: int, errors: int
) -> None:
    # An authenticated channel lets none through; whatever comes, an engine ends or refuses.
    alice, bob = engines(n, min(errors, n))
    message: bytes | None = first_message(alice, bob)
    receiver, other = bob, alice
    header = 20
    for _ in range(3000):
        if message is None:
            break
        changed = bytearray(message)
        if len(changed) > header and random.random() < 0.3:  # type: ignore[attr-defined]
            at = random.randrange(header, len(changed))  # type: ignore[attr-defined]
            changed[at] ^= 1 << random.randrange(8)  # type: ignore[attr-defined]
        header = 4
        try:
            message = receiver.receive(bytes(changed))
        except ReconcileError:
            break
        receiver, other = other, receiver
    else:
        pytest.fail("the exchange does not end")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_parities_of_no_string_end_the_exchange(seed: int, n: int) -> None:
    alice, bob = engines(n, 0)
    rng = np.random.default_rng(seed)
    questions = alice._questions
    ask = questions.ask
    questions.ask = lambda: rng.integers(0, 2, ask().size, dtype=np.uint8)  # type: ignore[method-assign]
    # Now and then a parity that contradicts what went before; else the frame fails, or is "equal".
    with contextlib.suppress(ReconcileError):
        assert exchange(alice, bob) < 3000
        assert alice.disclosed_bits == bob.disclosed_bits


def test_contradictions_are_noticed() -> None:
    noticed = 0
    for seed in range(50):
        alice, bob = engines(2000, 0)
        rng = np.random.default_rng(seed)
        questions = alice._questions
        ask = questions.ask
        questions.ask = lambda: rng.integers(0, 2, ask().size, dtype=np.uint8)  # type: ignore[method-assign]  # noqa: B023
        try:
            exchange(alice, bob)
        except ReconcileError as error:
            noticed += "contradict" in str(error)
    assert noticed > 10
