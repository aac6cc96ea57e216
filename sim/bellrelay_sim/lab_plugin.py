"""The lab plugin `simulation`: devices of a laboratory in front of the twin.

Options: ``kind``, ``conditions`` (the twin's socket, see :mod:`.conditions`), and by kind

- ``attenuator``, ``delay-line``, ``shutter``, ``laser``: ``sender`` ("alice" or "bob"), in whose
  arm it stands; ``range``; of a laser ``frequency_hz``;
- ``polarisation-controller``: ``aligned``, angles in rad at which all is best, and ``least``
  (0.005); ``of``: "overlap", then turned away by d from them in all the modes overlap by
  ``(1 - least) cos^2 d``; or "z", "x", then the misalignment there is
  ``least + (1 - 2 least) sin^2 d``;
- ``phase-reference``: ``aligned``, phase in rad; ``least``. Off by d, the misalignment in X is
  ``least + (1 - 2 least) sin^2(d / 2)``;
- ``powermeter``: ``power_w``, ``noise`` (relative).

The twin only listens, so a device says what it was told last, in this process.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["simulation_lab"]

_ARM = {"sender"}
_OPTIONS: dict[str, set[str]] = {
    "attenuator": {*_ARM, "range"},
    "delay-line": {*_ARM, "range"},
    "shutter": _ARM,
    "laser": {*_ARM, "frequency_hz"},
    "polarisation-controller": {"aligned", "least", "of"},
    "phase-reference": {"aligned", "least"},
    "powermeter": {"power_w", "noise"},
}


def simulation_lab(options: Mapping[str, Any], name: str) -> Any:
    """Entry point ``simulation`` of the group ``bellrelay.lab``.

    Raises
    ------
    ValueError
        Naming the option.
    """
    kind = options.get("kind")
    if kind not in _OPTIONS:
        raise ValueError(f"kind must be one of {', '.join(_OPTIONS)}; got {kind!r}")
    allowed = {"kind", "conditions", *_OPTIONS[kind]}
    unknown = sorted(set(options) - allowed)
    if unknown:
        raise ValueError(f"{unknown[0]} is no option of a {kind}; {', '.join(sorted(allowed))} are")
    if kind == "powermeter":
        return _PowerMeter(options)
    twin = _Twin(options)
    if kind in ("attenuator", "delay-line", "shutter", "laser"):
        sender = options.get("sender")
        if sender not in ("alice", "bob"):
            raise ValueError(f"sender must be alice or bob; got {sender!r}")
        made = {
            "attenuator": _Attenuator,
            "delay-line": _DelayLine,
            "shutter": _Shutter,
            "laser": _Laser,
        }
        return made[kind](twin, sender, options)
    return (_Polarisation if kind == "polarisation-controller" else _Phase)(twin, options)


class _Twin:
    """Where the twin listens."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        path = options.get("conditions")
        if not isinstance(path, str) or not path:
            raise ValueError(f"conditions must be the path of the twin's socket; got {path!r}")
        self._path = Path(path)

    def tell(self, **change: Any) -> None:
        """OSError: nobody listens there."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.sendto(json.dumps(change).encode(), str(self._path))


class _InArm:
    def __init__(self, twin: _Twin, sender: str, options: Mapping[str, Any]) -> None:
        self._twin = twin
        self._sender = sender
        self._range = _range(options.get("range", _RANGE[type(self).__name__]))
        self._has = max(0.0, self._range[0])

    def _set(self, key: str, value: float) -> None:
        low, high = self._range
        if not low <= value <= high:
            raise ValueError(f"{value:g} is not in {low:g}..{high:g}")
        self._twin.tell(sender=self._sender, **{key: value})
        self._has = value


_RANGE = {"_Attenuator": (0.0, 60.0), "_DelayLine": (-2000.0, 2000.0)}


class _Attenuator(_InArm):
    @property
    def range_db(self) -> tuple[float, float]:
        return self._range

    def attenuation_db(self) -> float:
        return self._has

    def set_attenuation_db(self, attenuation_db: float) -> None:
        self._set("attenuation_db", attenuation_db)


class _DelayLine(_InArm):
    @property
    def range_ps(self) -> tuple[float, float]:
        return self._range

    def delay_ps(self) -> float:
        return self._has

    def set_delay_ps(self, delay_ps: float) -> None:
        self._set("delay_ps", delay_ps)


class _Light:
    def __init__(self, twin: _Twin, sender: str, options: Mapping[str, Any]) -> None:
        self._twin = twin
        self._sender = sender
        self._lit = True

    def _set(self, lit: bool) -> None:
        self._twin.tell(sender=self._sender, halted=not lit)
        self._lit = lit


class _Shutter(_Light):
    def is_open(self) -> bool:
        return self._lit

    def open_shutter(self) -> None:
        self._set(True)

    def close_shutter(self) -> None:
        self._set(False)


class _Laser(_Light):
    def __init__(self, twin: _Twin, sender: str, options: Mapping[str, Any]) -> None:
        super().__init__(twin, sender, options)
        self._frequency = _number(options.get("frequency_hz", 193.4e12), "frequency_hz")

    def is_on(self) -> bool:
        return self._lit

    def switch_on(self) -> None:
        self._set(True)

    def switch_off(self) -> None:
        self._set(False)

    def frequency_hz(self) -> float:
        return self._frequency


class _Polarisation:
    def __init__(self, twin: _Twin, options: Mapping[str, Any]) -> None:
        self._twin = twin
        aligned = options.get("aligned")
        if not isinstance(aligned, Sequence) or isinstance(aligned, str) or not aligned:
            raise ValueError(f"aligned must be a list of angles; got {aligned!r}")
        self._aligned = tuple(_number(angle, "aligned") for angle in aligned)
        self._least = _least(options)
        of = options.get("of", "overlap")
        if of not in ("overlap", "z", "x"):
            raise ValueError(f"of must be overlap, z or x; got {of!r}")
        self._of = of
        self._has = (0.0,) * len(self._aligned)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((-math.pi, math.pi),) * len(self._aligned)

    def settings(self) -> tuple[float, ...]:
        return self._has

    def set_settings(self, settings: Sequence[float]) -> None:
        if len(settings) != len(self._aligned):
            raise ValueError(f"{len(settings)} settings for {len(self._aligned)} actuators")
        if any(not -math.pi <= angle <= math.pi for angle in settings):
            raise ValueError("an angle is not in -pi..pi")
        away = math.sin(min(math.dist(settings, self._aligned), math.pi / 2)) ** 2
        if self._of == "overlap":
            self._twin.tell(mode_overlap=(1.0 - self._least) * (1.0 - away))
        else:
            flipped = self._least + (1.0 - 2.0 * self._least) * away
            self._twin.tell(**{f"misalignment_{self._of}": flipped})
        self._has = tuple(settings)


class _Phase:
    def __init__(self, twin: _Twin, options: Mapping[str, Any]) -> None:
        self._twin = twin
        self._aligned = _number(options.get("aligned", 0.0), "aligned")
        self._least = _least(options)
        self._has = 0.0

    @property
    def range_rad(self) -> tuple[float, float]:
        return -2.0 * math.pi, 2.0 * math.pi

    def phase_rad(self) -> float:
        return self._has

    def set_phase_rad(self, phase_rad: float) -> None:
        low, high = self.range_rad
        if not low <= phase_rad <= high:
            raise ValueError(f"{phase_rad:g} is not in {low:g}..{high:g}")
        off = math.sin((phase_rad - self._aligned) / 2.0) ** 2
        self._twin.tell(misalignment_x=self._least + (1.0 - 2.0 * self._least) * off)
        self._has = phase_rad


class _PowerMeter:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._power = _number(options.get("power_w", 1e-12), "power_w")
        self._noise = _number(options.get("noise", 1e-3), "noise")
        self._random = np.random.default_rng()

    def power_w(self) -> float:
        return self._power * float(self._random.normal(1.0, self._noise))


def _least(options: Mapping[str, Any]) -> float:
    least = _number(options.get("least", 0.005), "least")
    if not 0.0 <= least < 0.5:
        raise ValueError(f"least must lie in 0..0.5; got {least}")
    return least


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number; got {value!r}")
    return float(value)


def _range(value: object) -> tuple[float, float]:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        low, high = _number(value[0], "range"), _number(value[1], "range")
        if low < high:
            return low, high
    raise ValueError(f"range must be [lowest, highest]; got {value!r}")
