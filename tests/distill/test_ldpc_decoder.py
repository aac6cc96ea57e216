"""The fixed-point decoder: against exact arithmetic, brute force and the package `ldpc`."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ldpc import BpDecoder
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bellrelay.distill.reconcile.ldpc_code import QcCode, construct
from bellrelay.distill.reconcile.ldpc_decoder import UNITS_PER_NAT, Decoder, box_plus
from bellrelay.distill.reconcile.ldpc_fixed_point import (
    absolute,
    add_saturating,
    fourth_power,
    sign_mask,
    subtract_saturating,
)
from bellrelay.distill.reconcile.ldpc_syndrome import parities

Bits = NDArray[np.uint8]


def syndrome_of(code: QcCode, errors: Bits) -> Bits:
    return parities(code, errors, code.row_start[:-1], code.row_start[1:])


def random_errors(code: QcCode, rate: float, rng: np.random.Generator) -> Bits:
    return (rng.random(code.columns * code.lift) < rate).astype(np.uint8)


@njit
def _operations(a: NDArray[np.int16], b: NDArray[np.int16], out: NDArray[np.int16]) -> None:
    for i in range(a.size):
        out[0, i] = add_saturating(a[i], b[i])
        out[1, i] = subtract_saturating(a[i], b[i])
        out[2, i] = absolute(a[i])
        out[3, i] = sign_mask(a[i])


@njit
def _fourth_powers(a: NDArray[np.int16], out: NDArray[np.int16]) -> None:
    for i in range(a.size):
        out[i] = fourth_power(a[i])


@njit
def _join(x: NDArray[np.int16], y: NDArray[np.int16], out: NDArray[np.int16]) -> None:
    for i in range(x.size):
        out[i] = box_plus(x[i], y[i])


def test_operations_on_int16_saturate() -> None:
    edges = np.array([-32767, -32000, -1, 0, 1, 5, 32000, 32767], np.int16)
    a, b = (x.ravel() for x in np.meshgrid(edges, edges))
    out = np.empty((4, a.size), np.int16)
    _operations(a, b, out)
    wide_a, wide_b = a.astype(int), b.astype(int)
    np.testing.assert_array_equal(out[0], np.clip(wide_a + wide_b, -(2**15), 2**15 - 1))
    np.testing.assert_array_equal(out[1], np.clip(wide_a - wide_b, -(2**15), 2**15 - 1))
    np.testing.assert_array_equal(out[2], np.abs(wide_a))
    np.testing.assert_array_equal(out[3], -(a < 0).astype(int))


def test_the_fourth_power_is_that_of_whole_numbers() -> None:
    a = np.arange(2048, dtype=np.int16)
    out = np.empty_like(a)
    _fourth_powers(a, out)
    squares = (32 * a.astype(int)) ** 2 // 2**16
    np.testing.assert_array_equal(out.view(np.uint16), squares**2 // 2**16)


def test_magnitudes_join_as_in_exact_arithmetic() -> None:
    values = np.concatenate([np.arange(0, 800, 7), [2000, 32767]]).astype(np.int16)
    x, y = (v.ravel() for v in np.meshgrid(values, values))
    found = np.empty_like(x)
    _join(x, y, found)
    a, b = x / UNITS_PER_NAT, y / UNITS_PER_NAT
    exact = np.minimum(a, b) + np.log1p(np.exp(-(a + b))) - np.log1p(np.exp(-np.abs(a - b)))
    assert np.abs(found / UNITS_PER_NAT - exact).max() < 0.04
    assert found.min() >= 0
    certain = (y == 32767) & (x < 32767)
    np.testing.assert_array_equal(found[certain], x[certain])


def test_posteriors_of_a_code_without_cycles_are_exact() -> None:
    """Two copies of a chain of three checks on seven bits; bits 0 and 1 cannot be told apart."""
    code = QcCode(
        columns=7,
        lift=2,
        row_start=np.array([0, 3, 6, 9]),
        column=np.array([0, 1, 2, 2, 3, 4, 4, 5, 6]),
        shift=np.array([0, 1, 0, 1, 1, 0, 0, 0, 1]),
    )
    rate = 0.08
    decoder = Decoder(code)
    patterns = np.array(list(product((0, 1), repeat=14)), np.uint8)
    single = np.stack([syndrome_of(code, unit) for unit in np.eye(14, dtype=np.uint8)])
    syndromes = np.tensordot(patterns, single, 1) % 2
    weight = patterns.sum(axis=1)
    probability = rate**weight * (1 - rate) ** (14 - weight)
    undecided = 0
    for bits in product((0, 1), repeat=6):
        syndrome = np.array(bits, np.uint8).reshape(3, 2)
        errors, _ = decoder.decode(code.row_start, syndrome, rate, 14, 50)
        if errors is not None:
            # It stops as soon as it has a pattern, at whatever values.
            np.testing.assert_array_equal(syndrome_of(code, errors), syndrome)
            continue
        undecided += 1
        fits = (syndromes == syndrome).all(axis=(1, 2))
        wrong = probability[fits] @ patterns[fits] / probability[fits].sum()
        exact = np.log((1 - wrong) / wrong)
        np.testing.assert_allclose(decoder.log_likelihood_ratios, exact, atol=0.12)
    assert undecided > 20


def test_patterns_of_up_to_two_errors_are_found() -> None:
    code = construct(32, 16, 8)
    decoder = Decoder(code)
    n = code.columns * code.lift
    rng = np.random.default_rng(5)
    single = [syndrome_of(code, unit) for unit in np.eye(n, dtype=np.uint8)]
    lightest = {s.tobytes(): 1 for s in single}
    for i in range(n):
        for j in range(i):
            lightest.setdefault((single[i] ^ single[j]).tobytes(), 2)
    found = 0
    for _ in range(300):
        i, j = rng.integers(n, size=2)
        syndrome = single[i] ^ single[j] if i != j else single[i]
        guess, _ = decoder.decode(code.row_start, syndrome, 0.01, n, 50)
        if guess is not None:
            np.testing.assert_array_equal(syndrome_of(code, guess), syndrome)
            found += int(guess.sum()) == lightest[syndrome.tobytes()]
    assert found > 295


@pytest.mark.parametrize(("rows", "rate"), [(60, 0.03), (120, 0.08)])
def test_it_decodes_what_the_package_ldpc_decodes(rows: int, rate: float) -> None:
    code = construct(256, rows, 16)
    row = np.repeat(np.arange(code.rows), np.diff(code.row_start))
    z = np.arange(code.lift)
    checks = (row[:, None] * code.lift + z).ravel()
    bits = (code.column[:, None] * code.lift + (code.shift[:, None] + z) % code.lift).ravel()
    matrix = csr_matrix((np.ones(bits.size, np.uint8), (checks, bits)))
    peer = BpDecoder(matrix, error_rate=rate, max_iter=100, bp_method="product_sum")
    ours = Decoder(code)
    rng = np.random.default_rng(6)
    right = {"ours": 0, "theirs": 0}
    for _ in range(16):
        errors = random_errors(code, rate, rng)
        syndrome = syndrome_of(code, errors)
        np.testing.assert_array_equal(matrix @ errors % 2, syndrome.ravel())
        found, _ = ours.decode(code.row_start, syndrome, rate, errors.size, 100)
        right["ours"] += found is not None and bool((found == errors).all())
        right["theirs"] += bool((peer.decode(syndrome.ravel()) == errors).all())
    # Near the threshold: neither decodes all.
    assert right["ours"] >= right["theirs"] - 1
    assert right["theirs"] > 3


def test_places_beyond_those_in_use_have_no_error() -> None:
    code = construct(256, 60, 64)
    used = code.columns * code.lift - 700
    rng = np.random.default_rng(7)
    errors = random_errors(code, 0.03, rng)
    errors[used:] = 0
    found, iterations = Decoder(code).decode(
        code.row_start, syndrome_of(code, errors), 0.03, used, 100
    )
    assert found is not None
    np.testing.assert_array_equal(found, errors[:used])
    assert 0 < iterations < 100


def test_no_errors_take_no_iteration() -> None:
    code = construct(256, 60, 64)
    syndrome = np.zeros((code.rows, code.lift), np.uint8)
    found, iterations = Decoder(code).decode(code.row_start, syndrome, 0.02, 16384, 100)
    assert found is not None
    assert not found.any()
    assert iterations == 0


def test_too_many_errors_are_given_up_early() -> None:
    code = construct(256, 40, 64)
    errors = random_errors(code, 0.06, np.random.default_rng(8))
    found, iterations = Decoder(code).decode(
        code.row_start, syndrome_of(code, errors), 0.06, errors.size, 200
    )
    assert found is None
    assert iterations < 100


def test_messages_stay_where_no_sum_wraps() -> None:
    """A frame that is decoded with ease drives messages up; 40 of them and the prior must fit."""
    code = construct(256, 120, 64)
    errors = random_errors(code, 0.02, np.random.default_rng(9))
    decoder = Decoder(code)
    found, _ = decoder.decode(code.row_start, syndrome_of(code, errors), 0.02, errors.size, 100)
    assert found is not None
    degrees = np.bincount(code.column)
    loudest = np.abs(decoder._messages).max()
    assert (int(degrees.max()) + 1) * int(loudest) + 1000 < 2**15
    assert np.abs(decoder.log_likelihood_ratios).max() * UNITS_PER_NAT < 2**15 - 1
