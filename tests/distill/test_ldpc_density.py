"""Density evolution against known thresholds, and the degree table against density evolution."""

from __future__ import annotations

import pytest

from bellrelay.distill.reconcile.ldpc_degrees import DEGREE_TABLE
from bellrelay.distill.reconcile.ldpc_density import Evolution, edge_shares, threshold
from bellrelay.distill.reconcile.ldpc_rate import entropy


def rate_of(entropy_per_bit: float) -> float:
    """The error rate with this binary entropy."""
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(middle) < entropy_per_bit else (low, middle)
    return low


@pytest.mark.parametrize(
    ("column", "row", "published"),
    # T. J. Richardson and R. L. Urbanke, IEEE Trans. Inf. Theory 47, 599 (2001): cut off, not
    # rounded, after the third place.
    [(3, 6, 0.084), (4, 8, 0.076), (3, 5, 0.113)],
)
def test_thresholds_of_regular_codes(column: int, row: int, published: float) -> None:
    shares = edge_shares({column: row}, column)
    found = threshold(*shares, 0.98 * published, 1.02 * published)
    assert published <= found < published + 0.001


@pytest.mark.parametrize("rows", sorted(DEGREE_TABLE))
def test_codes_of_the_table_converge_at_the_overhead_that_is_reckoned_with(rows: int) -> None:
    ratio = rows / 1000
    evolution = Evolution(*edge_shares(DEGREE_TABLE[rows], rows))
    overhead = 1.05 + 0.0015 / (ratio / 1.06)
    course = evolution.course(rate_of(ratio / overhead))
    assert course.converged
    assert 60 < course.before.size < 130
    # No code does without overhead.
    assert not evolution.course(rate_of(ratio / 1.005)).converged
