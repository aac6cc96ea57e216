"""A scenario is run: every step is taken, and what it asks for is held against what is seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from .gameday_scenario import (
    Clear,
    Detect,
    Follow,
    Healthy,
    Inject,
    Keys,
    Moved,
    Order,
    Quarantined,
    Quiet,
    Scenario,
    Undo,
    Wait,
)

__all__ = ["Ledger", "Mark", "Outcome", "Rehearsed", "Sight", "run_scenario"]

ROLES = ("alice", "bob")
_EVERY_S = 0.2
_LEAST_S = 10.0


@dataclass(frozen=True)
class Sight:
    """What is seen of the system at a moment.

    link_s : link time since the gameday began. utc_ns : when. endpoints, relays : /health by name,
    empty where nobody answers. gone : processes that ended by themselves.
    """

    link_s: float
    utc_ns: int
    endpoints: Mapping[str, Mapping[str, Any]]
    relays: Mapping[str, Mapping[str, Any]]
    gone: tuple[str, ...] = ()

    @property
    def active(self) -> str:
        """The relay that light is directed to, as Alice says; empty if she does not answer."""
        return str((self.endpoints["alice"].get("relays") or {}).get("active") or "")

    def faults(self, role: str) -> Mapping[str, Any]:
        """What an endpoint's watch says."""
        return self.endpoints[role].get("faults") or {}

    def announced(self, relay: str) -> int:
        """Announcements of a relay's acquisition."""
        counters = self.relays.get(relay, {}).get("counters") or {}
        return sum(int(v) for k, v in counters.items() if k.startswith("announced_psi"))


@dataclass(frozen=True)
class Ledger:
    """What both endpoints and both KMEs have of blocks that ended with key.

    blocks : key bits by block, as the endpoints' stores have it, Alice's and Bob's.
    """

    alice: Mapping[str, int]
    bob: Mapping[str, int]


class Rehearsed(Protocol):
    """The system under rehearsal.

    patience : wall time may pass so much quicker than link time; a step that takes longer has
    failed. settled_s : the watch believes counts so long after light came to a relay, or the watch
    was started.
    """

    patience: float
    settled_s: float

    def look(self) -> Sight:
        """What is seen now."""
        ...

    def inject(self, what: Inject, sight: Sight) -> Callable[[], None]:
        """Do it; returns what undoes it. RuntimeError, OSError: it cannot be done."""
        ...

    def follow(self, fault: Mapping[str, Any], sight: Sight) -> list[dict[str, Any]]:
        """Carry out what the runbook says that the fault names, in its order; each with its words.

        RuntimeError, OSError: a command does not end as its page says.
        """
        ...

    def ledger(self) -> Ledger:
        """Of blocks with key."""
        ...

    def made(self, since_utc_ns: int) -> int:
        """Blocks that ended with key on both sides, and whose announcements began after this."""
        ...

    def backlog(self) -> list[str]:
        """Blocks announced since processes were stopped that did not end with key on both sides."""
        ...


@dataclass(frozen=True)
class Mark:
    """Something that happened, for the timeline: kind is injection, undone, fault, order, step."""

    kind: str
    link_s: float
    text: str


@dataclass
class Outcome:
    """What came of a scenario.

    steps : each with its limit and what it took, in s of link time, and by the clock. failures :
    why it did not pass; empty: it passed. detection_s, mitigation_s, recovery_s : None where
    nothing was asked.
    """

    scenario: str
    title: str
    begun_s: float
    ended_s: float = 0.0
    steps: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    detection_s: float | None = None
    mitigation_s: float | None = None
    recovery_s: float | None = None
    finished_before: int = 0
    finished_after: int = 0

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.failures

    def later(self, link_s: float) -> Outcome:
        """The same, so much later on the time axis."""
        marks = [replace(mark, link_s=mark.link_s + link_s) for mark in self.marks]
        begun_s, ended_s = self.begun_s + link_s, self.ended_s + link_s
        return replace(self, begun_s=begun_s, ended_s=ended_s, marks=marks)


class _Failed(Exception):
    """A step did not come true; the message says what was seen instead."""


