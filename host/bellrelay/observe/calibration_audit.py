"""What was calibrated in some days: by whom, why, what it changed, and what was taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .report_data import Span

__all__ = ["AuditedRun", "CalibrationAudit", "DarkCounts", "audit_calibrations"]

_NS = 1e9
_UNDO, _DARK = "undo", "dark"


class _Record(Protocol):
    """As :class:`bellrelay.control.calibration_records.Record` is."""

    @property
    def number(self) -> int: ...
    @property
    def step(self) -> str: ...
    @property
    def values(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class AuditedRun:
    """A run of a step.

    changes : key, before and after, of what came into force. undone_by : number of the record
    that took it back. dry : it would have changed something, and was not to.
    """

    relay: str
    number: int
    step: str
    utc_s: float
    ok: bool
    text: str
    author: str
    why: str
    changes: Sequence[tuple[str, str, str]]
    dry: bool
    undone_by: int | None
    simulated: bool


@dataclass(frozen=True)
class DarkCounts:
    """Of one detector, by the last run of the step `dark` in these days or before. 1/s."""

    relay: str
    detector: str
    rate_hz: float
    low_hz: float
    high_hz: float
    utc_s: float
    simulated: bool


@dataclass(frozen=True)
class CalibrationAudit:
    """Of all relays. unread : of which records cannot be read, and why."""

    runs: Sequence[AuditedRun]
    dark: Sequence[DarkCounts]
    unread: Sequence[str]


def audit_calibrations(
    records: Mapping[str, Iterable[_Record]], unread: Sequence[str], span: Span
) -> CalibrationAudit:
    """Look through records, oldest first, by relay."""
    runs: list[AuditedRun] = []
    dark: list[DarkCounts] = []
    for relay, found in records.items():
        every = [r for r in found if _when(r) <= span.end_s]
        undone = {r.values["undone"]: r.number for r in every if r.step == _UNDO}
        runs += [_run(relay, r, undone.get(r.number)) for r in every if _when(r) > span.start_s]
        well = [r for r in every if r.step == _DARK and r.values.get("figures")]
        dark += _dark(relay, well[-1]) if well else []
    return CalibrationAudit(sorted(runs, key=lambda r: r.utc_s), dark, tuple(unread))


def _when(record: _Record) -> float:
    return float(record.values["end_utc_ns"]) / _NS


def _simulated(record: _Record) -> bool:
    return bool((record.values.get("board") or {}).get("simulated"))


def _run(relay: str, record: _Record, undone_by: int | None) -> AuditedRun:
    values = record.values
    in_force = values.get("version") is not None
    changes = [
        (key, _short(values["before"].get(key)), _short(values["after"].get(key)))
        for key in values.get("change", {})
        if in_force
    ]
    changes += [
        (f"device {d['device']}", _short(d["before"]), _short(d["after"]))
        for d in values.get("devices", ())
        if d["before"] != d["after"]
    ]
    return AuditedRun(
        relay,
        record.number,
        record.step,
        _when(record),
        bool(values["ok"]),
        str(values["text"]),
        str(values.get("author", "")),
        str(values.get("why", "")),
        changes,
        bool(values.get("change")) and not in_force and bool(values["ok"]),
        undone_by,
        _simulated(record),
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _dark(relay: str, record: _Record) -> list[DarkCounts]:
    return [
        DarkCounts(
            relay,
            str(one["name"]),
            float(one["rate_hz"]),
            float(one["low_hz"]),
            float(one["high_hz"]),
            _when(record),
            _simulated(record),
        )
        for one in record.values["figures"].get("detectors", ())
    ]
