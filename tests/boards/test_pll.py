"""Dividers of the loop: exact, within the data sheet's ranges, a reason where there are none."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from hypothesis import given
from hypothesis import strategies as st

from bellrelay_boards.clocks import BoardClocks
from bellrelay_boards.pll import Ecp5Pll, PllDividers, pll_dividers

RELAY = {"tag": 200_000_000, "sync": 100_000_000}


def _hold(found: PllDividers, outputs: dict[str, int]) -> None:
    assert found.compared_hz * found.reference == found.input_hz
    assert 10_000_000 <= found.compared_hz <= 400_000_000
    assert 400_000_000 <= found.oscillator_hz <= 800_000_000
    assert {name: found.output_hz(name) for name in outputs} == outputs
    for name, divider in found.outputs.items():
        assert divider * outputs[name] == found.oscillator_hz
    # What the phase detector sees on its two inputs is equal.
    assert found.oscillator_hz == found.compared_hz * found.feedback * found.feedback_output
    for divider in (found.reference, found.feedback, found.feedback_output):
        assert 1 <= divider <= 128
    ports = found.ports()
    assert len(set(ports.values())) == len(outputs)
    for name, port in ports.items():
        assert (port == "OP") <= (found.outputs[name] == found.feedback_output)


@pytest.mark.parametrize("mhz", [10, 25, 30, 48, 100])
def test_every_oscillator_of_a_board_gives_the_relays_clocks(mhz: int) -> None:
    _hold(pll_dividers(mhz * 1_000_000, RELAY), RELAY)


@given(
    st.sampled_from([8, 10, 12, 16, 25, 27, 30, 48, 50, 60, 100, 125]),
    st.lists(st.sampled_from([5, 8, 10, 12, 24, 40, 50, 60, 75, 120]), min_size=1, max_size=4),
)
def test_what_is_found_is_exact_and_allowed(mhz: int, wanted: list[int]) -> None:
    outputs = {f"o{i}": w * 1_000_000 for i, w in enumerate(wanted)}
    try:
        found = pll_dividers(mhz * 1_000_000, outputs)
    except ValueError:
        # By hand: with an output to spare there is really no oscillator that fits them all.
        compared = [Fraction(mhz, r) for r in range(1, 129) if mhz >= 10 * r]
        fits = [
            n * c
            for c in compared
            for n in range(1, 81)
            if 400 <= n * c <= 800 and all(n * c % w == 0 for w in wanted)
        ]
        assert len(wanted) == 4 or not fits
        return
    _hold(found, outputs)


@pytest.mark.parametrize(
    ("input_hz", "outputs", "says"),
    [
        (7_999_999, RELAY, "input_hz is 7999999; allowed: 8 to 400 MHz"),
        (100_000_000, {"fast": 401_000_000}, "output fast is 401000000 Hz; allowed: 3.125 to 400"),
        (100_000_000, {}, "0 outputs; allowed: 1 to 4"),
        (100_000_000, {str(i): 50_000_000 for i in range(5)}, "5 outputs; allowed: 1 to 4"),
        (48_000_000, {**RELAY, "usb": 48_000_000}, "no dividers make tag 200 MHz, sync 100 MHz"),
        (8_000_000, RELAY, "no dividers make .* phases compared at 10 to 400 MHz"),
    ],
)
def test_what_is_impossible_is_said(input_hz: int, outputs: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pll_dividers(input_hz, outputs)


def test_the_loop_is_built_as_computed() -> None:
    found = pll_dividers(48_000_000, RELAY)
    assert found.feedback_output not in found.outputs.values(), "a loop through a spare output"
    text = rtlil.convert(Ecp5Pll(found))
    parameters = dict(re.findall(r"parameter (?:signed )?\\(\w+) (\S+)", text))
    assert parameters["CLKI_DIV"] == str(found.reference)
    assert parameters["CLKFB_DIV"] == str(found.feedback)
    assert parameters["CLKOP_DIV"] == str(found.feedback_output)
    assert parameters["CLKOS_DIV"] == str(found.outputs["tag"])
    assert parameters["CLKOS2_DIV"] == str(found.outputs["sync"])
    for port in ("OP", "OS", "OS2"):
        assert int(parameters[f"CLK{port}_CPHASE"]) == int(parameters[f"CLK{port}_DIV"]) - 1


@pytest.mark.parametrize("reference", ["internal", "external"])
def test_the_external_reference_is_what_the_loop_follows(reference: str) -> None:
    clocks = BoardClocks(clock_hz=100_000_000, reference=reference)
    assert clocks.dividers.input_hz == {"internal": 100_000_000, "external": 10_000_000}[reference]
    m = Module()
    m.submodules.clocks = clocks
    m.domains += clocks.domains.values()
    text = rtlil.convert(m, ports=[clocks.oscillator, clocks.reference])
    assert "cell \\EHXPLLL" in text
    assert "cell \\SGSR" in text
    assert clocks.domains["sync"].rst is None
    assert set(clocks.domains) == {"local", "tag", "sync"}


def test_parameters_of_the_clocks_are_checked() -> None:
    with pytest.raises(ValueError, match="reference is 'gps'; allowed: internal, external"):
        BoardClocks(clock_hz=100_000_000, reference="gps")
    with pytest.raises(ValueError, match="extra names sync"):
        BoardClocks(clock_hz=100_000_000, extra={"sync": 60_000_000})
