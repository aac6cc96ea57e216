"""Products in GF(2^64) of eight words at a time, as LLVM code for the processor at hand.

The field is GF(2)[x] / (x^64 + x^4 + x^3 + x + 1). Processors differ in how many products one
instruction makes: 4 (VPCLMULQDQ in AVX-512), 2 (in AVX2), 1 (PCLMULQDQ; PMULL of ARM). Without such
an instruction a loop over bits gives the same words, some thirty times slower. All of them take a
time that does not depend on the words.

What is emitted here acts on the LLVM type ``<8 x i64>``, a row; :mod:`.field_rows` makes operations
for compiled loops of it.
"""

from __future__ import annotations

from typing import Any, cast

import numba.core.cgutils
import numba.core.codegen
import numba.core.config
from llvmlite import ir

__all__ = [
    "LANES",
    "MODULUS",
    "ROW",
    "UNIT",
    "UNITS",
    "WORD",
    "add",
    "part_count",
    "partial_product",
    "product",
    "reduced",
    "row_of",
    "splat",
]

LANES = 8
MODULUS = 1 << 64 | 0b11011
UNITS = ("vpclmulqdq512", "vpclmulqdq256", "pclmulqdq", "pmull64", "portable")

WORD = ir.IntType(64)
ROW = ir.VectorType(WORD, LANES)
_BYTE = ir.IntType(8)
_INDEX = ir.IntType(32)
_cgutils = cast(Any, numba.core.cgutils)


def _unit() -> str:
    """Name of the multiplier that compiled code may use on the processor it is compiled for."""
    # What numba compiles for: its own settings before what the processor has.
    features = cast(Any, numba.core.config).CPU_FEATURES
    if features is None:
        features = cast(Any, numba.core.codegen).get_host_cpu_features()
    there = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if {"vpclmulqdq", "avx512f"} <= there:
        return "vpclmulqdq512"
    if {"vpclmulqdq", "avx2"} <= there:
        return "vpclmulqdq256"
    if "pclmul" in there:
        return "pclmulqdq"
    # On ARM the multiplier comes with the instructions for AES; on x86 it has a name of its own.
    if {"aes", "neon"} <= there or "crypto" in there:
        return "pmull64"
    return "portable"


UNIT = _unit()


def _shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes)
    return builder.shuffle_vector(a, b, mask)


def splat(builder: Any, word: Any) -> Any:
    """Emit a row of eight times one word."""
    row = ir.Constant(ROW, ir.Undefined)
    return _shuffle(builder, builder.insert_element(row, word, _INDEX(0)), row, [0] * LANES)


def row_of(word: int) -> Any:
    """Eight times a word that is known now."""
    return ir.Constant(ROW, [word] * LANES)


def _joined(builder: Any, pieces: list[Any]) -> Any:
    """One row from pieces of equal length, a power of two."""
    while len(pieces) > 1:
        lanes = list(range(2 * pieces[0].type.count))
        pieces = [
            _shuffle(builder, a, b, lanes) for a, b in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    return pieces[0]


def _x86_products(builder: Any, a: Any, b: Any, lanes: int) -> tuple[Any, Any]:
    vector = ir.VectorType(WORD, lanes)
    name = "llvm.x86.pclmulqdq" + {2: "", 4: ".256", 8: ".512"}[lanes]
    multiply = _cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector, vector, _BYTE]), name
    )
    pieces: tuple[list[Any], list[Any]] = ([], [])
    for first in range(0, LANES, lanes):
        some = list(range(first, first + lanes))
        a_piece, b_piece = _shuffle(builder, a, a, some), _shuffle(builder, b, b, some)
        for which, words in enumerate((0x00, 0x11)):
            pieces[which].append(builder.call(multiply, [a_piece, b_piece, _BYTE(words)]))
    return _joined(builder, pieces[0]), _joined(builder, pieces[1])


def _arm_products(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    vector = ir.VectorType(_BYTE, 16)
    multiply = _cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [WORD, WORD]), "llvm.aarch64.neon.pmull64"
    )
    pieces: tuple[list[Any], list[Any]] = ([], [])
    for lane in range(LANES):
        words = [builder.extract_element(v, _INDEX(lane)) for v in (a, b)]
        product = builder.call(multiply, words)
        pieces[lane % 2].append(builder.bitcast(product, ir.VectorType(WORD, 2)))
    return _joined(builder, pieces[0]), _joined(builder, pieces[1])


def add(builder: Any, *rows: Any) -> Any:
    """Emit a sum of rows."""
    total = rows[0]
    for row in rows[1:]:
        total = builder.xor(total, row)
    return total


def _bitwise_product(builder: Any, a: Any, b: Any) -> Any:
    """The product of two rows in the field, bit by bit of b from above (Horner)."""
    total = _cgutils.alloca_once(builder, ROW)
    rest = _cgutils.alloca_once(builder, ROW)
    builder.store(row_of(0), total)
    builder.store(b, rest)
    with _cgutils.for_range(builder, WORD(64)):
        now, bits = builder.load(total), builder.load(rest)
        carry = builder.and_(builder.ashr(now, row_of(63)), row_of(MODULUS & (1 << 64) - 1))
        chosen = builder.and_(builder.ashr(bits, row_of(63)), a)
        builder.store(add(builder, builder.shl(now, row_of(1)), carry, chosen), total)
        builder.store(builder.shl(bits, row_of(1)), rest)
    return builder.load(total)


def part_count(unit: str) -> int:
    """Rows that :func:`partial_product` gives."""
    return 1 if unit == "portable" else 2


def partial_product(builder: Any, unit: str, a: Any, b: Any) -> tuple[Any, ...]:
    """Emit rows that sum up with those of other products before :func:`reduced` makes one row.

    From a multiplier: the 128-bit products of the even lanes, and those of the odd ones.
    """
    if unit == "portable":
        return (_bitwise_product(builder, a, b),)
    if unit == "pmull64":
        return _arm_products(builder, a, b)
    lanes = {"pclmulqdq": 2, "vpclmulqdq256": 4, "vpclmulqdq512": 8}[unit]
    return _x86_products(builder, a, b, lanes)


def reduced(builder: Any, parts: tuple[Any, ...]) -> Any:
    """Emit the row of field elements that a sum of partial products stands for."""
    if len(parts) == 1:
        return parts[0]
    even, odd = parts
    low = _shuffle(builder, even, odd, [0, 8, 2, 10, 4, 12, 6, 14])
    high = _shuffle(builder, even, odd, [1, 9, 3, 11, 5, 13, 7, 15])
    # x^64 is x^4 + x^3 + x + 1; what these shifts push out of the upper word comes round once more.
    high = add(builder, high, *(builder.lshr(high, row_of(64 - by)) for by in (1, 3, 4)))
    return add(builder, low, high, *(builder.shl(high, row_of(by)) for by in (1, 3, 4)))


def product(builder: Any, unit: str, a: Any, b: Any) -> Any:
    """Emit a row times a row in the field."""
    return reduced(builder, partial_product(builder, unit, a, b))
