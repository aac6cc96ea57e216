"""Requests that wait are done together: one commit costs about the same for one as for hundreds.

Those who wait take turns by name, so that one with a thousand requests delays another's by one
round at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from bellrelay.service.recent_peak import RecentPeak

__all__ = ["GroupCommit"]

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Collects what is submitted while rounds are at work.

    Parameters
    ----------
    work
        Does a round; gives one result for each, in order. What it raises, everybody in it gets.
    most
        Cost of a round, unless a single item costs more.
    in_flight
        Rounds at once.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        most: int,
        in_flight: int = 1,
    ) -> None:
        self._work = work
        self._most = most
        self._in_flight = in_flight
        self._queues: dict[str, deque[tuple[T, int, asyncio.Future[R]]]] = {}
        self._rounds: set[asyncio.Task[None]] = set()
        self._peak = RecentPeak()

    @property
    def waiting(self) -> int:
        """Items that no round has taken yet."""
        return sum(len(queue) for queue in self._queues.values())

    @property
    def waiting_peak(self) -> int:
        """The most that waited in the last minute, before a round took them."""
        return int(self._peak.value)

    async def submit(self, name: str, item: T, cost: int = 1) -> R:
        """Have an item done in one of the next rounds."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(name, deque()).append((item, cost, future))
        self._peak.note(self.waiting)
        self._begin()
        return await future

    async def stop(self) -> None:
        """Wait for the rounds at work; those who wait are cancelled."""
        for queue in self._queues.values():
            for _, _, future in queue:
                future.cancel()
        self._queues.clear()
        if self._rounds:
            await asyncio.wait(self._rounds)

    def _begin(self) -> None:
        while self._queues and len(self._rounds) < self._in_flight:
            taken = self._take()
            if taken:
                task = asyncio.ensure_future(self._round(taken))
                self._rounds.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        self._begin()

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        taken: list[tuple[T, asyncio.Future[R]]] = []
        left = self._most
        while self._queues and left > 0:
            # Whoever had a turn goes to the end.
            name, queue = next(iter(self._queues.items()))
            item, cost, future = queue[0]
            if taken and cost > left:
                break
            queue.popleft()
            del self._queues[name]
            if queue:
                self._queues[name] = queue
            if not future.done():
                taken.append((item, future))
                left -= cost
        return taken

    async def _round(self, taken: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._work([item for item, _ in taken])
        except Exception as error:
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(taken, results, strict=True):
            if not future.done():
                future.set_result(result)
