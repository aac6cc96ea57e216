"""Which relay light is directed to: Alice's decision, from what both endpoints hear of the relays.

Relays stand in an order that both have agreed upon, the primary first. The active one is left when
it is lost, when somebody orders it, or for a planned move. Who is gone to is the first that is
usable; one that was left for a cause comes after all others until its time is up. A relay before
the active one is gone back to when it has been usable for `return_after_s` without a break.

No flapping: whoever is lost again within eight times that time after it was gone to has to wait
twice as long the next time, up to 64 times. A relay that an operator has moved to is not left for
one before it: only for a loss, an order, or another planned move.

Relays that are shared serve this pair in turn: where a timetable says whose turn it is, it takes
the place of the order. Who was left for a cause misses turns until it would be gone back to.

Nothing here depends on what was announced but that something was: no choice of slots or blocks by
their contents. Pure: times in, decisions out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Decision", "RelayChoice", "Sight"]

_STEADY = 8
_LONGEST = 64


@dataclass(frozen=True)
class Sight:
    """What is seen of a relay now. why : it is not usable, for people."""

    usable: bool
    why: str = ""


@dataclass(frozen=True)
class Decision:
    """To go to this relay.

    planned : an operator's wish. blames : the one that is left. turn : it is its turn, and nothing
    more has happened.
    """

    relay: int
    why: str
    planned: bool = False
    blames: bool = False
    turn: bool = False


@dataclass
class _Relay:
    """well_since : usable without a break; None: not now. gone_to : when it was, last. until : no
    return before. waits : how many times `return_after_s` the next wait is.
    """

    well_since: float | None = None
    gone_to: float | None = None
    until: float = 0.0
    waits: int = 1

    @property
    def blamed(self) -> bool:
        """Whether it was left for a cause, and not gone back to since its time was up."""
        return self.until > 0.0 and (self.gone_to is None or self.gone_to < self.until)


class RelayChoice:
    """The state of the choice. Times are in seconds of any clock that does not go back.

    Parameters
    ----------
    names
        Of the relays, in their order.
    return_after_s
        A relay before the active one must have been usable for so long.
    active
        Number of the one that light is directed to.
    pinned
        Whether an operator has moved there.
    """

    def __init__(
        self,
        names: Sequence[str],
        return_after_s: float,
        active: int = 0,
        pinned: bool = False,
    ) -> None:
        self.active = active
        self.pinned = pinned
        self._names = tuple(names)
        self._return_after_s = return_after_s
        self._relays = [_Relay() for _ in names]
        self._sights: Sequence[Sight] = [Sight(False, "not looked at yet") for _ in names]

    def see(self, now: float, sights: Sequence[Sight]) -> None:
        """What is seen of every relay now."""
        self._sights = tuple(sights)
        for relay, sight in zip(self._relays, sights, strict=True):
            if not sight.usable:
                relay.well_since = None
            elif relay.well_since is None:
                relay.well_since = now

    def decide(self, now: float, turn: int | None = None) -> Decision | None:
        """Where to go from the active relay by what is seen; None: nowhere.

        turn : number of the relay whose turn it is by a timetable; None: relays take no turns, or
        it is nobody's.
        """
        sight = self._sights[self.active]
        if not sight.usable:
            return self._leave(now, f"{self._names[self.active]}: {sight.why}")
        if self.pinned:
            return None
        if turn is not None:
            return self._take_turn(now, turn)
        for number in range(self.active):
            if self._well_again(now, number):
                return Decision(number, f"{self._names[number]} is well again")
        return None

    def _take_turn(self, now: float, number: int) -> Decision | None:
        if number == self.active or not self._sights[number].usable:
            return None
        blamed = self._relays[number].blamed
        if blamed and not self._well_again(now, number):
            return None
        why = "is well again, and it is its turn" if blamed else "it is its turn"
        return Decision(number, f"{self._names[number]}: {why}", turn=not blamed)

    def _well_again(self, now: float, number: int) -> bool:
        relay = self._relays[number]
        if relay.well_since is None or now < relay.until:
            return False
        return now - relay.well_since >= self._return_after_s * relay.waits

    def leave(self, now: float, why: str) -> Decision | None:
        """Somebody orders that the active relay is left; None: there is no other."""
        return self._leave(now, why)

    def _leave(self, now: float, why: str) -> Decision | None:
        others = [
            number
            for number, sight in enumerate(self._sights)
            if sight.usable and number != self.active
        ]
        if not others:
            return None
        # False comes first: those that were left for a cause and whose time is not up come last.
        best = min(others, key=lambda number: (now < self._relays[number].until, number))
        return Decision(best, why, blames=True)

    def plan(self, relay: int, why: str) -> Decision:
        """An operator's wish.

        Raises
        ------
        ValueError
            That relay is not usable; the message says why.
        """
        sight = self._sights[relay]
        if not sight.usable:
            raise ValueError(f"{self._names[relay]}: {sight.why}")
        return Decision(relay, why, planned=True)

    def went(self, now: float, decision: Decision) -> None:
        """Light is directed there from now on."""
        before = self._relays[self.active]
        if decision.blames:
            went = before.gone_to
            soon = went is not None and now - went < _STEADY * self._return_after_s
            before.waits = min(2 * before.waits, _LONGEST) if soon else 1
            before.until = now + before.waits * self._return_after_s
        if not decision.turn:
            self._relays[decision.relay].gone_to = now
        self.active = decision.relay
        self.pinned = decision.planned
