"""GF(2^64): products by every multiplier this machine has, and the additive transform over it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir
from numba import njit
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic
from numpy.typing import NDArray

from bellrelay.distill import additive_fft, carryless, field_rows
from bellrelay.distill.additive_fft import evaluate, interpolate, plan
from bellrelay.distill.carryless import MODULUS, ROW, UNITS, product

NEEDS = {
    "vpclmulqdq512": {"vpclmulqdq", "avx512f"},
    "vpclmulqdq256": {"vpclmulqdq", "avx2"},
    "pclmulqdq": {"pclmul"},
    "pmull64": {"aes", "neon"},
    "portable": set(),
}
HERE = {word[1:] for word in get_host_cpu_features().split(",") if word.startswith("+")}


def times(a: int, b: int) -> int:
    """A product in the field, by long hand."""
    total = 0
    for bit in range(64):
        if b >> bit & 1:
            total ^= a << bit
    for bit in range(127, 63, -1):
        if total >> bit & 1:
            total ^= MODULUS << (bit - 64)
    return total


def power(a: int, exponent: int) -> int:
    total = 1
    while exponent:
        if exponent & 1:
            total = times(total, a)
        a, exponent = times(a, a), exponent >> 1
    return total


def random_words(count: int, seed: int) -> NDArray[np.uint64]:
    words = np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)
    # What carries and shifts get wrong.
    edges = [0, 1, 2**64 - 1, 2**63, 2**63 + 1, 0xF << 60, 0x1B]
    words[: len(edges)] = edges[:count]
    return words


def test_the_modulus_is_irreducible() -> None:
    """x^(2^64) = x, and x^(2^32) - x is prime to the modulus: it is a field (Rabin)."""
    assert power(2, 2**64) == 2
    a, b = MODULUS, power(2, 2**32) ^ 2
    while b:
        while a.bit_length() >= b.bit_length():
            a ^= b << (a.bit_length() - b.bit_length())
        a, b = b, a
    assert a == 1


@pytest.mark.parametrize("unit", [unit for unit in UNITS if NEEDS[unit] <= HERE])
def test_every_multiplier_of_this_machine(unit: str) -> None:
    generate_butterfly, generate_back = (
        field_rows._butterfly(unit, back) for back in (False, True)
    )
    generate_sums = field_rows._convolution(unit)
    sums_type = field_rows.convolve._defn(*[None] * 8)[0]  # type: ignore[attr-defined]

    @intrinsic
    def butterfly(typing: Any, data: Any, low: Any, high: Any, constant: Any) -> Any:
        return field_rows._BUTTERFLY, generate_butterfly

    @intrinsic
    def back(typing: Any, data: Any, low: Any, high: Any, constant: Any) -> Any:
        return field_rows._BUTTERFLY, generate_back

    @intrinsic
    def convolve(
        typing: Any, out: Any, at: Any, window: Any, end: Any, factors: Any, first: Any, count: Any
    ) -> Any:
        return sums_type, generate_sums

    @njit
    def run(data: Any, constants: Any, out: Any) -> None:
        for row in range(len(constants)):
            butterfly(data, 16 * row, 16 * row + 8, constants[row])
        for row in range(len(constants)):
            convolve(out, 8 * row, data, 40 + row, constants, 0, len(constants))
        for row in range(len(constants)):
            back(data, 16 * row, 16 * row + 8, constants[row])

    data, constants = random_words(16 * 20, 1), random_words(20, 2)
    out = np.zeros(8 * 20, np.uint64)
    given = data.copy()
    expected = [int(word) for word in data]
    for row, constant in enumerate(constants.tolist()):
        for lane in range(16 * row, 16 * row + 8):
            expected[lane] ^= times(expected[lane + 8], constant)
            expected[lane + 8] ^= expected[lane]
    run(data, constants, out)
    for row in range(20):
        for lane in range(8):
            total = 0
            for b, factor in enumerate(constants.tolist()):
                total ^= times(factor, expected[40 + row - b + lane])
            assert int(out[8 * row + lane]) == total
    assert (data == given).all()


def test_arm_gets_its_multiplier() -> None:
    """No ARM here: LLVM makes PMULL of what is emitted, one for each lane."""
    module = ir.Module()
    module.triple = "aarch64-unknown-linux-gnu"
    pointer = ROW.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer] * 3), "multiply")
    builder = ir.IRBuilder(function.append_basic_block())
    a, b, out = function.args
    builder.store(product(builder, "pmull64", builder.load(a), builder.load(b)), out)
    builder.ret_void()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(module.triple)
    except RuntimeError:
        pytest.skip("this LLVM knows no ARM")
    machine = target.create_target_machine(features="+neon,+aes", opt=3)
    assembly = machine.emit_assembly(llvm.parse_assembly(str(module)))
    assert assembly.count("pmull") == carryless.LANES


def test_the_cantor_basis() -> None:
    basis = additive_fft._CANTOR_BASIS
    assert basis[0] == 1
    for before, element in pairwise(basis):
        assert times(element, element) ^ element == before


@pytest.mark.parametrize("log", range(2, 10))
def test_the_transform_evaluates(log: int) -> None:
    """Values at the points of the space, by Horner's rule, some points and lanes of each."""
    points = 1 << log
    slab = random_words(8 * points, log)
    given = slab.copy()
    evaluate(slab, plan(log))
    for number in {0, 1, points // 2, points - 1, points // 3}:
        point = 0
        for bit in range(log):
            if number >> bit & 1:
                point ^= additive_fft._CANTOR_BASIS[bit]
        for lane in (0, 3, 7):
            value = 0
            for row in reversed(range(points // 2)):
                value = times(value, point) ^ int(given[8 * row + lane])
            assert int(slab[8 * number + lane]) == value


@pytest.mark.parametrize("log", range(2, 19))
def test_interpolation_undoes_evaluation(log: int) -> None:
    """Every size up to one beyond s_16, so that every way of splitting is taken."""
    half = 8 << (log - 1)
    slab = random_words(2 * half, log)
    given = slab[:half].copy()
    evaluate(slab, plan(log))
    interpolate(slab, plan(log))
    assert (slab[:half] == given).all()
    assert not slab[half:].any()


@pytest.mark.parametrize("log", [1, additive_fft.MAX_LOG + 1])
def test_no_transform_beyond_the_basis(log: int) -> None:
    with pytest.raises(ValueError):
        plan(log)
