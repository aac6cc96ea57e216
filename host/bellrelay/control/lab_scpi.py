r"""The lab plugin `scpi`: a device that takes lines of text over TCP, by a table of commands.

Options: ``kind`` (see :data:`~.lab_devices.KINDS`), ``address`` (HOST:PORT), ``timeout_s`` (2),
``terminator`` ("\n"), ``identity`` (text that the answer to ``*IDN?`` must contain), ``commands``
by name, and for what has values ``range`` (in the protocol's unit), ``scale`` (the device's units
in one of the protocol's, default 1) and ``tolerance`` (how far what it says it has may be from what
it was told; default: not compared).

Commands of devices with a value: ``set`` with ``{value}`` in it, ``get``. Of those that are on or
off: ``on``, ``off``, ``state``, whose answer is ``state_on`` (default "1") when on or open; of a
laser also ``frequency``. Of a power meter: ``get``. A polarisation controller has ``ranges``, one
per actuator, and ``{channel}`` in its commands, from ``first_channel`` (0) on. All may have
``done``, a question that is answered when the device has arrived (within ``done_s``), and
``error``, a question whose answer begins with 0 if nothing is wrong.
"""

from __future__ import annotations

import errno
import math
import string
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .lab_devices import KINDS, DeviceRefused
from .scpi_connection import ScpiConnection

__all__ = ["scpi_plugin"]

_ALL = ("kind", "address", "timeout_s", "done_s", "terminator", "identity", "commands")
_VALUE = ("range", "scale", "tolerance")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "attenuator": _VALUE,
    "delay-line": _VALUE,
    "phase-reference": _VALUE,
    "polarisation-controller": ("ranges", "scale", "tolerance", "first_channel"),
    "laser": ("state_on", "scale"),
    "shutter": ("state_on",),
    "powermeter": ("scale",),
}
_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # By kind: those that it must have, those that it may.
    "attenuator": (("set", "get"), ()),
    "delay-line": (("set", "get"), ()),
    "phase-reference": (("set", "get"), ()),
    "polarisation-controller": (("set", "get"), ()),
    "laser": (("on", "off", "state"), ("frequency",)),
    "shutter": (("on", "off", "state"), ()),
    "powermeter": (("get",), ()),
}
_MAY = ("done", "error")


def scpi_plugin(options: Mapping[str, Any], name: str) -> Any:
    """Entry point ``scpi`` of the group ``bellrelay.lab``.

    Raises
    ------
    ValueError
        Naming the option.
    """
    kind = options.get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    allowed = (*_ALL, *_OPTIONS[kind])
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(f"{unknown[0]} is no option of a {kind}; {', '.join(allowed)} are")
    instrument = _Instrument(options, kind, name)
    made: dict[str, type[_Device]] = {
        "attenuator": _ScpiAttenuator,
        "delay-line": _ScpiDelayLine,
        "phase-reference": _ScpiPhaseReference,
        "polarisation-controller": _ScpiPolarisation,
        "laser": _ScpiLaser,
        "shutter": _ScpiShutter,
        "powermeter": _ScpiPowerMeter,
    }
    return made[kind](instrument, options)


