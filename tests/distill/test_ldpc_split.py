"""Syndromes, and rows cut in two."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bellrelay.distill.reconcile.ldpc_code import QcCode, construct
from bellrelay.distill.reconcile.ldpc_split import cut_rows, cuts_of, row_starts
from bellrelay.distill.reconcile.ldpc_syndrome import parities

CODE = construct(96, 24, 16)


def by_definition(
    code: QcCode, bits: NDArray[np.uint8], row_start: NDArray[np.int64]
) -> NDArray[np.uint8]:
    result = np.zeros((row_start.size - 1, code.lift), np.uint8)
    for r in range(row_start.size - 1):
        for z in range(code.lift):
            for e in range(row_start[r], row_start[r + 1]):
                place = code.column[e] * code.lift + (z + code.shift[e]) % code.lift
                result[r, z] ^= bits[place]
    return result


def random_bits(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, CODE.columns * CODE.lift, dtype=np.uint8)


def test_parities_are_those_of_the_definition() -> None:
    bits = random_bits(1)
    found = parities(CODE, bits, CODE.row_start[:-1], CODE.row_start[1:])
    np.testing.assert_array_equal(found, by_definition(CODE, bits, CODE.row_start))


def test_parities_are_linear() -> None:
    a, b = random_bits(2), random_bits(3)
    start, end = CODE.row_start[:-1], CODE.row_start[1:]
    np.testing.assert_array_equal(
        parities(CODE, a, start, end) ^ parities(CODE, b, start, end),
        parities(CODE, a ^ b, start, end),
    )


@pytest.mark.parametrize("steps", [(5,), (24, 3), (10, 20, 30), (1, 1, 1)])
def test_a_syndrome_after_cuts_is_that_of_the_rows_that_they_made(steps: tuple[int, ...]) -> None:
    bits, cuts = random_bits(4), cuts_of(CODE)
    syndrome = parities(CODE, bits, CODE.row_start[:-1], CODE.row_start[1:])
    done = 0
    for step in steps:
        left = parities(CODE, bits, cuts.start[done : done + step], cuts.middle[done : done + step])
        syndrome = cut_rows(CODE, cuts, syndrome, done, left)
        done += step
        np.testing.assert_array_equal(
            syndrome, by_definition(CODE, bits, row_starts(CODE, cuts, done))
        )


def test_cuts_are_nested_and_leave_no_row_empty() -> None:
    cuts = cuts_of(CODE)
    assert np.unique(cuts.middle).size == cuts.middle.size
    # Halves first: no row is cut twice before all are cut once.
    first = np.searchsorted(CODE.row_start, cuts.middle[: CODE.rows], side="right")
    assert np.unique(first).size == CODE.rows
    before = CODE.row_start
    for count in range(1, cuts.middle.size + 1):
        after = row_starts(CODE, cuts, count)
        assert np.isin(before, after).all()
        assert after.size == before.size + 1
        before = after
    assert np.diff(before).min() >= 2


def test_neighbouring_rows_are_not_cut_one_after_the_other() -> None:
    code = construct(320, 96, 64)
    cut = np.searchsorted(code.row_start, cuts_of(code).middle[: code.rows], side="right")
    assert np.abs(np.diff(cut)).min() > 1
