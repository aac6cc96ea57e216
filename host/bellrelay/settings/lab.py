"""Devices of the laboratory, as the YAML of a relay or an endpoint names them."""

from __future__ import annotations

from pydantic import Field

from .model import Name
from .plugins import PluginSettings

__all__ = ["LabDeviceSettings"]


class LabDeviceSettings(PluginSettings):
    """A device of the laboratory by its name; further keys are the plugin's own."""

    plugin: Name = Field(
        description="`scpi`, `simulation`, or another entry point of the group `bellrelay.lab`"
    )
