"""Plugins that a YAML names: `{plugin: NAME, ...}`, an entry point and options of its own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import ConfigDict, Field

from .model import FileModel, Model, Name

__all__ = ["PluginSettings", "configured_plugin", "installed_plugins"]


class PluginSettings(Model):
    """A plugin; further keys are its own."""

    model_config = ConfigDict(extra="allow")

    plugin: Name = Field(description="an entry point of its group")

    @property
    def options(self) -> Mapping[str, Any]:
        """The plugin's own keys."""
        return dict(self.model_extra or {})


def installed_plugins(group: str) -> dict[str, Any]:
    """Entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def configured_plugin(
    config: FileModel, key: str, group: str, settings: PluginSettings, whose: str
) -> Any:
    """What the plugin makes of its options, called with them and with whose they are.

    Raises
    ------
    ConfigError
        No such plugin, or it refuses its options; naming `key`.
    """
    installed = installed_plugins(group)
    if settings.plugin not in installed:
        there = f"{', '.join(sorted(installed)) or 'none'}, as installed here"
        raise config.error(f"{key}.plugin", settings.plugin, there)
    plugin = installed[settings.plugin].load()
    options = dict(settings.options)
    try:
        return plugin(options, whose)
    except ValueError as error:
        raise config.error(key, options, str(error)) from None
