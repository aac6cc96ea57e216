"""Operations of compiled loops on rows of a ``uint64`` array, each eight elements of GF(2^64).

Each is compiled into the loop that calls it, for the multiplier that :mod:`.carryless` found.
Indices are those of a row's first word; rows need not be aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import numba.core.cgutils
from numba import types
from numba.extending import intrinsic

from .carryless import ROW, UNIT, part_count, partial_product, product, reduced, row_of, splat

__all__ = ["add_row", "additions", "butterfly", "butterfly_back", "convolve"]

_cgutils = cast(Any, numba.core.cgutils)
_ARRAY = types.Array(types.uint64, 1, "C")
# What numba calls to emit an operation: (context, builder, signature, arguments) -> value.
_Generator = Callable[[Any, Any, Any, Any], Any]


def _operation(function: Callable[..., Any]) -> Callable[..., None]:
    """An operation that compiled code calls; its function gives numba a type and a generator."""
    return cast(Callable[..., None], intrinsic(function))


def _row_at(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to the row that begins at an index of a one-dimensional array."""
    data = _cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ROW.as_pointer())


def _load(builder: Any, pointer: Any) -> Any:
    return builder.load(pointer, align=8)


def _store(builder: Any, row: Any, pointer: Any) -> None:
    builder.store(row, pointer, align=8)


_ARRAY = types.Array(types.uint64, 1, "C")


def _butterfly(unit: str, back: bool) -> _Generator:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, low, high, constant = arguments
        low, high = (
            _row_at(context, builder, signature.args[0], array, index) for index in (low, high)
        )
        a, b = _load(builder, low), _load(builder, high)
        if back:
            b = builder.xor(a, b)
        a = builder.xor(a, product(builder, unit, b, splat(builder, constant)))
        if not back:
            b = builder.xor(a, b)
        _store(builder, a, low)
        _store(builder, b, high)
        return context.get_dummy_value()

    return generate


_BUTTERFLY = types.void(_ARRAY, types.intp, types.intp, types.uint64)


@_operation
def butterfly(typing: Any, data: Any, low: Any, high: Any, constant: Any) -> Any:
    """Evaluate: row at ``low`` += constant * row at ``high``, then row at ``high`` += that."""
    return _BUTTERFLY, _butterfly(UNIT, back=False)


@_operation
def butterfly_back(typing: Any, data: Any, low: Any, high: Any, constant: Any) -> Any:
    """Interpolate: what :func:`butterfly` did is undone."""
    return _BUTTERFLY, _butterfly(UNIT, back=True)


@_operation
def add_row(typing: Any, data: Any, target: Any, source: Any) -> Any:
    """Row at ``target`` += row at ``source``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, by = (
            _row_at(context, builder, signature.args[0], arguments[0], index)
            for index in arguments[1:]
        )
        _store(builder, builder.xor(_load(builder, to), _load(builder, by)), to)
        return context.get_dummy_value()

    return types.void(_ARRAY, types.intp, types.intp), generate


def additions(schedule: Iterable[tuple[int, int]]) -> Callable[..., None]:
    """An operation that adds rows to rows in a fixed order, all of them held in registers.

    Parameters
    ----------
    schedule
        Pairs (target, source) of row numbers.

    Returns
    -------
    For compiled code: ``operation(data, first, unit)``, row number r at ``first + r * unit``.
    """
    steps = tuple(schedule)
    changed = {target for target, _ in steps}
    numbers = sorted(changed | {source for _, source in steps})

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, unit = arguments
        places, rows = {}, {}
        for number in numbers:
            index = builder.add(first, builder.mul(unit, unit.type(number)))
            places[number] = _row_at(context, builder, signature.args[0], array, index)
            rows[number] = _load(builder, places[number])
        for target, source in steps:
            rows[target] = builder.xor(rows[target], rows[source])
        for number in sorted(changed):
            _store(builder, rows[number], places[number])
        return context.get_dummy_value()

    @_operation
    def operation(typing: Any, data: Any, first: Any, unit: Any) -> Any:
        return types.void(_ARRAY, types.intp, types.intp), generate

    return operation


def _convolution(unit: str) -> _Generator:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, at, window, end, factors, first, count = arguments
        data = _cgutils.create_struct_proxy(signature.args[4])(context, builder, factors).data
        # LLVM keeps the sums in registers.
        sums = [_cgutils.alloca_once(builder, ROW) for _ in range(part_count(unit))]
        for total in sums:
            builder.store(row_of(0), total)
        with _cgutils.for_range(builder, count) as loop:
            factor = builder.load(builder.gep(data, [builder.add(first, loop.index)]))
            place = builder.sub(end, loop.index)
            row = _load(builder, _row_at(context, builder, signature.args[2], window, place))
            parts = partial_product(builder, unit, row, splat(builder, factor))
            for total, part in zip(sums, parts, strict=True):
                builder.store(builder.xor(builder.load(total), part), total)
        row = reduced(builder, tuple(builder.load(total) for total in sums))
        _store(builder, row, _row_at(context, builder, signature.args[0], out, at))
        return context.get_dummy_value()

    return generate


@_operation
def convolve(
    typing: Any, out: Any, at: Any, window: Any, end: Any, factors: Any, first: Any, count: Any
) -> Any:
    """Eight sums of products: ``out[at + i] = sum_b factors[first + b] * window[end - b + i]``.

    ``b`` runs over ``count`` factors, ``i`` over the lanes; every sum is reduced once.
    """
    signature = types.void(_ARRAY, types.intp, _ARRAY, types.intp, _ARRAY, types.intp, types.intp)
    return signature, _convolution(UNIT)
