"""Gates of a build, read from what the tools leave behind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bellrelay_gateware.tap_check import LinePlace, check_taps

from .build_report import ClockResult, LineResult, ResourceUse
from .pll import HEADROOM

__all__ = [
    "clock_results",
    "latches",
    "line_results",
    "missing_clocks",
    "resource_use",
    "slow_crossings",
]

_KINDS = {
    "TRELLIS_COMB": "look-up tables and carry",
    "TRELLIS_FF": "flip-flops",
    "TRELLIS_RAMW": "distributed RAM writers",
    "DP16KD": "block RAM (18 kbit)",
    "MULT18X18D": "multipliers",
    "EHXPLLL": "phase-locked loops",
    "TRELLIS_IO": "pins",
    "DCCA": "global clocks",
}


_IN_PHASE = re.compile(r".*\.clk(_tag|_sync)?")


def _same(one_mhz: float, other_mhz: float) -> bool:
    return abs(one_mhz / other_mhz - 1) < 1e-3


def resource_use(report: Mapping[str, Any]) -> tuple[ResourceUse, ...]:
    """Cells used, of ``nextpnr-ecp5 --report``; kinds that a reader looks for."""
    use = report["utilization"]
    return tuple(
        ResourceUse(kind, int(use[cell]["used"]), int(use[cell]["available"]))
        for cell, kind in _KINDS.items()
        if cell in use and use[cell]["available"]
    )


def clock_results(
    report: Mapping[str, Any], wanted_mhz: Sequence[float]
) -> tuple[ClockResult, ...]:
    """Clocks of ``nextpnr-ecp5 --report``, the fastest first.

    One that was asked for `HEADROOM` times what is wanted is held against what is wanted.
    """

    def needed(asked: float) -> float:
        return next((w for w in wanted_mhz if _same(asked, w * HEADROOM)), asked)

    found = [
        ClockResult(
            name.removeprefix("$glbnet$"), needed(float(f["constraint"])), float(f["achieved"])
        )
        for name, f in report["fmax"].items()
    ]
    return tuple(sorted(found, key=lambda c: (-c.constraint_mhz, c.name)))


def missing_clocks(clocks: tuple[ClockResult, ...], wanted_mhz: Sequence[float]) -> list[str]:
    """Faults: wanted clocks for which there is none that was constrained so.

    A clock whose constraint has not reached place and route would be met at any speed.
    """
    left = [clock.constraint_mhz for clock in clocks]
    faults = []
    for wanted in wanted_mhz:
        near = [mhz for mhz in left if _same(mhz, wanted)]
        if near:
            left.remove(near[0])
        else:
            faults.append(f"no clock was constrained to {wanted:g} MHz")
    return faults


def slow_crossings(report: Mapping[str, Any], fastest_mhz: float) -> list[str]:
    """Faults: paths between two clocks of one loop that take longer than a period of the faster.

    Clocks of one loop (`clk_tag`, `clk`) have their edges together, so that a path from one to the
    other has that long and no longer; place and route gives no speed for it.
    """
    allowed_ns = 1e3 / fastest_mhz
    faults = []
    for path in report.get("critical_paths", ()):
        ends = [path[end].rpartition(" ")[2].removeprefix("$glbnet$") for end in ("from", "to")]
        loops = {name.rpartition(".")[0] for name in ends if _IN_PHASE.fullmatch(name)}
        if ends[0] == ends[1] or len(loops) != 1 or not all(map(_IN_PHASE.fullmatch, ends)):
            continue
        took_ns = sum(step["delay"] for step in path["path"])
        if took_ns > allowed_ns:
            faults.append(
                f"from {ends[0]} to {ends[1]}: {took_ns:.1f} ns placed, {allowed_ns:.1f} allowed"
            )
    return faults


def latches(netlist: Mapping[str, Any]) -> list[str]:
    """Names of cells that are latches in a synthesised netlist: there must be none."""
    return [
        f"{module}/{name}"
        for module, content in netlist["modules"].items()
        for name, cell in content.get("cells", {}).items()
        if "latch" in cell["type"].lower() or cell["parameters"].get("REGMODE") == "LATCH"
    ]


def line_results(
    netlist: Mapping[str, Any], lines: Mapping[str, LinePlace]
) -> tuple[LineResult, ...]:
    """Delay lines in the placed netlist, by the names under which the front end has them.

    Raises
    ------
    TapPlacementError
        A line is not where, or not what, it was asked to be.
    """
    return tuple(
        LineResult(name, line.taps, line.first, line.last)
        for name, line in check_taps(netlist, lines).items()
    )