@dataclass
class _State:
    """Where a run stands. since_s, since_ns : the last injection or undoing, link time and UTC.

    relay, announced : active relay and announcements then. known : notices and orders from before.
    told : the notice of the fault that was found last, or what stands for it.
    """

    outcome: Outcome
    undo: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    since_s: float = 0.0
    since_ns: int = 0
    relay: str = ""
    announced: dict[str, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    told: Mapping[str, Any] = field(default_factory=dict)


def run_scenario(
    scenario: Scenario,
    system: Rehearsed,
    tell: Callable[[str], None] = lambda _text: None,
    *,
    inject: bool = True,
) -> Outcome:
    """Run it to its end, or to the first step that fails; what was injected is undone either way.

    Parameters
    ----------
    inject
        False: nothing is done to the system. A scenario that passes then proves nothing.
    """
    sight = system.look()
    state = _State(Outcome(scenario.name, scenario.title, sight.link_s))
    state.told = {"runbook": scenario.runbook}
    before = system.ledger()
    state.outcome.finished_before = len(before.alice)
    run = _Run(system, state, tell, inject)
    try:
        run.rebase(sight)
        for step in scenario.steps:
            begun_s = system.look().link_s
            found: dict[str, Any] = {"step": step.kind, "link_s": begun_s}
            state.outcome.steps.append(found)
            tell(f"{scenario.name}: {step.kind}")
            found |= run.take(step.value)
            found["ok"] = True
        _nothing_lost(before, system, state)
    except (_Failed, RuntimeError, OSError) as error:
        state.outcome.failures.append(f"{state.outcome.steps[-1]['step']}: {error}")
        state.outcome.steps[-1]["ok"] = False
    finally:
        run.undo_all()
    state.outcome.ended_s = system.look().link_s
    state.outcome.finished_after = len(system.ledger().alice)
    return state.outcome


def _nothing_lost(before: Ledger, system: Rehearsed, state: _State) -> None:
    """Every block that was finished still is, on both sides alike.

    What ends in this very moment may be on one side first: it is looked at again.
    """
    for _ in range(25):
        after = system.ledger()
        lost = sorted(set(before.alice) - set(after.alice) | set(before.bob) - set(after.bob))
        one_sided = sorted(set(after.alice) ^ set(after.bob))
        differ = sorted(b for b, n in after.alice.items() if after.bob.get(b, n) != n)
        if not (lost or one_sided or differ):
            state.outcome.steps.append(
                {"step": "nothing lost", "blocks": len(after.alice), "ok": True}
            )
            return
        time.sleep(_EVERY_S)
    state.outcome.steps.append({"step": "nothing lost"})
    raise _Failed(f"lost: {lost}; on one side alone: {one_sided}; of other lengths: {differ}")


class _Run:
    def __init__(
        self, system: Rehearsed, state: _State, tell: Callable[[str], None], inject: bool
    ) -> None:
        self._system = system
        self._state = state
        self._tell = tell
        self._inject = inject

    def rebase(self, sight: Sight) -> None:
        """Times and numbers count from here."""
        state = self._state
        state.since_s, state.since_ns = sight.link_s, sight.utc_ns
        state.relay = sight.active or state.relay
        for role in sight.endpoints:
            for each in ("notices", "orders"):
                state.known |= {_key(role, said) for said in sight.faults(role).get(each) or ()}
        state.announced = {relay: sight.announced(relay) for relay in sight.relays}

    def take(self, step: Any) -> dict[str, Any]:
        """Take a step; what is to be put down of it."""
        state = self._state
        if isinstance(step, Inject):
            return self._do(step)
        if isinstance(step, Undo):
            return self._undone(step)
        if isinstance(step, Quiet | Wait):
            return self._pass(step.seconds, quiet=isinstance(step, Quiet))
        if isinstance(step, Detect):
            found = self._until(step.within_s, lambda s: self._raised(s, step), self._seen)
            state.outcome.detection_s = found["after_s"]
            return found
        if isinstance(step, Order):
            found = self._until(step.within_s, lambda s: self._ordered(s, step), self._orders)
            state.outcome.mitigation_s = found["after_s"]
            return found
        if isinstance(step, Moved):
            found = self._until(step.within_s, self._moved, lambda s: f"active is {s.active}")
            state.outcome.mitigation_s = found["after_s"]
            return found
        if isinstance(step, Follow):
            return self._follow(step)
        if isinstance(step, Quarantined):
            return self._until(step.within_s, self._quarantined, self._seen)
        if isinstance(step, Keys):
            found = self._until(step.within_s, lambda _: self._keys(step), self._blocks)
            state.outcome.recovery_s = found["after_s"]
            return found
        if isinstance(step, Healthy):
            return self._until(step.within_s, lambda s: self._healthy(s, step), self._blocks)
        assert isinstance(step, Clear)
        return self._until(step.within_s, self._cleared, self._seen)

    # ----------------------------------------------------------------------- doing

    def _do(self, what: Inject) -> dict[str, Any]:
        sight = self._system.look()
        self.rebase(sight)
        if not self._inject:
            return {"what": f"not: {what.what}"}
        self._mark("injection", sight.link_s, what.what)
        self._tell(f"  {what.what}")
        self._state.undo.append((what.what, self._system.inject(what, sight)))
        if what.stop or what.expire:
            # It takes a while until they have ended: what was announced until then is no backlog,
            # and nothing was wrong.
            sight = self._system.look()
            self._state.since_s, self._state.since_ns = sight.link_s, sight.utc_ns
        return {"what": what.what}

    def _undone(self, step: Undo) -> dict[str, Any]:
        self.undo_all()
        sight = self._system.look()
        self.rebase(sight)
        return self._until(step.within_s, _all_answer, self._blocks)

    def _follow(self, step: Follow) -> dict[str, Any]:
        """By the page that the system names, with what it is that the system has found."""
        told, begun = self._state.told, self._system.look()
        if not told["runbook"]:
            raise _Failed("nobody names a page")
        relay = told.get("relay") or begun.active or self._state.relay
        done = self._system.follow({**told, "relay": relay}, begun)
        sight = self._system.look()
        self._mark("order", sight.link_s, f"by hand: {told['runbook']}")
        # What was injected is over, by what the page had people do.
        self._state.undo.clear()
        self._state.outcome.mitigation_s = round(sight.link_s - self._state.since_s, 2)
        self.rebase(sight)
        over = self._until(step.within_s, lambda s: self._over(s, told), self._seen)
        return {"page": told["runbook"], "done": done, **over}

    def undo_all(self) -> None:
        """The last first."""
        while self._state.undo:
            what, undo = self._state.undo.pop()
            try:
                undo()
            except (RuntimeError, OSError) as error:
                self._state.outcome.failures.append(f"not undone: {what}: {error}")
            self._mark("undone", self._system.look().link_s, what)

    def _mark(self, kind: str, link_s: float, text: str) -> None:
        self._state.outcome.marks.append(Mark(kind, link_s, text))

    # ----------------------------------------------------------------------- waiting

    def _until(
        self,
        within_s: float,
        met: Callable[[Sight], dict[str, Any] | None],
        instead: Callable[[Sight], str],
    ) -> dict[str, Any]:
        since_s = self._state.since_s
        end = time.monotonic() + self._system.patience * within_s + _LEAST_S
        while True:
            sight = self._system.look()
            if sight.gone:
                raise _Failed(f"ended by themselves: {', '.join(sight.gone)}")
            found = met(sight)
            after_s = sight.link_s - since_s
            if found is not None:
                said = _utc_ns(found.pop("utc", None)) or sight.utc_ns
                clock_s = max(said - self._state.since_ns, 0) * 1e-9
                # Link time passes no quicker than the clock: what was said then was not later.
                after_s = min(after_s, clock_s) if said != sight.utc_ns else after_s
                found = {**found, "after_s": round(after_s, 4), "within_s": within_s}
                found["clock_s"] = round(clock_s, 2)
                if after_s > within_s:
                    raise _Failed(f"only after {after_s:.1f} s, allowed {within_s:g} s")
                return found
            if after_s > within_s or time.monotonic() > end:
                raise _Failed(f"not within {within_s:g} s: {instead(sight)}")
            time.sleep(_EVERY_S)

    def _pass(self, seconds: float, *, quiet: bool) -> dict[str, Any]:
        begun_s, end = self._system.look().link_s, time.monotonic() + seconds
        while True:
            sight = self._system.look()
            if sight.gone:
                raise _Failed(f"ended by themselves: {', '.join(sight.gone)}")
            raised = self._faults(sight)
            if quiet and raised:
                raise _Failed(f"told: {_names(raised)}")
            # Where the light is slow, daemons have seen as much of it when the clock says so.
            slow = self._system.patience > _SLOW and time.monotonic() > end
            if slow or sight.link_s - begun_s >= seconds:
                return {"seconds": seconds}
            time.sleep(_EVERY_S)

    # ----------------------------------------------------------------------- what is asked

    def _news(self, sight: Sight, kind: str = "notices") -> list[tuple[str, Mapping[str, Any]]]:
        """What endpoints have told or ordered since the last injection."""
        return [
            (role, said)
            for role in sight.endpoints
            for said in sight.faults(role).get(kind) or ()
            if _key(role, said) not in self._state.known
        ]

    def _faults(self, sight: Sight) -> list[Mapping[str, Any]]:
        return [said for _, said in self._news(sight) if said["turn"] == "raised"]

    def _raised(self, sight: Sight, step: Detect) -> dict[str, Any] | None:
        for notice in self._faults(sight):
            if notice["fault"] in step.faults and step.subject in (None, notice["subject"]):
                text = f"{notice['fault']} of {notice['subject']}"
                self._mark("fault", sight.link_s, text)
                self._state.told = notice
                named = {"fault": notice["fault"], "subject": notice["subject"]}
                return {**named, "utc": notice.get("utc")}
        return None

    def _ordered(self, sight: Sight, step: Order) -> dict[str, Any] | None:
        for role, order in self._news(sight, "orders"):
            if order["action"] in step.actions and (order["outcome"] == "done" or not step.done):
                self._mark("order", sight.link_s, f"{role}: {order['action']}")
                what = order.get("what", "")
                return {"action": order["action"], "what": what, "utc": order.get("utc")}
        return None

    def _moved(self, sight: Sight) -> dict[str, Any] | None:
        active = sight.active
        if not active or active == self._state.relay:
            return None
        bob = (sight.endpoints["bob"].get("relays") or {}).get("active")
        before = self._state.announced.get(active, 0)
        # Darkness is announced, too: so many are light.
        if bob != active or sight.announced(active) - before < _LIGHT:
            return None
        return {"to": active}

    def _quarantined(self, sight: Sight) -> dict[str, Any] | None:
        for role in sight.endpoints:
            each = (sight.endpoints[role].get("relays") or {}).get("each") or {}
            if (each.get(self._state.relay) or {}).get("quarantine") is None:
                return None
        return {"relay": self._state.relay}

    def _keys(self, step: Keys) -> dict[str, Any] | None:
        if self._system.made(self._state.since_ns) < step.blocks:
            return None
        left = self._system.backlog() if step.backlog else []
        return None if left else {"blocks": step.blocks}

    def _healthy(self, sight: Sight, step: Healthy) -> dict[str, Any] | None:
        if self._cleared(sight) is None or self._system.made(self._state.since_ns) < step.keys:
            return None
        settled_s = self._system.settled_s
        watched = all(_watches(sight, role, settled_s) for role in ROLES)
        # Where a slot clock does not hold yet, nobody looks at arms.
        clock = sight.relays.get(sight.active, {}).get("tracking") or {}
        return {"blocks": step.keys} if watched and clock.get("locked", True) else None

    def _cleared(self, sight: Sight) -> dict[str, Any] | None:
        """No fault of the link by the active relay; of relays that wait, none is asked."""
        for role in sight.endpoints:
            faults = sight.faults(role)
            if not faults or any(f.get("relay") == sight.active for f in faults["active"]):
                return None
        return {}

    def _over(self, sight: Sight, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """Everybody is there, and the fault that was told is not."""
        if _all_answer(sight) is None:
            return None
        for role in sight.endpoints:
            faults = sight.faults(role)
            if not faults or any(_of_fault(f, told) for f in faults["active"]):
                return None
        return {}

    # ----------------------------------------------------------------------- what is seen instead

    def _seen(self, sight: Sight) -> str:
        told = _names(self._faults(sight)) or "nothing is told"
        there = [
            f"{f['fault']} of {f['subject']}"
            for role in sight.endpoints
            for f in sight.faults(role).get("active") or ()
        ]
        return f"{told}; there: {', '.join(there) or 'nothing'}"

    def _orders(self, sight: Sight) -> str:
        orders = [
            f"{role}: {o['action']} {o['outcome']} ({o.get('what', '')})"
            for role in sight.endpoints
            for o in list(sight.faults(role).get("orders") or ())[-3:]
        ]
        return f"last orders: {'; '.join(orders) or 'none'}; {self._seen(sight)}"

    def _blocks(self, sight: Sight) -> str:
        out = []
        for role, status in sight.endpoints.items():
            blocks = (status.get("pipeline") or {}).get("blocks")
            out.append(f"{role} {status.get('state', 'does not answer')}, {blocks}")
        return f"{'; '.join(out)}; active {sight.active}; {self._seen(sight)}"


_SLOW = 20.0
_LIGHT = 50


def _watches(sight: Sight, role: str, settled_s: float) -> bool:
    """Whether an endpoint's watch knows what is usual, and looks at the light."""
    watched = (sight.faults(role).get("relays") or {}).get(sight.active) or {}
    since_ns = (sight.endpoints[role].get("relays") or {}).get("since_utc_ns")
    settled = since_ns is None or sight.utc_ns - since_ns > settled_s * 1e9
    known = (watched.get("baseline") or {}).get("state") == "known"
    return known and settled and float(watched.get("link_time_s", 0.0)) > settled_s


def _all_answer(sight: Sight) -> dict[str, Any] | None:
    everybody = [*sight.endpoints.values(), *sight.relays.values()]
    return {} if all(everybody) else None


def _of_fault(fault: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    return (fault["fault"], fault["subject"]) == (told.get("fault"), told.get("subject"))


def _utc_ns(said: Any) -> int | None:
    """Of a time as daemons write it."""
    return round(datetime.fromisoformat(said).timestamp() * 1e9) if isinstance(said, str) else None


def _key(role: str, said: Mapping[str, Any]) -> str:
    """What tells a notice or an order from every other."""
    return f"{role} {json.dumps(said, sort_keys=True, default=str)}"


def _names(notices: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"{n['fault']} of {n['subject']}" for n in notices)
