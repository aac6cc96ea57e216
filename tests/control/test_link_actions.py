"""Who acts, how often, and what is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bellrelay.control.fault_actions import Action, Order
from bellrelay.control.link_actions import LinkActions, NotDone, Outcome
from bellrelay.endpoint.config import WatchActions
from bellrelay.endpoint.sender_plugin import SenderCannot


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class NotedHands:
    """Notes what it is asked for, and fails at what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.failing: set[str] = set()

    async def _note(self, what: str, how: object) -> str:
        self.asked.append((what, how))
        if what in self.failing:
            raise SenderCannot(f"no {what}")
        return f"{what} {how}"

    async def fail_over(self, order: Order) -> str:
        return await self._note("fail-over", order.fault)

    async def resynchronise(self, order: Order) -> str:
        return await self._note("re-sync", order.subject)

    async def hold_over(self, order: Order) -> str:
        return await self._note("holdover", order.subject)

    async def recalibrate(self, order: Order) -> str:
        return await self._note("recalibrate", order.fault)

    async def roll_back(self, order: Order) -> str:
        return await self._note("roll-back", order.fault)

    async def reauthenticate(self, order: Order) -> str:
        return await self._note("re-authenticate", order.fault)

    async def contain(self, order: Order) -> str:
        return await self._note("contain", order.fault)

    async def set_rate(self, share: float) -> str:
        return await self._note("rate", share)

    async def set_attenuation_db(self, attenuation_db: float) -> str:
        return await self._note("attenuation", attenuation_db)

    async def halt(self) -> str:
        return await self._note("halt", "")

    async def resume(self) -> str:
        return await self._note("resume", "")


class Desk:
    """One endpoint's actions, and what became of them."""

    def __init__(self, role: str = "alice", hold_s: float = 30.0, **allowed: bool) -> None:
        self.hands, self.clock = NotedHands(), Clock()
        self.outcomes: list[Outcome] = []
        self.actions = LinkActions(
            role, WatchActions(**allowed), self.hands, self.outcomes.append, hold_s, self.clock
        )

    def order(self, action: Action, fault: str = "saturation", subject: str = "link") -> None:
        self.actions.carry_out(Order(action, fault, subject, 1.0, f"docs/runbooks/{fault}.md"))


def run(scene: Callable[[], object]) -> None:
    async def main() -> None:
        result = scene()
        if asyncio.iscoroutine(result):
            await result

    asyncio.run(main())


@pytest.mark.parametrize(
    ("role", "action", "subject", "done"),
    [
        ("alice", Action.FAIL_OVER, "link", True),
        ("bob", Action.FAIL_OVER, "link", False),
        ("bob", Action.FAIL_OVER, "bob", True),
        ("alice", Action.FAIL_OVER, "bob", True),
        ("alice", Action.ATTENUATE, "alice", True),
        ("alice", Action.ATTENUATE, "bob", False),
        ("bob", Action.ATTENUATE, "bob", True),
        ("alice", Action.THROTTLE, "link", True),
        ("bob", Action.THROTTLE, "link", True),
        ("bob", Action.HALT_SENDER, "alice", False),
        ("bob", Action.HALT_SENDER, "bob", True),
        ("bob", Action.REAUTHENTICATE, "link", False),
        ("bob", Action.RECALIBRATE, "bob", False),
        ("alice", Action.CONTAIN, "link", True),
        ("bob", Action.CONTAIN, "link", True),
    ],
)
def test_who_acts(role: str, action: Action, subject: str, done: bool) -> None:
    desk = Desk(role)

    async def scene() -> None:
        desk.order(action, subject=subject)
        await desk.actions.settled()

    run(scene)
    assert bool(desk.hands.asked) is done
    (outcome,) = desk.outcomes
    assert not outcome.failed
    assert outcome.done.startswith("left to") is not done


