"""The live view of a relay, a companion of its daemon: `bellrelay relay --view`.

It runs in a thread with an event loop of its own, so that who looks at it does not keep the
daemon's consumers waiting. Without `view.token_file` it is read-only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from bellrelay.relay.board import BoardSession
from bellrelay.relay.config import RelayConfig, ViewSettings
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.settings.model import split_address

from .view_audit import ViewAudit
from .view_control import SettingsControl, ViewControl
from .view_feed import ViewFeed
from .view_links import EndpointAsker
from .view_records import CalibrationPictures, CalibrationRecords
from .view_server import ViewServer
from .view_tokens import read_tokens

__all__ = ["LiveView"]

_START_S = 10.0


class LiveView:
    """See :class:`bellrelay.relay.companion.Companion`.

    Parameters
    ----------
    config
        Of the relay.
    settings
        Of the view.
    control
        Of the relay's settings, if they may be changed.
    records
        Of calibrations, if there are any.

    Attributes
    ----------
    port : int or None
        Where it listens, once started.

    Raises
    ------
    ConfigError, OSError
        The token or a certificate cannot be used.
    """

    name = "view"
    pages: Mapping[str, Callable[[], Mapping[str, Any]]] = {}

    def __init__(
        self,
        config: RelayConfig,
        settings: ViewSettings,
        control: SettingsControl | None = None,
        records: CalibrationRecords | None = None,
    ) -> None:
        self.port: int | None = None
        tokens = {} if settings.token_file is None else read_tokens(settings.token_file)
        may_change = control is not None and bool(tokens)
        self._audit = ViewAudit(config.view_audit if may_change else None, config.relay_id)
        self._control = ViewControl(config.relay_id, control, tokens, self._audit)
        self._records = CalibrationPictures(records)
        self._context = _context(settings)
        self._config = config
        self._settings = settings
        self._daemon: RelayDaemon | None = None
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._stop = asyncio.Event()
        self._server: ViewServer | None = None

    def attach(self, daemon: RelayDaemon) -> None:
        """Whose status and events are shown; before it, pages wait."""
        self._daemon = daemon

    def start(self, session: BoardSession) -> None:
        """Begin to listen.

        Raises
        ------
        OSError
            The address is in use.
        """
        self._audit.start()
        started: list[BaseException | None] = []
        ready = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._serve(session, started, ready))

        self._thread = threading.Thread(target=run, name="view", daemon=True)
        self._thread.start()
        if not ready.wait(_START_S):
            raise OSError("the live view does not start")
        if started[0] is not None:
            raise started[0]

    async def _serve(
        self,
        session: BoardSession,
        started: list[BaseException | None],
        ready: threading.Event,
    ) -> None:
        asker = EndpointAsker(self._settings.endpoints)
        feed = ViewFeed(self._config, session, self._seen)
        server = ViewServer(
            lambda: feed.hello(self._config if self._daemon is None else self._daemon.config),
            lambda: feed.message(time.monotonic(), time.time_ns(), asker.summary()),
            self._settings.every_s,
            self._control,
            self._events,
            self._records,
        )
        try:
            await server.start(*split_address(self._settings.listen), self._context)
        except BaseException as error:
            started.append(error)
            ready.set()
            return
        self.port, self._server = server.port, server
        started.append(None)
        ready.set()
        tasks = [asyncio.ensure_future(server.run()), asyncio.ensure_future(asker.run())]
        try:
            await self._stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop()

    def _seen(self) -> Mapping[str, Any] | None:
        return None if self._daemon is None else self._daemon.status()

    def _events(self) -> list[Mapping[str, Any]]:
        return [] if self._daemon is None else list(self._daemon.events)

    def stop(self) -> None:
        """Hang up on all pages, and end."""
        if self._thread is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_S)
        self._thread = None
        self._audit.stop()

    def raw_tags(self, payload: bytes) -> None:
        """Nothing: histograms come from the board."""

    def status(self) -> Mapping[str, Any]:
        """Where it is, who looks, what was changed."""
        server = self._server
        return {
            "port": self.port,
            "watching": 0 if server is None else server.watching,
            "writable": self._control.writable,
            "audit": self._audit.status(),
            "changes": list(self._control.changes),
        }

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Pages that look."""
        yield GaugeMetricFamily(
            "bellrelay_relay_view_pages", "pages of the live view", value=status["watching"]
        )


def _context(settings: ViewSettings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    return context