class _Instrument:
    """Commands by name, one conversation at a time."""

    def __init__(self, options: Mapping[str, Any], kind: str, name: str) -> None:
        self.name = name
        host, port = _address(options.get("address"))
        timeout_s = _number(options.get("timeout_s", 2.0), "timeout_s", low=1e-3)
        terminator = options.get("terminator", "\n")
        if not isinstance(terminator, str) or not terminator or not terminator.isascii():
            raise ValueError(f"terminator must be text; got {terminator!r}")
        self._connection = ScpiConnection(host, port, timeout_s, terminator)
        self._commands = _commands(options.get("commands"), kind)
        self._identity = str(options.get("identity", ""))
        self._done_s = _number(options.get("done_s", timeout_s), "done_s", low=1e-3)
        self._known = 0
        self._lock = threading.Lock()

    def has(self, command: str) -> bool:
        return command in self._commands

    def tell(self, command: str, value: float = 0.0, channel: int = 0) -> None:
        """Send a command, wait until it is done, and see that nothing went wrong."""
        with self._lock:
            self._recognise()
            text = self._commands[command].format(value=value, channel=channel)
            self._connection.write(text)
            if "done" in self._commands:
                self._connection.ask(self._commands["done"], self._done_s)
            if "error" in self._commands:
                answer = self._connection.ask(self._commands["error"])
                if not answer.lstrip("+-").startswith("0"):
                    raise self.refused(f"{text!r} is answered with {answer}")

    def ask(self, command: str, channel: int = 0) -> str:
        with self._lock:
            self._recognise()
            return self._connection.ask(self._commands[command].format(channel=channel))

    def number(self, command: str, channel: int = 0) -> float:
        """The answer as a number, of which a unit behind it is taken away."""
        answer = self.ask(command, channel)
        try:
            value = float(answer.split()[0].split(",")[0])
        except (ValueError, IndexError):
            raise self.refused(f"{answer!r} is no number") from None
        if not math.isfinite(value):
            raise self.refused(f"it says {answer!r}")
        return value

    def refused(self, why: str) -> DeviceRefused:
        return DeviceRefused(errno.EPROTO, f"lab.{self.name}: {why}")

    def _recognise(self) -> None:
        """The device that is meant, and not one that has got its address, at each connection."""
        self._connection.connect()
        if self._identity and self._known != self._connection.connections:
            answer = self._connection.ask("*IDN?")
            if self._identity not in answer:
                raise self.refused(f"calls itself {answer!r}, not {self._identity!r}")
            self._known = self._connection.connections


class _Device:
    def __init__(self, instrument: _Instrument, options: Mapping[str, Any]) -> None:
        self._instrument = instrument
        self._scale = _number(options.get("scale", 1.0), "scale")
        if self._scale == 0.0:
            raise ValueError("scale must not be 0")
        tolerance = options.get("tolerance")
        self._tolerance = None if tolerance is None else _number(tolerance, "tolerance", low=0.0)

    def _get(self, command: str = "get", channel: int = 0) -> float:
        return self._instrument.number(command, channel) / self._scale

    def _set(self, value: float, limits: tuple[float, float], channel: int = 0) -> None:
        low, high = limits
        if not low <= value <= high:
            raise ValueError(f"lab.{self._instrument.name}: {value:g} is not in {low:g}..{high:g}")
        self._instrument.tell("set", value * self._scale, channel)
        if self._tolerance is not None:
            has = self._get(channel=channel)
            if abs(has - value) > self._tolerance:
                raise self._instrument.refused(f"told {value:g}, it has {has:g}")


class _OneValue(_Device):
    def __init__(self, instrument: _Instrument, options: Mapping[str, Any]) -> None:
        super().__init__(instrument, options)
        self._range = _range(options.get("range"), "range")


class _ScpiAttenuator(_OneValue):
    @property
    def range_db(self) -> tuple[float, float]:
        return self._range

    def attenuation_db(self) -> float:
        return self._get()

    def set_attenuation_db(self, attenuation_db: float) -> None:
        self._set(attenuation_db, self._range)


class _ScpiDelayLine(_OneValue):
    @property
    def range_ps(self) -> tuple[float, float]:
        return self._range

    def delay_ps(self) -> float:
        return self._get()

    def set_delay_ps(self, delay_ps: float) -> None:
        self._set(delay_ps, self._range)


class _ScpiPhaseReference(_OneValue):
    @property
    def range_rad(self) -> tuple[float, float]:
        return self._range

    def phase_rad(self) -> float:
        return self._get()

    def set_phase_rad(self, phase_rad: float) -> None:
        self._set(phase_rad, self._range)


