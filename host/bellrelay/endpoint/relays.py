"""All relays of an endpoint: each is followed all the time, one is active.

Light is directed to the active one. Alice decides which that is (:mod:`.relay_choice`), from what
she hears of the relays, what Bob says that he hears, what people and companions order, and whose
turn it is where there is a timetable; Bob directs his light to where she has said. A move goes so:

1. Alice puts the relay, and that light may be there from now on, on her disk; directs her light;
   notes that there is none elsewhere any more; and tells Bob.
2. Bob does the same, and tells her that he has.

Nobody waits for the other. While they differ, one of the two sends to the new relay and the other
to the old one: neither makes key of it, for a block that only one of the two has sent to is given
up by both, before a tag is spent. Whoever dies in between begins with the relay on his disk, and
Alice says hers at the begin of every session. What she says stands under no tag
(:class:`~bellrelay.wire.peer_messages.Move`). Blocks of the relay that was left whose lists are
complete or become so are distilled as any: nothing of them depends on where light goes now.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from bellrelay.distill.reconcile.engine import Role
from bellrelay.wire.messages import Event
from bellrelay.wire.peer_messages import (
    ANY_RELAY,
    AskMove,
    Kind,
    Move,
    Moved,
    PeerFrame,
    PeerMessageError,
    RelaysSeen,
)

from .announcement_rules import RELAY_BEGAN_NS, CollectedBlock
from .announcements import AnnouncementFollower, BlockSink
from .block import Cause
from .block_store import BlockRow, BlockStore
from .config import RelayChoiceSettings
from .control_socket import Refused
from .directions import Directions
from .pipeline_settings import RelayMessage
from .relay_choice import Decision, RelayChoice, Sight
from .sender_plugin import SenderCannot

__all__ = ["DirectedSender", "RelaySink", "RelayWindows", "Relays"]

_TICK_S = 0.1
_RETRY_S = 1.0
_ASK_S = 60.0
"""How long Bob goes on asking for what Alice does not do."""
_BOTH_S = 50.0
"""After the end of a block, until the peer has moved as well."""
_HALTED = "outside the windows of the timetable"
_log = structlog.get_logger(__name__)


class DirectedSender(Protocol):
    """What is asked of a sender here. SenderCannot, OSError: it is not done."""

    def direct(self, relay_id: str) -> None: ...
    def halt(self, why: str = ...) -> None: ...
    def resume(self, why: str = ...) -> None: ...


class RelaySink(BlockSink, Protocol):
    """Where blocks go."""

    async def abandon(self, relay: int, why: str) -> None:
        """Give up what nobody works at yet of this relay's blocks."""
        ...


class RelayWindows(Protocol):
    """When this pair is served by which relay; see :mod:`.timetable`."""

    def serves(self, relay_id: str) -> bool:
        """Whether it ever is."""
        ...

    def open(self, relay_id: str, now_ns: int) -> bool:
        """Whether it is now, settling included."""
        ...

    def turn(self, now_ns: int) -> str | None:
        """The one whose own window is open now, settling included."""
        ...

    def takes_turns(self, relay_id: str) -> bool:
        """Whether it has windows of its own: others are used while one before it is lost."""
        ...


@dataclass
class _Planned:
    """A move that waits for the end of a block. decision : what it will be."""

    decision: Decision
    begin: float
    block: str


@dataclass
class _Asked:
    """What Bob wants of Alice. since : when he asked first."""

    message: AskMove
    since: float


@dataclass
class _Waiter:
    """Who waits for both to have gone to a relay, and until when."""

    relay: int
    done: asyncio.Future[Mapping[str, Any]]
    until: float

    def give_up(self, why: str) -> None:
        """It will not be."""
        if not self.done.done():
            self.done.set_exception(Refused(why))


def _nothing(_moment: str) -> None:
    pass


