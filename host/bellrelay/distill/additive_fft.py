"""The additive Fourier transform over GF(2^64), of eight polynomials at a time.

A polynomial of fewer than 2^k coefficients is evaluated on the space that v_0 .. v_{k-1} span,
where v_0 = 1 and v_i^2 + v_i = v_{i-1} (D. Cantor, J. Comb. Theory A 50, 285 (1989)). The
polynomials s_i that vanish on these spaces then have coefficients 0 and 1, s_i(v_j) = v_{j-i}, and
in the basis of their products the transform is a cascade of butterflies (S.-J. Lin, T. Al-Naffouri,
Y. Han, W.-H. Chung, IEEE Trans. Inf. Theory 62, 6284 (2016)). The change to that basis takes Taylor
expansions at s_1, s_2, s_4, s_8, ..., which have two terms each (S. Gao, T. Mateer, IEEE Trans.
Inf. Theory 56, 6265 (2010)).

All is exact: elements of a finite field in integers.

A *slab* holds eight polynomials: ``uint64`` (8 * 2^k,), coefficient r of polynomial l at
``8 r + l``. Both recursions go depth first, so that what lies deep runs in the nearest cache; they
are written as loops, since numba cannot load a recursive function from its cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.compiled import compiled

from .carryless import LANES
from .field_rows import add_row, additions, butterfly, butterfly_back

__all__ = ["MAX_LOG", "Plan", "evaluate", "interpolate", "plan"]

# v_0 .. v_23 of GF(2)[x] / (x^64 + x^4 + x^3 + x + 1).
_CANTOR_BASIS: tuple[int, ...] = (
    0x0000000000000001,
    0x19C9369F278ADC02,
    0xA181E7D66F5FF794,
    0x5DB84357CE785D08,
    0xB973D466F5C9D0CA,
    0x521AC889831A075E,
    0x033CE8BEDDC8A656,
    0xB5846C4E07B91010,
    0x4087B8CBB37A32EC,
    0x00D0D3888C0AE17C,
    0xAFD5AC70237F2222,
    0xE3F5AF99CC3AAAF8,
    0x5A1DB3B16A0B58B8,
    0x09947C54FE7EE248,
    0x0E8EAF0E0068F544,
    0xA2A113500B4B4F5A,
    0xE96F9805D6CE0BB0,
    0x53496F8B5C9EDD4C,
    0xAD325CB6F4AC2A9E,
    0x4A8DCF8BD7EDE826,
    0xA3E9C552B6434210,
    0x5FA92AD9C9BC7ED0,
    0xA389F910CD7734DE,
    0xE916F3DFCA4609D8,
)
MAX_LOG = len(_CANTOR_BASIS)

# Blocks of 2^8 rows, 16 KiB, fit the first cache.
_NEAR_LOG = 8


class Plan(NamedTuple):
    """What transforms of 2^log points need; arrays that :func:`plan` shares among its callers.

    constant
        uint64 (2^(log-1),), of the butterflies: entry b is s_i on block b of layer i, which is
        sum_j b_j v_{1+j} for every layer.
    expand, collect
        int64 (steps, 5), the change of basis of 2^(log-1) coefficients before evaluation, and of
        2^log after interpolation; rows as :func:`_steps` yields them.
    """

    log: int
    constant: NDArray[np.uint64]
    expand: NDArray[np.int64]
    collect: NDArray[np.int64]


@cache
def plan(log: int) -> Plan:
    """The plan of transforms of 2^log points.

    Raises
    ------
    ValueError
        ``log`` is below 2, or the transform is longer than the basis allows.
    """
    if not 2 <= log <= MAX_LOG:
        raise ValueError(f"transforms have 4 to 2^{MAX_LOG} points, not 2^{log}")
    constant = np.zeros(1 << (log - 1), np.uint64)
    for bit, element in enumerate(_CANTOR_BASIS[1:log]):
        size = 1 << bit
        constant[size : 2 * size] = constant[:size] ^ np.uint64(element)
    expand, collect = (
        np.array(list(_steps(0, LANES, size, 1)), np.int64) for size in (log - 1, log)
    )
    return Plan(log, constant, expand, collect)


def _split(log: int) -> int:
    """The largest power of two below ``log``."""
    return 1 << ((log - 1).bit_length() - 1)


def _steps(first: int, unit: int, log: int, count: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The change from powers of x to products of the s_i: (first, unit, log, split, count).

    It is of ``count`` polynomials of 2^log coefficients, one behind the other. They begin at the
    word ``first``, and coefficients are ``unit`` words apart. Where ``split`` is 0 a step does it
    all; elsewhere it is a Taylor expansion at s_split, after which follow those of the expansion,
    a polynomial in s_split, and of its coefficients, polynomials in x.
    """
    if log <= _LEAF_LOG:
        yield first, unit, log, 0, count
        return
    split = _split(log)
    for begin in range(first, first + (count * unit << log), unit << log):
        yield begin, unit, log, split, 1
        yield from _steps(begin, unit << split, log - split, 1)
        yield from _steps(begin, unit, split, 1 << (log - split))


