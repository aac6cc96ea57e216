"""The sender plugin `lab`: a sender that is steered by devices of the laboratory behind it.

Options, each a device as ``lab:`` has them (``plugin`` and its own keys), all of them optional:

- ``delay``: a delay line, with ``zero_ps``, its setting at which the sender sends by itself;
- ``attenuator``: with ``calibrated_db``, its setting at which the intensities are as declared;
- ``shutter``: light or none.

All stand behind the modulators, so that every setting is moved, weakened or stopped alike, and
nothing of a choice can be told from them. What has no device, the sender cannot. A shutter stops
light that the source's records go on to call sent: less comes to the relay than was sent, as on a
lossy fibre, and the bounds hold.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any

from bellrelay.endpoint.sender_plugin import SenderCannot
from bellrelay.settings.plugins import installed_plugins

from .lab import GROUP
from .lab_devices import Attenuator, DelayLine, DeviceRefused, Shutter

__all__ = ["LabSender", "lab_sender"]

_KINDS: dict[str, type] = {"delay": DelayLine, "attenuator": Attenuator, "shutter": Shutter}
_ZERO = {"delay": "zero_ps", "attenuator": "calibrated_db"}


class LabSender:
    """One party's sender.

    Parameters
    ----------
    delay, attenuator
        A device, and its setting for what the sender does by itself; None: there is none.
    shutter
        None: there is none.
    """

    def __init__(
        self,
        delay: tuple[DelayLine, float] | None = None,
        attenuator: tuple[Attenuator, float] | None = None,
        shutter: Shutter | None = None,
    ) -> None:
        self._delay = delay
        self._attenuator = attenuator
        self._shutter = shutter

    def set_delay_ps(self, delay_ps: float) -> None:
        """See :class:`~bellrelay.endpoint.sender_plugin.Sender`."""
        if self._delay is None:
            raise SenderCannot("sender.delay names no delay line")
        line, zero = self._delay
        _within_range(lambda: line.set_delay_ps(zero + delay_ps))

    def set_attenuation_db(self, attenuation_db: float) -> None:
        """See :class:`~bellrelay.endpoint.sender_plugin.Sender`."""
        if self._attenuator is None:
            raise SenderCannot("sender.attenuator names no attenuator")
        attenuator, calibrated = self._attenuator
        _within_range(lambda: attenuator.set_attenuation_db(calibrated + attenuation_db))

    def set_rate(self, share: float) -> None:
        """What is whole already can stay; no device sends in a share of the slots."""
        if share != 1.0:
            raise SenderCannot("no device sends in a share of the slots")

    def halt(self) -> None:
        """See :class:`~bellrelay.endpoint.sender_plugin.Sender`."""
        if self._shutter is None:
            raise SenderCannot("sender.shutter names no shutter")
        self._shutter.close_shutter()

    def resume(self) -> None:
        """See :class:`~bellrelay.endpoint.sender_plugin.Sender`."""
        if self._shutter is None:
            raise SenderCannot("sender.shutter names no shutter")
        self._shutter.open_shutter()

    def direct(self, relay_id: str) -> None:
        """No device here leads the light elsewhere."""
        raise SenderCannot("no device leads the light to another relay")


def lab_sender(options: Mapping[str, Any], role: str) -> LabSender:
    """Entry point ``lab`` of the group ``bellrelay.senders``.

    Raises
    ------
    ValueError
        Naming the option.
    """
    unknown = sorted(set(options) - set(_KINDS))
    if unknown:
        raise ValueError(f"{unknown[0]} is no option of lab; {', '.join(_KINDS)} are")
    if not options:
        raise ValueError(f"a device is needed: {', '.join(_KINDS)}")
    made = {name: _device(name, given, role) for name, given in options.items()}
    return LabSender(**made)


def _device(name: str, given: object, role: str) -> Any:
    """The device, with its zero where it has one."""
    if not isinstance(given, Mapping) or not isinstance(given.get("plugin"), str):
        raise ValueError(f"{name} must be a device: plugin and its options; got {given!r}")
    rest = {key: value for key, value in given.items() if key != "plugin"}
    zero = None
    if name in _ZERO:
        zero = rest.pop(_ZERO[name], None)
        if isinstance(zero, bool) or not isinstance(zero, int | float):
            raise ValueError(f"{name}.{_ZERO[name]} must be a number; got {zero!r}")
    plugins = installed_plugins(GROUP)
    if given["plugin"] not in plugins:
        raise ValueError(f"{name}.plugin must be one of {', '.join(sorted(plugins))}")
    try:
        device = plugins[given["plugin"]].load()(rest, f"{role}'s {name}")
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not isinstance(device, _KINDS[name]):
        raise ValueError(f"{name}: {given['plugin']} gives no such device")
    return device if zero is None else (device, float(zero))


def _within_range(act: Callable[[], None]) -> None:
    """What lies outside of a device's range fails as anything else that it does not do."""
    try:
        act()
    except ValueError as error:
        raise DeviceRefused(errno.ERANGE, str(error)) from None