class _ScpiPolarisation(_Device):
    def __init__(self, instrument: _Instrument, options: Mapping[str, Any]) -> None:
        super().__init__(instrument, options)
        ranges = options.get("ranges")
        if not isinstance(ranges, Sequence) or isinstance(ranges, str) or not ranges:
            raise ValueError(f"ranges must be a list of [lowest, highest]; got {ranges!r}")
        self._ranges = tuple(_range(limits, "ranges") for limits in ranges)
        first = options.get("first_channel", 0)
        if not isinstance(first, int) or isinstance(first, bool):
            raise ValueError(f"first_channel must be a whole number; got {first!r}")
        self._first = first

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return self._ranges

    def settings(self) -> tuple[float, ...]:
        return tuple(self._get(channel=self._first + i) for i in range(len(self._ranges)))

    def set_settings(self, settings: Sequence[float]) -> None:
        if len(settings) != len(self._ranges):
            raise ValueError(f"{len(settings)} settings for {len(self._ranges)} actuators")
        for value, (low, high) in zip(settings, self._ranges, strict=True):
            # All or none: half of a setting is another polarisation.
            if not low <= value <= high:
                raise ValueError(
                    f"lab.{self._instrument.name}: {value:g} is not in {low:g}..{high:g}"
                )
        for i, value in enumerate(settings):
            self._set(value, self._ranges[i], channel=self._first + i)


class _Switch(_Device):
    def __init__(self, instrument: _Instrument, options: Mapping[str, Any]) -> None:
        super().__init__(instrument, options)
        self._state_on = str(options.get("state_on", "1"))

    def _is_on(self) -> bool:
        return self._instrument.ask("state") == self._state_on

    def _switch(self, on: bool) -> None:
        self._instrument.tell("on" if on else "off")
        if self._is_on() != on:
            raise self._instrument.refused(f"it is still {'off' if on else 'on'}")


class _ScpiLaser(_Switch):
    def is_on(self) -> bool:
        return self._is_on()

    def switch_on(self) -> None:
        self._switch(True)

    def switch_off(self) -> None:
        self._switch(False)

    def frequency_hz(self) -> float:
        if not self._instrument.has("frequency"):
            raise self._instrument.refused("commands has no frequency")
        return self._get("frequency")


class _ScpiShutter(_Switch):
    def is_open(self) -> bool:
        return self._is_on()

    def open_shutter(self) -> None:
        self._switch(True)

    def close_shutter(self) -> None:
        self._switch(False)


class _ScpiPowerMeter(_Device):
    def power_w(self) -> float:
        return self._get()


def _address(value: object) -> tuple[str, int]:
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        if colon and host and port.isdigit() and 0 < int(port) < 65536:
            return host.strip("[]"), int(port)
    raise ValueError(f"address must be HOST:PORT; got {value!r}")


def _number(value: object, name: str, low: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number; got {value!r}")
    if not math.isfinite(value) or value < low:
        raise ValueError(f"{name} must be a number from {low:g}; got {value!r}")
    return float(value)


def _range(value: object, name: str) -> tuple[float, float]:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        low, high = _number(value[0], name), _number(value[1], name)
        if low < high:
            return low, high
    raise ValueError(f"{name} must be [lowest, highest]; got {value!r}")


def _commands(value: object, kind: str) -> dict[str, str]:
    must, may = _COMMANDS[kind]
    if not isinstance(value, Mapping):
        raise ValueError(f"commands must be given: {', '.join(must)}")
    for name in must:
        if name not in value:
            raise ValueError(f"commands.{name} is missing")
    out = {}
    channels = kind == "polarisation-controller"
    for name, text in value.items():
        if name not in (*must, *may, *_MAY):
            allowed = ", ".join((*must, *may, *_MAY))
            raise ValueError(f"commands.{name} is no command of a {kind}; {allowed} are")
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
            raise ValueError(f"commands.{name} must be a line of text; got {text!r}")
        wanted = {"value"} if name == "set" else set()
        wanted |= {"channel"} if channels and name in ("set", "get") else set()
        _check_fields(name, text, wanted)
        out[name] = text
    return out


def _check_fields(name: str, text: str, wanted: set[str]) -> None:
    """What stands in braces is what will be filled in, and can be."""
    shown = " and ".join(f"{{{field}}}" for field in sorted(wanted)) or "nothing in braces"
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
        if fields != wanted:
            raise ValueError
        text.format(value=1.0, channel=1)
    except (ValueError, IndexError, KeyError):
        raise ValueError(f"commands.{name} must have {shown}; got {text!r}") from None
