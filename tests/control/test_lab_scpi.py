"""Devices over SCPI, against an instrument that answers, refuses, is late, and hangs up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_instrument import ScriptedInstrument

from bellrelay.control.lab_devices import KINDS, DeviceRefused, DeviceSilent
from bellrelay.control.lab_scpi import scpi_plugin


@pytest.fixture
def instrument() -> Iterator[ScriptedInstrument]:
    there = ScriptedInstrument()
    yield there
    there.close()


def delay_options(instrument: ScriptedInstrument, **more: Any) -> dict[str, Any]:
    return {
        "kind": "delay-line",
        "address": instrument.address,
        "timeout_s": 0.3,
        "range": [0, 330],
        "commands": {"set": "DEL {value:.2f}", "get": "DEL?"},
        **more,
    }


def keeps(instrument: ScriptedInstrument, word: str = "DEL") -> None:
    """The instrument keeps what it is told, and says it."""

    def take(line: str) -> None:
        if line.startswith(f"{word} "):
            instrument.answers[f"{word}?"] = line.split()[1]

    instrument.set_hook = take


def test_a_delay_is_set_in_the_instrument_s_unit_and_read_back(
    instrument: ScriptedInstrument,
) -> None:
    keeps(instrument)
    instrument.answers["*OPC?"] = "1"
    instrument.answers["SYST:ERR?"] = '+0,"No error"'
    line = scpi_plugin(
        delay_options(
            instrument,
            scale=0.001,
            tolerance=6,
            identity="ODL-650",
            commands={
                "set": "DEL {value:.2f}", "get": "DEL?", "done": "*OPC?", "error": "SYST:ERR?",
            },
        ),
        "a",
    )  # fmt: skip
    assert isinstance(line, KINDS["delay-line"])
    assert line.range_ps == (0.0, 330.0)
    line.set_delay_ps(124.0)
    assert instrument.taken == ["*IDN?", "DEL 0.12", "*OPC?", "SYST:ERR?", "DEL?"]
    assert line.delay_ps() == pytest.approx(120.0)
    assert instrument.connections == 1


def test_what_lies_outside_of_the_range_is_never_sent(instrument: ScriptedInstrument) -> None:
    line = scpi_plugin(delay_options(instrument), "a")
    for value in (-0.1, 330.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"is not in 0\.\.330"):
            line.set_delay_ps(value)
    assert instrument.taken == []


def test_an_error_that_the_instrument_reports_is_a_refusal(instrument: ScriptedInstrument) -> None:
    instrument.answers["SYST:ERR?"] = '-222,"Data out of range"'
    commands = {"set": "DEL {value}", "get": "DEL?", "error": "SYST:ERR?"}
    line = scpi_plugin(delay_options(instrument, commands=commands), "a")
    with pytest.raises(DeviceRefused, match=r"lab\.a: 'DEL 5.0' is answered with -222"):
        line.set_delay_ps(5.0)


def test_a_setting_that_was_not_taken_is_a_refusal(instrument: ScriptedInstrument) -> None:
    instrument.answers["DEL?"] = "7.5 ps"
    line = scpi_plugin(delay_options(instrument, tolerance=0.1), "a")
    with pytest.raises(DeviceRefused, match=r"told 5, it has 7\.5"):
        line.set_delay_ps(5.0)


@pytest.mark.parametrize("answer", ["", "nonsense", "nan", "inf"])
def test_an_answer_that_is_no_number_is_a_refusal(
    instrument: ScriptedInstrument, answer: str
) -> None:
    instrument.answers["DEL?"] = answer
    with pytest.raises(DeviceRefused):
        scpi_plugin(delay_options(instrument), "a").delay_ps()


def test_another_device_at_the_address_is_refused_after_each_connection(
    instrument: ScriptedInstrument,
) -> None:
    instrument.answers["DEL?"] = "1.0"
    line = scpi_plugin(delay_options(instrument, identity="ODL-650"), "a")
    assert line.delay_ps() == 1.0
    instrument.answers["*IDN?"] = "ACME,LASER,1,1.0"
    instrument.hang_up()
    time.sleep(0.05)
    with pytest.raises(DeviceRefused, match="calls itself 'ACME,LASER"):
        line.delay_ps()


def test_a_late_answer_is_not_taken_for_the_next(instrument: ScriptedInstrument) -> None:
    instrument.answers["DEL?"] = "1.0"
    line = scpi_plugin(delay_options(instrument), "a")
    assert line.delay_ps() == 1.0
    instrument.delay_s = 1.0
    begun = time.monotonic()
    with pytest.raises(DeviceSilent, match=r"no answer to 'DEL\?': not within 0.3 s"):
        line.delay_ps()
    assert time.monotonic() - begun < 0.95
    instrument.delay_s = 0.0
    instrument.answers["DEL?"] = "2.0"
    time.sleep(0.8)
    assert line.delay_ps() == 2.0
    assert instrument.connections == 2


def test_what_nobody_asked_for_is_not_taken_for_an_answer(instrument: ScriptedInstrument) -> None:
    instrument.answers["DEL?"] = "1.0"
    line = scpi_plugin(delay_options(instrument), "a")
    assert line.delay_ps() == 1.0
    instrument.say(b"99.0\n")
    time.sleep(0.05)
    assert line.delay_ps() == 1.0
    # In one piece with an answer.
    instrument.after = b"98.0\n"
    assert line.delay_ps() == 1.0
    instrument.after = b""
    time.sleep(0.05)
    assert line.delay_ps() == 1.0


def test_an_instrument_that_hangs_up_or_is_away_is_silent(instrument: ScriptedInstrument) -> None:
    line = scpi_plugin(delay_options(instrument), "a")

    def gone() -> str:
        instrument.hang_up()
        return ""

    instrument.answers["DEL?"] = gone
    with pytest.raises(DeviceSilent, match="DEL"):
        line.delay_ps()
    instrument.close()
    with pytest.raises(DeviceSilent):
        line.delay_ps()
    with pytest.raises(DeviceSilent, match="no connection"):
        line.set_delay_ps(1.0)


def test_an_answer_without_end_is_given_up(instrument: ScriptedInstrument) -> None:
    instrument.answers["DEL?"] = lambda: "1" * 10_000
    with pytest.raises(DeviceSilent, match="no end"):
        scpi_plugin(delay_options(instrument), "a").delay_ps()


def test_a_polarisation_controller_sets_all_or_nothing(instrument: ScriptedInstrument) -> None:
    options = {
        "kind": "polarisation-controller",
        "address": instrument.address,
        "ranges": [[0, 5], [0, 5], [0, 5]],
        "first_channel": 1,
        "commands": {"set": "V{channel} {value:.1f}", "get": "V{channel}?"},
    }
    controller = scpi_plugin(options, "p")
    assert isinstance(controller, KINDS["polarisation-controller"])
    with pytest.raises(ValueError, match=r"is not in 0\.\.5"):
        controller.set_settings((1.0, 2.0, 5.5))
    with pytest.raises(ValueError, match="2 settings for 3"):
        controller.set_settings((1.0, 2.0))
    assert instrument.taken == []
    instrument.answers.update({"V1?": "1.0", "V2?": "2.0", "V3?": "3.0"})
    controller.set_settings((1.0, 2.0, 3.0))
    assert controller.settings() == (1.0, 2.0, 3.0)
    assert instrument.taken[:3] == ["V1 1.0", "V2 2.0", "V3 3.0"]


def test_a_laser_and_a_shutter_are_seen_to_switch(instrument: ScriptedInstrument) -> None:
    options = {
        "kind": "laser",
        "address": instrument.address,
        "scale": 1e-12,
        "state_on": "ON",
        "commands": {"on": "OUT ON", "off": "OUT OFF", "state": "OUT?", "frequency": "FREQ?"},
    }
    laser = scpi_plugin(options, "l")
    assert isinstance(laser, KINDS["laser"])
    assert not isinstance(laser, KINDS["shutter"])

    def take(line: str) -> None:
        instrument.answers["OUT?"] = line.split()[1]

    instrument.set_hook = take
    laser.switch_on()
    assert laser.is_on()
    laser.switch_off()
    assert not laser.is_on()
    instrument.answers["FREQ?"] = "193.4145"
    assert laser.frequency_hz() == pytest.approx(193.4145e12)
    instrument.set_hook = lambda _line: None
    with pytest.raises(DeviceRefused, match="it is still off"):
        laser.switch_on()
    commands = {"on": "S 1", "off": "S 0", "state": "S?"}
    shutter = scpi_plugin(
        {"kind": "shutter", "address": instrument.address, "commands": commands}, "s"
    )
    without = {k: v for k, v in options["commands"].items() if k != "frequency"}
    laser_without = scpi_plugin({**options, "commands": without}, "l")
    with pytest.raises(DeviceRefused, match="has no frequency"):
        laser_without.frequency_hz()
    assert isinstance(shutter, KINDS["shutter"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "toaster"}, "kind must be one of attenuator, delay-line"),
        ({"colour": "red"}, "colour is no option of a delay-line"),
        ({"address": "somewhere"}, "address must be HOST:PORT"),
        ({"address": "somewhere:0"}, "address must be HOST:PORT"),
        ({"timeout_s": 0}, "timeout_s must be a number from 0.001"),
        ({"range": [3, 1]}, r"range must be \[lowest, highest\]"),
        ({"range": None}, r"range must be \[lowest, highest\]"),
        ({"scale": 0}, "scale must not be 0"),
        ({"scale": True}, "scale must be a number"),
        ({"tolerance": -1}, "tolerance must be a number from 0"),
        ({"terminator": ""}, "terminator must be text"),
        ({"commands": None}, "commands must be given: set, get"),
        ({"commands": {"set": "D {value}"}}, r"commands\.get is missing"),
        ({"commands": {"set": "D", "get": "D?"}}, r"commands\.set must have \{value\}"),
        ({"commands": {"set": "D {value} {x}", "get": "D?"}}, r"commands\.set must have \{value\}"),
        ({"commands": {"set": "D {value", "get": "D?"}}, r"commands\.set must have \{value\}"),
        ({"commands": {"set": "D {value:s}", "get": "D?"}}, r"commands\.set must have \{value\}"),
        ({"commands": {"set": "D {value.real}", "get": "D?"}}, r"commands\.set must have"),
        ({"commands": {"set": "D {value}", "get": "D{}?"}}, r"commands\.get must have nothing"),
        ({"commands": {"set": "D {value}\n", "get": "D?"}}, "must be a line of text"),
        ({"commands": {"set": "D {value}", "get": "D?", "on": "X"}}, "on is no command of a delay"),
    ],
)
def test_options_that_are_wrong_are_named(
    instrument: ScriptedInstrument, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        scpi_plugin(delay_options(instrument, **change), "a")