def _leaf(log: int) -> Iterator[tuple[int, int]]:
    """The same for few coefficients, as additions (target, source) of one to another."""
    if log < 2:
        return
    split, end = _split(log), 1 << log
    for top in range(log - 1, split - 1, -1):
        for block in range(0, end, 2 << top):
            for i in reversed(range(1 << top)):
                yield block + i + (1 << (top - split)), block + (1 << top) + i
    for offset in range(1 << split):
        for target, source in _leaf(log - split):
            yield offset + (target << split), offset + (source << split)
    for block in range(0, end, 1 << split):
        for target, source in _leaf(split):
            yield block + target, block + source


# Up to 16 coefficients at once, held in registers.
_LEAF_LOG = 4
_EXPAND_2, _EXPAND_3, _EXPAND_4 = (additions(_leaf(log)) for log in (2, 3, 4))
_COLLECT_2, _COLLECT_3, _COLLECT_4 = (additions(reversed(list(_leaf(log)))) for log in (2, 3, 4))


@compiled
def _add_rows(data: NDArray[np.uint64], target: int, source: int, count: int) -> None:
    for i in range(0, count, LANES):
        add_row(data, target + i, source + i)


@compiled
def _expand_at(data: NDArray[np.uint64], first: int, unit: int, log: int, split: int) -> None:
    """Taylor expansion of 2^log coefficients at s_split = x^(2^split) + x, split a power of two.

    The polynomial begins at the word ``first``, its coefficients are ``unit`` words apart. Step by
    step it is divided by the powers x^(2^top) + x^(2^(top - split)), the quotient above, the
    remainder below.
    """
    for top in range(log - 1, split - 1, -1):
        half, by = unit << top, unit << (top - split)
        for block in range(first, first + (unit << log), 2 * half):
            _add_rows(data, block + half, block + 2 * half - by, by)
            _add_rows(data, block + by, block + half, half - by)


@compiled
def _collect_at(data: NDArray[np.uint64], first: int, unit: int, log: int, split: int) -> None:
    """Undo :func:`_expand_at`."""
    for top in range(split, log):
        half, by = unit << top, unit << (top - split)
        for block in range(first, first + (unit << log), 2 * half):
            _add_rows(data, block + by, block + half, half - by)
            _add_rows(data, block + half, block + 2 * half - by, by)


@compiled
def _expand(data: NDArray[np.uint64], steps: NDArray[np.int64]) -> None:
    """Take the steps of a change of basis."""
    for step in range(len(steps)):
        first, unit, log, split, count = steps[step]
        if split:
            _expand_at(data, first, unit, log, split)
            continue
        for begin in range(first, first + (count * unit << log), unit << log):
            for row in range(begin, begin + unit, LANES):
                if log == 4:
                    _EXPAND_4(data, row, unit)
                elif log == 3:
                    _EXPAND_3(data, row, unit)
                elif log == 2:
                    _EXPAND_2(data, row, unit)


