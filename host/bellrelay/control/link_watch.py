"""The companion `faults` of an endpoint: asks everybody once a second, tells faults, and acts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bellrelay.endpoint.block_store import BlockRow
from bellrelay.endpoint.config import EndpointConfig, WatchSettings
from bellrelay.endpoint.control_socket import Order as Taken
from bellrelay.service.health_asker import HealthAsker

from .baseline_file import BaselineFile
from .daemon_hands import DaemonHands
from .fault_actions import Action
from .fault_baseline import UNKNOWN
from .fault_from_status import Status
from .fault_observation import Observation
from .fault_watch import Notice, Turn, Watch
from .link_actions import LinkActions, Outcome
from .link_observer import Round
from .observation_parts import services_of
from .operator_orders import OperatorOrders
from .relay_watch import RelayWatch

if TYPE_CHECKING:
    from bellrelay.endpoint.daemon import EndpointDaemon

__all__ = ["LinkWatch"]

_EVERY_S = 1.0
_KEPT = 100
_START_S = 15.0
_RAISED = (Turn.RAISED, Turn.ORDER_FAILED)
_log = structlog.get_logger(__name__)


class LinkWatch:
    """One endpoint's watch over its relays, its peer and both KMEs.

    Parameters
    ----------
    config
        Of the endpoint, with a section `watch`.
    """

    name = "faults"

    def __init__(self, config: EndpointConfig) -> None:
        assert config.watch is not None
        self._config = config
        self._settings: WatchSettings = config.watch
        self._relays: dict[str, RelayWatch] = {}
        self._notices: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._orders: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._turns: Counter[str] = Counter()
        self._outcomes: Counter[tuple[str, str]] = Counter()
        # Faults that were there, with their subjects.
        self._known: set[tuple[str, str]] = set()
        self._asker = HealthAsker(self._settings.timeout_s)
        self._services = Watch(UNKNOWN)
        self._services_s = 0.0
        self._begun = False
        self._started_s: float | None = None
        self._relay_said: dict[str, Status | None] = {}
        self._failed = ""
        self._rounds = 0
        self._ended_ns = time.time_ns()
        self._active = config.relay.id
        self._operator = OperatorOrders(
            lambda: getattr(self, "_actions", None),
            self._learn_anew,
            self._put_down,
            lambda: self._active,
            lambda: self._relays[self._active].now_s if self._active in self._relays else 0.0,
        )

    # ------------------------------------------------------------------------------- rounds

    async def run(self, daemon: EndpointDaemon) -> None:
        """Watch, until it is cancelled. A round that fails is logged, and ends nothing."""
        hands = DaemonHands(daemon, self._config, self._relay_status, self.evidence)
        self._actions = LinkActions(
            self._config.role,
            self._settings.actions,
            hands,
            self._became_of,
            self._settings.hold_s,
        )
        self._services = Watch(UNKNOWN, self._actions)
        file = None if self._settings.baseline is None else BaselineFile(self._settings.baseline)
        for relay_id in self._relay_ids(daemon):
            self._relays[relay_id] = RelayWatch(
                relay_id,
                self._config.block.slots,
                file,
                self._settings.learn_s,
                self._settings.settle_s,
                self._actions,
            )
        try:
            async with self._asker:
                due = time.monotonic()
                while True:
                    try:
                        await self._round(daemon)
                        self._failed = ""
                    except Exception as error:
                        # A status that makes no sense must not end an endpoint that makes key.
                        why = f"{type(error).__name__}: {error}"
                        if why != self._failed:
                            _log.exception("watch failed")
                        self._failed = why
                    due = max(due + _EVERY_S, time.monotonic())
                    await asyncio.sleep(due - time.monotonic())
        finally:
            await self._actions.stop()

    def _relay_ids(self, daemon: EndpointDaemon) -> list[str]:
        return list(dict.fromkeys([*daemon.status()["relays"]["each"], *self._settings.relays]))

    async def _round(self, daemon: EndpointDaemon) -> None:
        own = daemon.status()
        active = self._active = str(own["relays"]["active"])
        said = await asyncio.gather(*(self._ask(url) for url in self._addresses()))
        answers = dict(zip(self._addresses(), said, strict=True))
        peer = answers.get(self._settings.peer or "")
        kmes = [answers.get(url) for url in self._settings.kmes]
        wall_s = time.monotonic()
        blocks = await self._ended(daemon)
        ends = (own, peer) if self._config.role == "alice" else (peer, own)
        for relay_id, watched in self._relays.items():
            url = self._settings.relays.get(relay_id)
            self._relay_said[relay_id] = None if url is None else answers.get(url)
            one_round = Round(
                wall_s,
                self._relay_said[relay_id],
                url is not None,
                ends,
                (kmes[0] if kmes else None, kmes[1] if len(kmes) > 1 else None),
                [row for row in blocks if _is_of(row, relay_id, active)],
            )
            if relay_id == active:
                watched.activate()
            else:
                for key in watched.deactivate():
                    # What was asked of senders against it is no good at the next relay.
                    self._actions.over(*key)
            if not self._everybody_there(own, wall_s):
                continue
            seen, notices = watched.observe([one_round])
            for notice in notices:
                self._noticed(relay_id, watched.told, notice)
            if relay_id == active:
                self._observe_services(seen)
        self._actions.tick()
        self._rounds += 1

    def _everybody_there(self, own: Status, wall_s: float) -> bool:
        """Whether to begin: whoever starts first must not call the others missing."""
        if not self._begun:
            if self._started_s is None:
                self._started_s = wall_s
            relays = own["relays"]["each"].values()
            there = own["peer"]["connected"] and all(r["connected"] for r in relays)
            self._begun = there or wall_s - self._started_s >= _START_S
        return self._begun

    def _observe_services(self, seen: Sequence[Observation]) -> None:
        """What belongs to no relay, by the time of whichever is active."""
        for observation in seen:
            self._services_s += observation.span_s
            part = services_of(observation, self._services_s)
            for notice in self._services.observe([part]):
                self._noticed(None, self._services.status, notice)

    def _addresses(self) -> list[str]:
        s = self._settings
        return [*s.relays.values(), *([s.peer] if s.peer else []), *s.kmes]

    async def _ask(self, url: str) -> Status | None:
        return await self._asker.ask(url)

    async def _ended(self, daemon: EndpointDaemon) -> list[BlockRow]:
        rows = await asyncio.to_thread(daemon.store.ended_since, self._ended_ns)
        if rows:
            self._ended_ns = max(row.changed_ns for row in rows)
        return rows

    def _relay_status(self, relay_id: str) -> Status | None:
        return self._relay_said.get(relay_id)

    # ------------------------------------------------------------------------------- orders

    def orders(self) -> Mapping[str, Taken]:
        """What a person may order of it; see :class:`.TakesOrders`."""
        return self._operator.by_name()

    async def _learn_anew(self, relay_id: str) -> str:
        watched = self._relays.get(relay_id)
        if watched is None:
            raise LookupError(f"no relay {relay_id}; there are {', '.join(self._relays)}")
        for key in watched.learn_anew():
            self._actions.over(*key)
        _log.warning("baseline is learnt anew", relay=relay_id)
        return f"what is usual at {relay_id} is learnt anew, in {self._settings.learn_s:g} s"

    # ------------------------------------------------------------------------------- telling

    def _noticed(
        self, relay_id: str | None, there: Callable[[], list[dict[str, Any]]], notice: Notice
    ) -> None:
        self._turns[str(notice.turn)] += 1
        key = (notice.fault, notice.subject)
        if notice.turn is Turn.RAISED:
            self._known.add(key)
            self._actions.again(*key)
        elif notice.turn in (Turn.CLEARED, Turn.DROPPED):
            self._actions.over(*key)
        told: dict[str, Any] = {
            "utc": _utc(),
            "turn": str(notice.turn),
            "relay": relay_id,
            "fault": notice.fault,
            "subject": notice.subject,
            "link_time_s": notice.time_s,
            "probability": round(notice.probability, 4),
            "runbook": f"docs/runbooks/{notice.fault}.md",
        }
        if notice.order is not None:
            told["action"] = str(notice.order.action)
        if notice.why:
            told["why"] = notice.why
        self._notices.append(told)
        say = _log.error if notice.turn in _RAISED else _log.warning
        say("fault", **told, evidence=_evidence_of(there(), key))
        if notice.order is not None and notice.turn is Turn.ORDER_FAILED:
            self._put_down(Outcome(notice.order, failed=notice.why))
        elif notice.order is not None and notice.order.action is Action.CALL:
            self._put_down(Outcome(notice.order, done="a person is called"))

    def _became_of(self, outcome: Outcome) -> None:
        """An order that was begun has ended."""
        self._put_down(outcome)
        if not outcome.failed:
            return
        order = outcome.order
        self._turns[str(Turn.ORDER_FAILED)] += 1
        self._notices.append(
            {
                "utc": _utc(),
                "turn": str(Turn.ORDER_FAILED),
                "fault": order.fault,
                "subject": order.subject,
                "relay": order.relay or None,
                "link_time_s": order.time_s,
                "action": str(order.action),
                "why": outcome.failed,
                "runbook": f"docs/runbooks/{order.fault}.md",
            }
        )

    def _put_down(self, outcome: Outcome) -> None:
        order = outcome.order
        came = "failed" if outcome.failed else "done"
        told = {
            "utc": _utc(),
            "action": str(order.action),
            "relay": order.relay or None,
            "fault": order.fault,
            "subject": order.subject,
            "outcome": came,
            "what": outcome.failed or outcome.done,
            "runbook": order.runbook,
        }
        if order.reason:
            told["why"] = order.reason
        self._outcomes[(str(order.action), came)] += 1
        self._orders.append(told)
        say = _log.error if outcome.failed else _log.warning
        say("order", **told)

    # ------------------------------------------------------------------------------- status

    def evidence(self) -> dict[str, Any]:
        """All that is known, for an archive."""
        return {"utc": _utc(), "faults": self.status(), "relays_said": dict(self._relay_said)}

    def status(self) -> Mapping[str, Any]:
        """Plain types, nothing secret; also before :meth:`run`."""
        active = [{"relay": None, **fault} for fault in self._services.status()]
        active += [
            {"relay": relay_id, **fault}
            for relay_id, watched in self._relays.items()
            for fault in watched.told()
        ]
        actions = getattr(self, "_actions", None)
        return {
            "rounds": self._rounds,
            "failed": self._failed,
            "active": active,
            "notices": list(self._notices),
            "orders": list(self._orders),
            "in_force": {} if actions is None else actions.status(),
            "relays": {r: watched.status() for r, watched in self._relays.items()},
            "asked": {
                url: {"answers": not self._asker.why[url], "why": self._asker.why[url]}
                for url in self._addresses()
                if url in self._asker.why
            },
            "known": sorted(map(list, self._known)),
            "turns": dict(self._turns),
            "outcomes": [
                {"action": action, "outcome": outcome, "number": number}
                for (action, outcome), number in sorted(self._outcomes.items())
            ],
        }

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Of a status as :meth:`status` gives it."""
        active = GaugeMetricFamily(
            "bellrelay_endpoint_fault",
            "1 while a fault is there; 0 once it was",
            labels=["fault", "subject"],
        )
        there = {(fault["fault"], fault["subject"]) for fault in status["active"]}
        for fault, subject in sorted(there | {tuple(known) for known in status["known"]}):
            active.add_metric([fault, subject], float((fault, subject) in there))
        yield active
        notices = CounterMetricFamily(
            "bellrelay_endpoint_fault_notices", "what was told", labels=["turn"]
        )
        for turn in Turn:
            notices.add_metric([str(turn)], status["turns"].get(str(turn), 0))
        yield notices
        orders = CounterMetricFamily(
            "bellrelay_endpoint_fault_orders", "what was done", labels=["action", "outcome"]
        )
        for each in status["outcomes"]:
            orders.add_metric([each["action"], each["outcome"]], each["number"])
        yield orders
        answers = GaugeMetricFamily(
            "bellrelay_endpoint_watch_answers", "1 while who is asked answers", labels=["url"]
        )
        for url, asked in status["asked"].items():
            answers.add_metric([url], float(asked["answers"]))
        yield answers
        learnt = GaugeMetricFamily(
            "bellrelay_endpoint_watch_baseline_known", "1 once it is", labels=["relay"]
        )
        for relay_id, watched in status["relays"].items():
            learnt.add_metric([relay_id], float(watched["baseline"]["state"] == "known"))
        yield learnt
        yield CounterMetricFamily(
            "bellrelay_endpoint_watch_rounds",
            "times that everybody was asked",
            value=status["rounds"],
        )


def _evidence_of(there: Sequence[Mapping[str, Any]], key: tuple[str, str]) -> list[str]:
    for fault in there:
        if (fault["fault"], fault["subject"]) == key:
            return [f"{e['observable']}: {e['said']}" for e in fault["evidence"][:6]]
    return []


def _is_of(row: BlockRow, relay_id: str, active: str) -> bool:
    """Whether a block is this relay's; one that does not say is the active one's."""
    return str(row.record.get("relay_id", active)) == relay_id


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
