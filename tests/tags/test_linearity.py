"""Code density: times, widths, DNL and INL."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.tags.linearity import (
    code_times_ps,
    code_widths_ps,
    differential_nonlinearity,
    integral_nonlinearity,
    quantisation_rms_ps,
)


@given(
    st.lists(st.integers(0, 1 << 20), min_size=1, max_size=64).filter(any),
    st.integers(2, 20_000),
)
def test_times_are_the_middles_rounded_down(counts, period):
    total = sum(counts)
    expected = [
        min(floor(Fraction(2 * sum(counts[:c]) + n, 2 * total) * period), period - 1)
        for c, n in enumerate(counts)
    ]
    assert code_times_ps(np.array(counts), period).tolist() == expected
    assert code_widths_ps(np.array(counts), period).sum() == pytest.approx(period)


def test_nonlinearity_of_a_known_line():
    counts = np.array([0, 0, 10, 30, 0, 20, 40, 0])
    dnl = differential_nonlinearity(counts)
    inl = integral_nonlinearity(counts)
    assert dnl[2:7].tolist() == [-0.5, 0.5, -1.0, 0.0, 1.0]  # mean width: 20
    assert inl[2:7].tolist() == [-0.5, 0.0, -1.0, -1.0, 0.0]
    for outside in (0, 1, 7):
        assert np.isnan(dnl[outside])
        assert np.isnan(inl[outside])


def test_equal_codes_have_none_and_the_error_of_a_ruler():
    counts = np.full(100, 7)
    assert not differential_nonlinearity(counts).any()
    assert integral_nonlinearity(counts) == pytest.approx(np.zeros(100), abs=1e-12)
    assert quantisation_rms_ps(counts, 5000) == pytest.approx(50 / np.sqrt(12))


def test_quantisation_error_is_that_of_arrivals():
    counts = np.array([5, 0, 25, 10, 60])
    times = np.cumsum(counts) / 100 * 1000
    arrivals = np.random.default_rng(1).uniform(0, 1000, 200_000)
    code = np.searchsorted(times, arrivals)
    middle = times - code_widths_ps(counts, 1000) / 2
    rms = np.sqrt(np.mean((middle[code] - arrivals) ** 2))
    assert quantisation_rms_ps(counts, 1000) == pytest.approx(rms, rel=0.01)


@pytest.mark.parametrize("counts", [[], [0, 0], [1, -1], [[1, 2]]])
def test_counts_are_checked(counts):
    with pytest.raises(ValueError, match="counts"):
        code_times_ps(np.array(counts), 5000)
