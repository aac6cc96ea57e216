"""Instructions of the processor that compiled loops ask for by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["count_bits", "fetch", "lowest_bit"]

_BIT, _INT = ir.IntType(1), ir.IntType(32)


def _count_bits(typing: Any, bits: Any) -> Any:
    """How many bits are set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


def _lowest_bit(typing: Any, bits: Any) -> Any:
    """Position of the lowest bit that is set; 64 if none is."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(_BIT, 0))

    return types.uint64(types.uint64), code


def _fetch(typing: Any, array: Any, index: Any) -> Any:
    """Begin to load an element that will be read soon; an index outside does no harm."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        at = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", (at.type,), ir.FunctionType(ir.VoidType(), [at.type, _INT, _INT, _INT])
        )
        to_read, to_keep, of_data = ir.Constant(_INT, 0), ir.Constant(_INT, 3), ir.Constant(_INT, 1)
        builder.call(function, [at, to_read, to_keep, of_data])
        return context.get_dummy_value()

    return types.void(array, types.intp), code


_intrinsic = cast(Any, intrinsic)
count_bits = cast("Callable[[np.uint64], np.uint64]", _intrinsic(_count_bits))
lowest_bit = cast("Callable[[np.uint64], np.uint64]", _intrinsic(_lowest_bit))
fetch = cast("Callable[[NDArray[np.int64], np.int64], None]", _intrinsic(_fetch))
