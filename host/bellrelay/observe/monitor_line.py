"""The line protocol of monitors: one reading a line. docs/reference/monitors.md is its reference.

::

    NAME KIND VALUE UNIT [UTC_NANOSECONDS] [KEY=VALUE ...]
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bellrelay.endpoint.intensity_feed import reading_of
from bellrelay.endpoint.source_log import Reading
from bellrelay.physics.spectrum import FEWEST_POINTS, SPEED_OF_LIGHT, spectrum_figures
from bellrelay.settings.monitors import KINDS

__all__ = ["LONGEST_LINE", "Cause", "MonitorReading", "Refused", "parse_line"]

LONGEST_LINE = 1 << 19
"""Bytes of a line: a spectrum of some twenty thousand points."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_NUMBERS = re.compile(r"[0-9eE+.:,-]+")
_TIME = re.compile(r"\d{1,19}")
_AHEAD_NS = 5_000_000_000
"""So far may a monitor's clock be ahead of ours."""

_WATTS = {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "nW": 1e-9, "pW": 1e-12}
_HERTZ = {"THz": 1e12, "GHz": 1e9}
_LOWEST_DBM, _HIGHEST_DBM = -300.0, 100.0


class Cause(StrEnum):
    """Why a line was refused."""

    FIELDS = "fields"
    NAME = "name"
    UNKNOWN_MONITOR = "unknown-monitor"
    OTHER_KIND = "other-kind"
    KIND = "kind"
    NUMBER = "number"
    UNIT = "unit"
    SPECTRUM = "spectrum"
    TIME = "time"
    FUTURE = "future"
    KEY = "key"
    NOT_ASCII = "not-ascii"
    TOO_LONG = "too-long"
    TORN = "torn"


