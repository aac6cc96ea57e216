"""What LDPC puts on the wire, and what of it is refused."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.distill.reconcile.engine import ReconcileError
from bellrelay.distill.reconcile.ldpc_messages import (
    Opening,
    pack_cuts,
    pack_verdicts,
    parse_cuts,
    parse_verdicts,
)

FRAMES, COLUMNS, ROWS, LIFT, CUTS = 2, 40, 12, 8, 3
PARITIES = np.random.default_rng(1).integers(0, 2, (FRAMES, ROWS + CUTS, LIFT), dtype=np.uint8)
OPENING = Opening(COLUMNS, ROWS, LIFT, CUTS, b"codecode", b"agreeing", PARITIES)


def test_an_opening_comes_back() -> None:
    found = Opening.parse(OPENING.encode(), FRAMES, COLUMNS, LIFT)
    assert (found.columns, found.rows, found.lift, found.cuts) == (COLUMNS, ROWS, LIFT, CUTS)
    assert (found.fingerprint, found.agreement) == (b"codecode", b"agreeing")
    np.testing.assert_array_equal(found.parities, PARITIES)


def test_parities_do_not_show_in_its_repr() -> None:
    assert "parities" not in repr(OPENING)


@given(st.lists(st.integers(0, 255), max_size=5), st.integers(0, 15))
def test_verdicts_come_back(verdicts: list[int], attempt: int) -> None:
    assert parse_verdicts(pack_verdicts(attempt, verdicts), attempt, len(verdicts)) == verdicts


@given(st.integers(0, 5), st.integers(0, 15))
def test_cuts_come_back(cuts: int, attempt: int) -> None:
    parities = np.random.default_rng(cuts).integers(0, 2, (cuts, LIFT), dtype=np.uint8)
    found = parse_cuts(pack_cuts(attempt, parities), attempt, cuts, LIFT)
    np.testing.assert_array_equal(found, parities)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        OPENING.encode()[:-1],
        OPENING.encode() + b"\0",
        b"\x02" + OPENING.encode()[1:],
        Opening(COLUMNS + 1, ROWS, LIFT, CUTS, b"codecode", b"agreeing", PARITIES).encode(),
        Opening(COLUMNS, ROWS, 2 * LIFT, CUTS, b"codecode", b"agreeing", PARITIES).encode(),
        Opening(COLUMNS, COLUMNS, LIFT, CUTS, b"codecode", b"agreeing", PARITIES).encode(),
        Opening(COLUMNS, 2, LIFT, CUTS, b"codecode", b"agreeing", PARITIES).encode(),
        Opening(COLUMNS, ROWS, LIFT, 60000, b"codecode", b"agreeing", PARITIES).encode(),
    ],
)
def test_openings_of_other_sizes_are_refused(message: bytes) -> None:
    with pytest.raises(ReconcileError):
        Opening.parse(message, FRAMES, COLUMNS, LIFT)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        pack_verdicts(0, [1]),
        pack_verdicts(1, [1, 2]),
        pack_verdicts(0, [1, 2, 3]),
        pack_cuts(0, np.zeros((2, LIFT), np.uint8)),
    ],
)
def test_verdicts_that_are_not_due_are_refused(message: bytes) -> None:
    with pytest.raises(ReconcileError):
        parse_verdicts(message, 0, 2)


@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(message: bytes) -> None:
    for parse in (
        lambda: Opening.parse(message, FRAMES, COLUMNS, LIFT),
        lambda: parse_verdicts(message, 0, 2),
        lambda: parse_cuts(message, 0, 3, LIFT),
    ):
        with contextlib.suppress(ReconcileError):
            parse()
