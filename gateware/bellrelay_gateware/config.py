"""The registers that the stages read, as one structured value."""

from __future__ import annotations

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import Access, Register, RegisterMap

__all__ = ["config_layout", "config_registers", "register_shape"]


def register_shape(register: Register) -> Shape:
    """Narrowest shape that holds every value from ``low`` to ``high`` of one element."""
    if register.signed:
        return signed(1 + max((~register.low).bit_length(), register.high.bit_length()))
    return unsigned(max(1, register.high.bit_length()))


def config_registers(geometry: BoardGeometry) -> tuple[Register, ...]:
    """Every register of kind CONFIG or LIVE, in order of its address."""
    return tuple(
        register
        for block in RegisterMap(geometry).blocks
        for register in block.registers
        if register.access in (Access.CONFIG, Access.LIVE)
    )


def config_layout(geometry: BoardGeometry) -> data.StructLayout:
    """One field per CONFIG or LIVE register, named as it; an array where ``count > 1``."""
    return data.StructLayout(
        {
            register.name: register_shape(register)
            if register.count == 1
            else data.ArrayLayout(register_shape(register), register.count)
            for register in config_registers(geometry)
        }
    )
