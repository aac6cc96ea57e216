"""The watch over one relay and the link by it: whether it is there, and what its light shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from .baseline_file import BaselineFile
from .baseline_learner import BaselineLearner
from .fault_actions import Action, Order
from .fault_baseline import UNKNOWN, Baseline
from .fault_episode import ActiveFault
from .fault_observation import Observation
from .fault_watch import Notice, Turn, Watch
from .link_observer import LinkObserver, Round
from .observation_parts import light_of, presence_of, without_blocks_before, without_light

__all__ = ["Carrier", "Left", "RelayWatch"]

_log = structlog.get_logger(__name__)

_PULLED_IN_S = 30.0
"""A relay that light has come to anew may take so long to pull its slot clock in."""
_LEAVES = (Action.FAIL_OVER, Action.CONTAIN)


class Carrier(Protocol):
    """Who carries orders out, or is told why one is needless."""

    def carry_out(self, order: Order) -> None: ...

    def pass_over(self, order: Order, why: str) -> None: ...


@dataclass(frozen=True)
class Left:
    """Why a relay was left: what to look at before anybody goes back to it."""

    fault: str
    subject: str
    runbook: str
    time_s: float


class _OfRelay:
    """Carries out what a relay's watch orders: of one that no light goes to, that is little."""

    def __init__(self, carrier: Carrier, relay_id: str, active: Callable[[], bool]) -> None:
        self._carrier = carrier
        self._relay_id = relay_id
        self._active = active

    def carry_out(self, order: Order) -> None:
        order = replace(order, relay=self._relay_id)
        if self._active() or order.action in (Action.CONTAIN, Action.CALL):
            self._carrier.carry_out(order)
        else:
            self._carrier.pass_over(order, "needless: no light goes to this relay")


