"""What a person orders of a running endpoint: done whatever is allowed, put down, taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from test_link_actions import Desk

from bellrelay.control.fault_actions import Action
from bellrelay.control.operator_orders import BY_ORDER, OPERATOR, OperatorOrders
from bellrelay.endpoint.control_socket import ControlSocket, Refused, ask

NOTHING = {action.name.lower(): False for action in Action if action is not Action.CALL}
BY_ROOT = {"who": "root", "why": "a drill"}


class Orders:
    """Of a desk at which nothing may be done without asking."""

    def __init__(self) -> None:
        self.desk = Desk("bob", **NOTHING)
        self.learnt: list[str] = []
        self.orders = OperatorOrders(
            lambda: self.desk.actions,
            self._learn,
            self.desk.outcomes.append,
            lambda: "charles",
            lambda: 7.0,
        ).by_name()

    async def _learn(self, relay_id: str) -> str:
        if relay_id != "charles":
            raise LookupError(f"no relay {relay_id}")
        self.learnt.append(relay_id)
        return "learns"

    def give(self, order: str, **values: Any) -> Any:
        async def scene() -> Any:
            return await self.orders[order](values)

        return asyncio.run(scene())


@pytest.mark.parametrize("action", BY_ORDER)
def test_an_order_is_done_though_nothing_may_be_done_without_asking(action: Action) -> None:
    orders = Orders()
    assert orders.give("act", action=str(action), relay="charles", **BY_ROOT)["done"]
    (outcome,) = orders.desk.outcomes
    assert (outcome.order.action, outcome.order.fault, outcome.order.subject) == (
        action, OPERATOR, "root",
    )  # fmt: skip
    assert outcome.order.relay == "charles"
    assert outcome.order.why == "a drill (operator root)"
    assert not outcome.failed


def test_what_is_ordered_of_a_sender_stands_until_it_is_taken_back() -> None:
    orders = Orders()
    actions = orders.desk.actions
    orders.give("act", action="throttle", **BY_ROOT)
    orders.give("act", action="throttle", **BY_ROOT)
    assert actions.status()["throttle"]["level"] == 0.25
    # Nothing that a fault does ends it.
    actions.over("saturation", "link")
    orders.desk.clock.now_s += 1e6
    actions.tick()
    assert actions.status()["throttle"]["taken_back_in_s"] is None
    orders.give("take-back", action="throttle", **BY_ROOT)
    assert orders.desk.hands.asked[-1] == ("rate", 1.0)
    assert actions.status() == {}
    with pytest.raises(Refused, match="no throttle is in force"):
        orders.give("take-back", action="throttle", **BY_ROOT)
    orders.give("take-back", action="halt-sender", **BY_ROOT)
    assert orders.desk.hands.asked[-1] == ("resume", "")


def test_what_fails_is_told_and_put_down() -> None:
    orders = Orders()
    orders.desk.hands.failing.add("rate")
    with pytest.raises(Refused, match="no rate"):
        orders.give("act", action="throttle", **BY_ROOT)
    (outcome,) = orders.desk.outcomes
    assert outcome.failed == "no rate"
    assert orders.desk.actions.status() == {}


@pytest.mark.parametrize(
    ("order", "values", "said"),
    [
        ("act", {"action": "call", **BY_ROOT}, "allowed: re-sync, throttle"),
        ("act", {"action": "recalibrate", **BY_ROOT}, "allowed: re-sync, throttle"),
        ("take-back", {"action": "contain", **BY_ROOT}, "allowed: throttle"),
        ("act", {"action": "throttle", "who": "root"}, "needs a reason"),
        ("act", {"action": "throttle", "why": "x"}, "who gives it"),
        ("act", {}, "allowed: re-sync"),
        ("act", {"action": "contain", **BY_ROOT}, "of which relay"),
        ("act", {"action": "fail-over", **BY_ROOT}, "of which relay"),
    ],
)
def test_what_is_no_order_is_refused(order: str, values: dict[str, Any], said: str) -> None:
    orders = Orders()
    with pytest.raises(ValueError, match=said):
        orders.give(order, **values)
    assert not orders.desk.outcomes
    assert not orders.desk.hands.asked


def test_a_baseline_is_learnt_anew_of_the_relay_that_light_goes_to() -> None:
    orders = Orders()
    assert orders.give("learn") == {"done": "learns"}
    assert orders.learnt == ["charles"]
    with pytest.raises(Refused, match="no relay diana"):
        orders.give("learn", relay="diana")


def test_orders_come_by_the_control_socket(tmp_path: Path) -> None:
    orders = Orders()
    path = tmp_path / "control"

    async def scene() -> None:
        control = ControlSocket(path, orders.orders)
        await control.start()
        try:
            done = await asyncio.to_thread(ask, path, "act", 10.0, action="re-sync", **BY_ROOT)
            assert done == {"done": "re-sync root"}
            with pytest.raises(Refused, match="allowed: throttle"):
                await asyncio.to_thread(ask, path, "take-back", 10.0, action="x", **BY_ROOT)
        finally:
            await control.stop()

    asyncio.run(scene())
