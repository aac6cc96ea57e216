"""Blocks are cut into units, and units become keys: names and bytes, the same on both sides.

A block of n bits gives ``n // unit_bits`` units; what is left over is wiped. A unit's name is
``uuid5(block, index)``. A key of one unit bears the unit's name; a key of another size is made of
as many units as it takes, joined and cut, and is named ``uuid5(first unit, "size:BITS")``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from .wiping import wipe

__all__ = ["UnitRef", "cut", "join", "key_id_of", "unit_aad", "unit_id", "units_needed"]

UnitRef = tuple[str, int]
"""A unit: key_id of its block, and its index."""


def unit_id(unit: UnitRef) -> str:
    """Name of a unit, a UUID."""
    block_id, index = unit
    return str(uuid.uuid5(uuid.UUID(block_id), str(index)))


def units_needed(size_bits: int, unit_bits: int) -> int:
    """How many units make a key of this size."""
    return -(-size_bits // unit_bits)


def key_id_of(units: Sequence[UnitRef], size_bits: int, unit_bits: int) -> str:
    """Name of the key that is made of these units, a UUID."""
    first = unit_id(units[0])
    if size_bits == unit_bits:
        return first
    return str(uuid.uuid5(uuid.UUID(first), f"size:{size_bits}"))


def unit_aad(unit: UnitRef, pair: str, side: int, unit_bits: int) -> bytes:
    """What a sealed unit is bound to: another's place in the store opens it no more."""
    return f"bellrelay unit 1\n{unit_id(unit)}\n{pair}\n{side}\n{unit_bits}\n".encode()


def cut(block: bytearray, length_bits: int, unit_bits: int) -> Iterator[bytearray]:
    """The units of a block, in order; each for the caller to wipe."""
    size = unit_bits // 8
    for index in range(length_bits // unit_bits):
        yield block[index * size : (index + 1) * size]


def join(units: Sequence[bytearray], size_bits: int) -> bytearray:
    """A key out of its units, which are wiped, what is cut off too."""
    size = size_bits // 8
    key = bytearray(sum(len(unit) for unit in units))
    at = 0
    for unit in units:
        key[at : at + len(unit)] = unit
        at += len(unit)
        wipe(unit)
    key[size:] = bytes(len(key) - size)
    # Shrunk in place: the rest is zero by now.
    del key[size:]
    return key
