"""Keys for masters: reserved here, adopted by the other KME, delivered; many requests in one round.

Every step is on disk before the next one begins. A key that did not get to the last one is given
back: by this process as soon as the other KME can be asked, or by the next one that runs on this
store. Until then nobody else gets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog

from .cutting import units_needed
from .group_commit import GroupCommit
from .key_requests import (
    DeliveredKey,
    PeerAnswer,
    Refusal,
    Reservation,
    ReserveRequest,
    Shortage,
)
from .key_store import KeyStore
from .kme_link import PeerAway, PeerRefused
from .store_deliver import Handover
from .store_threads import StoreThreads

__all__ = ["NoKeys", "Reserver"]

_MOST_UNITS = 4096
_ASK_S = 20.0
_RETRY_S = 1.0
_LEFT_OVER_S = 60.0
_BATCH = 1000
_log = structlog.get_logger(__name__)

Ask = Callable[[str, Any, float], Awaitable[Any]]


class NoKeys(Enum):
    """Why a request got nothing, apart from a shortage."""

    PEER_AWAY = "the other KME cannot be asked"
    AGAIN = "what was reserved turned out not to be there at the other KME: try others"
    HUNG_UP = "the SAE is gone"


@dataclass(frozen=True)
class _Wish:
    request: ReserveRequest
    gone: Callable[[], bool]
    handover: Handover | None


Outcome = list[DeliveredKey] | Shortage | NoKeys


class Reserver:
    """The owner's side of reservations.

    Parameters
    ----------
    ask
        Asks the other KME: kind, body, seconds; raises PeerAway, PeerRefused.
    freed
        Called when units have become free again.

    Attributes
    ----------
    returned : int
        Keys that were given back.
    """

    def __init__(
        self, store: KeyStore, threads: StoreThreads, ask: Ask, freed: Callable[[], None]
    ) -> None:
        self.returned = 0
        self._store = store
        self._threads = threads
        self._ask = ask
        self._freed = freed
        # One at a time: commits to disk are what a round costs, and fewer, larger rounds have fewer
        # of them (measured, see bench/kme.py).
        self._rounds: GroupCommit[_Wish, Outcome] = GroupCommit(self._round, _MOST_UNITS)
        self._at_work: set[str] = set()
        self._unwanted: set[str] = set()
        self._wake = asyncio.Event()
        self._look = True

    @property
    def waiting(self) -> int:
        """Requests that wait for a round."""
        return self._rounds.waiting

    @property
    def waiting_peak(self) -> int:
        """The most that waited in the last minute."""
        return max(self._rounds.waiting, self._rounds.waiting_peak)

    @property
    def to_return(self) -> int:
        """Keys that wait to be given back; one more while it was not looked for others."""
        return len(self._unwanted) + self._look

    async def get(
        self,
        request: ReserveRequest,
        gone: Callable[[], bool],
        handover: Handover | None = None,
    ) -> Outcome:
        """Keys for a master, all of them or none.

        Parameters
        ----------
        gone
            Whether nobody waits for them any more.
        handover
            Gets them inside the transaction that delivers them; if it raises, they are not.

        Raises
        ------
        As the store, and the handover.
        """
        units = request.count * units_needed(request.size_bits, self._store.settings.unit_bits)
        wish = _Wish(request, gone, handover)
        if handover is not None:
            # By itself: what it raises is nobody else's.
            (outcome,) = await self._round([wish])
            return outcome
        return await self._rounds.submit(request.master, wish, units)

    async def stop(self) -> None:
        """Finish what was begun."""
        await self._rounds.stop()

    # ------------------------------------------------------------------------------ a round

    async def _round(self, wishes: Sequence[_Wish]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [
            NoKeys.HUNG_UP if wish.gone() else NoKeys.PEER_AWAY for wish in wishes
        ]
        places = [p for p, outcome in enumerate(outcomes) if outcome is NoKeys.PEER_AWAY]
        if not places:
            return outcomes
        requests = [wishes[place].request for place in places]
        reserved = await self._threads.write(self._store.reserve, requests)
        set_aside: dict[int, list[Reservation]] = {}
        for place, found in zip(places, reserved, strict=True):
            if isinstance(found, Shortage):
                outcomes[place] = found
            else:
                set_aside[place] = found
        names = {r.key_id for reservations in set_aside.values() for r in reservations}
        self._at_work |= names
        kept: set[str] = set()
        try:
            kept = await self._hand_over(wishes, set_aside, outcomes)
        finally:
            self._at_work -= names
            self._give_back(names - kept)
        return outcomes

    async def _hand_over(
        self,
        wishes: Sequence[_Wish],
        set_aside: Mapping[int, list[Reservation]],
        outcomes: list[Outcome],
    ) -> set[str]:
        """Adopted there, then delivered here. Names of those that were delivered."""
        if not set_aside:
            return set()
        try:
            adopted = await self._adopted([r for each in set_aside.values() for r in each])
        except (PeerAway, PeerRefused):
            return set()
        ready: list[int] = []
        for place, reservations in set_aside.items():
            if wishes[place].gone():
                outcomes[place] = NoKeys.HUNG_UP
            elif all(adopted.get(r.key_id) is PeerAnswer.ADOPTED for r in reservations):
                ready.append(place)
            else:
                outcomes[place] = NoKeys.AGAIN
        names = [r.key_id for place in ready for r in set_aside[place]]
        if not names:
            return set()
        # Together only where there is none: see get.
        handover = wishes[ready[0]].handover
        found = await self._threads.write(self._store.deliver, names, handover)
        delivered = dict(zip(names, found, strict=True))
        for place in ready:
            outcomes[place] = _all_or_none([delivered[r.key_id] for r in set_aside[place]])
        return {name for name, found in delivered.items() if isinstance(found, DeliveredKey)}

    async def _adopted(self, reservations: Sequence[Reservation]) -> dict[str, PeerAnswer]:
        said = await self._ask("adopt", [r.as_json() for r in reservations], _ASK_S)
        return _answers(reservations, said)

    # ------------------------------------------------------------------------------ giving back

    def connected(self) -> None:
        """The other KME can be asked (again): look for what an earlier process left behind."""
        self._look = True
        self._wake.set()

    def _give_back(self, names: Iterable[str]) -> None:
        self._unwanted.update(names)
        if self._unwanted:
            self._wake.set()

    async def run(self) -> None:
        """Give back what is not wanted; ends by cancellation."""
        while True:
            try:
                async with asyncio.timeout(_RETRY_S if self.to_return else _LEFT_OVER_S):
                    await self._wake.wait()
            except TimeoutError:
                self._look = True
            self._wake.clear()
            try:
                if self._look:
                    await self._find_left_over()
                await self._return()
            except (PeerAway, PeerRefused):
                # Told when it is there again; what is unwanted stays so.
                await asyncio.sleep(_RETRY_S)
            except Exception as error:
                _log.error("keys not given back", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    async def _find_left_over(self) -> None:
        while True:
            found = await self._threads.read(self._store.undelivered, 0.0, _BATCH)
            # A round may have finished while this was being read: begin release leaves those alone.
            self._unwanted |= {r.key_id for r in found} - self._at_work
            await self._return()
            # Those at work count among the first so many; what they hide is found the next time.
            if len(found) < _BATCH or self._at_work:
                break
        self._look = len(found) == _BATCH

    async def _return(self) -> None:
        while names := sorted(self._unwanted - self._at_work)[:_BATCH]:
            open_ones = await self._threads.write(self._store.begin_release, names)
            if open_ones:
                said = await self._ask("withdraw", [r.as_json() for r in open_ones], _ASK_S)
                outcome = await self._threads.write(self._store.release, _answers(open_ones, said))
                back = sum(state is None for state in outcome.values())
                self.returned += back
                _log.info("keys given back", free=back, ended=len(outcome) - back)
                if back:
                    self._freed()
            self._unwanted.difference_update(names)


def _all_or_none(found: Sequence[DeliveredKey | Refusal]) -> Outcome:
    keys = [each for each in found if isinstance(each, DeliveredKey)]
    if len(keys) == len(found):
        return keys
    # Suspended since it was reserved, or damaged: those that were opened beside it are lost to
    # this master, and the record says that it had them.
    for key in keys:
        key.wipe()
    return NoKeys.AGAIN


def _answers(reservations: Sequence[Reservation], said: Any) -> dict[str, PeerAnswer]:
    """What the other KME said, by key_id. PeerRefused: that is no answer."""
    if not isinstance(said, list) or len(said) != len(reservations):
        raise PeerRefused("not an answer to every reservation")
    try:
        return {r.key_id: PeerAnswer(word) for r, word in zip(reservations, said, strict=True)}
    except ValueError:
        raise PeerRefused("an answer that there is not") from None
