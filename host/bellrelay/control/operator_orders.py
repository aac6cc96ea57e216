"""What an operator may order of a running endpoint, and how it is checked and put down.

The same actions as a fault's steps, done by the same hands; `watch.actions` holds for what is done
without asking, and not for these. What was asked of a sender stays until it is taken back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bellrelay.endpoint.control_socket import Refused

from .fault_actions import Action, Order
from .link_actions import LinkActions, Outcome

__all__ = ["BY_ORDER", "OF_A_RELAY", "OPERATOR", "RETURNED", "OperatorOrders"]

OPERATOR = "operator"
"""Instead of a fault, in an order that a person gave."""
BY_ORDER = (
    Action.RESYNCHRONISE,
    Action.THROTTLE,
    Action.ATTENUATE,
    Action.FAIL_OVER,
    Action.REAUTHENTICATE,
    Action.HALT_SENDER,
    Action.CONTAIN,
)
"""What can be ordered. Calibrations and versions of parameters have commands of their own."""
OF_A_RELAY = (Action.FAIL_OVER, Action.CONTAIN)
"""What must name the relay: light may have gone to another before the order comes."""
RETURNED = (Action.THROTTLE, Action.ATTENUATE, Action.HALT_SENDER)
"""What stands until it is taken back."""

_LONGEST = 200


class OperatorOrders:
    """The orders `act`, `take-back` and `learn` of an endpoint's control socket.

    Parameters
    ----------
    actions
        Carries them out; called when an order comes, as there may be none before.
    learn
        Learns a baseline anew: of which relay, and by whose will. LookupError: it cannot.
    put_down
        Told what became of each order.
    active
        Relay that light is directed to.
    now_s
        Its link time.
    """

    def __init__(
        self,
        actions: Callable[[], LinkActions | None],
        learn: Callable[[str], Awaitable[str]],
        put_down: Callable[[Outcome], None],
        active: Callable[[], str],
        now_s: Callable[[], float],
    ) -> None:
        self._actions = actions
        self._learn = learn
        self._put_down = put_down
        self._active = active
        self._now_s = now_s

    def by_name(self) -> dict[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]]:
        """As a control socket takes them."""
        return {"act": self._act, "take-back": self._take_back, "learn": self._learn_anew}

    async def _act(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        order = self._order(wanted, BY_ORDER)
        actions = self._there()
        return await self._done(order, lambda: actions.ordered(order))

    async def _take_back(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        order = self._order(wanted, RETURNED)
        actions = self._there()
        return await self._done(order, lambda: actions.taken_back(order.action))

    async def _learn_anew(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        relay_id = str(wanted.get("relay") or self._active())
        try:
            return {"done": await self._learn(relay_id)}
        except (LookupError, OSError) as error:
            raise Refused(str(error.args[0] if error.args else error)) from None

    async def _done(self, order: Order, work: Callable[[], Awaitable[str]]) -> Mapping[str, Any]:
        try:
            done = await work()
        except Exception as error:
            # Whatever it was, the link goes on; who asked and the log hear of it.
            why = str(error) or type(error).__name__
            self._put_down(Outcome(order, failed=why))
            raise Refused(why) from None
        self._put_down(Outcome(order, done=done))
        return {"done": done}

    def _there(self) -> LinkActions:
        actions = self._actions()
        if actions is None:
            raise Refused("the watch has not begun yet")
        return actions

    def _order(self, wanted: Mapping[str, Any], known: tuple[Action, ...]) -> Order:
        """ValueError: it names nothing that can be done, or nobody and no reason."""
        try:
            action = next(a for a in known if str(a) == wanted.get("action"))
        except StopIteration:
            raise ValueError(
                f"action {wanted.get('action')!r}; allowed: {', '.join(known)}"
            ) from None
        relay = _short(wanted.get("relay"))
        if action in OF_A_RELAY and not relay:
            raise ValueError(f"{action}: of which relay?")
        who, why = (_short(wanted.get(key)) for key in ("who", "why"))
        if not why or not who:
            raise ValueError("an order needs a reason, and who gives it")
        return Order(action, OPERATOR, who, self._now_s(), "", relay or self._active(), why)


def _short(value: object) -> str:
    """One line, for logs."""
    return " ".join(str(value or "").split())[:_LONGEST]
