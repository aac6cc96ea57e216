"""What a KME answers to the other one: reservations adopted or withdrawn, and blocks it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .key_requests import Reservation, ReservationError
from .key_store import KeyStore
from .kme_link import Answer, PeerRefused
from .store_threads import StoreThreads

__all__ = ["KmeAnswers"]

_MOST = 100_000


class KmeAnswers:
    """Of one store."""

    def __init__(self, store: KeyStore, threads: StoreThreads) -> None:
        self._store = store
        self._threads = threads

    @property
    def by_kind(self) -> Mapping[str, Answer]:
        """For the link."""
        return {"adopt": self._adopt, "withdraw": self._withdraw, "blocks": self._blocks}

    async def _adopt(self, body: Any) -> list[str]:
        answers = await self._threads.write(self._store.adopt, _reservations(body))
        return [answer.value for answer in answers]

    async def _withdraw(self, body: Any) -> list[str]:
        answers = await self._threads.write(self._store.withdraw, _reservations(body))
        return [answer.value for answer in answers]

    async def _blocks(self, body: Any) -> list[str]:
        if not isinstance(body, list) or not all(isinstance(each, str) for each in body):
            raise PeerRefused("not a list of blocks")
        return sorted(await self._threads.read(self._store.usable_blocks, body[:_MOST]))


def _reservations(body: Any) -> list[Reservation]:
    if not isinstance(body, list) or len(body) > _MOST:
        raise PeerRefused("not a list of reservations")
    try:
        return [Reservation.from_json(each) for each in body]
    except ReservationError as error:
        raise PeerRefused(str(error)) from None
