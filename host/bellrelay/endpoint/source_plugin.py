"""From `source: {plugin: NAME, ...}` to a source log.

A plugin is an entry point of the group ``bellrelay.sources``. Called with its options and the role
("alice" or "bob"), it checks the options and returns a function that opens the log of an
acquisition::

    def plugin(options: Mapping[str, Any], role: str) -> Callable[[int], SourceLog]

The plugin raises ValueError, naming the option, for what is wrong in the options; the function, for
an acquisition that it has no records of; both OSError. The log may be of any class that has the
methods of :class:`~.source_log.SourceLog`, with LookupError for a slot that it does not keep; with
a method ``readings`` it also brings what its power monitor measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bellrelay.settings.plugins import configured_plugin

from .checked_source import CheckedSource
from .config import EndpointConfig, SourceSettings
from .source_files import SourceFiles
from .source_log import SourceLog, SourceLogError
from .timetable import WindowedSource, windows_of

__all__ = ["GROUP", "OpenSource", "files_plugin", "load_source"]

GROUP = "bellrelay.sources"
OpenSource = Callable[[int], CheckedSource]


def load_source(
    config: EndpointConfig, settings: SourceSettings | None = None, key: str = "source"
) -> OpenSource:
    """The function that opens the sender's log for an acquisition, with every answer checked.

    settings, key : of a relay that has a source of its own, and where they stand; none: `source`.

    It raises SourceLogError if the log is of something else than the configuration declares, and
    OSError.

    Raises
    ------
    ConfigError
        No such plugin, or it refuses its options.
    """
    settings = settings or config.source
    open_log: Callable[[int], SourceLog] = configured_plugin(
        config, key, GROUP, settings, config.role
    )
    ladder = config.own_ladder
    windows = windows_of(config)
    relay_id = config.relays[[each for each, _ in config.sources].index(key)].id

    def open_checked(acquisition: int) -> CheckedSource:
        try:
            log = open_log(acquisition)
        except ValueError as error:
            raise SourceLogError(str(error)) from None
        if windows is not None:
            log = WindowedSource(log, windows, relay_id)
        return CheckedSource(log, acquisition, ladder.intensities, ladder.probabilities)

    return open_checked


def files_plugin(options: Mapping[str, Any], role: str) -> Callable[[int], SourceLog]:
    """The plugin ``files``: records that the sender's own process writes to a directory.

    Raises
    ------
    ValueError
        Naming the option.
    """
    unknown = sorted(set(options) - {"directory"})
    if unknown:
        raise ValueError(f"{unknown[0]} is no option of files; directory is")
    directory = options.get("directory")
    if not isinstance(directory, str) or not directory:
        raise ValueError("directory must be a path")
    return lambda acquisition: SourceFiles(Path(directory), acquisition)
