"""Dividers of the ECP5's phase-locked loop, and the loop itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["HEADROOM", "Ecp5Pll", "PllDividers", "pll_dividers"]

HEADROOM = 1.07
"""Place and route leaves a way as it is once its clock is met: it is asked for more than that."""

# Family data sheet FPGA-DS-02012, "sysCLOCK PLL Timing"; in Hz, both ends allowed.
_INPUT = (8_000_000, 400_000_000)
_COMPARED = (10_000_000, 400_000_000)
_OSCILLATOR = (400_000_000, 800_000_000)
_OUTPUT = (3_125_000, 400_000_000)
_DIVIDER = range(1, 129)
_OUTPUTS = ("OP", "OS", "OS2", "OS3")


def _within(value: int, limits: tuple[int, int]) -> bool:
    return limits[0] <= value <= limits[1]


def _mhz(limits: tuple[int, int]) -> str:
    return f"{limits[0] / 1e6:g} to {limits[1] / 1e6:g} MHz"


@dataclass(frozen=True)
class PllDividers:
    """A loop: ``oscillator = input / reference * feedback * feedback_output``.

    Attributes
    ----------
    input_hz
    reference, feedback
        ``CLKI_DIV`` and ``CLKFB_DIV``.
    feedback_output
        Divider of the output ``CLKOP``, which closes the loop.
    outputs
        Divider of each wanted output, by name. One that equals `feedback_output` is ``CLKOP``
        itself.
    """

    input_hz: int
    reference: int
    feedback: int
    feedback_output: int
    outputs: Mapping[str, int]

    @property
    def compared_hz(self) -> int:
        """Frequency at which the phase detector compares."""
        return self.input_hz // self.reference

    @property
    def oscillator_hz(self) -> int:
        """Frequency of the voltage-controlled oscillator."""
        return self.compared_hz * self.feedback * self.feedback_output

    def output_hz(self, name: str) -> int:
        """Frequency of an output; KeyError if there is none of the name."""
        return self.oscillator_hz // self.outputs[name]

    def ports(self) -> dict[str, str]:
        """Name of each wanted output to the suffix of its port: OP, OS, OS2 or OS3."""
        free = iter(_OUTPUTS[1:])
        first = next((n for n, d in self.outputs.items() if d == self.feedback_output), None)
        return {name: "OP" if name == first else next(free) for name in self.outputs}


def pll_dividers(input_hz: int, outputs: Mapping[str, int]) -> PllDividers:
    """Dividers that give every output exactly.

    Of all that do, those that compare phases most often, then those with the fastest oscillator:
    both lower the jitter of what comes out.

    Parameters
    ----------
    input_hz
        Of the reference, in Hz.
    outputs
        Wanted frequency by name, in Hz; up to four.

    Raises
    ------
    ValueError
        Naming what is impossible: a frequency out of the data sheet's range, too many outputs, or
        no dividers that give all of them exactly.
    """
    if not _within(input_hz, _INPUT):
        raise ValueError(f"input_hz is {input_hz}; allowed: {_mhz(_INPUT)}")
    if not 1 <= len(outputs) <= len(_OUTPUTS):
        raise ValueError(f"{len(outputs)} outputs; allowed: 1 to {len(_OUTPUTS)}")
    for name, hz in outputs.items():
        if not _within(hz, _OUTPUT):
            raise ValueError(f"output {name} is {hz} Hz; allowed: {_mhz(_OUTPUT)}")
    found: list[PllDividers] = []
    for reference in _DIVIDER:
        if input_hz % reference or not _within(input_hz // reference, _COMPARED):
            continue
        compared = input_hz // reference
        for multiple in range(-(-_OSCILLATOR[0] // compared), _OSCILLATOR[1] // compared + 1):
            oscillator = compared * multiple
            dividers = {name: oscillator // hz for name, hz in outputs.items()}
            if any(d not in _DIVIDER or d * outputs[n] != oscillator for n, d in dividers.items()):
                continue
            # The loop closes through a wanted output, or through one that nobody else needs.
            spare = _DIVIDER if len(outputs) < len(_OUTPUTS) else ()
            for closing in (*dividers.values(), *spare):
                if (
                    multiple % closing == 0
                    and multiple // closing in _DIVIDER
                    and _within(oscillator // closing, _OUTPUT)
                ):
                    found.append(
                        PllDividers(input_hz, reference, multiple // closing, closing, dividers)
                    )
                    break
    if not found:
        wanted = ", ".join(f"{name} {hz / 1e6:g} MHz" for name, hz in outputs.items())
        raise ValueError(
            f"no dividers make {wanted} out of {input_hz / 1e6:g} MHz with an oscillator at "
            f"{_mhz(_OSCILLATOR)} and phases compared at {_mhz(_COMPARED)}"
        )
    return max(found, key=lambda p: (p.compared_hz, p.oscillator_hz))


class Ecp5Pll(wiring.Component):
    """One EHXPLLL with outputs whose rising edges are aligned.

    Members
    -------
    reference : In(1), reset : In(1)
    locked : Out(1), asynchronous to every output
    clk_NAME : Out(1) for each output, constrained to `HEADROOM` times its frequency
    """

    def __init__(self, dividers: PllDividers) -> None:
        self.dividers = dividers
        clocks = {f"clk_{name}": Out(1) for name in dividers.outputs}
        super().__init__({"reference": In(1), "reset": In(1), "locked": Out(1), **clocks})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        d = self.dividers
        for name in d.outputs:
            clock = getattr(self, f"clk_{name}")
            # Of several names of one net, synthesis must keep this one: the constraint is on it.
            clock.attrs["keep"] = "true"
            if platform is not None:
                platform.add_clock_constraint(clock, round(d.output_hz(name) * HEADROOM))
        ports = d.ports()
        closing = Signal()
        # A coarse phase of one period less one step is the vendor's zero: each output rises every
        # DIV steps from a common start, so that edges meet wherever one divider divides another.
        arguments: dict[str, object] = {
            "p_CLKOP_ENABLE": "ENABLED",
            "p_CLKOP_DIV": d.feedback_output,
            "p_CLKOP_CPHASE": d.feedback_output - 1,
            "p_CLKOP_FPHASE": 0,
            "o_CLKOP": closing,
        }
        for name, port in ports.items():
            clock = getattr(self, f"clk_{name}")
            if port == "OP":
                m.d.comb += clock.eq(closing)
                continue
            arguments |= {
                f"p_CLK{port}_ENABLE": "ENABLED",
                f"p_CLK{port}_DIV": d.outputs[name],
                f"p_CLK{port}_CPHASE": d.outputs[name] - 1,
                f"p_CLK{port}_FPHASE": 0,
                f"o_CLK{port}": clock,
            }
        m.submodules.pll = Instance(
            "EHXPLLL",
            # The loop filter and charge pump that Diamond writes for every such loop.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="ENABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=d.reference,
            p_CLKFB_DIV=d.feedback,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=self.reference,
            i_CLKFB=closing,
            i_RST=self.reset,
            i_STDBY=Const(0, 1),
            i_PHASESEL0=Const(0, 1),
            i_PHASESEL1=Const(0, 1),
            i_PHASEDIR=Const(1, 1),
            i_PHASESTEP=Const(1, 1),
            i_PHASELOADREG=Const(1, 1),
            i_PLLWAKESYNC=Const(0, 1),
            i_ENCLKOP=Const(0, 1),
            o_LOCK=self.locked,
            **arguments,
        )
        return m
