"""Where work waits and is done: queues in order, cores that are shared, rounds that many share.

Waiting times of the known cases (M/M/1, M/D/1, M/M/c, shared cores) are held against their formulas
in `tests/control/capacity/test_stations.py`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from .event_loop import EventLoop
from .watched import Busy, Spread

__all__ = ["Cores", "Process", "Queue", "Rounds"]

Done = Callable[[], None]


def nothing() -> None:
    """Nobody waits for it."""


class Cores:
    """A computer's cores, shared alike by all that runs; nothing runs on more than one of them.

    With n things at work each runs at min(1, cores / n) of a core: what an operating system does,
    with slices of time gone to nothing.

    Attributes
    ----------
    busy : Busy
        Of all cores.
    """

    def __init__(self, loop: EventLoop, cores: float) -> None:
        self.cores = cores
        self.busy = Busy(loop, cores)
        self._loop = loop
        # Work that something would have had done if it had been there from the start: who is done
        # first is who leaves at the least of it.
        self._done = 0.0
        self._heap: list[tuple[float, int, Done]] = []
        self._order = 0
        self._since = 0.0
        self._asked = -1

    def run(self, work: float, done: Done = nothing) -> None:
        """So many seconds of a core; ``done`` is called when it is through."""
        self._catch_up()
        self._order += 1
        heapq.heappush(self._heap, (self._done + work, self._order, done))
        self._next()

    def _speed(self) -> float:
        at_work = len(self._heap)
        return min(1.0, self.cores / at_work) if at_work else 1.0

    def _catch_up(self) -> None:
        now = self._loop.now
        self._done += (now - self._since) * self._speed()
        self._since = now
        if not self._heap:
            self._done = 0.0  # keeps the sum exact for long

    def _next(self) -> None:
        self.busy.now(min(self.cores, len(self._heap)))
        if not self._heap:
            return
        self._asked += 1
        asked = self._asked
        wait = max(0.0, self._heap[0][0] - self._done) / self._speed()
        self._loop.after(wait, lambda: self._leave(asked))

    def _leave(self, asked: int) -> None:
        if asked != self._asked:
            return  # somebody came since
        self._catch_up()
        first, _, done = heapq.heappop(self._heap)
        self._done = max(self._done, first)
        self._next()
        done()


class Queue:
    """Servers that take what waits in its order.

    Attributes
    ----------
    busy : Busy
        Servers at work.
    waited : Spread
        Seconds from arrival to the start of service.
    waiting : int
        In the queue now, those in service aside.
    """

    def __init__(self, loop: EventLoop, servers: int) -> None:
        self.busy = Busy(loop, servers)
        self.waited = Spread()
        self.waiting = 0
        self.longest = 0
        self._loop = loop
        self._free = servers
        self._queue: deque[tuple[float, Callable[[Done], None]]] = deque()
        self._servers = servers

    def take(self, serve: Callable[[Done], None]) -> None:
        """``serve`` is called when its turn is, with what it must call at its end."""
        self._queue.append((self._loop.now, serve))
        self.waiting += 1
        self.longest = max(self.longest, self.waiting)
        self._start()

    def hold(self, seconds: float, done: Done = nothing) -> None:
        """Keep a server for so long."""

        def serve(free: Done) -> None:
            def end() -> None:
                free()
                done()

            self._loop.after(seconds, end)

        self.take(serve)

    def _start(self) -> None:
        while self._free and self._queue:
            arrived, serve = self._queue.popleft()
            self.waiting -= 1
            self._free -= 1
            self.waited.add(self._loop.now - arrived)
            self.busy.now(self._servers - self._free)
            serve(self._end)

    def _end(self) -> None:
        self._free += 1
        self.busy.now(self._servers - self._free)
        self._start()


class Process:
    """A program with so many threads on a computer's cores: what comes waits for a thread first.

    Attributes
    ----------
    queue : Queue
        Of its threads.
    """

    def __init__(self, loop: EventLoop, cores: Cores, threads: int) -> None:
        self.queue = Queue(loop, threads)
        self._cores = cores

    def run(self, work: float, done: Done = nothing) -> None:
        """So many seconds of a core, in one thread."""

        def serve(free: Done) -> None:
            def end() -> None:
                free()
                done()

            self._cores.run(work, end)

        self.queue.take(serve)


class Rounds:
    """Steps that are made durable together: who comes while a round runs shares the next one.

    Parameters
    ----------
    seconds
        Of a round, however many share it.
    """

    def __init__(self, loop: EventLoop, seconds: float) -> None:
        self.busy = Busy(loop, 1.0)
        self._loop = loop
        self._seconds = seconds
        self._waiting: list[Done] = []
        self._runs = False

    def commit(self, done: Done = nothing) -> None:
        """``done`` is called when it is on disk."""
        self._waiting.append(done)
        if not self._runs:
            self._round()

    def _round(self) -> None:
        sharing, self._waiting = self._waiting, []
        self._runs = True
        self.busy.now(1.0)

        def end() -> None:
            self._runs = False
            if self._waiting:
                self._round()
            else:
                self.busy.now(0.0)
            for done in sharing:
                done()

        self._loop.after(self._seconds, end)