class Relays:
    """The relays of one endpoint, for as long as :meth:`run` runs. All else in the loop's thread.

    Parameters
    ----------
    role
        Alice decides, Bob follows.
    followers
        Of every relay, in the order that both have agreed upon.
    directions, sender, store, settings
        Of this endpoint.
    windows
        None: light goes to the active relay all the time.
    checkpoint
        Called with a name wherever this side may die; for tests.

    Attributes
    ----------
    fault : str
        Why the sender does not send to where it should; empty: it does.
    moves : int
        Since the start.
    """

    def __init__(
        self,
        role: Role,
        followers: Sequence[AnnouncementFollower],
        directions: Directions,
        sender: DirectedSender,
        store: BlockStore,
        settings: RelayChoiceSettings,
        windows: RelayWindows | None = None,
        checkpoint: Callable[[str], None] = _nothing,
    ) -> None:
        self.fault = ""
        self.moves = 0
        self.followers = tuple(followers)
        self._role = role
        self._ids = tuple(f.relay_id for f in followers)
        self._directions = directions
        self._sender = sender
        self._store = store
        self._settings = settings
        self._windows = windows
        self._checkpoint = checkpoint
        self._quarantined = {i: store.quarantined(i) for i in self._ids}
        self._say: Callable[[RelayMessage], Awaitable[None]] | None = None
        active = self._ids.index(directions.active)
        self._choice = RelayChoice(self._ids, settings.return_after_s, active, directions.pinned)
        self._sights: tuple[Sight, ...] = ()
        self._news = False
        self._following: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        # Where light is known to go: False: it is not known.
        self._directed: str | bool | None = False
        self._tried = float("-inf")
        self._orders: list[Decision | str] = []
        self._told: Move | None = None
        self._planned: _Planned | None = None
        self._asked: _Asked | None = None
        self._waiters: list[_Waiter] = []
        self._peer_number = -1
        self._peer_usable = -1

    @property
    def active(self) -> str:
        """Id of the relay that light is directed to."""
        return self._directions.active

    @property
    def steered(self) -> bool:
        """Whether there is anything to choose: several relays, or windows."""
        return len(self._ids) > 1 or self._windows is not None

    # --------------------------------------------------------------------------- orders

    def fail_over(self, why: str) -> None:
        """Leave the active relay for the next one, as soon as may be.

        Refused: there is no other that is usable.
        """
        if not any(s.usable for n, s in enumerate(self._sights) if self._ids[n] != self.active):
            raise Refused("no other relay can be gone to")
        self._orders.append(why)
        self._changed.set()

    def move(self, relay_id: str, why: str) -> asyncio.Future[Mapping[str, Any]]:
        """A planned move: at the end of the block that is being announced, or when `drain_s` is up.

        The result comes when both have moved. Refused, ValueError: it cannot be.
        """
        if not self.steered:
            raise Refused("there is one relay, and no other to go to")
        if relay_id not in self._ids:
            raise ValueError(f"no relay {relay_id}; there are {', '.join(self._ids)}")
        relay = self._ids.index(relay_id)
        done: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        sight = self._sights[relay] if self._sights else Sight(False, "not looked at yet")
        if not sight.usable:
            raise Refused(f"{relay_id}: {sight.why}")
        until = time.monotonic() + self._settings.drain_s + _BOTH_S
        self._waiters.append(_Waiter(relay, done, until))
        if relay_id != self.active or not self._directions.pinned:
            self._orders.append(Decision(relay, why, planned=True))
        self._changed.set()
        return done

    async def quarantine(self, relay_id: str, why: str) -> None:
        """Believe a relay nothing more: it is followed no longer, and its open blocks end."""
        number = self._ids.index(relay_id)
        await asyncio.to_thread(self._store.quarantine, relay_id, Cause.QUARANTINED, why)
        self._quarantined[relay_id] = self._store.quarantined(relay_id)
        task = self._following.get(relay_id)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        _log.error("relay quarantined", relay=relay_id, why=why)
        await self._sink.abandon(number, why)
        self._changed.set()

    # --------------------------------------------------------------------------- the peer

    def attach(self, say: Callable[[RelayMessage], Awaitable[None]]) -> None:
        """How the peer is spoken to."""
        self._say = say

    def greeting(self) -> list[RelayMessage]:
        """What is said at the begin of a session."""
        if not self.steered:
            return []
        self._peer_number, self._peer_usable = -1, -1
        if self._role is Role.ALICE:
            return [self._move()]
        out: list[RelayMessage] = [RelaysSeen(self._usable())]
        return out if self._asked is None else [*out, self._asked.message]

    def told(self, frame: PeerFrame) -> None:
        """Take what the peer says of relays.

        Raises
        ------
        PeerMessageError
            Not what this side is ever told.
        """
        alice = self._role is Role.ALICE
        if frame.kind is Kind.MOVE and not alice:
            move = Move.parse(frame.body)
            self._require(move.relay)
            self._told = move
        elif frame.kind is Kind.MOVED and alice:
            moved = Moved.parse(frame.body)
            self._require(moved.relay)
            if self._ids[moved.relay] == self.active:
                self._peer_number = moved.number
        elif frame.kind is Kind.RELAYS and alice:
            self._peer_usable = RelaysSeen.parse(frame.body).usable
        elif frame.kind is Kind.ASK and alice:
            self._told_ask(AskMove.parse(frame.body))
        else:
            raise PeerMessageError(f"{frame.kind.name}: not what this side is told")
        self._changed.set()

    def _told_ask(self, ask: AskMove) -> None:
        self._require(ask.leave)
        if ask.relay != ANY_RELAY:
            self._require(ask.relay)
            decision = Decision(ask.relay, f"the peer asks: {ask.why}", planned=True)
            if decision not in self._orders and self._ids[ask.relay] != self.active:
                self._orders.append(decision)
        elif self._ids[ask.leave] == self.active:
            self._orders.append(f"the peer asks: {ask.why}")

    def _require(self, relay: int) -> None:
        if relay >= len(self._ids):
            raise PeerMessageError(f"relay number {relay}, of {len(self._ids)}")

    def _move(self) -> Move:
        d = self._directions
        return Move(d.number, self._ids.index(d.active), d.why)

    async def _tell(self, message: RelayMessage) -> None:
        if self._say is not None:
            await self._say(message)

    # --------------------------------------------------------------------------- for others

    def take_events(self, take: Callable[[str, Event], None]) -> None:
        """Hand every relay's events to this; see :class:`AnnouncementFollower`."""
        for follower in self.followers:
            follower.take_event = take

    def quarantined(self, relay_id: str) -> tuple[str, str, int] | None:
        """Cause, detail and time (UTC ns) of a relay's quarantine."""
        return self._quarantined[relay_id]

    def lit(self, block: CollectedBlock, row: BlockRow) -> bool:
        """Whether our light was directed at the block's relay in any of it. From any thread."""
        if not self.steered:
            return True
        began = block.began_ns or int(row.record.get(RELAY_BEGAN_NS, 0)) or row.begun_ns
        ended = max(began, block.ended_ns or time.time_ns())
        return self._directions.lit(self._ids[block.block.relay], began, ended)

    # --------------------------------------------------------------------------- the loop

    async def run(self, sink: RelaySink) -> None:
        """Follow all relays, and choose among them, for ever; ends only by an exception."""
        self._sink = sink
        async with asyncio.TaskGroup() as group:
            for follower in self.followers:
                if self._quarantined[follower.relay_id] is not None:
                    _log.error("relay in quarantine", relay=follower.relay_id)
                    continue
                self._following[follower.relay_id] = group.create_task(
                    self._follow(follower, sink), name=f"relay {follower.relay_id}"
                )
            if self.steered:
                group.create_task(self._steer())

    async def _follow(self, follower: AnnouncementFollower, sink: RelaySink) -> None:
        await follower.run(sink)
        found = await asyncio.to_thread(self._store.quarantined, follower.relay_id)
        self._quarantined[follower.relay_id] = found
        self._changed.set()

    async def _steer(self) -> None:
        while True:
            self._changed.clear()
            now = time.monotonic()
            self._look(now)
            if self._role is Role.ALICE:
                await self._decide(now)
            else:
                await self._obey(now)
            await self._direct(now)
            self._answer_waiters()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._changed.wait()

    def _look(self, now: float) -> None:
        before = self._usable()
        own = [self._own_sight(f) for f in self.followers]
        if self._role is Role.ALICE:
            own = [
                Sight(False, "the peer does not hear it")
                if sight.usable and not self._peer_usable >> number & 1
                else sight
                for number, sight in enumerate(own)
            ]
        self._sights = tuple(own)
        self._choice.see(now, self._sights)
        self._news = self._usable() != before

    def _own_sight(self, follower: AnnouncementFollower) -> Sight:
        if self._quarantined[follower.relay_id] is not None:
            return Sight(False, "in quarantine")
        if self._windows is not None and not self._windows.serves(follower.relay_id):
            return Sight(False, "no window in the timetable")
        silent = follower.silent_s
        if silent < self._settings.silence_s:
            return Sight(True)
        why = "connected" if follower.connected else follower.reason or "not connected"
        return Sight(False, f"nothing heard of it for {silent:.1f} s ({why})")

    def _usable(self) -> int:
        return sum(1 << number for number, sight in enumerate(self._sights) if sight.usable)

    async def _decide(self, now: float) -> None:
        """Alice's part."""
        orders, self._orders = self._orders, []
        decision: Decision | None = None
        for order in orders:
            if isinstance(order, str):
                decision = self._choice.leave(now, order) or decision
                if decision is None:
                    _log.error("no other relay can be gone to", why=order)
            else:
                self._planned = _Planned(order, now, self._block_of_active())
        planned = self._planned
        if planned is not None and not self._sights[planned.decision.relay].usable:
            relay = planned.decision.relay
            for waiter in self._waiters:
                if waiter.relay == relay:
                    waiter.give_up(f"{self._ids[relay]}: {self._sights[relay].why}")
            self._planned = planned = None
        if planned is not None and decision is None:
            drained = self._block_of_active() != planned.block
            late = now - planned.begin >= self._settings.drain_s
            if drained or late or not self._sights[self._choice.active].usable:
                decision = planned.decision
        decision = decision or self._choice.decide(now, self._turn())
        if decision is None:
            return
        self._planned = None
        if decision.planned and decision.relay == self._first_in_turn():
            # Back to what the timetable says.
            decision = replace(decision, planned=False)
        await self._go(decision.relay, self._directions.number + 1, decision.why, decision.planned)
        self._choice.went(now, decision)

    def _turn(self) -> int | None:
        """Number of the relay whose turn it is by the timetable: the active one between turns.

        Nor is another's taken before both have come to where they are, and whoever waits for that
        was told.
        """
        windows, active = self._windows, self._choice.active
        if windows is None:
            return None
        due = windows.turn(time.time_ns())
        together = self._peer_number == self._directions.number
        if due in self._ids and together and not self._waiters and self._planned is None:
            return self._ids.index(due)
        return active if windows.takes_turns(self._ids[active]) else None

    def _first_in_turn(self) -> int | None:
        windows = self._windows
        if windows is None:
            return None
        return next((n for n, i in enumerate(self._ids) if windows.takes_turns(i)), None)

    def _block_of_active(self) -> str:
        return self.followers[self._choice.active].position[1]

    async def _obey(self, now: float) -> None:
        """Bob's part."""
        if self._news:
            await self._tell(RelaysSeen(self._usable()))
        orders, self._orders = self._orders, []
        leave = self._ids.index(self.active)
        for order in orders:
            if isinstance(order, str):
                self._asked = _Asked(AskMove(leave, ANY_RELAY, order), now)
            else:
                self._asked = _Asked(AskMove(leave, order.relay, order.why), now)
            await self._tell(self._asked.message)
        if self._asked is not None:
            done = self._asked.message.leave != leave
            if done or now - self._asked.since > _ASK_S:
                self._asked = None
        told, self._told = self._told, None
        if told is not None:
            d = self._directions
            if (self._ids[told.relay], told.number) != (d.active, d.number):
                await self._go(told.relay, told.number, told.why, planned=False)
                self._choice.active = told.relay
            else:
                await self._direct(now)
                await self._tell(Moved(told.number, told.relay))

    async def _go(self, relay: int, number: int, why: str, planned: bool) -> None:
        relay_id, before = self._ids[relay], self.active
        self._checkpoint("before relay chosen")
        await asyncio.to_thread(self._directions.choose, relay_id, number, why, planned)
        self._checkpoint("after relay chosen")
        self._peer_number = -1
        self._directed, self._tried = False, float("-inf")
        if relay_id != before:
            self.moves += 1
            windows = self._windows
            usual = windows is not None and windows.turn(time.time_ns()) == relay_id
            say = _log.info if usual else _log.warning
            say("relay changed", relay=relay_id, before=before, why=why)
        await self._direct(time.monotonic())
        if self._role is Role.ALICE:
            await self._tell(self._move())
        else:
            await self._tell(Moved(number, relay))

    async def _direct(self, now: float) -> None:
        """Have light go to where it should, if that is not where it is known to go."""
        target: str | None = self.active
        if self._windows is not None and not self._windows.open(self.active, time.time_ns()):
            target = None
        if target == self._directed or now - self._tried < _RETRY_S:
            return
        self._tried = now
        try:
            if target is not None:
                await asyncio.to_thread(self._directions.towards, target)
            self._checkpoint("before light directed")
            await asyncio.to_thread(self._ask_sender, target)
            self._checkpoint("after light directed")
            await asyncio.to_thread(self._directions.only, target)
        except (SenderCannot, OSError) as error:
            self._directed = False
            if self.fault != str(error):
                _log.error("light not directed", relay=target, why=str(error))
            self.fault = str(error)
            return
        self._directed, self._tried, self.fault = target, float("-inf"), ""

    def _ask_sender(self, target: str | None) -> None:
        if target is None:
            self._sender.halt(_HALTED)
        else:
            if len(self._ids) > 1:
                self._sender.direct(target)
            if self._windows is not None:
                self._sender.resume(_HALTED)

    def _answer_waiters(self) -> None:
        d = self._directions
        for waiter in list(self._waiters):
            if waiter.done.done():
                self._waiters.remove(waiter)
                continue
            both = self._role is Role.BOB or self._peer_number == d.number
            if self._ids[waiter.relay] == self.active and both and not self.fault:
                waiter.done.set_result({"relay": self.active, "number": d.number})
            elif time.monotonic() > waiter.until:
                waiter.give_up("asked for, and not done on both sides in time")

    # --------------------------------------------------------------------------- status

    def status(self) -> dict[str, Any]:
        """For people: plain JSON values."""
        d = self._directions
        sights = self._sights or tuple(Sight(True) for _ in self._ids)
        return {
            "active": d.active,
            "since_utc_ns": d.since_ns or None,
            "why": d.why,
            "number": d.number,
            "pinned": d.pinned,
            "moves": self.moves,
            "peer_has_moved": None
            if self._role is Role.BOB or not self.steered
            else self._peer_number == d.number,
            "planned": None if self._planned is None else self._ids[self._planned.decision.relay],
            "light": self._directed if isinstance(self._directed, str) else None,
            "light_fault": self.fault,
            "each": {
                f.relay_id: self._status_of(f, sight)
                for f, sight in zip(self.followers, sights, strict=True)
            },
        }

    def _status_of(self, follower: AnnouncementFollower, sight: Sight) -> dict[str, Any]:
        quarantine = self._quarantined[follower.relay_id]
        sequence, block = follower.position
        return {
            "connected": follower.connected,
            "reason": follower.reason,
            "reconnects": follower.reconnects,
            "sequence": sequence,
            "broker_behind": follower.behind,
            "block": block,
            "last_announcement_age_s": round(follower.silent_s, 3),
            "usable": sight.usable,
            "why_not": sight.why,
            "quarantine": None
            if quarantine is None
            else {"cause": quarantine[0], "detail": quarantine[1], "since_utc_ns": quarantine[2]},
        }
