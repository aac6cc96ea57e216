"""From what the daemons' /health says, twice, to what it says of the time in between.

Statuses come in process or as JSON, where null stands for what JSON has no number for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bellrelay.endpoint.block import Cause
from bellrelay.endpoint.block_store import BlockRow

from .fault_observation import (
    BlockReading,
    DetectorCounts,
    EndpointReading,
    KmeReading,
    Measured,
    RelayReading,
)

__all__ = [
    "Status",
    "block_reading",
    "endpoint_reading",
    "kme_reading",
    "measured_intensities",
    "relay_reading",
    "with_arms",
]

Status = Mapping[str, Any]

_NOT_KEPT = ("dead_time", "pile_up", "before_start", "misaligned")
_VACUUM_SIGMAS = 5.0
"""Light in the vacuum is there once so many standard errors say so: few readings are noise."""
_LEAST_NOISE = 0.5
"""Of a meter's noise at the declared intensity, what is there at any."""


def relay_reading(before: Status, after: Status) -> RelayReading:
    """Of two statuses of one relay. What only an endpoint can measure is left None.

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
    period_ps = after.get("slot_period_ps")
    tracking = after.get("tracking") or {}
    fresh = _measured_anew(before.get("tracking") or {}, tracking)
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
        width_ps=measured(tracking.get("width_ps")) if fresh else None,
        visibility=measured(tracking.get("visibility")) if fresh else None,
        reference_locked=tracking.get("reference_locked"),
        clock_locked=tracking.get("locked"),
        span_s=None if period_ps is None else slots * float(period_ps) * 1e-12,
    )


def with_arms(
    reading: RelayReading,
    before: tuple[Status | None, Status | None],
    after: tuple[Status | None, Status | None],
) -> RelayReading:
    """The same with what Alice and Bob, in this order, found of their arms in tracking slots."""
    light: list[Measured | None] = [None, None]
    delay: list[Measured | None] = [None, None]
    tracked = [False, False]
    public = {"public_z": (0, 0), "public_x": (0, 0)}
    for arm, (was, now) in enumerate(zip(before, after, strict=True)):
        tracking = (now or {}).get("tracking") or {}
        earlier = (was or {}).get("tracking") or {}
        counts = tracking.get("counts") or {}
        tracked[arm] = bool(counts.get("taken", 0) or counts.get("unlocked", 0))
        if now is None or not _measured_anew(earlier, tracking):
            continue
        light[arm] = measured(tracking.get("light"))
        delay[arm] = measured(tracking.get("delay_ps"))
        for name in public:
            # Both endpoints may count the same outcomes: one of them is believed.
            if public[name] == (0, 0) and name in tracking:
                public[name] = _grown_pair(earlier.get(name), tracking[name])
    return replace(
        reading,
        light=(light[0], light[1]),
        delay_ps=(delay[0], delay[1]),
        tracked=(tracked[0], tracked[1]),
        public_z=public["public_z"],
        public_x=public["public_x"],
    )


def endpoint_reading(
    before: Status, after: Status, bits_per_block: int, relay_id: str | None = None
) -> EndpointReading:
    """Of two statuses of one endpoint.

    Parameters
    ----------
    before, after
        As :meth:`EndpointDaemon.status` gives them.
    bits_per_block
        Key that one block's tags cost.
    relay_id
        The relay in question, where it follows several; None: the one that it names.
    """
    breached = _breached(after, relay_id)
    # A breach is counted among the endpoint's alarms; it is none of the peer's.
    newly = max(_breaches(after) - _breaches(before), 0)
    alarms = max(int(after["alarms"]) - int(before["alarms"]), 0)
    s, mu, nu, excess = _all_intensities(before, after)
    return EndpointReading(
        # Nobody follows a relay that is believed nothing more: that is no fault of the way there.
        relay_connected=breached or _connected(after, relay_id),
        peer_connected=bool(after["peer"]["connected"]),
        # For as long as the relay is not believed.
        breaches=int(breached),
        tag_failures=max(alarms - newly, 0),
        pool_blocks=after["key_pool"]["bits"] / bits_per_block,
        random_alarm=after["random_health"]["alarm"] is not None,
        intensities=(s, mu, nu),
        vacuum_excess=excess,
        laser_ghz=_laser(before, after),
    )


def _connected(status: Status, relay_id: str | None) -> bool:
    each = (status.get("relays") or {}).get("each") or {}
    if relay_id in each:
        return bool(each[relay_id]["connected"])
    return bool(status["relay"]["connected"])


def _breached(status: Status, relay_id: str | None) -> bool:
    each = (status.get("relays") or {}).get("each") or {}
    if relay_id in each:
        return each[relay_id].get("quarantine") is not None
    return bool(status["quarantined"])


def _breaches(status: Status) -> int:
    """Relays that are believed nothing more."""
    each = (status.get("relays") or {}).get("each") or {}
    if not each:
        return int(status["quarantined"])
    return sum(relay.get("quarantine") is not None for relay in each.values())


def _laser(before: Status, after: Status) -> Measured | None:
    lab, earlier = after.get("lab") or {}, before.get("lab") or {}
    return measured(lab.get("laser_ghz")) if _measured_anew(earlier, lab) else None


_Intensities = tuple[Measured | None, Measured | None, Measured | None, float | None]


def _all_intensities(before: Status, after: Status) -> _Intensities:
    """Of all ladders that are sent: each against what it declares."""
    earlier = before.get("other_intensities") or {}
    found = [measured_intensities(before.get("intensities") or (), after.get("intensities") or ())]
    found += [
        measured_intensities(earlier.get(name) or (), states)
        for name, states in (after.get("other_intensities") or {}).items()
    ]
    excesses = [excess for *_, excess in found if excess is not None]
    s, mu, nu = (_together([f[k] for f in found if f[k] is not None]) for k in range(3))
    return s, mu, nu, max(excesses, default=None)


def _together(values: Sequence[Any]) -> Measured | None:
    weight = sum(v.sigma**-2 for v in values)
    if not weight:
        return None
    return Measured(sum(v.value * v.sigma**-2 for v in values) / weight, weight**-0.5)


def measured_intensities(before: Sequence[Status], after: Sequence[Status]) -> _Intensities:
    """Measured over declared of s, mu and nu; light in the vacuum over what is allowed.

    Of the readings that have come between: see :meth:`IntensityMonitor.totals`. One that is begun
    anew begins at 0.
    """
    found: dict[str, Measured] = {}
    excess = None
    earlier = {str(state["setting"]): state for state in before}
    for state in after:
        was = earlier.get(str(state["setting"]), {"readings": 0, "sum": 0.0})
        if was["readings"] > state["readings"]:
            was = {"readings": 0, "sum": 0.0}
        readings = int(state["readings"]) - int(was["readings"])
        variance = state["relative_variance"]
        if readings < 1 or variance is None:
            continue
        mean = (float(state["sum"]) - float(was["sum"])) / readings
        sigma = abs(mean) * math.sqrt(float(variance) / readings)
        if state["limit"] is not None:
            excess = max(mean - _VACUUM_SIGMAS * sigma, 0.0) / max(float(state["limit"]), 1e-12)
        else:
            declared = float(state["declared"])
            # A meter's noise does not go out with the light: dark to the last digit is a reading.
            sigma = max(sigma, _LEAST_NOISE * declared * math.sqrt(float(variance) / readings))
            if sigma > 0.0:
                found[str(state["setting"])] = Measured(mean / declared, sigma / declared)
    return found.get("s"), found.get("mu"), found.get("nu"), excess


def kme_reading(before: Status, after: Status) -> KmeReading:
    """Of two statuses of one KME."""
    return KmeReading(
        peer_connected=bool(after["peer"]["connected"]),
        refused=max(int(after["not_authorized"]) - int(before["not_authorized"]), 0),
        audit_broken=bool(after["audit"]["fault"]),
    )


def block_reading(row: BlockRow, begin_s: float) -> BlockReading:
    """Of a block that has ended, from what an endpoint's store knows of it.

    begin_s : link time of its first slot.
    """
    tallies = row.record.get("tallies")
    n = m = None
    if tallies:
        n = np.sum([np.array(t["n"], np.int64) for t in tallies.values()], axis=0)
        m = np.sum([np.array(t["m"], np.int64) for t in tallies.values()], axis=0)
    errors = row.record.get("errors_corrected")
    return BlockReading(
        begin_s,
        n,
        m,
        # Where errors were not counted, the bits that they were among say nothing.
        sifted=0 if errors is None else _kept_bits(row.record),
        corrected=0 if errors is None else int(errors),
        lists_differ=row.cause == Cause.LISTS_DIFFER,
        uncorrected=row.cause in (Cause.RECONCILIATION, Cause.VERIFICATION),
    )


def _kept_bits(record: Mapping[str, Any]) -> int:
    return int(record["sifted_bits"]) - int(record.get("bits_discarded", 0))


def measured(value: Any) -> Measured | None:
    """A mean with its standard error, as a status has it; None where there is none."""
    if not value or value.get("value") is None or value.get("sigma") is None:
        return None
    return Measured(float(value["value"]), float(value["sigma"]))


def _measured_anew(before: Status, after: Status) -> bool:
    """Whether there is a measurement that the status before did not have."""
    return after.get("measured", 0) != before.get("measured", 0)


def _grown_pair(before: Sequence[int] | None, after: Sequence[int]) -> tuple[int, int]:
    errors, outcomes = int(after[0]), int(after[1])
    if before is not None and before[1] <= outcomes:
        errors, outcomes = errors - int(before[0]), outcomes - int(before[1])
    return max(errors, 0), outcomes


def _later(before: Status, after: Status, group: str, name: str) -> int:
    return max(int(after[group][name]) - int(before[group][name]), 0)
