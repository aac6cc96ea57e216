"""Arithmetic of 16-bit integers for the decoder's loops, as single machine instructions.

Numba computes `int16 + int16` in 64 bits, which leaves a processor's vector unit a quarter of its
lanes or unused. These functions keep to 16 bits; LLVM turns loops of them into vector code. Called
outside a compiled function they raise NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "absolute",
    "add",
    "add_saturating",
    "exclusive_or",
    "fourth_power",
    "larger",
    "sign_mask",
    "smaller",
    "subtract",
    "subtract_saturating",
]

_Unary = Callable[[np.int16], np.int16]
_Binary = Callable[[np.int16, np.int16], np.int16]
# (builder, values) -> value
_Emit = Callable[..., Any]

_INT16 = ir.IntType(16)
_INT32 = ir.IntType(32)


def _operation(emit: _Emit, operands: int) -> Any:
    """An operation on int16 whose LLVM code `emit` writes."""
    signature = types.int16(*[types.int16] * operands)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emit(builder, *arguments)

    # Numba takes the number of arguments from the function itself.
    if operands == 1:

        def typed(typing: Any, a: Any) -> Any:
            return signature, generate

        return cast(Any, intrinsic)(typed)

    def typed_pair(typing: Any, a: Any, b: Any) -> Any:
        return signature, generate

    return cast(Any, intrinsic)(typed_pair)


def _named(instruction: str) -> _Emit:
    """Call LLVM's intrinsic of two int16."""

    def emit(builder: Any, a: Any, b: Any) -> Any:
        function_type = ir.FunctionType(_INT16, [_INT16, _INT16])
        function = cast(Any, cgutils).get_or_insert_function(
            builder.module, function_type, f"llvm.{instruction}.i16"
        )
        return builder.call(function, [a, b])

    return emit


def _absolute(builder: Any, a: Any) -> Any:
    bit = ir.IntType(1)
    function_type = ir.FunctionType(_INT16, [_INT16, bit])
    function = cast(Any, cgutils).get_or_insert_function(
        builder.module, function_type, "llvm.abs.i16"
    )
    return builder.call(function, [a, ir.Constant(bit, 0)])


def _high_square(builder: Any, a: Any) -> Any:
    wide = builder.zext(a, _INT32)
    high = builder.lshr(builder.mul(wide, wide), ir.Constant(_INT32, 16))
    return builder.trunc(high, _INT16)


def _fourth_power(builder: Any, a: Any) -> Any:
    shifted = builder.shl(a, ir.Constant(_INT16, 5))
    return _high_square(builder, _high_square(builder, shifted))


add: _Binary = _operation(lambda builder, a, b: builder.add(a, b), 2)
"""a + b, modulo 2^16."""

subtract: _Binary = _operation(lambda builder, a, b: builder.sub(a, b), 2)
"""a - b, modulo 2^16."""

exclusive_or: _Binary = _operation(lambda builder, a, b: builder.xor(a, b), 2)
"""a ^ b."""

add_saturating: _Binary = _operation(_named("sadd.sat"), 2)
"""a + b, clipped to the range of int16."""

subtract_saturating: _Binary = _operation(_named("ssub.sat"), 2)
"""a - b, clipped to the range of int16."""

smaller: _Binary = _operation(_named("smin"), 2)
"""The smaller of a and b."""

larger: _Binary = _operation(_named("smax"), 2)
"""The larger of a and b."""

absolute: _Unary = _operation(_absolute, 1)
"""Magnitude of a; -2^15 stays as it is."""

sign_mask: _Unary = _operation(lambda builder, a: builder.ashr(a, ir.Constant(_INT16, 15)), 1)
"""-1 where a < 0, else 0."""

fourth_power: _Unary = _operation(_fourth_power, 1)
"""floor(floor((32 a)^2 / 2^16)^2 / 2^16), for 0 <= a < 2048."""
