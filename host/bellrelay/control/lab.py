"""From `lab: {NAME: {plugin: ..., ...}}` to devices.

A plugin is an entry point of the group ``bellrelay.lab``. Called with a device's options and its
name, it checks the options, naming what is wrong in a ValueError, and returns an object with the
methods of one or more protocols of :mod:`.lab_devices`. It does not connect: a device that is
switched off must not keep a relay from starting. See docs/how-to/lab-hardware.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bellrelay.settings.lab import LabDeviceSettings
from bellrelay.settings.model import FileModel
from bellrelay.settings.plugins import configured_plugin

from .lab_devices import KINDS

__all__ = ["GROUP", "Lab"]

GROUP = "bellrelay.lab"


class Lab:
    """The devices that a configuration names.

    Parameters
    ----------
    config
        Of a relay or an endpoint: its errors name its file.
    devices
        Its ``lab``.

    Raises
    ------
    ConfigError
        No such plugin, or it refuses its options.
    """

    def __init__(self, config: FileModel, devices: Mapping[str, LabDeviceSettings]) -> None:
        self._config = config
        self._devices: dict[str, Any] = {}
        for name, settings in devices.items():
            device = configured_plugin(config, f"lab.{name}", GROUP, settings, name)
            if not _kinds(device):
                raise config.error(
                    f"lab.{name}.plugin",
                    settings.plugin,
                    f"a plugin that gives a {' or '.join(KINDS)}",
                )
            self._devices[name] = device

    def kinds(self) -> dict[str, list[str]]:
        """What each device is, by name."""
        return {name: _kinds(device) for name, device in self._devices.items()}

    def any_device(self, name: str) -> object:
        """A device by its name, of whatever kind. ConfigError: there is none."""
        if name not in self._devices:
            raise self._config.error(f"lab.{name}", None, ", ".join(self._devices) or "a device")
        return self._devices[name]

    def device(self, name: str, kind: type) -> Any:
        """A device by its name and kind, one of :data:`~.lab_devices.KINDS`: of that protocol.

        Raises
        ------
        ConfigError
            There is none of that name, or it is not of that kind.
        """
        wanted = next(key for key, protocol in KINDS.items() if protocol is kind)
        if name not in self._devices:
            names = ", ".join(n for n, d in self._devices.items() if isinstance(d, kind))
            raise self._config.error(
                f"lab.{name}", None, f"a {wanted}" + (f"; there are: {names}" if names else "")
            )
        device = self._devices[name]
        if not isinstance(device, kind):
            raise self._config.error(
                f"lab.{name}", ", ".join(_kinds(device)), f"a {wanted} is needed here"
            )
        return device


def _kinds(device: object) -> list[str]:
    return [name for name, protocol in KINDS.items() if isinstance(device, protocol)]
