"""What monitors have said last, how old that is, and whether it lies where it should."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bellrelay.settings.monitors import KINDS, MonitorSettings

from .monitor_line import Cause, MonitorReading, Refused

__all__ = ["MonitorStates"]

_NS = 1_000_000_000


class _State:
    def __init__(self, settings: MonitorSettings, begun_ns: int) -> None:
        self.settings = settings
        self.readings = 0
        self.last_ns = begun_ns
        self.quantities: dict[str, float | None] = dict.fromkeys(KINDS[settings.kind])


class MonitorStates:
    """Of all monitors of a daemon; any thread.

    Parameters
    ----------
    monitors
        By name, as the configuration has them.
    begun_ns
        UTC nanoseconds: one that has said nothing since is as old as that.
    """

    def __init__(self, monitors: Mapping[str, MonitorSettings], begun_ns: int) -> None:
        self._lock = threading.Lock()
        self._states = {name: _State(each, begun_ns) for name, each in monitors.items()}
        self._refused: Counter[str] = Counter()
        self._last_refused = ""

    def take(self, reading: MonitorReading) -> None:
        """A reading; one that is older than the last counts, and changes nothing that is shown.

        Raises
        ------
        Refused
            There is no monitor of that name, or it measures something else.
        """
        with self._lock:
            state = self._states.get(reading.monitor)
            if state is None:
                raise Refused(Cause.UNKNOWN_MONITOR, f"monitor {reading.monitor!r} is not known")
            if state.settings.kind != reading.kind:
                raise Refused(
                    Cause.OTHER_KIND,
                    f"{reading.monitor}: {reading.kind}; allowed: {state.settings.kind}",
                )
            newer = state.readings == 0 or reading.time_ns >= state.last_ns
            state.readings += 1
            if newer:
                state.last_ns = reading.time_ns
                state.quantities = dict(reading.quantities)

    def refuse(self, cause: Cause, text: str, times: int = 1) -> None:
        """Lines that were no readings."""
        with self._lock:
            self._refused[cause] += times
            self._last_refused = f"{cause}: {text}"

    def status(self, now_ns: int) -> dict[str, Any]:
        """Plain types.

        ``each`` by name: kind, readings, age_s, stale; quantities, null where the last reading is
        stale or does not tell; beyond, the quantities that lie outside their limits. ``refused``:
        lines by cause, and ``last_refused``.
        """
        with self._lock:
            return {
                "each": {name: _shown(state, now_ns) for name, state in self._states.items()},
                "refused": {str(cause): n for cause, n in self._refused.items()},
                "last_refused": self._last_refused,
            }


def _shown(state: _State, now_ns: int) -> dict[str, Any]:
    settings = state.settings
    age_s = max(now_ns - state.last_ns, 0) / _NS
    stale = age_s > settings.stale_s
    quantities = dict.fromkeys(state.quantities) if stale else dict(state.quantities)
    return {
        "kind": settings.kind,
        "readings": state.readings,
        "age_s": age_s,
        "stale": stale,
        "quantities": quantities,
        "beyond": [
            name
            for name, (low, high) in settings.limits.items()
            if (value := quantities.get(name)) is not None
            and ((low is not None and value < low) or (high is not None and value > high))
        ],
        "limits": {name: list(limits) for name, limits in settings.limits.items()},
    }
