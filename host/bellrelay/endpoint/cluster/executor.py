"""Work of an endpoint on its cluster, as an Executor; what the cluster does not do is done here.

Functions that are given here depend on their arguments alone, so a call may be carried out twice,
by two workers or by a worker and here: the first result counts, and the second is the same.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import distributed
import structlog

from bellrelay.settings.model import split_address

from .sealed_call import NotOurs, open_result, run_sealed, seal_call
from .security import cluster_security
from .settings import ClusterSettings
from .work_key import WorkKey

__all__ = ["ClusterExecutor"]

_ROUND_S = 0.25
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_CONNECT_S = 5.0
_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Call:
    """What is under way. sent : the cluster's name for it, once it has it."""

    name: bytes
    sealed: bytes = field(repr=False)
    work: Callable[[], Any] = field(repr=False)
    result: Future[Any] = field(repr=False)
    overdue_at: float = 0.0
    sent: distributed.Future | None = field(default=None, repr=False)


class ClusterExecutor(Executor):
    """Seals calls and has workers carry them out.

    Connects, and connects again, by itself; calls wait for a cluster that is away until they are
    overdue, and none is lost with a worker, a scheduler or this connection.

    Parameters
    ----------
    settings
        Where the cluster is.
    key
        That the workers have, too.
    home
        Carries out what the cluster does not; the caller shuts it down.

    Raises
    ------
    OSError
        A file for TLS cannot be used.
    """

    def __init__(self, settings: ClusterSettings, key: WorkKey, home: Executor) -> None:
        self._settings = settings
        self._key = key
        self._home = home
        self._security = cluster_security(settings.tls)
        self._client: distributed.Client | None = None
        self._calls: dict[bytes, _Call] = {}
        self._counts: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closing = False
        self._why_away = "not connected yet"
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have it carried out; the result is as if that had been here."""
        result: Future[Any] = Future()
        result.set_running_or_notify_cancel()
        work = partial(fn, *args, **kwargs)
        try:
            name, sealed = seal_call(self._key, fn, args, kwargs)
        except OverflowError:
            # More than one seal can hold.
            self._carry_out_here(_Call(b"", b"", work, result), "too large")
            return result
        overdue_at = time.monotonic() + self._settings.patience_s
        with self._changed:
            if self._closing:
                raise RuntimeError("the executor is shut down")
            self._calls[name] = _Call(name, sealed, work, result, overdue_at)
            self._changed.notify_all()
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the connection; calls that are under way are given up."""
        with self._changed:
            self._closing = True
            calls, self._calls = list(self._calls.values()), {}
            self._changed.notify_all()
        for call in calls:
            _settle(call.result, lambda f: f.set_exception(RuntimeError("shut down")))
        if wait:
            self._thread.join()

    def status(self) -> dict[str, Any]:
        """For people: plain JSON values.

        done : calls by where they were carried out and why.
        """
        with self._changed:
            client, waiting = self._client, len(self._calls)
            away, counts = self._why_away, dict(self._counts)
        workers = None
        if client is not None:
            # As the client has heard, without asking.
            workers = len(client.scheduler_info().get("workers", {}))
        return {
            "scheduler": self._settings.scheduler,
            "connected": client is not None,
            "why_away": "" if client is not None else away,
            "workers": workers,
            "under_way": waiting,
            "done": counts,
        }

    # ------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        pause, next_try = _FIRST_PAUSE_S, 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._unsent(), _ROUND_S)
                if self._closing:
                    break
            if self._client is not None and self._client.status not in ("running", "connecting"):
                self._part("the connection was lost")
            if self._client is None and time.monotonic() >= next_try:
                if self._connect():
                    pause = _FIRST_PAUSE_S
                else:
                    next_try = time.monotonic() + pause
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
            if self._client is not None:
                self._send_all()
            elif self._unsent():
                time.sleep(_ROUND_S / 5)
            self._fetch_overdue()
        self._part("shut down")

    def _unsent(self) -> bool:
        return any(call.sent is None for call in self._calls.values())

    def _connect(self) -> bool:
        host, port = split_address(self._settings.scheduler)
        try:
            client = distributed.Client(
                f"tls://{host}:{port}",
                security=self._security,
                timeout=_CONNECT_S,
                set_as_default=False,
                name=f"bellrelay-{self._key.owner}",
            )
        except (OSError, TimeoutError, ValueError) as error:
            self._why_away = type(error).__name__
            return False
        with self._changed:
            self._client = client
        _log.info("cluster", state="connected", scheduler=self._settings.scheduler)
        return True

    def _part(self, why: str) -> None:
        with self._changed:
            client, self._client = self._client, None
            self._why_away = why
            for call in self._calls.values():
                call.sent = None
        if client is None:
            return
        if why != "shut down":
            _log.warning("cluster", state="away", why=why)
        with contextlib.suppress(Exception):
            client.close(timeout=2.0)

    def _send_all(self) -> None:
        client = self._client
        assert client is not None
        with self._changed:
            unsent = [call for call in self._calls.values() if call.sent is None]
        for call in unsent:
            try:
                sent = client.submit(
                    run_sealed,
                    call.name,
                    call.sealed,
                    key=f"bellrelay-{call.name.hex()}",
                    pure=False,
                    retries=self._settings.retries,
                )
            except Exception as error:
                self._part(type(error).__name__)
                return
            call.sent = sent
            sent.add_done_callback(lambda done, call=call: self._done(call, done))

    def _done(self, call: _Call, done: distributed.Future) -> None:
        """In a thread of the client's."""
        if done.status == "cancelled":
            # The scheduler is lost, and the work with it: to be sent again.
            with self._changed:
                if call.sent is done:
                    call.sent = None
                    self._counts["sent again"] += 1
                    self._changed.notify_all()
            return
        if done.status == "error":
            error = done.exception(timeout=_CONNECT_S)
            _log.warning("cluster", state="failed", why=type(error).__name__)
            refused = isinstance(error, NotOurs)
            self._carry_out_here(call, "refused by a worker" if refused else "workers were lost")
            return
        try:
            sealed = done.result(timeout=self._settings.patience_s)
        except Exception as error:
            # The worker that held the result is lost meanwhile.
            _log.warning("cluster", state="failed", why=type(error).__name__)
            self._carry_out_here(call, "workers were lost")
            return
        try:
            value = open_result(self._key, call.name, sealed)
        except NotOurs:
            _log.error("cluster", state="a result that is not ours")
            self._carry_out_here(call, "result was not ours")
            return
        except Exception as error:
            raised = error
            self._end(call, "on the cluster", lambda f: f.set_exception(raised))
            return
        self._end(call, "on the cluster", lambda f: f.set_result(value))

    def _fetch_overdue(self) -> None:
        now = time.monotonic()
        with self._changed:
            overdue = [call for call in self._calls.values() if call.overdue_at <= now]
        for call in overdue:
            self._carry_out_here(call, "overdue" if call.sent is not None else "cluster was away")

    def _carry_out_here(self, call: _Call, why: str) -> None:
        with self._changed:
            known = self._calls.pop(call.name, None)
            if known is None and call.name:
                return  # done meanwhile
            self._counts[f"here: {why}"] += 1
        if call.sent is not None:
            with contextlib.suppress(Exception):
                call.sent.cancel()
        try:
            done = self._home.submit(call.work)
        except RuntimeError as error:
            raised = error
            _settle(call.result, lambda f: f.set_exception(raised))
            return
        done.add_done_callback(lambda home: _pass_on(home, call.result))

    def _end(self, call: _Call, where: str, settle: Callable[[Future[Any]], None]) -> None:
        with self._changed:
            if self._calls.pop(call.name, None) is None:
                return
            self._counts[where] += 1
        _settle(call.result, settle)
        with contextlib.suppress(Exception):
            assert call.sent is not None
            call.sent.release()


def _pass_on(home: Future[Any], result: Future[Any]) -> None:
    if home.cancelled():
        _settle(result, lambda f: f.set_exception(RuntimeError("shut down")))
    elif (error := home.exception()) is not None:
        _settle(result, lambda f: f.set_exception(error))
    else:
        _settle(result, lambda f: f.set_result(home.result()))


def _settle(result: Future[Any], settle: Callable[[Future[Any]], None]) -> None:
    """Set it, unless the one who waits has given up."""
    with contextlib.suppress(Exception):
        settle(result)
