"""Alarms that belong together, from the first that is raised to the last that is cleared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .fault_history import History
from .fault_observables import Instance, Side
from .fault_ranking import Candidate, Diagnosis, diagnose, read
from .fault_signatures import Fault

__all__ = ["ActiveFault", "AlarmKey", "Episode", "covers"]

AlarmKey = tuple[Instance, Side]

_LOOK_BACK_S = 30.0
"""Evidence older than this, and than the observable's own window, is of another time."""


@dataclass
class ActiveFault:
    """A fault that is there, or was until its last alarm cleared.

    began_s: when what raised the first alarm was first seen. raised_s: when the alarm was. ended_s:
    when the first of its alarms cleared: what is observed after is not of this fault. steps_taken,
    next_step_s: of its mitigations; left_to_people: whether none is taken as the cause is in doubt.
    told: whether people have been told of it.
    """

    fault: Fault
    subject: str
    began_s: float
    raised_s: float
    candidates: tuple[Candidate, ...]
    alarms: list[AlarmKey]
    ended_s: float | None = None
    steps_taken: int = 0
    next_step_s: float = 0.0
    left_to_people: bool = False
    told: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Name and subject."""
        return self.fault.name, self.subject

    @property
    def probability(self) -> float:
        """Of this fault among the candidates."""
        return self.candidates[0].probability

    @property
    def proven(self) -> bool:
        """Whether it needs no proof, or one of those that prove it is alarmed."""
        proof = self.fault.proof
        return not proof or any(instance.observable.name in proof for instance, _ in self.alarms)

    @property
    def agreement(self) -> float:
        """Probability of the faults that the same first step is right for."""
        first = self.fault.steps[0].action
        return sum(
            c.probability
            for c in self.candidates
            if c.fault.steps[0].action is first and (c.subject == self.subject or not first.aimed)
        )

    def explains(self, alarm: AlarmKey) -> bool:
        """Whether it may have raised this alarm."""
        return self.fault.explains(*alarm, self.subject)


@dataclass
class Episode:
    """Faults that began about together.

    It is diagnosed anew with every observation until one of its alarms clears: from then on the
    fault recedes, and what has not cleared yet says nothing new.
    """

    alarms: dict[AlarmKey, float] = field(default_factory=dict)
    faults: list[ActiveFault] = field(default_factory=list)
    receding: bool = False

    @property
    def began_s(self) -> float:
        """When the first of its alarms had its reason."""
        return min(self.alarms.values())

    def assess(
        self, histories: Mapping[Instance, History], now_s: float, detectors: int
    ) -> list[ActiveFault]:
        """Diagnose; returns faults that were not there before, and drops those that are not."""
        sides = dict(self.alarms.keys())
        readings = []
        for instance, history in histories.items():
            reach_s = max(_LOOK_BACK_S, instance.observable.longest_window_s)
            begin_s = max(self.began_s, now_s - reach_s)
            reading = read(history, begin_s, now_s, sides.get(instance))
            if reading is not None:
                readings.append(reading)
        before = {fault.key: fault for fault in self.faults}
        self.faults = [
            self._fault(d, before, now_s) for d in diagnose(readings, detectors, frozenset(before))
        ]
        return [fault for fault in self.faults if fault.key not in before]

    def _fault(
        self, diagnosis: Diagnosis, before: Mapping[tuple[str, str], ActiveFault], now_s: float
    ) -> ActiveFault:
        best = diagnosis.best
        # All parts of a subject, not only the one that spoke for it.
        alarms = [
            a for a in self.alarms if a in diagnosis.alarms or best.fault.explains(*a, best.subject)
        ]
        known = before.get((best.fault.name, best.subject))
        if known is None:
            return ActiveFault(
                best.fault, best.subject, self.began_s, now_s, diagnosis.candidates, alarms
            )
        known.candidates, known.alarms = diagnosis.candidates, alarms
        return known

    def cleared(self, alarm: AlarmKey, now_s: float) -> list[ActiveFault]:
        """An alarm of the episode cleared; returns faults that have no alarm left."""
        del self.alarms[alarm]
        self.receding = True
        over: list[ActiveFault] = []
        for fault in list(self.faults):
            if alarm in fault.alarms:
                fault.alarms.remove(alarm)
                fault.ended_s = now_s if fault.ended_s is None else fault.ended_s
            if not fault.alarms:
                self.faults.remove(fault)
                over.append(fault)
        return over


def covers(faults: Sequence[ActiveFault], alarm: AlarmKey, began_s: float) -> ActiveFault | None:
    """The fault, receding or over, of whose time this late alarm still speaks."""
    return next(
        (f for f in faults if f.ended_s is not None and began_s <= f.ended_s and f.explains(alarm)),
        None,
    )
