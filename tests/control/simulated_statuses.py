"""The statuses that daemons would give of simulated observations, and the rounds they make.

The way back, through the converters that run in an endpoint, must give the observations again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from simulated_link import BLOCK_S, SLOT_PS, SLOTS_PER_S, SimulatedLink

from bellrelay.control.fault_observation import (
    EndpointReading,
    KmeReading,
    Measured,
    Observation,
    RelayReading,
)
from bellrelay.control.link_observer import BITS_PER_BLOCK, LinkObserver, Round
from bellrelay.endpoint.block import BlockId, BlockState, Cause
from bellrelay.endpoint.block_store import BlockRow

BLOCK_SLOTS = int(BLOCK_S * SLOTS_PER_S)
ACQUISITION = 3
_READINGS = 4
_DECLARED = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0}
_VACUUM_LIMIT = 0.001


class Statuses:
    """Of one link; counters go on from round to round."""

    def __init__(self) -> None:
        self._counters: dict[str, int] = {}
        self._missing = 0
        self._measured = 0
        self._alarms = [0, 0]
        self._quarantined = [False, False]
        self._totals = [{s: [0, 0.0] for s in _DECLARED} for _ in range(2)]
        self._public = {"public_z": [0, 0], "public_x": [0, 0]}
        self._refused = [0, 0]
        self._block = 0
        self._wall_s = 0.0

    def first(self) -> Round:
        """A round before anything has passed."""
        idle = Observation(
            0.0, 0.0, RelayReading(True, 0.05, 0, 0, (), 0, 0), True,
            (EndpointReading(True, True),) * 2, (KmeReading(True),) * 2,
        )  # fmt: skip
        return self.of(idle)

    def rounds(self, observations: Iterable[Observation]) -> list[Round]:
        return [self.of(seen) for seen in observations]

    def of(self, seen: Observation) -> Round:
        self._wall_s += seen.span_s
        self._measured += 1
        relay = None if seen.relay is None else self._relay(seen.relay)
        ends = [
            None if end is None else self._endpoint(party, end, seen)
            for party, end in enumerate(seen.endpoints)
        ]
        kmes = [
            None if kme is None else self._kme(party, kme) for party, kme in enumerate(seen.kmes)
        ]
        return Round(
            self._wall_s,
            relay if seen.relay_reachable else None,
            seen.relay_reachable is not None,
            (ends[0], ends[1]),
            (kmes[0], kmes[1]),
            [self._row(block) for block in seen.blocks],
        )

    def _relay(self, r: RelayReading) -> dict[str, Any]:
        self._add("slots", r.slots)
        self._add("slots_not_live", r.slots - r.live)
        self._add("announced_psi_minus", r.psi_minus)
        self._add("announced_psi_plus", r.psi_plus)
        for d, detector in enumerate(r.detectors):
            self._add(f"clicks_{d}", detector.clicks + detector.suppressed)
            self._add(f"dead_time_{d}", detector.suppressed)
            self._add(f"outside_{d}", detector.outside)
        self._missing += r.lost
        return {
            "state": "running" if r.running else "lost",
            "acquisition": ACQUISITION,
            "heartbeat_age_s": r.heartbeat_age_s,
            "slot_period_ps": SLOT_PS,
            "board": {"detectors": len(r.detectors)},
            "counters": dict(self._counters),
            "link": {"missing_frames": self._missing},
            "tracking": {
                "measured": self._measured,
                "width_ps": _value(r.width_ps),
                "visibility": _value(r.visibility),
                "reference_locked": r.reference_locked,
            },
        }

    def _add(self, name: str, number: int) -> None:
        self._counters[name] = self._counters.get(name, 0) + number

    def _endpoint(self, party: int, end: EndpointReading, seen: Observation) -> dict[str, Any]:
        newly = bool(end.breaches) and not self._quarantined[party]
        self._quarantined[party] = bool(end.breaches)
        self._alarms[party] += end.tag_failures + newly
        tracking: dict[str, Any] = {"measured": self._measured}
        if seen.relay is not None:
            tracking["light"] = _value(seen.relay.light[party])
            tracking["delay_ps"] = _value(seen.relay.delay_ps[party])
            if party == 0:
                for name, total in self._public.items():
                    errors, outcomes = getattr(seen.relay, name)
                    total[0], total[1] = total[0] + errors, total[1] + outcomes
            tracking |= {name: list(total) for name, total in self._public.items()}
        return {
            "state": "running",
            "relay": {"connected": end.relay_connected},
            "peer": {"connected": end.peer_connected},
            "quarantined": bool(end.breaches),
            "alarms": self._alarms[party],
            "key_pool": {"bits": (end.pool_blocks or 1000.0) * BITS_PER_BLOCK},
            "random_health": {"alarm": "repetition count" if end.random_alarm else None},
            "intensities": self._intensities(party, end),
            "tracking": tracking,
            "lab": {"measured": self._measured, "laser_ghz": _value(end.laser_ghz)},
        }

    def _intensities(self, party: int, end: EndpointReading) -> list[dict[str, Any]]:
        vacuum = None
        if end.vacuum_excess is not None:
            vacuum = Measured(end.vacuum_excess * _VACUUM_LIMIT, 0.0)
        out = []
        for (setting, declared), m in zip(
            _DECLARED.items(), (*end.intensities, vacuum), strict=True
        ):
            total = self._totals[party][setting]
            variance = None
            if m is not None:
                value = m.value * (declared or 1.0)
                total[0] += _READINGS
                total[1] += _READINGS * value
                sigma = m.sigma * (declared or 1.0)
                variance = _READINGS * (sigma / value) ** 2 if value else 0.0
            out.append(
                {
                    "setting": setting,
                    "declared": declared,
                    "limit": None if declared else _VACUUM_LIMIT,
                    "readings": total[0],
                    "sum": total[1],
                    "relative_variance": variance,
                }
            )
        return out

    def _kme(self, party: int, kme: KmeReading) -> dict[str, Any]:
        self._refused[party] += kme.refused
        return {
            "state": "running",
            "peer": {"connected": kme.peer_connected},
            "not_authorized": self._refused[party],
            "audit": {"fault": "changed" if kme.audit_broken else ""},
        }

    def _row(self, block: Any) -> BlockRow:
        index = round(block.begin_s / BLOCK_S)
        record: dict[str, Any] = {}
        if block.n is not None:
            # Both outcomes, as they are told apart in the store.
            half = block.n // 2, block.m // 2
            record["tallies"] = {
                "psi_minus": {"n": half[0].tolist(), "m": half[1].tolist()},
                "psi_plus": {
                    "n": (block.n - half[0]).tolist(), "m": (block.m - half[1]).tolist()
                },
            }  # fmt: skip
            record["sifted_bits"] = block.sifted
            record["errors_corrected"] = block.corrected
        cause = Cause.LISTS_DIFFER if block.lists_differ else ""
        if block.uncorrected:
            cause = Cause.RECONCILIATION
            record.pop("errors_corrected", None)
        ended_ns = int(self._wall_s * 1e9)
        return BlockRow(
            BlockId(ACQUISITION, index),
            BlockState.ABORTED if cause else BlockState.STORED,
            str(cause), "", 0, b"", record, ended_ns - int(BLOCK_S * 1e9), ended_ns,
        )  # fmt: skip


def _value(m: Measured | None) -> dict[str, float | None] | None:
    if m is None:
        return None
    return {k: v if np.isfinite(v) else None for k, v in (("value", m.value), ("sigma", m.sigma))}


class ObservedLink:
    """A simulated link, seen by the statuses of its daemons and nothing else."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.link = SimulatedLink(*arguments, **options)
        self._statuses = Statuses()
        self._observer = LinkObserver("charlie-1", BLOCK_SLOTS)
        self._observer.take(self._statuses.first())

    def run(self, *arguments: Any, **options: Any) -> list[Observation]:
        rounds = self._statuses.rounds(self.link.run(*arguments, **options))
        return [o for o in map(self._observer.take, rounds) if o is not None]
