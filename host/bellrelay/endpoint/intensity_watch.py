"""The watch over a sender's intensities: where readings come from, and what they guarantee."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from bellrelay.distill.ladder import Ladder

from .block_parameters import ladder_name
from .checked_source import CheckedSource
from .config import IntensityMonitorSettings
from .intensity_feed import ReadingsFile
from .intensity_monitor import IntensityFault, IntensityMonitor, SettingState
from .source_log import Reading

__all__ = ["IntensityWatch"]

_MOST_OFFERED = 1_000_000


class IntensityWatch:
    """Readings from where the configuration says, into the monitor.

    With ``input: none`` nothing is measured: the declared deviation is what bounds stand on, and
    :attr:`measured` is False, so that whoever shows a key can say so.

    Parameters
    ----------
    settings, ladder, allowed
        Of this endpoint's sender; see :class:`~.intensity_monitor.IntensityMonitor`.

    Attributes
    ----------
    monitor : IntensityMonitor
        Of the configuration's ladder. Other ladders that are sent now and then have one each.
    """

    def __init__(self, settings: IntensityMonitorSettings, ladder: Ladder, allowed: float) -> None:
        self.monitor = IntensityMonitor(settings, ladder, allowed)
        self.measured = settings.input != "none"
        self._settings = settings
        self._ladder = ladder
        self._file = ReadingsFile(settings.file) if settings.file is not None else None
        self._source: CheckedSource | None = None
        self._lock = threading.Lock()
        self._offered: list[Reading] = []
        self._others: dict[str, IntensityMonitor] = {}

    def expect(self, ladder: Ladder, allowed: float) -> None:
        """This ladder is sent, too, from now on: what is measured of it is kept."""
        name = ladder_name(ladder)
        if self.measured and name != ladder_name(self._ladder) and name not in self._others:
            monitor = IntensityMonitor(self._settings, ladder, allowed, steady=False)
            self._others[name] = monitor

    def other_totals(self) -> dict[str, list[dict[str, Any]]]:
        """As :meth:`IntensityMonitor.totals`, of ladders sent beside the configured one."""
        return {name: monitor.totals() for name, monitor in self._others.items()}

    def offer(self, readings: Iterable[Reading]) -> None:
        """What a monitor has measured, for the next poll; any thread. Nothing but with that input.

        Of what nobody takes for very long, the oldest go.
        """
        if self._settings.input != "monitors":
            return
        with self._lock:
            self._offered += readings
            del self._offered[:-_MOST_OFFERED]

    def attach(self, source: CheckedSource) -> None:
        """The source of the acquisition that is under way; it may bring readings."""
        self._source = source

    def poll(self, now_ns: int | None = None) -> tuple[SettingState, ...]:
        """Take what has been measured: a few times in every ``max_age_s``.

        Raises
        ------
        OSError
            The file cannot be read; the next polls try again, and until then nothing is guaranteed.
        """
        if not self.measured:
            return ()
        now = time.time_ns() if now_ns is None else now_ns
        readings: list[Reading] = []
        if self._file is not None:
            readings = self._file.read()
        elif self._settings.input == "monitors":
            with self._lock:
                readings, self._offered = self._offered, []
        elif self._source is not None:
            readings = self._source.readings()
        else:
            # Nobody who measures is there yet: what he has measured meanwhile, he brings.
            return self.monitor.states
        own = ladder_name(self._ladder)
        for name, monitor in self._others.items():
            monitor.update([r for r in readings if r.ladder == name], now)
        return self.monitor.update([r for r in readings if r.ladder in ("", own)], now)

    def deviation(self, since_ns: int, until_ns: int, ladder: Ladder | None = None) -> float:
        """What bounds must take as the relative deviation of any setting between.

        ladder : by which was sent; None: the configuration's.

        What is declared, or what was measured if that is more; at most what is allowed.

        Raises
        ------
        IntensityFault
            It is not guaranteed; the message names setting and cause.
        """
        ladder = ladder or self._ladder
        if not self.measured:
            return ladder.deviation
        name = ladder_name(ladder)
        monitor = self.monitor if name == ladder_name(self._ladder) else self._others.get(name)
        if monitor is None:
            raise IntensityFault(f"nobody has measured ladder {name}")
        try:
            return max(ladder.deviation, monitor.deviation(since_ns, until_ns))
        except IntensityFault as fault:
            if self._file is not None and self._file.malformed:
                raise type(fault)(
                    f"{fault}; {self._file.path}: {self._file.malformed} lines are no readings, "
                    f"the last: {self._file.complaint}"
                ) from None
            raise