def test_every_action_has_its_switch() -> None:
    names = {a.name.lower() for a in Action if a is not Action.CALL}
    assert names == set(WatchActions.model_fields)
    for action in Action:
        if action is Action.CALL:
            continue
        desk = Desk(**{action.name.lower(): False})
        with pytest.raises(NotDone, match=f"watch.actions.{action.name.lower()} is off"):
            desk.order(action)
        assert desk.hands.asked == []


def test_what_does_not_help_is_not_done_for_ever() -> None:
    desk = Desk()

    async def scene() -> None:
        for _ in range(6):
            desk.order(Action.FAIL_OVER)
        with pytest.raises(NotDone, match="does not help"):
            desk.order(Action.FAIL_OVER)
        desk.clock.now_s = 3601.0
        desk.order(Action.FAIL_OVER)
        await desk.actions.settled()

    run(scene)
    assert len(desk.hands.asked) == 7


def test_throttle_and_attenuation_grow_and_are_taken_back() -> None:
    desk = Desk()
    hands, clock = desk.hands, desk.clock

    async def scene() -> None:
        for action in (Action.THROTTLE, Action.THROTTLE, Action.ATTENUATE, Action.ATTENUATE):
            desk.order(action)
            await desk.actions.settled()
        assert hands.asked == [
            ("rate", 0.5), ("rate", 0.25), ("attenuation", 3.0), ("attenuation", 6.0),
        ]  # fmt: skip
        hands.asked.clear()
        # Another fault's end takes nothing back.
        desk.actions.over("bright-arm", "alice")
        clock.now_s = 1000.0
        desk.actions.tick()
        await desk.actions.settled()
        assert hands.asked == []
        desk.actions.over("saturation", "link")
        clock.now_s += 29.0
        desk.actions.tick()
        # Back before it is due: it stands.
        desk.actions.again("saturation", "link")
        clock.now_s += 100.0
        desk.actions.tick()
        await desk.actions.settled()
        assert hands.asked == []
        desk.actions.over("saturation", "link")
        clock.now_s += 31.0
        desk.actions.tick()
        await desk.actions.settled()
        assert sorted(hands.asked) == [("attenuation", 0.0), ("rate", 1.0)]
        assert desk.actions.status() == {}

    run(scene)


@pytest.mark.parametrize("hold_s", [30.0, 5.0])
def test_a_fault_that_comes_back_is_held_longer(hold_s: float) -> None:
    desk = Desk(hold_s=hold_s)

    async def one_turn() -> float:
        desk.order(Action.THROTTLE)
        await desk.actions.settled()
        desk.actions.over("saturation", "link")
        begin = desk.clock.now_s
        while desk.actions.status():
            desk.clock.now_s += 1.0
            desk.actions.tick()
            await desk.actions.settled()
        return desk.clock.now_s - begin

    async def scene() -> None:
        assert [await one_turn() for _ in range(3)] == [hold_s, 2.0 * hold_s, 4.0 * hold_s]

    run(scene)


def test_what_could_not_be_taken_back_is_tried_again() -> None:
    desk = Desk()

    async def scene() -> None:
        desk.order(Action.ATTENUATE, "bright-arm", "alice")
        await desk.actions.settled()
        desk.actions.over("bright-arm", "alice")
        desk.hands.failing.add("attenuation")
        desk.clock.now_s = 31.0
        desk.actions.tick()
        await desk.actions.settled()
        assert desk.outcomes[-1].failed == "no attenuation"
        assert "attenuate" in desk.actions.status()
        desk.hands.failing.clear()
        desk.clock.now_s = 92.0
        desk.actions.tick()
        await desk.actions.settled()
        assert desk.actions.status() == {}
        assert desk.hands.asked[-1] == ("attenuation", 0.0)

    run(scene)


def test_a_failure_is_an_outcome() -> None:
    desk = Desk()
    desk.hands.failing.add("fail-over")

    async def scene() -> None:
        desk.order(Action.FAIL_OVER)
        await desk.actions.settled()

    run(scene)
    assert [o.failed for o in desk.outcomes] == ["no fail-over"]
