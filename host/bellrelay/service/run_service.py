"""A daemon's life: start, say so, tell systemd that it lives, end when asked or when it failed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from .notify import notify, watchdog_interval_s

__all__ = ["Service", "run_service"]

_STATUS_S = 5.0


class Service(Protocol):
    """What is run.

    Attributes
    ----------
    failed : asyncio.Future[BaseException]
        Once it has started; done when the service cannot go on, and its result is why.
    """

    failed: asyncio.Future[BaseException]

    async def start(self) -> None:
        """Open everything; nothing is left open if it raises."""

    async def stop(self) -> None:
        """Give everything back."""

    def alive(self) -> bool:
        """Whether its parts do their rounds: what the watchdog is told."""

    def status_line(self) -> str:
        """What `systemctl status` shows."""


S = TypeVar("S", bound=Service)


async def run_service(service: S, on_started: Callable[[S], None] = lambda _service: None) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    As the service's ``start``, and whatever ended it.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    # One that is asked to end while it starts, starts first: half of it is open.
    await service.start()
    waiter = asyncio.ensure_future(asked.wait())
    try:
        on_started(service)
        notify("READY=1")
        pause = min(watchdog_interval_s() or _STATUS_S, _STATUS_S)
        told = -_STATUS_S
        while not (asked.is_set() or service.failed.done()):
            if service.alive():
                notify("WATCHDOG=1")
            if time.monotonic() - told >= _STATUS_S:
                told = time.monotonic()
                notify(f"STATUS={service.status_line()}")
            ends: set[asyncio.Future[Any]] = {waiter, service.failed}
            await asyncio.wait(ends, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
    finally:
        waiter.cancel()
        await service.stop()
    if service.failed.done():
        raise service.failed.result()
