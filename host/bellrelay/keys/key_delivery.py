"""The three methods of ETSI GS QKD 014 on a store: who may, what there is, and what is answered.

An SAE reaches the keys of its own pairs and no others: what it may not ask for, what does not exist
and what is another's have the same answer wherever the standard leaves a choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .cutting import units_needed
from .etsi014_errors import (
    EXTENSION_NOT_MET,
    KEYS_NOT_FOUND,
    BadRequest,
    NotAuthorized,
    NotAvailable,
)
from .etsi014_replies import StatusOfPair
from .etsi014_requests import KeyIds, KeyRequest, Limits
from .group_commit import GroupCommit
from .key_requests import (
    DeliveredKey,
    FetchRefused,
    FetchRequest,
    Refusal,
    ReserveRequest,
    Shortage,
)
from .key_store import KeyStore
from .pairs import Pair
from .reserver import NoKeys, Reserver
from .store_threads import StoreThreads

__all__ = ["KeyDelivery"]

_ATTEMPTS = 4
_MOST_FETCHED = 2048
_NOT_WITH = "not authorized to share keys with this SAE"
_NOT_NAMED = "the SAE was not named in the Get key of one or more keys specified"
_SHORT = "not enough keys"
_AWAY = "the other KME cannot be reached"
_NOT_THERE = "what was reserved is not there at the other KME"


class KeyDelivery:
    """What is behind the server; see :class:`.kme_server.KeyService`.

    Parameters
    ----------
    max_key_count
        What Status says of it; no more are counted.

    Attributes
    ----------
    bits_delivered : dict[str, int]
        By pair, to masters at this KME since the start.
    """

    def __init__(
        self,
        store: KeyStore,
        threads: StoreThreads,
        reserver: Reserver,
        limits: Limits,
        max_key_count: int,
    ) -> None:
        self.limits = limits
        self._store = store
        self._threads = threads
        self._reserver = reserver
        self._max_key_count = max_key_count
        self._fetches: GroupCommit[FetchRequest, list[DeliveredKey] | FetchRefused] = GroupCommit(
            self._fetch, _MOST_FETCHED
        )
        self._counts: GroupCommit[str, int] = GroupCommit(self._count, 64)
        self._more = asyncio.Event()
        self.bits_delivered = dict.fromkeys((pair.name for pair in store.pairs), 0)

    def more(self) -> None:
        """Units have become free, or the other KME can be asked: who waits may try again."""
        self._more.set()
        self._more = asyncio.Event()

    async def stop(self) -> None:
        """Finish what was begun."""
        await self._fetches.stop()
        await self._counts.stop()

    def knows(self, sae_id: str) -> bool:
        """Whether this SAE belongs to this KME."""
        return self._store.pairs.side_of(sae_id) == self._store.side

    def _pair(self, caller: str, other: str) -> Pair:
        pair = self._store.pairs.between(caller, other)
        if pair is None:
            raise NotAuthorized(_NOT_WITH)
        return pair

    # ------------------------------------------------------------------------------ status

    async def status(self, caller: str, slave: str) -> StatusOfPair:
        """Get status."""
        store = self._store
        pair = self._pair(caller, slave)
        units = await self._counts.submit(caller, pair.name)
        each = units_needed(self.limits.key_size, store.settings.unit_bits)
        return StatusOfPair(
            store.kme_id,
            store.pairs.kme_ids[1 - store.side],
            caller,
            slave,
            min(units // each, self._max_key_count),
            self._max_key_count,
        )

    async def _count(self, pairs: Sequence[str]) -> Sequence[int]:
        found = {
            pair: await self._threads.read(self._store.free_units, pair) for pair in set(pairs)
        }
        return [found[pair] for pair in pairs]

    # ------------------------------------------------------------------------------ get key

    async def get_keys(
        self, caller: str, slave: str, request: KeyRequest, gone: Callable[[], bool]
    ) -> Sequence[DeliveredKey]:
        """Get key."""
        wish = self._wish(caller, slave, request)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait_s
        attempts = 0
        while True:
            more = self._more
            found = await self._reserver.get(wish, gone)
            if isinstance(found, list):
                self.bits_delivered[wish.pair] += len(found) * wish.size_bits
                return found
            if found is NoKeys.AGAIN:
                attempts += 1
                if attempts < _ATTEMPTS:
                    continue
            left = deadline - loop.time()
            if left <= 0 or found is NoKeys.HUNG_UP:
                raise self._none(found, request)
            try:
                async with asyncio.timeout(left):
                    await more.wait()
            except TimeoutError:
                raise self._none(found, request) from None

    def _wish(self, caller: str, slave: str, request: KeyRequest) -> ReserveRequest:
        pair = self._pair(caller, slave)
        slaves = (slave, *request.additional_slaves)
        if len(set(slaves)) < len(slaves) or caller in slaves:
            raise BadRequest("additional_slave_SAE_IDs shall name other SAEs, each once")
        if not all(self._store.pairs.may_reach(caller, each) for each in slaves):
            raise NotAuthorized(_NOT_WITH)
        return ReserveRequest(pair.name, caller, slaves, request.number, request.size)

    def _none(self, found: Shortage | NoKeys, request: KeyRequest) -> NotAvailable | BadRequest:
        if request.wait_is_mandatory:
            return BadRequest(EXTENSION_NOT_MET)
        if not isinstance(found, Shortage):
            text = _NOT_THERE if found is NoKeys.AGAIN else _AWAY
            return NotAvailable(text, retry_after_s=2)
        each = units_needed(request.size, self._store.settings.unit_bits)
        return NotAvailable(_SHORT, [{"available_keys": found.available // each}], retry_after_s=2)

    # ------------------------------------------------------------------------------ by key IDs

    async def get_keys_by_id(
        self, caller: str, master: str, request: KeyIds
    ) -> Sequence[DeliveredKey]:
        """Get key with key IDs."""
        if not self._store.pairs.may_reach(master, caller):
            raise NotAuthorized(_NOT_WITH)
        wish = FetchRequest(caller, master, request.key_ids)
        found = await self._fetches.submit(caller, wish, len(request.key_ids))
        if not isinstance(found, FetchRefused):
            return found
        if Refusal.NOT_NAMED in found.refusals.values():
            raise NotAuthorized(_NOT_NAMED)
        raise BadRequest(KEYS_NOT_FOUND)

    async def _fetch(
        self, requests: Sequence[FetchRequest]
    ) -> Sequence[list[DeliveredKey] | FetchRefused]:
        return await self._threads.write(self._store.fetch, requests)
