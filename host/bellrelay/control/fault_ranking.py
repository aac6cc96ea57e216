"""Which fault it is: every row of the table weighed against what has been seen since it began.

Naive Bayes: the posterior of a fault is its weight times, for every observable of which something
is known, the probability that this fault leaves it raised, lowered or as usual. What the data
cannot tell yet counts for nothing, so that a slow quantity never speaks of the time before the
fault. What a fault does to all detectors alike they say together, once: they see the same light,
and four of them are not four witnesses. Several faults at once are found one after the other: what
the first explains, it takes away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .fault_history import History
from .fault_observables import LINK, Instance, Side
from .fault_observation import PARTIES
from .fault_signatures import CELLS, FAULTS, UNEXPLAINED, Fault

__all__ = ["Candidate", "Diagnosis", "Evidence", "Reading", "diagnose", "read"]

_TAIL = 1e-4
"""Of one statement that an observable has moved, or has not."""
_MOST_AT_ONCE = 4
_STAYS = 1.0
"""Nats by which another fault must be the likelier one before a diagnosis changes."""


@dataclass(frozen=True)
class Reading:
    """What is known of an instance since the fault began: moved to a side, or as usual (None)."""

    instance: Instance
    side: Side | None
    value: float
    alarmed: bool


@dataclass(frozen=True)
class Evidence:
    """What one observable says for a fault (weight above 0) or against it, in nats."""

    observable: str
    said: str
    weight: float


@dataclass(frozen=True)
class Candidate:
    """A fault that is possible. probability: among the candidates."""

    fault: Fault
    subject: str
    probability: float
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Diagnosis:
    """One fault as far as it can be told: candidates, the likeliest first, and their alarms."""

    candidates: tuple[Candidate, ...]
    alarms: tuple[tuple[Instance, Side], ...]

    @property
    def best(self) -> Candidate:
        """The likeliest."""
        return self.candidates[0]


def read(history: History, begin_s: float, end_s: float, alarmed: Side | None) -> Reading | None:
    """What an instance shows of these times; None if that cannot be told.

    An alarm is proof enough. Otherwise it has moved where it is surely beyond the limit at which
    an alarm is cleared, and is as usual where it surely lies within those that raise one.
    """
    instance = history.instance
    observable = instance.observable
    sums = history.since(begin_s, end_s)
    num, den = np.array([sums[0]]), np.array([sums[1]])
    value = float(observable.statistic.value(num, den)[0])
    if alarmed is not None:
        return Reading(instance, alarmed, value, True)
    usual = den[0] > 0.0
    for side in Side:
        limit = observable.limit(side)
        if limit is None:
            continue
        raise_at, clear_at = limit.at(instance.reference)
        test, opposite = observable.statistic.above, observable.statistic.below
        if side is Side.DOWN:
            test, opposite = opposite, test
        if test(num, den, clear_at, _TAIL)[0]:
            return Reading(instance, side, value, False)
        usual = usual and bool(opposite(num, den, raise_at, _TAIL)[0])
    return Reading(instance, None, value, False) if usual else None


def diagnose(
    readings: Iterable[Reading],
    detectors: int,
    incumbents: frozenset[tuple[str, str]] = frozenset(),
) -> list[Diagnosis]:
    """Faults that together explain every alarm, the likeliest first.

    Parameters
    ----------
    readings
        Of every instance of which something is known.
    detectors
        How many the relay has.
    incumbents
        Name and subject of what was diagnosed before: of two that are about as likely it stays.
    """
    known = _of_subjects(readings)
    left = [r for r in known if r.alarmed and r.side is not None]
    found: list[Diagnosis] = []
    while left and len(found) < _MOST_AT_ONCE:
        candidates = _ranked(known, left, detectors, incumbents)
        if not candidates:
            break
        best = candidates[0]
        mine = [r for r in left if _explains(best, r)]
        found.append(Diagnosis(tuple(candidates), _alarms(mine)))
        left = [r for r in left if r not in mine]
        # What is explained speaks neither for nor against a second fault.
        known = [r for r in known if r in left or r.side is None]
    if left:
        nobody = Candidate(UNEXPLAINED, LINK, 1.0, ())
        found.append(Diagnosis((nobody,), _alarms(left)))
    return found


def _alarms(readings: Sequence[Reading]) -> tuple[tuple[Instance, Side], ...]:
    return tuple((r.instance, r.side) for r in readings if r.side is not None)


def _of_subjects(readings: Iterable[Reading]) -> list[Reading]:
    """One reading per observable and subject: a part that moved stands for all its parts."""
    groups: dict[tuple[str, str], Reading] = {}
    for reading in readings:
        key = (reading.instance.observable.name, reading.instance.subject)
        before = groups.get(key)
        if before is None or _says_more(reading, before):
            groups[key] = reading
    return list(groups.values())


def _says_more(reading: Reading, than: Reading) -> bool:
    return (reading.alarmed, reading.side is not None) > (than.alarmed, than.side is not None)


def _explains(candidate: Candidate, reading: Reading) -> bool:
    return reading.side is not None and candidate.fault.explains(
        reading.instance, reading.side, candidate.subject
    )


def _subjects(fault: Fault, detectors: int) -> Sequence[str]:
    if fault.scope == "party":
        return PARTIES
    if fault.scope == "detector":
        return [f"detector {d}" for d in range(detectors)]
    return (LINK,)


def _ranked(
    known: Sequence[Reading],
    alarmed: Sequence[Reading],
    detectors: int,
    incumbents: frozenset[tuple[str, str]],
) -> list[Candidate]:
    scored: list[tuple[float, Fault, str, tuple[Evidence, ...]]] = []
    speakers = Counter(r.instance.observable.name for r in known)
    for fault in FAULTS:
        for subject in _subjects(fault, detectors):
            if any(
                r.side is not None and fault.suspected_by(r.instance, r.side, subject)
                for r in alarmed
            ):
                evidence = tuple(_evidence(fault, subject, r, speakers) for r in known)
                score = math.log(fault.weight) + sum(e.weight for e in evidence)
                if (fault.name, subject) in incumbents:
                    score += _STAYS
                told = sorted((e for e in evidence if e.weight), key=lambda e: -abs(e.weight))
                scored.append((score, fault, subject, tuple(told)))
    scored.sort(key=lambda s: -s[0])
    total = sum(math.exp(s[0] - scored[0][0]) for s in scored)
    return [
        Candidate(fault, subject, math.exp(score - scored[0][0]) / total, evidence)
        for score, fault, subject, evidence in scored
    ]


_COLUMN: Mapping[Side | None, int] = {Side.UP: 0, None: 1, Side.DOWN: 2}
_WORD: Mapping[Side | None, str] = {Side.UP: "raised", None: "as usual", Side.DOWN: "lowered"}


def _evidence(
    fault: Fault, subject: str, reading: Reading, speakers: Mapping[str, int]
) -> Evidence:
    key, cell = fault.cell(reading.instance, subject)
    column = _COLUMN[reading.side]
    weight = math.log(CELLS[cell][column] / CELLS[""][column])
    if reading.instance.observable.scope == "detector" and "." not in key:
        weight /= speakers[reading.instance.observable.name]
    unit = reading.instance.observable.unit
    said = _WORD[reading.side]
    # An alarm may rest on what lies before the moment that evidence is counted from.
    if math.isfinite(reading.value):
        said = f"{said}, {reading.value:.4g} {unit}".rstrip()
    return Evidence(str(reading.instance), said, weight)
