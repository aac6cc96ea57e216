"""The watch over a link: from observations to alarms, from alarms to faults, from faults to orders.

Deterministic and without I/O: the same observations give the same notices, whether they come one by
one or in batches. Orders go to an :class:`~.fault_actions.Actuator`, if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np

from .error_drift import ErrorDrift
from .fault_actions import Action, Actuator, Order
from .fault_alarm import Alarm
from .fault_baseline import Baseline
from .fault_episode import ActiveFault, AlarmKey, Episode, covers
from .fault_history import History
from .fault_observables import Side, instances
from .fault_observation import Observation

__all__ = ["FALSE_ALARM", "Notice", "Turn", "Watch"]

FALSE_ALARM = 1e-9
"""Probability that one look at one quantity that lies at a limit takes it to be beyond. Healthy
ones lie far within; some 40 of them, looked at every second, are 3.5 million looks a day."""

_CLEARING = 0.5
"""The same of clearing: the best estimate must lie within, and the time that it must do so for
sees to the rest. A raised alarm is 6 sigma beyond the wider limit: it does not clear by chance."""

_BATCH = 256
_SETTLE_S = 1.0
_CONFIDENT = 0.6
_DOUBT_S = 10.0
_UNPROVEN_S = 3.0
"""So long must a diagnosis stand whose proof is missing before it is told."""
_REMEMBER_S = 600.0


class Turn(StrEnum):
    """What a notice tells."""

    RAISED = "raised"
    DROPPED = "dropped"
    CLEARED = "cleared"
    ORDERED = "ordered"
    ORDER_FAILED = "order-failed"


@dataclass(frozen=True)
class Notice:
    """Something that operators are told.

    fault, subject: which. probability: of it among the candidates, then. order: with `ordered` and
    `order-failed`; why: with the latter, or what took the place of a fault that was dropped.
    """

    turn: Turn
    time_s: float
    fault: str
    subject: str
    probability: float
    order: Order | None = None
    why: str = ""


class Watch:
    """One link.

    Parameters
    ----------
    baseline
        What this link shows while it is healthy.
    actuator
        Carries out what is ordered; none: orders are only told.

    Attributes
    ----------
    faults : tuple[ActiveFault, ...]
        Those that are there now.
    """

    def __init__(self, baseline: Baseline, actuator: Actuator | None = None) -> None:
        self._baseline = baseline
        self._actuator = actuator
        self._drift = ErrorDrift(baseline, FALSE_ALARM)
        self._histories = {i: History(i, baseline) for i in instances(baseline)}
        self._alarms: dict[AlarmKey, Alarm] = {
            (i, side): Alarm(i.observable.raise_s, i.observable.clear_s)
            for i in self._histories
            for side in Side
            if i.observable.limit(side) is not None
        }
        self._episodes: list[Episode] = []
        self._over: list[ActiveFault] = []
        # Alarms that speak of a fault that is over, and until when they may.
        self._late: dict[AlarmKey, float] = {}
        self._last_s = -np.inf

    @property
    def faults(self) -> tuple[ActiveFault, ...]:
        """What is wrong now, the longest first."""
        return tuple(f for e in self._episodes for f in e.faults)

    @property
    def alarms(self) -> tuple[AlarmKey, ...]:
        """Quantities that are beyond their limits."""
        return tuple(key for key, alarm in self._alarms.items() if alarm.raised)

    def status(self) -> list[dict[str, Any]]:
        """What is wrong now, for /health and for people: plain JSON values, the longest first."""
        return [
            {
                "fault": f.fault.name,
                "family": f.fault.family,
                "title": f.fault.title,
                "subject": f.subject,
                "began_s": f.began_s,
                "raised_s": f.raised_s,
                "receding": f.ended_s is not None,
                "probability": f.probability,
                "rivals": [
                    {"fault": c.fault.name, "subject": c.subject, "probability": c.probability}
                    for c in f.candidates[1:4]
                ],
                "evidence": [
                    {"observable": e.observable, "said": e.said, "weight": e.weight}
                    for e in f.candidates[0].evidence
                ],
                "alarms": [f"{instance} {side}" for instance, side in f.alarms],
                "steps_taken": [str(s.action) for s in f.fault.steps[: f.steps_taken]],
                "runbook": f.fault.runbook,
            }
            for f in self.faults
        ]

    def observe(self, observations: Sequence[Observation]) -> list[Notice]:
        """Take observations in the order of time; what is to be told of them, in that order.

        Raises
        ------
        ValueError
            An observation does not end after the one before it.
        """
        notices: list[Notice] = []
        for start in range(0, len(observations), _BATCH):
            notices += self._batch(observations[start : start + _BATCH])
        return notices

    def _batch(self, observations: Sequence[Observation]) -> list[Notice]:
        times = np.array([o.time_s for o in observations], np.float64)
        if times[0] <= self._last_s or (np.diff(times) <= 0.0).any():
            raise ValueError("observations must come in the order of time")
        self._last_s = float(times[-1])
        observations = self._drift.annotate(observations)
        turns: list[list[tuple[AlarmKey, bool, float]]] = [[] for _ in observations]
        for instance, history in self._histories.items():
            windows = history.extend(observations, times)
            for side in Side:
                limit = instance.observable.limit(side)
                if limit is None:
                    continue
                raise_at, clear_at = limit.at(instance.reference)
                statistic = instance.observable.statistic
                test, opposite = statistic.above, statistic.below
                if side is Side.DOWN:
                    test, opposite = opposite, test
                key = (instance, side)
                beyond = test(*windows[0], raise_at, FALSE_ALARM)
                for columns in windows[1:]:
                    beyond = beyond | test(*columns, raise_at, FALSE_ALARM)
                within = partial(opposite, *windows[-1], clear_at, _CLEARING)
                for turn in self._alarms[key].run(times, beyond, within):
                    began_s = history.reason_began(turn.since_s)
                    turns[turn.index].append((key, turn.raised, began_s))
        notices: list[Notice] = []
        for time_s, changes in zip(times, turns, strict=True):
            if changes or self._episodes or self._late:
                notices += self._step(float(time_s), changes)
        return notices

    def _step(self, now_s: float, changes: Sequence[tuple[AlarmKey, bool, float]]) -> list[Notice]:
        notices: list[Notice] = []
        for key, raised, began_s in changes:
            if raised:
                self._raised(key, began_s, now_s)
            else:
                notices += self._cleared(key, now_s)
        for key, deadline_s in list(self._late.items()):
            if now_s >= deadline_s:
                del self._late[key]
                self._open_episode().alarms[key] = now_s
        for episode in self._episodes:
            if not episode.receding:
                notices += self._assess(episode, now_s)
        for fault in self.faults:
            notices += self._mitigate(fault, now_s)
        return notices

    # ------------------------------------------------------------------------------ alarms

    def _open_episode(self) -> Episode:
        for episode in self._episodes:
            if not episode.receding:
                return episode
        self._episodes.append(Episode())
        return self._episodes[-1]

    def _raised(self, key: AlarmKey, began_s: float, now_s: float) -> None:
        self._over = [f for f in self._over if now_s - (f.ended_s or 0.0) <= _REMEMBER_S]
        if covers([*self.faults, *self._over], key, began_s) is not None:
            observable = key[0].observable
            self._late[key] = now_s + 2.0 * observable.longest_window_s + observable.clear_s
        else:
            self._open_episode().alarms[key] = began_s

    def _cleared(self, key: AlarmKey, now_s: float) -> list[Notice]:
        self._late.pop(key, None)
        notices = []
        for episode in self._episodes:
            if key in episode.alarms:
                over = episode.cleared(key, now_s)
                self._over += over
                notices += [_notice(Turn.CLEARED, f, now_s) for f in over if f.told]
        self._episodes = [e for e in self._episodes if e.alarms]
        return notices

    # ------------------------------------------------------------------------------ faults

    def _assess(self, episode: Episode, now_s: float) -> list[Notice]:
        before = list(episode.faults)
        episode.assess(self._histories, now_s, self._baseline.detectors)
        gone = [f for f in before if f.told and f not in episode.faults]
        new = []
        for fault in episode.faults:
            if not fault.told and (fault.proven or now_s - fault.raised_s >= _UNPROVEN_S):
                fault.told = True
                new.append(fault)
        instead = ", ".join(f"{f.fault.name} of {f.subject}" for f in episode.faults)
        return [
            *(_notice(Turn.DROPPED, f, now_s, why=f"now: {instead}") for f in gone),
            *(_notice(Turn.RAISED, f, now_s) for f in new),
        ]

    def _mitigate(self, fault: ActiveFault, now_s: float) -> list[Notice]:
        if not fault.told or fault.ended_s is not None or fault.left_to_people:
            return []
        if fault.steps_taken >= len(fault.fault.steps):
            return []
        if fault.steps_taken == 0:
            age_s = now_s - fault.raised_s
            if age_s < (_SETTLE_S if fault.proven else _DOUBT_S):
                return []
            if fault.agreement < _CONFIDENT:
                if age_s < _DOUBT_S:
                    return []
                # Nothing is done by itself about what may be something else.
                fault.left_to_people = True
                return [self._order(fault, Action.CALL, now_s)]
        elif now_s < fault.next_step_s:
            return []
        step = fault.fault.steps[fault.steps_taken]
        fault.steps_taken += 1
        fault.next_step_s = now_s + step.wait_s
        return [self._order(fault, step.action, now_s)]

    def _order(self, fault: ActiveFault, action: Action, now_s: float) -> Notice:
        order = Order(action, fault.fault.name, fault.subject, now_s, fault.fault.runbook)
        if self._actuator is not None:
            try:
                self._actuator.carry_out(order)
            except Exception as error:
                # The next step follows when its time has come; the watch must outlive what it asks.
                return _notice(Turn.ORDER_FAILED, fault, now_s, order, str(error))
        return _notice(Turn.ORDERED, fault, now_s, order)


def _notice(
    turn: Turn, fault: ActiveFault, now_s: float, order: Order | None = None, why: str = ""
) -> Notice:
    return Notice(turn, now_s, fault.fault.name, fault.subject, fault.probability, order, why)
