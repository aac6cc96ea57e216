"""What a memory answers for an address that is being written: on most of ours, anything.

Amaranth gives every read port the word from before the write. A block memory does not: synthesis
puts a register beside it, a comparison of the addresses, and a gate behind every bit of the answer,
which is the slowest of all a board has to wait for. None of the memories that bear the attribute
``no_rw_check`` is asked then, or nobody looks at the answer; this makes the attribute count.
"""

from __future__ import annotations

import re

__all__ = ["ATTRIBUTE", "free_collisions"]

ATTRIBUTE = "no_rw_check"
"""Of a memory; as yosys has it, which regards it only where it makes a read port itself."""

_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)
_MEMORY = re.compile(
    rf"^  attribute \\{ATTRIBUTE} 1\n(?:  attribute .*\n)*  memory .* (?P<name>\S+)$", re.MULTILINE
)
_READ_PORT = re.compile(r"^  cell \$memrd_v2 .*?^  end$", re.MULTILINE | re.DOTALL)
_MASK = re.compile(r"(?<=parameter \\COLLISION_X_MASK )(\d+)'0+$", re.MULTILINE)


def free_collisions(rtlil: str) -> str:
    """RTLIL in which read ports of marked memories answer a collision with anything.

    Parameters
    ----------
    rtlil
        As Amaranth writes it: a memory, its attributes and its ports in one module.
    """

    def in_module(module: re.Match[str]) -> str:
        text = module.group()
        marked = {memory["name"].replace("\\", "\\\\") for memory in _MEMORY.finditer(text)}

        def in_port(port: re.Match[str]) -> str:
            cell = port.group()
            name = re.search(r'parameter \\MEMID "(.*)"', cell)
            if name is None or name.group(1) not in marked:
                return cell
            return _MASK.sub(lambda mask: f"{mask[1]}'" + "1" * int(mask[1]), cell)

        return _READ_PORT.sub(in_port, text)

    return _MODULE.sub(in_module, rtlil)
