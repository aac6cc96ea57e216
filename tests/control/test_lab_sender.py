"""A sender steered by devices behind it: what they are told, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scripted_instrument import ScriptedInstrument

from bellrelay.control.lab_devices import DeviceRefused, DeviceSilent
from bellrelay.control.lab_sender import LabSender, lab_sender
from bellrelay.endpoint.sender_plugin import SenderCannot


@pytest.fixture
def instrument() -> Iterator[ScriptedInstrument]:
    there = ScriptedInstrument()
    yield there
    there.close()


def device(instrument: ScriptedInstrument, kind: str, **more: Any) -> dict[str, Any]:
    commands = {"set": "SET {value:.1f}", "get": "GET?"}
    if kind == "shutter":
        commands = {"on": "ON", "off": "OFF", "state": "STATE?"}
    return {
        "plugin": "scpi", "kind": kind, "address": instrument.address, "timeout_s": 0.3,
        "commands": commands, **more,
    }  # fmt: skip


def test_devices_are_told_beyond_what_the_sender_does_by_itself(
    instrument: ScriptedInstrument,
) -> None:
    other = ScriptedInstrument()
    sender = lab_sender(
        {
            "delay": device(instrument, "delay-line", range=[0, 600], zero_ps=300, tolerance=1),
            "attenuator": device(
                other, "attenuator", range=[0, 60], calibrated_db=12.5, tolerance=0.1
            ),
        },
        "alice",
    )
    assert isinstance(sender, LabSender)
    for there in (instrument, other):
        there.set_hook = lambda line, there=there: there.answers.update({"GET?": line.split()[1]})
    sender.set_delay_ps(-120.0)
    sender.set_attenuation_db(3.0)
    sender.set_attenuation_db(0.0)
    assert instrument.taken == ["SET 180.0", "GET?"]
    assert other.taken == ["SET 15.5", "GET?", "SET 12.5", "GET?"]
    other.close()
    with pytest.raises(DeviceRefused, match=r"is not in 0\.\.600"):
        sender.set_delay_ps(400.0)
    sender.set_rate(1.0)
    for cannot in (
        lambda: sender.set_rate(0.5), sender.halt, sender.resume, lambda: sender.direct("r2"),
    ):  # fmt: skip
        with pytest.raises(SenderCannot):
            cannot()


def test_a_shutter_halts_and_what_fails_is_an_error(instrument: ScriptedInstrument) -> None:
    sender = lab_sender({"shutter": device(instrument, "shutter")}, "bob")

    def take(line: str) -> None:
        instrument.answers["STATE?"] = "1" if line == "ON" else "0"

    instrument.set_hook = take
    sender.halt()
    sender.resume()
    assert [line for line in instrument.taken if "?" not in line] == ["OFF", "ON"]
    with pytest.raises(SenderCannot, match="names no delay line"):
        sender.set_delay_ps(0.0)
    with pytest.raises(SenderCannot, match="names no attenuator"):
        sender.set_attenuation_db(0.0)
    instrument.answers["STATE?"] = None
    instrument.set_hook = lambda _line: None
    with pytest.raises(DeviceSilent):
        sender.halt()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "a device is needed: delay, attenuator, shutter"),
        ({"laser": {}}, "laser is no option of lab"),
        ({"delay": "scpi"}, "delay must be a device"),
        ({"delay": {"plugin": "scpi"}}, r"delay\.zero_ps must be a number; got None"),
        ({"shutter": {"plugin": "gpib"}}, r"shutter\.plugin must be one of scpi, simulation"),
        ({"shutter": {"plugin": "scpi", "kind": "x"}}, "shutter: kind must be one of"),
        ({"shutter": {"plugin": "simulation", "kind": "powermeter"}}, "shutter: simulation gives"),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        lab_sender(options, "alice")
