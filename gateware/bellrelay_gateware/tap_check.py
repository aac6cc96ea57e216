"""Is the delay line on the chip that was written down? Held against the placed netlist.

Synthesis that takes a line for one function of its input, or a packer that puts a tap's flip-flop
elsewhere, leaves a design that works with a hundredth of the resolution, and no warning. This
reads the netlist that ``nextpnr-ecp5 --write`` leaves behind, and needs no gateware tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TAP_ATTRIBUTE", "LinePlace", "PlacedLine", "TapPlacementError", "check_taps"]

TAP_ATTRIBUTE = "BELLRELAY_TAP"
"""Attribute of a tap's flip-flop, ``line/tap``: by it the placed flip-flop is found again."""


@dataclass(frozen=True)
class LinePlace:
    """Where a delay line is to lie.

    Eight cells to a tile, along a row: the launching cell, then one for each tap.

    Parameters
    ----------
    n_taps
        Odd (launching cell and taps fill slices), 3 to 255.
    x, y
        Column of the first tile, and row. The line ends in column ``x + n_taps // 8``. Rows of
        block memories and multipliers have no slices, nor has anything outside the fabric.

    Raises
    ------
    ValueError
        Naming the parameter and what is allowed.
    """

    n_taps: int
    x: int
    y: int

    def __post_init__(self) -> None:
        if self.n_taps % 2 == 0 or not 3 <= self.n_taps <= 255:
            raise ValueError(f"n_taps is {self.n_taps!r}; allowed: odd, 3 to 255")
        for name in ("x", "y"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: from 1")

    def carry(self, cell: int) -> str:
        """Place of a carry cell, 0 for the launching one and ``tap + 1`` for a tap's."""
        return f"X{self.x + cell // 8}/Y{self.y}/SLICE{'ABCD'[cell // 2 % 4]}.K{cell % 2}"

    def flip_flop(self, tap: int) -> str:
        """Place of a tap's flip-flop: beside its carry cell."""
        return self.carry(tap + 1).replace(".K", ".FF")


class TapPlacementError(Exception):
    """A delay line is not what was asked for; ``faults`` has a line of text for each reason."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        super().__init__("; ".join(faults[:3]) + more)


@dataclass(frozen=True)
class PlacedLine:
    """One delay line that holds.

    Parameters
    ----------
    taps
        Number of taps.
    first, last
        Places of the flip-flops of tap 0 and of the last one.
    """

    taps: int
    first: str
    last: str


class _Netlist:
    """Cells of the top module by name, and who drives a net."""

    def __init__(self, netlist: Mapping[str, Any]) -> None:
        modules = netlist["modules"]
        tops = [m for m in modules.values() if int(str(m["attributes"].get("top", "0")), 2)]
        (top,) = tops or modules.values()
        self.cells: dict[str, Any] = top["cells"]
        self.drivers = {
            bit: (name, port)
            for name, cell in self.cells.items()
            for port, bits in cell["connections"].items()
            if cell["port_directions"][port] == "output"
            for bit in bits
        }

    def driver(self, cell: str, port: str) -> tuple[str, str] | None:
        """Cell and port that drive this input; None if nothing does."""
        bits = self.cells[cell]["connections"].get(port, [])
        return self.drivers.get(bits[0]) if bits else None

    def place(self, cell: str) -> str:
        return str(self.cells[cell]["attributes"].get("NEXTPNR_BEL", "nowhere"))

    def flip_flops(self) -> dict[str, list[str]]:
        """Names of the taps' flip-flops, by the value of the attribute."""
        found: dict[str, list[str]] = {}
        for name, cell in self.cells.items():
            if cell["type"] == "TRELLIS_FF" and TAP_ATTRIBUTE in cell["attributes"]:
                found.setdefault(cell["attributes"][TAP_ATTRIBUTE], []).append(name)
        return found


class _Line:
    """Walks along one line; gathers what is wrong with it."""

    def __init__(self, net: _Netlist, name: str, place: LinePlace) -> None:
        self.net, self.name, self.place = net, name, place
        self.faults: list[str] = []

    def check(self, flip_flops: Mapping[str, list[str]]) -> None:
        before = None
        for tap in range(self.place.n_taps):
            found = flip_flops.get(f"{self.name}/{tap}", [])
            if len(found) == 1:
                before = self._tap(tap, found[0], before)
            else:
                self._fault(tap, f"is there {len(found)} times")
                before = None

    def _fault(self, tap: int, text: str) -> None:
        self.faults.append(f"tap {self.name}/{tap} {text}")

    def _tap(self, tap: int, flip_flop: str, before: str | None) -> str | None:
        """Check one tap; its carry cell, if it has one."""
        net = self.net
        lies, wanted = net.place(flip_flop), self.place.flip_flop(tap)
        if lies != wanted:
            self._fault(tap, f"lies at {lies}, wanted {wanted}")
        source = net.driver(flip_flop, "DI")
        if source is None:
            self._fault(tap, "is not fed by its slice, but through general routing or not at all")
            return None
        cell, port = source
        kind, mode = net.cells[cell]["type"], net.cells[cell]["parameters"].get("MODE")
        if (kind, port, mode) != ("TRELLIS_COMB", "F", "CCU2"):
            self._fault(tap, f"is fed by {port} of a {kind} (mode {mode}), not by a carry cell")
            return None
        if net.place(cell) != self.place.carry(tap + 1):
            self._fault(tap, f"is fed from {net.place(cell)}, wanted {self.place.carry(tap + 1)}")
        carry = net.driver(cell, "FCI")
        if carry is None or carry[1] != "FCO":
            self._fault(tap, "has no carry input")
        elif before is not None and carry[0] != before:
            self._fault(tap, "does not follow the tap before it")
        elif tap == 0 and net.driver(carry[0], "A") is None:
            self._fault(tap, "is the first, and nothing enters the line")
        return cell


def check_taps(netlist: Mapping[str, Any], lines: Mapping[str, LinePlace]) -> dict[str, PlacedLine]:
    """Hold every tap of every line against its request.

    A line holds if none of its taps is missing or doubled, every tap's flip-flop lies where it was
    asked for and takes its DI from F of the carry cell in the same half slice, every carry cell
    follows the one before, and something enters the first.

    Parameters
    ----------
    netlist
        What ``nextpnr-ecp5 --write FILE`` wrote, as ``json.load`` gives it.
    lines
        Places by name of the line. A tap in the netlist that is none of theirs is a fault.

    Returns
    -------
    What was found, by name.

    Raises
    ------
    TapPlacementError
        With all that is wrong.
    """
    net = _Netlist(netlist)
    flip_flops = net.flip_flops()
    wanted = {f"{name}/{tap}" for name, place in lines.items() for tap in range(place.n_taps)}
    faults = [f"tap {label} is none of these lines'" for label in sorted(set(flip_flops) - wanted)]
    for name, place in lines.items():
        line = _Line(net, name, place)
        line.check(flip_flops)
        faults += line.faults
    if faults:
        raise TapPlacementError(faults)
    return {
        name: PlacedLine(
            place.n_taps,
            net.place(flip_flops[f"{name}/0"][0]),
            net.place(flip_flops[f"{name}/{place.n_taps - 1}"][0]),
        )
        for name, place in lines.items()
    }
