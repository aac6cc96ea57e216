"""The watch over one relay and the link by it: its baseline, learnt if need be, and its notices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from .baseline_file import BaselineFile
from .baseline_learner import BaselineLearner
from .fault_actions import Actuator
from .fault_baseline import UNKNOWN, Baseline
from .fault_observation import Observation
from .fault_watch import Notice, Turn, Watch
from .link_observer import LinkObserver, Round, apart_from_light, without_blocks_before

__all__ = ["Left", "RelayWatch"]

_log = structlog.get_logger(__name__)

_SETTLE_S = 10.0
"""After light was directed to a relay: until its counts are those of this light."""


@dataclass(frozen=True)
class Left:
    """Why a relay was left: what to look at before anybody goes back to it."""

    fault: str
    subject: str
    runbook: str
    time_s: float


class RelayWatch:
    """Of one relay.

    Only while it is active is light sent to it, its counts are watched, and something is done. Of
    a relay that waits it is watched whether it is there.

    Parameters
    ----------
    relay_id, block_slots
        As :class:`~.link_observer.LinkObserver` takes them.
    file
        Where the baseline is; None: there is none, and it is not learnt.
    learn_s
        Link time that a baseline is learnt from.
    actuator
        Carries out what is ordered while the relay is active.
    """

    def __init__(
        self,
        relay_id: str,
        block_slots: int,
        file: BaselineFile | None,
        learn_s: float,
        actuator: Actuator,
    ) -> None:
        self.relay_id = relay_id
        self.active = False
        self.left: Left | None = None
        self.why_none = "" if file is not None else "watch.baseline names no file"
        self._observer = LinkObserver(relay_id, block_slots)
        self._file = file
        self._learn_s = learn_s
        self._actuator = actuator
        self._since_s = 0.0
        self._disturbed_s = -math.inf
        self._learner: BaselineLearner | None = None
        self._baseline = UNKNOWN
        self.watch = Watch(UNKNOWN)

    def activate(self) -> None:
        """Light is directed to this relay from now on."""
        if self.active:
            return
        self.active, self.left = True, None
        self._since_s = self._observer.time.now_s
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
        self._begin(baseline or UNKNOWN, self._actuator)

    def deactivate(self) -> None:
        """Light is directed elsewhere."""
        if not self.active:
            return
        self.active = False
        if self.watch.faults:
            fault = self.watch.faults[0]
            time_s = self._observer.time.now_s
            self.left = Left(fault.fault.name, fault.subject, fault.fault.runbook, time_s)
        self._learner = None
        self._begin(UNKNOWN, None)

    def _begin(self, baseline: Baseline, actuator: Actuator | None) -> None:
        self._baseline = baseline
        self.watch = Watch(baseline, actuator)

    @property
    def now_s(self) -> float:
        """Link time."""
        return self._observer.time.now_s

    def take(self, rounds: Sequence[Round]) -> list[Notice]:
        """What is to be told of these rounds."""
        seen = [o for o in map(self._observer.take, rounds) if o is not None]
        if not seen:
            return []
        lit, fed = [], []
        for observation in seen:
            if observation.calibrating:
                # Light that is moved on purpose, and blocks that have it in them, tell nothing.
                self._since_s = self._disturbed_s = observation.time_s
            settled = observation.time_s - self._since_s > _SETTLE_S
            lit.append(self.active and settled)
            observation = without_blocks_before(observation, self._disturbed_s)
            if not lit[-1]:
                observation = apart_from_light(observation, whole_link=self.active)
            fed.append(observation)
        notices = self.watch.observe(fed)
        if self._learner is not None:
            self._learn([o for o, with_light in zip(seen, lit, strict=True) if with_light], notices)
        return notices

    def _learn(self, seen: Sequence[Observation], notices: Sequence[Notice]) -> None:
        assert self._learner is not None
        quiet = not (self.watch.alarms or any(n.turn is Turn.RAISED for n in notices))
        for observation in seen:
            healthy = quiet and _as_usual(observation)
            baseline = self._learner.take(observation, healthy=healthy)
            if baseline is not None and not self._says_more(baseline):
                self._learner = BaselineLearner(self._learn_s)
            elif baseline is not None:
                assert self._file is not None
                try:
                    self._file.save(self.relay_id, baseline, self._learner.learnt_s)
                except OSError as error:
                    _log.error("baseline not kept", relay=self.relay_id, why=str(error))
                _log.info("baseline learnt", relay=self.relay_id, seconds=self._learner.learnt_s)
                # One without errors in Z is made whole once blocks have been corrected.
                whole = baseline.error_z is not None
                self._learner = None if whole else BaselineLearner(self._learn_s)
                # Nothing is wrong now: no fault is forgotten with the old watch.
                self._begin(baseline, self._actuator)
                return

    def _says_more(self, baseline: Baseline) -> bool:
        return not self._baseline.known or baseline.error_z is not None

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
        return {
            "active": self.active,
            "link_time_s": self.now_s,
            "baseline": baseline,
            "faults": self.watch.status(),
            "left": None
            if self.left is None
            else {
                "fault": self.left.fault,
                "subject": self.left.subject,
                "runbook": self.left.runbook,
                "seconds_ago": self.now_s - self.left.time_s,
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