class Refused(ValueError):
    """A line that is no reading; cause: why."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True)
class MonitorReading:
    """One reading.

    Parameters
    ----------
    monitor, kind
        Its name, and what it measures.
    time_ns
        UTC nanoseconds: the line's, or when the line came.
    quantities
        By name as in :data:`bellrelay.settings.monitors.KINDS`; None: not to be told from this
        reading.
    intensity
        Of kind ``intensity``: what a monitor of a sender says of one setting.
    """

    monitor: str
    kind: str
    time_ns: int
    quantities: dict[str, float | None]
    intensity: Reading | None = None

    @property
    def frequency_hz(self) -> float | None:
        """Optical frequency, of kinds that have one."""
        wavelength = self.quantities.get("wavelength_nm")
        return None if wavelength is None else SPEED_OF_LIGHT / (wavelength * 1e-9)


def parse_line(line: bytes, now_ns: int) -> MonitorReading | None:
    """A reading from a line without its newline; None from one that says nothing.

    Parameters
    ----------
    now_ns
        UTC nanoseconds: when the line came.

    Raises
    ------
    Refused
    """
    try:
        words = line.decode("ascii").split()
    except UnicodeDecodeError:
        raise Refused(Cause.NOT_ASCII, "a byte that is not ASCII") from None
    if not words or words[0].startswith("#"):
        return None
    if len(words) < 4:
        raise Refused(Cause.FIELDS, f"{len(words)} fields; allowed: NAME KIND VALUE UNIT ...")
    name, kind, value, unit, *more = words
    if _NAME.fullmatch(name) is None:
        raise Refused(Cause.NAME, f"{name[:64]!r} is no name")
    if kind not in KINDS:
        raise Refused(Cause.KIND, f"{kind[:64]!r}; allowed: {', '.join(KINDS)}")
    time_ns = now_ns
    if more and "=" not in more[0]:
        time_ns = _time(more.pop(0), now_ns)
    keys = _keys(more, ("setting", "variance", "ladder") if kind == "intensity" else ())
    if kind == "intensity":
        intensity = _intensity(time_ns, value, unit, keys)
        return MonitorReading(name, kind, time_ns, {}, intensity)
    if kind == "spectrum":
        return MonitorReading(name, kind, time_ns, _spectrum(value, unit))
    (quantity,) = KINDS[kind]
    return MonitorReading(name, kind, time_ns, {quantity: _SCALARS[kind](_number(value), unit)})


def _time(word: str, now_ns: int) -> int:
    if _TIME.fullmatch(word) is None or not 0 < int(word) < 1 << 63:
        raise Refused(Cause.TIME, f"{word[:32]!r}; allowed: UTC in nanoseconds")
    if int(word) > now_ns + _AHEAD_NS:
        raise Refused(Cause.FUTURE, "a time in the future: clocks differ")
    return int(word)


def _keys(words: list[str], allowed: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in allowed or key in found:
            raise Refused(Cause.KEY, f"{word[:64]!r}; allowed: {', '.join(allowed) or 'no keys'}")
        found[key] = value
    return found


def _number(word: str) -> float:
    if _NUMBER.fullmatch(word) is None or not math.isfinite(float(word)):
        raise Refused(Cause.NUMBER, f"{word[:32]!r} is no number")
    return float(word)


def _unit(unit: str, allowed: tuple[str, ...]) -> Refused:
    return Refused(Cause.UNIT, f"{unit[:32]!r}; allowed: {', '.join(allowed)}")


def _watts(value: float, unit: str) -> float:
    if unit == "dBm":
        if not _LOWEST_DBM <= value <= _HIGHEST_DBM:
            raise Refused(Cause.NUMBER, f"{value:g} dBm is no power")
        return float(10.0 ** (value / 10.0 - 3.0))
    if unit not in _WATTS:
        raise _unit(unit, ("dBm", *_WATTS))
    return value * _WATTS[unit]


def _celsius(value: float, unit: str) -> float:
    if unit not in ("C", "K"):
        raise _unit(unit, ("C", "K"))
    celsius = value if unit == "C" else value - 273.15
    if celsius < -273.15:
        raise Refused(Cause.NUMBER, f"{value:g} {unit} is below zero kelvin")
    return celsius


def _nanometres(value: float, unit: str) -> float:
    if unit != "nm" and unit not in _HERTZ:
        raise _unit(unit, ("nm", *_HERTZ))
    if value <= 0.0:
        raise Refused(Cause.NUMBER, f"{value:g} {unit} is no wavelength")
    return value if unit == "nm" else 1e9 * SPEED_OF_LIGHT / (value * _HERTZ[unit])


_SCALARS = {"power": _watts, "temperature": _celsius, "wavelength": _nanometres}


def _spectrum(value: str, unit: str) -> dict[str, float | None]:
    axis_unit, _, level_unit = unit.partition(":")
    if axis_unit != "nm" and axis_unit not in _HERTZ:
        raise _unit(unit, ("nm:LEVEL", "THz:LEVEL", "GHz:LEVEL"))
    if level_unit not in ("dBm", "dB") and level_unit not in _WATTS:
        raise _unit(unit, tuple(f"{axis_unit}:{u}" for u in ("dBm", "dB", *_WATTS)))
    axis, level = _pairs(value)
    if level_unit in ("dBm", "dB"):
        if not ((level >= _LOWEST_DBM) & (level <= _HIGHEST_DBM)).all():
            raise Refused(Cause.NUMBER, f"a level beyond {_LOWEST_DBM:g} to {_HIGHEST_DBM:g} dB")
        level = 10.0 ** (level / 10.0)
    if not (np.isfinite(axis).all() and (axis > 0.0).all()):
        raise Refused(Cause.SPECTRUM, f"{axis_unit}: numbers above 0")
    hertz = SPEED_OF_LIGHT / (axis * 1e-9) if axis_unit == "nm" else axis * _HERTZ[axis_unit]
    if hertz[0] > hertz[-1]:
        hertz, level = hertz[::-1], level[::-1]
    try:
        found = spectrum_figures(hertz, level)
    except ValueError as error:
        raise Refused(Cause.SPECTRUM, str(error)) from None
    return {
        "wavelength_nm": found.centre_m * 1e9,
        "linewidth_ghz": None if found.width_hz is None else found.width_hz * 1e-9,
        "suppression_db": found.suppression_db,
    }


def _pairs(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both columns of ``x:y,x:y,...``."""
    points = text.split(",")
    if len(points) < FEWEST_POINTS:
        raise Refused(Cause.SPECTRUM, f"{len(points)} points; allowed: {FEWEST_POINTS} or more")
    pairs = [point.split(":") for point in points]
    if _NUMBERS.fullmatch(text) is None or any(len(pair) != 2 for pair in pairs):
        raise Refused(Cause.NUMBER, "a point that is no NUMBER:NUMBER")
    try:
        columns = np.array(pairs, np.float64)
    except ValueError:
        raise Refused(Cause.NUMBER, "a point that is no NUMBER:NUMBER") from None
    return columns[:, 0], columns[:, 1]


def _intensity(time_ns: int, value: str, unit: str, keys: dict[str, str]) -> Reading:
    if unit != "photons":
        raise _unit(unit, ("photons",))
    variance = _number(keys.get("variance", "0"))
    if variance < 0.0:
        raise Refused(Cause.NUMBER, "a negative variance")
    try:
        return reading_of(
            time_ns, keys.get("setting", ""), _number(value), variance, keys.get("ladder", "")
        )
    except Refused:
        raise
    except ValueError as error:
        raise Refused(Cause.KEY, str(error)) from None
