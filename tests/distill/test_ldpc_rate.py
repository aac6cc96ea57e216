"""How much LDPC discloses, before and after the first syndrome is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.distill.reconcile import ldpc_rate
from bellrelay.distill.reconcile.ldpc_code import construct
from bellrelay.distill.reconcile.ldpc_frames import collect, deal, layout_of
from bellrelay.distill.reconcile.ldpc_syndrome import parities


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.05, 0.11])
@pytest.mark.parametrize("assumed", [0.02, 0.06])
def test_the_error_rate_is_seen_in_the_syndrome(rate: float, assumed: float) -> None:
    columns, lift = 512, 256
    rows = ldpc_rate.base_rows(ldpc_rate.first_rows(assumed, columns * lift, columns, lift))
    code = construct(columns, rows, lift)
    errors = (np.random.default_rng(3).random(columns * lift) < rate).astype(np.uint8)
    syndrome = parities(code, errors, code.row_start[:-1], code.row_start[1:])
    seen = ldpc_rate.observe(np.diff(code.row_start), syndrome.sum(axis=1), lift)
    assert abs(seen.rate - errors.mean()) < 4 * seen.deviation
    if rate <= assumed:
        assert seen.deviation < 0.05 * rate


def test_a_syndrome_without_errors_and_one_of_noise_are_seen_as_the_extremes() -> None:
    edges = np.full(100, 20)
    assert ldpc_rate.observe(edges, np.zeros(100, np.int64), 64).rate < 0.002
    assert ldpc_rate.observe(edges, np.full(100, 32), 64).rate > 0.1


@given(st.floats(0.0, 0.5), st.integers(1, 2_000_000))
def test_the_first_message_has_the_rows_of_some_code(rate: float, n: int) -> None:
    layout = layout_of(n)
    rows = ldpc_rate.first_rows(rate, int(layout.lengths[0]), layout.columns, layout.lift)
    base = ldpc_rate.base_rows(rows)
    assert 3 <= base <= rows < layout.columns
    assert rows - base < 0.04 * rows


def test_more_errors_want_more_rows_and_short_frames_a_larger_share() -> None:
    rows = [ldpc_rate.first_rows(r, 10**6, 992, 1024) for r in np.linspace(0.005, 0.11, 30)]
    assert (np.diff(rows) > 0).all()
    per_bit = [
        ldpc_rate.first_rows(0.05, n, layout_of(n).columns, layout_of(n).lift)
        * layout_of(n).lift
        / n
        for n in (10_000, 100_000, 1_000_000)
    ]
    assert per_bit[0] > 1.02 * per_bit[1] > 1.02**2 * per_bit[2]


def test_it_is_hopeless_below_what_an_ideal_code_needs_and_not_at_the_usual() -> None:
    n = 100_000
    seen = ldpc_rate.Seen(0.03, 0.0)
    assert ldpc_rate.hopeless(seen, n, round(n * ldpc_rate.entropy(0.03)))
    assert not ldpc_rate.hopeless(seen, n, round(1.08 * n * ldpc_rate.entropy(0.03)))


def test_every_attempt_asks_for_more_than_the_last() -> None:
    seen = ldpc_rate.Seen(0.02, 0.001)
    rows, steps = 150, []
    for attempt in range(10):
        wanted = ldpc_rate.wanted_rows(seen, 10**6, rows, 1024, attempt)
        steps.append(wanted - rows)
        rows = wanted
    assert min(steps) >= 1
    assert steps == sorted(steps)
    # One that is far from enough asks for all of it at once.
    assert ldpc_rate.wanted_rows(ldpc_rate.Seen(0.08, 0.0), 10**6, 150, 1024, 0) > 400


@given(st.integers(1, 3_000_000))
def test_frames_are_alike_and_fit_their_codes(n: int) -> None:
    layout = layout_of(n)
    assert layout.lengths.sum() == n
    assert np.ptp(layout.lengths) <= 1
    room = layout.columns * layout.lift
    assert layout.lengths[0] <= room <= 1.05 * layout.lengths[0] + 32 * 8
    assert layout.lift % 8 == 0


@pytest.mark.parametrize("n", [1, 7, 1000, 70_001])
def test_a_block_is_collected_as_it_was_dealt(n: int) -> None:
    bits = np.random.default_rng(4).integers(0, 2, n, dtype=np.uint8)
    layout = layout_of(n)
    dealt = deal(bits, b"seed", layout)
    np.testing.assert_array_equal(collect(dealt, b"seed", layout), bits)
    assert not dealt[0, layout.lengths[0] :].any()
    if n > 100:
        assert not np.array_equal(dealt, deal(bits, b"other", layout))


def test_frames_take_turns_in_the_block() -> None:
    n = 2_100_000
    bits = np.zeros(n, np.uint8)
    bits[: n // 2] = 1
    layout = layout_of(n)
    assert layout.lengths.size == 3
    ones = deal(bits, b"seed", layout).sum(axis=1)
    assert np.ptp(ones) <= 1
