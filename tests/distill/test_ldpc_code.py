"""Construction of LDPC codes: degrees, cycles, and that both sides build the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.distill.reconcile.ldpc_code import QcCode, construct, fingerprint
from bellrelay.distill.reconcile.ldpc_degrees import DEGREE_TABLE, column_degrees

SIZES = [(256, 40, 64), (320, 97, 64), (512, 76, 256), (977, 299, 1024), (64, 40, 16)]


def cycles_of_four(code: QcCode) -> int:
    """Pairs of columns with the same difference of shifts between the same two rows."""
    row = np.repeat(np.arange(code.rows), np.diff(code.row_start))
    count = 0
    seen: set[tuple[int, int, int]] = set()
    for column in range(code.columns):
        edges = np.flatnonzero(code.column == column)
        for i in edges:
            for j in edges:
                if row[i] < row[j]:
                    difference = int(code.shift[j] - code.shift[i]) % code.lift
                    key = (int(row[i]), int(row[j]), difference)
                    count += key in seen
                    seen.add(key)
    return count


@given(st.integers(4, 1100), st.data())
def test_degrees_fill_the_columns_and_leave_the_chain_open(
    columns: int, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(3, columns - 1))
    degrees = column_degrees(columns, rows)
    assert degrees.size == columns
    assert (np.diff(degrees) >= 0).all()
    assert degrees[0] >= 2
    assert degrees[-1] <= rows
    assert np.count_nonzero(degrees == 2) < rows


@pytest.mark.parametrize("ratio", sorted(DEGREE_TABLE))
def test_degrees_are_those_of_the_table_where_it_has_the_ratio(ratio: int) -> None:
    assert sum(DEGREE_TABLE[ratio].values()) == 1000
    degrees = column_degrees(3000, 3 * ratio)
    counts = {int(d): int(n) for d, n in zip(*np.unique(degrees, return_counts=True), strict=True)}
    assert counts == {d: 3 * n for d, n in DEGREE_TABLE[ratio].items()}


@pytest.mark.parametrize("sizes", SIZES)
def test_a_code_has_its_degrees_and_even_rows(sizes: tuple[int, int, int]) -> None:
    columns, rows, lift = sizes
    code = construct(*sizes)
    assert (code.columns, code.rows, code.lift) == sizes
    degrees = np.bincount(code.column, minlength=columns)
    np.testing.assert_array_equal(np.sort(degrees), column_degrees(columns, rows))
    per_row = np.diff(code.row_start)
    assert per_row.max() - per_row.min() <= 1
    assert code.shift.min() >= 0
    assert code.shift.max() < lift
    for r in range(rows):
        there = code.column[code.row_start[r] : code.row_start[r + 1]]
        assert np.unique(there).size == there.size


@pytest.mark.parametrize("sizes", [(320, 97, 64), (512, 76, 256)])
def test_codes_have_no_cycle_of_four(sizes: tuple[int, int, int]) -> None:
    assert cycles_of_four(construct(*sizes)) == 0


def test_the_count_of_cycles_sees_one() -> None:
    code = construct(256, 40, 64)
    assert cycles_of_four(code._replace(shift=np.zeros_like(code.shift))) > 0


def test_columns_of_two_edges_close_no_cycle() -> None:
    code = construct(320, 96, 64)
    row = np.repeat(np.arange(code.rows), np.diff(code.row_start))
    root = list(range(code.rows))

    def find(r: int) -> int:
        while root[r] != r:
            r = root[r]
        return r

    degrees = np.bincount(code.column)
    for column in np.flatnonzero(degrees == 2):
        a, b = (find(int(r)) for r in row[code.column == column])
        assert a != b
        root[a] = b


def test_the_construction_is_the_same_on_every_machine() -> None:
    assert fingerprint(320, 96, 64).hex() == "bf759a4169b555c0"
    assert fingerprint(320, 96, 64) != fingerprint(320, 97, 64)


@pytest.mark.parametrize("sizes", [(10, 2, 8), (10, 10, 8), (10, 5, 1)])
def test_sizes_of_no_code_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError):
        construct(*sizes)
