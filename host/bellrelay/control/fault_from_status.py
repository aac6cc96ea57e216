"""From what the daemons' /health says, twice, to what it says of the time in between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bellrelay.endpoint.intensity_monitor import SettingState

from .fault_observation import DetectorCounts, EndpointReading, Measured, RelayReading

__all__ = ["endpoint_reading", "measured_intensities", "relay_reading"]

Status = Mapping[str, Any]

_NOT_KEPT = ("dead_time", "pile_up", "before_start", "misaligned")


def relay_reading(before: Status, after: Status) -> RelayReading:
    """Of two statuses of one relay. What calibration and tracking measure is left None.

    Counters of an acquisition begin at 0: if another one runs by then, they are its own.
    """
    same = before["acquisition"] == after["acquisition"] and bool(before["counters"])
    earlier = before["counters"] if same else {}
    counters = after["counters"]

    def grown(name: str) -> int:
        return int(counters.get(name, 0)) - int(earlier.get(name, 0))

    board = after["board"]
    age_s = after["heartbeat_age_s"]
    slots = grown("slots")
    return RelayReading(
        running=after["state"] == "running",
        heartbeat_age_s=math.inf if age_s is None else float(age_s),
        slots=slots,
        live=slots - grown("slots_not_live"),
        detectors=tuple(
            DetectorCounts(
                clicks=grown(f"clicks_{d}") - sum(grown(f"{k}_{d}") for k in _NOT_KEPT),
                suppressed=grown(f"dead_time_{d}"),
                outside=grown(f"outside_{d}"),
            )
            for d in range(board["detectors"] if board else 0)
        ),
        psi_minus=grown("announced_psi_minus"),
        psi_plus=grown("announced_psi_plus"),
        lost=_later(before, after, "link", "missing_frames"),
    )


def endpoint_reading(
    before: Status,
    after: Status,
    bits_per_block: int,
    intensities: Sequence[SettingState] = (),
) -> EndpointReading:
    """Of two statuses of one endpoint.

    Parameters
    ----------
    before, after
        As :meth:`EndpointDaemon.status` gives them.
    bits_per_block
        Key that one block's tags cost.
    intensities
        What the endpoint's monitor says now, by setting.
    """
    breached = bool(after["quarantined"])
    newly = breached and not before["quarantined"]
    alarms = max(int(after["alarms"]) - int(before["alarms"]), 0)
    s, mu, nu, excess = measured_intensities(intensities)
    return EndpointReading(
        relay_connected=bool(after["relay"]["connected"]),
        peer_connected=bool(after["peer"]["connected"]),
        # For as long as the relay is not believed.
        breaches=int(breached),
        # A breach is counted among the endpoint's alarms; it is none of the peer's.
        tag_failures=max(alarms - int(newly), 0),
        pool_blocks=after["key_pool"]["bits"] / bits_per_block,
        random_alarm=after["random_health"]["alarm"] is not None,
        intensities=(s, mu, nu),
        vacuum_excess=excess,
    )


def measured_intensities(
    states: Sequence[SettingState],
) -> tuple[Measured | None, Measured | None, Measured | None, float | None]:
    """Measured over declared of s, mu and nu; light in the vacuum over what is allowed."""
    found: dict[str, Measured] = {}
    excess = None
    for state in states:
        if state.declared == 0.0:
            # Without readings enough for a bound, nothing is known either way.
            if math.isfinite(state.deviation):
                excess = 0.0 if state.fault is None else math.inf
        elif state.readings > 1 and state.relative_variance > 0.0:
            ratio = state.mean / state.declared
            sigma = ratio * math.sqrt(state.relative_variance / state.readings)
            found[state.setting] = Measured(ratio, sigma)
    return found.get("s"), found.get("mu"), found.get("nu"), excess


def _later(before: Status, after: Status, group: str, name: str) -> int:
    return max(int(after[group][name]) - int(before[group][name]), 0)