class RelayWatch:
    """Of one relay.

    Whether it is there is watched all the time; what its counts show, while light is sent to it and
    nobody moves that light on purpose.

    Parameters
    ----------
    relay_id, block_slots
        As :class:`~.link_observer.LinkObserver` takes them.
    file
        Where the baseline is; None: there is none, and it is not learnt.
    learn_s
        Link time that a baseline is learnt from.
    settle_s
        Link time after light was directed to the relay, until its counts are those of this light;
        longer while its slot clock is pulled in, which had no pulses to hold to in the dark.
    carrier
        Carries out what is ordered while the relay is active.
    """

    def __init__(
        self,
        relay_id: str,
        block_slots: int,
        file: BaselineFile | None,
        learn_s: float,
        settle_s: float,
        carrier: Carrier,
    ) -> None:
        self.relay_id = relay_id
        self.active = False
        self.left: Left | None = None
        self.why_none = "" if file is not None else "watch.baseline names no file"
        self._observer = LinkObserver(relay_id, block_slots)
        self._file = file
        self._learn_s = learn_s
        self._settle_s = settle_s
        self._actuator = _OfRelay(carrier, relay_id, lambda: self.active)
        self._since_s = 0.0
        self._pulled_in = False
        self._disturbed_s = -math.inf
        self._learner: BaselineLearner | None = None
        self._presence = Watch(UNKNOWN, self._actuator)
        self._begin(UNKNOWN)

    def _begin(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self._light = Watch(baseline, self._actuator)

    def activate(self) -> None:
        """Light is directed to this relay from now on."""
        if self.active:
            return
        self.active, self.left = True, None
        self._since_s = self._observer.time.now_s
        self._pulled_in = False
        self._learner, baseline = None, None
        if self._file is not None:
            try:
                baseline = self._file.load(self.relay_id)
                self.why_none = ""
                if baseline is None or baseline.error_z is None:
                    self._learner = BaselineLearner(self._learn_s)
            except OSError as error:
                # What people may have written is not written over: --new-baseline does that.
                self.why_none = str(error)
                _log.error("no baseline", relay=self.relay_id, why=str(error))
        self._begin(baseline or UNKNOWN)

    def deactivate(self) -> list[tuple[str, str]]:
        """Light is directed elsewhere. Returns what was wrong with it: nobody sees it any more."""
        if not self.active:
            return []
        over = [fault.key for fault in self._light.faults]
        self.active = False
        for fault in self.faults:
            if any(step.action in _LEAVES for step in fault.fault.steps):
                now_s = self._observer.time.now_s
                self.left = Left(fault.fault.name, fault.subject, fault.fault.runbook, now_s)
                break
        self._learner = None
        self._begin(UNKNOWN)
        return over

    @property
    def now_s(self) -> float:
        """Link time."""
        return self._observer.time.now_s

    @property
    def faults(self) -> tuple[ActiveFault, ...]:
        """What is wrong now."""
        return self._presence.faults + self._light.faults

    def observe(self, rounds: Sequence[Round]) -> tuple[list[Observation], list[Notice]]:
        """What was seen in these rounds, and what is to be told of it."""
        seen = [o for o in map(self._observer.take, rounds) if o is not None]
        if not seen:
            return [], []
        notices = self._presence.observe([presence_of(o) for o in seen])
        if self.active:
            notices += self._observe_light([light_of(o) for o in seen], seen)
        return seen, notices

    def _observe_light(
        self, light: Sequence[Observation], seen: Sequence[Observation]
    ) -> list[Notice]:
        fed, lit = [], []
        for part, whole in zip(light, seen, strict=True):
            if part.calibrating:
                # Light that is moved on purpose, and blocks that have it in them, tell nothing.
                self._since_s = self._disturbed_s = part.time_s
            in_place = self._in_place(part)
            if not in_place:
                self._disturbed_s = part.time_s
            part = without_blocks_before(part, self._disturbed_s)
            if in_place and part.time_s - self._since_s > self._settle_s:
                lit.append(whole)
            else:
                part = without_light(part)
            fed.append(part)
        notices = self._light.observe(fed)
        if self._learner is not None:
            self._learn(lit, notices)
        return notices

    def _in_place(self, part: Observation) -> bool:
        """Whether light lies where it belongs, once it has come, as far as the relay says so."""
        relay, lit_s = part.relay, part.time_s - self._since_s
        if (relay is not None and relay.clock_locked is not False) or lit_s > _PULLED_IN_S:
            self._pulled_in = True
        # Without a baseline nothing is told of counts: they are learnt from in the meantime.
        return self._pulled_in or relay is None or not self._baseline.known

    # ------------------------------------------------------------------------------ baseline

    def learn_anew(self) -> list[tuple[str, str]]:
        """Forget what is usual, and learn it from now on, or once light comes here again.

        Returns what was wrong with the light: without a baseline nobody can tell any more.
        LookupError, OSError: there is no file to keep it in, or it cannot be written.
        """
        if self._file is None:
            raise LookupError(self.why_none)
        self._file.forget(self.relay_id)
        self.why_none = ""
        if not self.active:
            return []
        over = [fault.key for fault in self._light.faults]
        self._since_s = self._observer.time.now_s
        self._learner = BaselineLearner(self._learn_s)
        self._begin(UNKNOWN)
        return over

    def _learn(self, seen: Sequence[Observation], notices: Sequence[Notice]) -> None:
        assert self._learner is not None
        alarms = self._light.alarms + self._presence.alarms
        quiet = not (alarms or any(n.turn is Turn.RAISED for n in notices))
        for observation in seen:
            healthy = quiet and _as_usual(observation)
            baseline = self._learner.take(observation, healthy=healthy)
            if baseline is not None and not self._says_more(baseline):
                self._learner = BaselineLearner(self._learn_s)
            elif baseline is not None:
                self._keep(baseline)
                return

    def _keep(self, baseline: Baseline) -> None:
        assert self._file is not None
        assert self._learner is not None
        try:
            self._file.save(self.relay_id, baseline, self._learner.learnt_s)
        except OSError as error:
            _log.error("baseline not kept", relay=self.relay_id, why=str(error))
        _log.info("baseline learnt", relay=self.relay_id, seconds=self._learner.learnt_s)
        # One without errors in Z is made whole once blocks have been corrected.
        whole = baseline.error_z is not None
        self._learner = None if whole else BaselineLearner(self._learn_s)
        # Nothing is wrong now: no fault is forgotten with the old watch.
        self._begin(baseline)

    def _says_more(self, baseline: Baseline) -> bool:
        return not self._baseline.known or baseline.error_z is not None

    # ------------------------------------------------------------------------------ status

    def told(self) -> list[dict[str, Any]]:
        """What is wrong now, as :meth:`.Watch.status` says it."""
        return self._presence.status() + self._light.status()

    def status(self) -> dict[str, Any]:
        """Plain types."""
        if self._baseline.known:
            baseline: dict[str, Any] = {"state": "known"}
            if self._baseline.error_z is None:
                baseline["why"] = "without errors in Z: no block was corrected"
        elif self._learner is not None:
            learner = self._learner
            baseline = {"state": "learning", "seconds": learner.learnt_s, "why": learner.why}
        else:
            baseline = {"state": "none", "why": self.why_none}
        left = self.left
        return {
            "active": self.active,
            "link_time_s": self.now_s,
            "baseline": baseline,
            "left": None
            if left is None
            else {
                "fault": left.fault,
                "subject": left.subject,
                "runbook": left.runbook,
                "seconds_ago": self.now_s - left.time_s,
            },
        }


def _as_usual(seen: Observation) -> bool:
    """Whether all parts are there, and nothing unusual was asked of a sender."""
    ends = [end for end in seen.endpoints if end is not None]
    return (
        seen.relay is not None
        and seen.relay.running
        and all(end.relay_connected and end.peer_connected for end in ends)
        and all(asked.calibrated for asked in seen.asked)
    )
