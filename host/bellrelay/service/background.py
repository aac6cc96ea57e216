"""What a daemon has under way: tasks that end with it, and end it when one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

__all__ = ["Background"]


class Background:
    """Tasks of one daemon. Make it where the event loop runs.

    Attributes
    ----------
    failed : asyncio.Future[BaseException]
        Done once a task has failed; its result is why.
    """

    def __init__(self) -> None:
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, *work: Coroutine[object, object, None]) -> None:
        """Let these run."""
        for each in work:
            task = asyncio.ensure_future(each)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def end(self) -> None:
        """Cancel all of them, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.failed.done():
            error = task.exception()
            assert error is not None
            self.failed.set_result(error)
