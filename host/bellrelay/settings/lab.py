"""Devices of the laboratory, as the YAML of a relay or an endpoint names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field

from .model import Model, Name

__all__ = ["LabDeviceSettings"]


class LabDeviceSettings(Model):
    """A device of the laboratory by its name; further keys are the plugin's own."""

    model_config = ConfigDict(extra="allow")

    plugin: Name = Field(
        description="`scpi`, `simulation`, or another entry point of the group `bellrelay.lab`"
    )

    @property
    def options(self) -> Mapping[str, Any]:
        """The plugin's own keys."""
        return dict(self.model_extra or {})
