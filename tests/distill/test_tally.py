"""Counting a block: by both settings, errors where bits are disclosed, and nothing twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.distill.ladder import MU, NU, O, S
from bellrelay.distill.tally import NOT_REPORTED, Tally, key_mask, pooled, tally
from bellrelay.wire.outcomes import Outcome

ZERO = np.zeros((4, 4), np.int64)


def arrays(seed: int, n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    outcome = rng.integers(1, 3, n).astype(np.uint8)
    settings = rng.integers(0, 4, (2, n)).astype(np.uint8)
    bits = rng.integers(0, 2, (2, n)).astype(np.uint8)
    return outcome, settings[0], bits[0], settings[1], bits[1]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 200))
def test_every_event_is_counted_once_where_it_belongs(seed: int, n: int) -> None:
    outcome, a, bit_a, b, bit_b = arrays(seed, n)
    counts = tally(outcome, a, bit_a, b, bit_b, 10**6)
    assert set(counts) == set(Outcome)
    expected = {o: (ZERO.copy(), ZERO.copy()) for o in Outcome}
    for o, x, p, y, q in zip(outcome, a, bit_a, b, bit_b, strict=True):
        expected[Outcome(o)][0][x, y] += 1
        flipped = q ^ (1 if o == Outcome.PSI_MINUS else 0)
        if x != S and y != S and p != flipped:
            expected[Outcome(o)][1][x, y] += 1
    for o, (events, errors) in expected.items():
        assert np.array_equal(counts[o].n, events)
        assert np.array_equal(counts[o].m, errors)
    together = pooled(counts)
    assert together.n.sum() == n
    assert together.n_z == np.count_nonzero(key_mask(a, b))


def test_bits_of_the_signal_setting_are_not_looked_at() -> None:
    outcome, a, bit_a, b, bit_b = arrays(1, 500)
    secret = np.where(a == S, 99, bit_a).astype(np.uint8)
    assert tally(outcome, a, secret, b, bit_b, 10**6) == tally(outcome, a, bit_a, b, bit_b, 10**6)


def test_bobs_flip_is_that_of_x() -> None:
    one = np.ones(1, np.uint8)
    for outcome, bit_b, errors in (
        (Outcome.PSI_MINUS, 0, 0),
        (Outcome.PSI_MINUS, 1, 1),
        (Outcome.PSI_PLUS, 1, 0),
        (Outcome.PSI_PLUS, 0, 1),
    ):
        counts = tally(one * outcome, one * MU, one, one * NU, one * bit_b, 10)
        assert counts[outcome].m[MU, NU] == errors
        assert counts[outcome].n[MU, NU] == 1


@pytest.mark.parametrize(
    ("what", "value"), [("outcome", 3), ("outcome", 0), ("a", 4), ("b", 255), ("bit_a", 2)]
)
def test_values_that_do_not_exist_are_refused(what: str, value: int) -> None:
    names = ["outcome", "a", "bit_a", "b", "bit_b"]
    values = dict(zip(names, arrays(2, 50), strict=True))
    values["a"][:], values["b"][:] = MU, NU
    values[what][7] = value
    with pytest.raises(ValueError, match="something other"):
        tally(*(values[name] for name in names), 10**6)
    with pytest.raises(ValueError, match="shape"):
        tally(values["outcome"][:-1], *(values[name] for name in names[1:]), 10**6)


def test_counts_that_cannot_be_are_refused() -> None:
    n = np.full((4, 4), 5)
    m = np.zeros((4, 4), int)
    m[1:, 1:] = 2
    assert Tally(1000, n, m).n_x.shape == (3, 3)
    for pulses, events, errors, message in (
        (0, n, m, "pulses"),
        (79, n, m, "more announced"),
        (1000, n[:3], m, "4, 4"),
        (1000, n - 6, m, "negative|reported"),
        (1000, n - 10, m, "negative"),
        (1000, n, m + 4, "disclosed|errors"),
        (1000, n, np.full((4, 4), 1), "not disclosed"),
        (1000, n.astype(bool), m, "counts"),
        (1000, np.where(np.eye(4) > 0, np.nan, 5.0), m, "negative"),
    ):
        with pytest.raises(ValueError, match=message):
            Tally(pulses, events, errors)


def test_tallies_are_of_the_same_pulses_and_read_only() -> None:
    one = Tally(100, ZERO, ZERO)
    with pytest.raises(ValueError, match="pulses"):
        one + Tally(101, ZERO, ZERO)
    with pytest.raises(ValueError, match="no tally"):
        pooled({})
    with pytest.raises(ValueError, match="read-only"):
        one.n[0, 0] = 1


def test_what_one_tally_does_not_report_the_sum_does_not_either() -> None:
    n = np.full((4, 4), 5)
    n[O, MU] = NOT_REPORTED
    m = np.zeros((4, 4), int)
    m[MU, MU] = NOT_REPORTED
    total = Tally(1000, n, m) + Tally(1000, np.full((4, 4), 1), np.zeros((4, 4), int))
    assert total.n[O, MU] == NOT_REPORTED
    assert total.m[MU, MU] == NOT_REPORTED
    assert total.n[MU, O] == 6
    n[S, S] = NOT_REPORTED
    with pytest.raises(ValueError, match="key"):
        Tally(1000, n, m)
