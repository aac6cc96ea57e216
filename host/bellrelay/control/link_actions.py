"""Who of the two endpoints does what about a fault, how often, and when it is taken back.

Alice acts on the link, each on its own sender, and both contain a suspect relay at their own KME.
Nothing that is done here, and no time at which it is, depends on anything secret: orders come of
what relays, endpoints and KMEs tell everybody of themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from bellrelay.endpoint.config import WatchActions

from .fault_actions import Action, Order
from .fault_observation import PARTIES

__all__ = ["Hands", "LinkActions", "NotDone", "Outcome"]

_LINK = frozenset(
    {Action.RESYNCHRONISE, Action.HOLD_OVER, Action.RECALIBRATE, Action.FAIL_OVER}
    | {Action.REAUTHENTICATE}
)
_SENDER = frozenset({Action.THROTTLE, Action.ATTENUATE, Action.ROLL_BACK, Action.HALT_SENDER})
_AT_MOST: dict[Action, tuple[int, float]] = {
    Action.RESYNCHRONISE: (30, 3600.0),
    Action.HOLD_OVER: (30, 3600.0),
    Action.THROTTLE: (30, 3600.0),
    Action.ATTENUATE: (12, 3600.0),
    Action.RECALIBRATE: (4, 3600.0),
    Action.FAIL_OVER: (6, 3600.0),
    Action.ROLL_BACK: (2, 3600.0),
    Action.REAUTHENTICATE: (6, 3600.0),
    Action.CONTAIN: (2, 3600.0),
}
"""So often in so many seconds: what does not help must not become a fault of its own."""
_SHARE, _LEAST_SHARE = 0.5, 1.0 / 16.0
_STEP_DB, _MOST_DB = 3.0, 9.0
_LONGEST_HOLD_S = 3600.0
_FORGIVEN_S = 3600.0
_AGAIN_S = 60.0


class NotDone(Exception):
    """An order that is not carried out; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of an order. done : what was done; failed : why it was not."""

    order: Order
    done: str = ""
    failed: str = ""


class Hands(Protocol):
    """What can be done; each raises NotDone, SenderCannot or OSError if it cannot.

    Returns what was done, for people.
    """

    async def fail_over(self, order: Order) -> str: ...

    async def resynchronise(self, order: Order) -> str: ...

    async def hold_over(self, order: Order) -> str: ...

    async def recalibrate(self, order: Order) -> str: ...

    async def roll_back(self, order: Order) -> str: ...

    async def reauthenticate(self, order: Order) -> str: ...

    async def contain(self, order: Order) -> str: ...

    async def set_rate(self, share: float) -> str: ...

    async def set_attenuation_db(self, attenuation_db: float) -> str: ...

    async def halt(self) -> str: ...

    async def resume(self) -> str: ...


@dataclass
class _InForce:
    """Something asked of the sender, and for which fault. due_s : when it is taken back."""

    key: tuple[str, str]
    level: float
    due_s: float | None = None


class LinkActions:
    """An :class:`~.fault_actions.Actuator` of one endpoint; used in its event loop alone.

    Parameters
    ----------
    role
        "alice" or "bob".
    allowed
        What may be done without asking anybody.
    hands
        Do it.
    tell
        Called with what became of an order, once it is known.
    hold_s
        What was asked of the sender is taken back so long after its fault is over.
    clock
        Seconds that never go back.
    """

    def __init__(
        self,
        role: str,
        allowed: WatchActions,
        hands: Hands,
        tell: Callable[[Outcome], None],
        hold_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._role = role
        self._allowed = allowed
        self._hands = hands
        self._tell = tell
        self._hold_s = hold_s
        self._clock = clock
        self._done: dict[Action, deque[float]] = {action: deque() for action in Action}
        self._in_force: dict[Action, _InForce] = {}
        self._returned: dict[tuple[str, str], deque[float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------ orders

    def carry_out(self, order: Order) -> None:
        """Begin what is ordered. NotDone: it may not be done, or not so often."""
        action = order.action
        if action is Action.CALL:
            return
        whose = self._whose(order)
        if whose is not None:
            self._tell(Outcome(order, done=f"left to {whose}"))
            return
        if not getattr(self._allowed, action.name.lower()):
            raise NotDone(f"watch.actions.{action.name.lower()} is off")
        self._count(action)
        self._begin(order, self._work(order))

    async def ordered(self, order: Order) -> str:
        """Do what a person ordered, and say what was done, whatever may be done without asking.

        What it asks of the sender stands until :meth:`taken_back`, whatever becomes of faults.
        NotDone, SenderCannot, OSError: it cannot be done.
        """
        return await self._work(order)

    async def taken_back(self, action: Action) -> str:
        """End what stands against a fault, or by a person's order.

        NotDone: nothing of it stands; and as :meth:`ordered`.
        """
        if action is Action.HALT_SENDER:
            return await self._hands.resume()
        in_force = self._in_force.get(action)
        if in_force is None:
            raise NotDone(f"no {action} is in force")
        return await self._take_back(action, in_force)

    def pass_over(self, order: Order, why: str) -> None:
        """Put down an order that is not carried out, as nothing needs it."""
        self._tell(Outcome(order, done=why))

    def _whose(self, order: Order) -> str | None:
        """Who else does it; None: we do."""
        about_party = order.subject in PARTIES
        if order.action in _SENDER:
            return order.subject if about_party and order.subject != self._role else None
        if order.action in _LINK and self._role == "bob":
            # What is wrong with Bob's own way or arm he may know alone.
            mine = order.subject == self._role
            asks = order.action in (Action.FAIL_OVER, Action.RESYNCHRONISE)
            return None if mine and asks else "alice"
        return None

    def _count(self, action: Action) -> None:
        limit = _AT_MOST.get(action)
        if limit is None:
            return
        times, (most, within_s), now = self._done[action], limit, self._clock()
        while times and now - times[0] > within_s:
            times.popleft()
        if len(times) >= most:
            raise NotDone(f"{action} was done {most} times in {within_s:g} s, and does not help")
        times.append(now)

    async def _work(self, order: Order) -> str:
        hands, action = self._hands, order.action
        if action is Action.THROTTLE:
            return await self._throttle(order)
        if action is Action.ATTENUATE:
            return await self._attenuate(order)
        if action is Action.HALT_SENDER:
            return await hands.halt()
        work = {
            Action.FAIL_OVER: hands.fail_over,
            Action.RESYNCHRONISE: hands.resynchronise,
            Action.HOLD_OVER: hands.hold_over,
            Action.RECALIBRATE: hands.recalibrate,
            Action.ROLL_BACK: hands.roll_back,
            Action.REAUTHENTICATE: hands.reauthenticate,
            Action.CONTAIN: hands.contain,
        }[action]
        return await work(order)

    def _begin(self, order: Order, work: Coroutine[Any, Any, str]) -> None:
        async def run() -> None:
            try:
                outcome = Outcome(order, done=await work)
            except Exception as error:
                # Whatever it was, the link goes on, and people hear of it.
                outcome = Outcome(order, failed=str(error) or type(error).__name__)
            self._tell(outcome)

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Until all that was begun has ended."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------- of the sender, undone

    async def _throttle(self, order: Order) -> str:
        before = self._in_force.get(Action.THROTTLE)
        share = max((1.0 if before is None else before.level) * _SHARE, _LEAST_SHARE)
        done = await self._hands.set_rate(share)
        self._in_force[Action.THROTTLE] = _InForce((order.fault, order.subject), share)
        return done

    async def _attenuate(self, order: Order) -> str:
        before = self._in_force.get(Action.ATTENUATE)
        level = min((0.0 if before is None else before.level) + _STEP_DB, _MOST_DB)
        done = await self._hands.set_attenuation_db(level)
        self._in_force[Action.ATTENUATE] = _InForce((order.fault, order.subject), level)
        return done

    def over(self, fault: str, subject: str) -> None:
        """A fault is over: what it asked of the sender is taken back after a while.

        Longer each time that the fault has come back because of that, within an hour.
        """
        key, now = (fault, subject), self._clock()
        for in_force in self._in_force.values():
            if in_force.key == key and in_force.due_s is None:
                times = self._returned.setdefault(key, deque())
                while times and now - times[0] > _FORGIVEN_S:
                    times.popleft()
                in_force.due_s = now + min(self._hold_s * 2.0 ** len(times), _LONGEST_HOLD_S)

    def again(self, fault: str, subject: str) -> None:
        """A fault is there (again): what stands against it stays."""
        for in_force in self._in_force.values():
            if in_force.key == (fault, subject):
                in_force.due_s = None

    def tick(self) -> None:
        """Take back what is due; call it about once a second."""
        now = self._clock()
        for action, in_force in list(self._in_force.items()):
            if in_force.due_s is None or now < in_force.due_s:
                continue
            # Not twice while it is under way; anew if it fails.
            in_force.due_s = now + _AGAIN_S
            fault, subject = in_force.key
            order = Order(action, fault, subject, 0.0, f"docs/runbooks/{fault}.md")
            self._begin(order, self._take_back(action, in_force))

    async def _take_back(self, action: Action, in_force: _InForce) -> str:
        if action is Action.THROTTLE:
            done = await self._hands.set_rate(1.0)
        else:
            done = await self._hands.set_attenuation_db(0.0)
        if self._in_force.get(action) is in_force:
            del self._in_force[action]
        times, now = self._returned.setdefault(in_force.key, deque()), self._clock()
        if not times or now - times[-1] >= self._hold_s:
            times.append(now)
        return done

    def status(self) -> dict[str, Any]:
        """What stands against faults: plain types."""
        return {
            str(action): {
                "fault": in_force.key[0],
                "subject": in_force.key[1],
                "level": in_force.level,
                "taken_back_in_s": None
                if in_force.due_s is None
                else max(in_force.due_s - self._clock(), 0.0),
            }
            for action, in_force in self._in_force.items()
        }