@compiled
def _collect(data: NDArray[np.uint64], steps: NDArray[np.int64]) -> None:
    """Undo :func:`_expand`."""
    for step in range(len(steps) - 1, -1, -1):
        first, unit, log, split, count = steps[step]
        if split:
            _collect_at(data, first, unit, log, split)
            continue
        for begin in range(first, first + (count * unit << log), unit << log):
            for row in range(begin, begin + unit, LANES):
                if log == 4:
                    _COLLECT_4(data, row, unit)
                elif log == 3:
                    _COLLECT_3(data, row, unit)
                elif log == 2:
                    _COLLECT_2(data, row, unit)


@compiled
def _layer(data: NDArray[np.uint64], first: int, log: int, constant: np.uint64) -> None:
    half = LANES << (log - 1)
    for low in range(first, first + half, LANES):
        butterfly(data, low, low + half, constant)


@compiled
def _layer_back(data: NDArray[np.uint64], first: int, log: int, constant: np.uint64) -> None:
    half = LANES << (log - 1)
    for low in range(first, first + half, LANES):
        butterfly_back(data, low, low + half, constant)


@compiled
def _forward(
    data: NDArray[np.uint64], first: int, log: int, number: int, constant: NDArray[np.uint64]
) -> None:
    """All layers of the block with this number among blocks of 2^log points."""
    near = min(log, _NEAR_LOG)
    for part in range(1 << (log - near)):
        # The layers of all blocks that begin here, from the largest to those within a near.
        for layer in range(log, near, -1):
            if part & ((1 << (layer - near)) - 1) == 0:
                block = (number << (log - layer)) + (part >> (layer - near))
                _layer(data, first + (part * LANES << near), layer, constant[block])
        for layer in range(near, 0, -1):
            block = ((number << (log - near)) + part) << (near - layer)
            for within in range(1 << (near - layer)):
                begin = first + (part * LANES << near) + (within * LANES << layer)
                _layer(data, begin, layer, constant[block + within])


@compiled
def _backward(data: NDArray[np.uint64], log: int, constant: NDArray[np.uint64]) -> None:
    """Undo :func:`_forward`, of block 0."""
    near = min(log, _NEAR_LOG)
    for part in range(1 << (log - near)):
        for layer in range(1, near + 1):
            block = part << (near - layer)
            for within in range(1 << (near - layer)):
                begin = (part * LANES << near) + (within * LANES << layer)
                _layer_back(data, begin, layer, constant[block + within])
        # The layers of all blocks that end here.
        for layer in range(near + 1, log + 1):
            if (part + 1) & ((1 << (layer - near)) - 1) == 0:
                block = part >> (layer - near)
                _layer_back(data, block * LANES << layer, layer, constant[block])


@compiled
def _evaluate(
    slab: NDArray[np.uint64], log: int, constant: NDArray[np.uint64], steps: NDArray[np.int64]
) -> None:
    half = LANES << (log - 1)
    _expand(slab, steps)
    # The upper half is zero and block 0 has the constant 0: the first layer copies.
    for i in range(half):
        slab[half + i] = slab[i]
    for number in range(2):
        _forward(slab, number * half, log - 1, number, constant)


@compiled
def _interpolate(
    slab: NDArray[np.uint64], log: int, constant: NDArray[np.uint64], steps: NDArray[np.int64]
) -> None:
    _backward(slab, log, constant)
    _collect(slab, steps)


def evaluate(slab: NDArray[np.uint64], plan: Plan) -> None:
    """Replace polynomials of at most 2^(log-1) coefficients by their values at 2^log points.

    Parameters
    ----------
    slab
        uint64 (8 * 2^log,); only its lower half is read. After it, values in an order of their own.
    plan
        :func:`plan` of ``log``.
    """
    _evaluate(slab, plan.log, plan.constant, plan.expand)


def interpolate(slab: NDArray[np.uint64], plan: Plan) -> None:
    """Replace values at 2^log points by the 2^log coefficients of the polynomials that have them.

    The inverse of :func:`evaluate`, for polynomials of full length.
    """
    _interpolate(slab, plan.log, plan.constant, plan.collect)
