"""The relay's daemon: board, log, consumers and health in one process.

Threads: the link's reader, the pipeline that decodes and checks, the log's writer, the spool of
raw tags, and the supervisor that sends commands and mends what breaks. The event loop serves
consumers and probes. None of them waits for a slower one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client.core import Metric

from bellrelay.service.health_server import HealthServer
from bellrelay.service.recent_peak import RecentPeak
from bellrelay.service.run_service import run_service
from bellrelay.wire.access import AccessError
from bellrelay.wire.decoder import DecoderCounts

from .announcement_log import AnnouncementLog
from .block_trace import RelayTrace
from .board import BoardSession, Phase, Trouble
from .companion import Companion
from .config import ConfigError, RelayConfig
from .fanout import FanOutServer
from .link import SerialLink
from .log_writer import LogWriter
from .metrics import relay_metrics
from .nats_publisher import NatsPublisher
from .recent_rates import RecentRates
from .tag_spool import TagSpool

__all__ = ["RelayDaemon", "run_relay"]

_RETRY_S = 1.0
_RATE_S = 1.0
_SWITCH_S = 0.0005
_EVENTS = 200
_ALL_IS_WELL = ("heartbeat", "tracking")
"""Events that say that all goes on."""
_log = structlog.get_logger(__name__)


class _Results:
    """Where the session's results go: the log's writer, and the tag spool."""

    def __init__(
        self, writer: LogWriter, spool: TagSpool, events: deque[Mapping[str, Any]]
    ) -> None:
        self._writer = writer
        self._spool = spool
        self._events = events
        self._warned = 0.0

    def announced(
        self, acquisition: int, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]
    ) -> None:
        self._writer.announced(acquisition, slot, outcome)

    def event(self, acquisition: int, values: Mapping[str, Any]) -> None:
        if values["kind"] in ("gap", "loss"):
            # A bad line would fill the journal; every one is in the announcement log.
            now = time.monotonic()
            if now - self._warned >= _RATE_S:
                self._warned = now
                _log.warning("board", acquisition=acquisition, **values)
        elif values["kind"] == "quarantine":
            _log.error("board", acquisition=acquisition, **values)
        elif values["kind"] not in _ALL_IS_WELL:
            _log.info("board", acquisition=acquisition, **values)
        if values["kind"] not in _ALL_IS_WELL:
            when = {"utc_ns": time.time_ns(), "acquisition": acquisition}
            self._events.append({**when, **values})
        self._writer.event(acquisition, values)

    def raw_tags(self, payload: bytes) -> None:
        self._spool.take(payload)


class RelayDaemon:
    """One relay.

    Parameters
    ----------
    config
        Checked.
    cross_check
        Gets the payload of every TAGS frame, in a thread of its own.
    companions
        What runs beside it: started once the board acquires, stopped before that is told to stop.
    trace
        Told of announcements as they are written and served.

    Attributes
    ----------
    session : BoardSession
    log : AnnouncementLog
    fan_out : FanOutServer
    nats : NatsPublisher or None
        None without a broker.
    events : deque
        The newest of the log's events, oldest first, but for those that say that all goes on.
    health : HealthServer
    failed : asyncio.Future[BaseException]
        Done once the daemon cannot go on; its result is why.
    """

    def __init__(
        self,
        config: RelayConfig,
        cross_check: Callable[[bytes], None] | None = None,
        companions: Sequence[Companion] = (),
        trace: RelayTrace | None = None,
    ) -> None:
        self.config = config
        self._trace = trace or RelayTrace()
        self._companions = tuple(companions)
        takers = [c.raw_tags for c in self._companions]
        self._cross_check = _each([*takers, cross_check] if cross_check else takers)
        self._stopping = threading.Event()
        self._stack = contextlib.AsyncExitStack()
        self._rate_at = (0.0, 0, 0)
        self._rates = {"announcements_per_s": 0.0, "bytes_per_s": 0.0}
        self.events: deque[Mapping[str, Any]] = deque(maxlen=_EVENTS)
        self._recent = RecentRates()
        self._peaks = {name: RecentPeak() for name in ("link", "log", "tags")}
        self._supervisor: threading.Thread | None = None
        self.nats: NatsPublisher | None = None

    async def start(self) -> None:
        """Open log, port and board; acquiring and serving when it returns.

        Raises
        ------
        LogBusy, PortMissing, PortBusy, ForeignBoard, NoAnswer, BoardVersionMismatch, ConfigError,
        AccessError, OSError
            Nothing is left open.
        """
        try:
            await self._start()
        except BaseException:
            self._stopping.set()
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[BaseException] = loop.create_future()
        config, stack = self.config, self._stack
        # A thread that computes must not keep the reader from the port for 5 ms at a time.
        before = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        # Nor a collection that walks through every imported module: that takes tens of ms.
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        stack.callback(sys.setswitchinterval, before)
        settings = config.log
        self.log = log = await asyncio.to_thread(
            AnnouncementLog,
            settings.directory,
            settings.segment_mb << 20,
            settings.retention_mb << 20,
        )
        stack.callback(log.close)
        if log.recovery.torn_bytes or log.recovery.corrupt_bytes:
            _log.warning(
                "log recovered", torn=log.recovery.torn_bytes, corrupt=log.recovery.corrupt_bytes
            )
        self.fan_out = FanOutServer(config.fan_out, config.relay_id, log, self._trace)
        # After session and writer have ended: consumers hear how the acquisition ended.
        stack.push_async_callback(self.fan_out.stop)
        if config.nats is not None:
            self.nats = NatsPublisher(config.nats, config.relay_id, log, self._trace)
            stack.push_async_callback(self.nats.stop)

        def from_thread(function: Callable[..., None], *arguments: object) -> None:
            # The loop may be gone while the last records are written.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(function, *arguments)

        self._fail = lambda error: from_thread(self._failure, error)
        self._spool = TagSpool(config.raw_tags, self._cross_check)
        stack.push_async_callback(asyncio.to_thread, self._spool.close)
        self._writer = LogWriter(log, lambda _n: from_thread(self._grown), self._fail, self._trace)
        stack.push_async_callback(asyncio.to_thread, self._writer.close)
        self._link = SerialLink(config.port, config.baud)
        stack.push_async_callback(asyncio.to_thread, self._link.close)
        results = _Results(self._writer, self._spool, self.events)
        self.session = BoardSession(config, self._link, results, log.next_acquisition)
        stack.push_async_callback(asyncio.to_thread, self.session.close)
        await asyncio.to_thread(self.session.bring_up, log.tally)
        stack.push_async_callback(asyncio.to_thread, self.session.stop)
        for companion in self._companions:
            stack.push_async_callback(asyncio.to_thread, companion.stop)
            companion.start(self.session)
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()
        stack.push_async_callback(asyncio.to_thread, self._supervisor.join)
        await self._listen("fan_out", self.fan_out.start)
        if self.nats is not None:
            await self._listen("nats", self.nats.start)
        pages: dict[str, Callable[[], Mapping[str, Any]]] = {"/histogram": self.histogram}
        for companion in self._companions:
            pages.update(companion.pages)
        self.health = HealthServer(config.health, self.status, self._metrics, pages)
        await self._listen("health", self.health.start)
        stack.push_async_callback(self.health.stop)

    def _grown(self) -> None:
        self.fan_out.grown()
        if self.nats is not None:
            self.nats.grown()

    async def _listen(self, key: str, start: Callable[[], Awaitable[None]]) -> None:
        try:
            await start()
        except OSError as error:
            settings = getattr(self.config, key).model_dump(mode="json", exclude_defaults=True)
            reason = " ".join(str(error.strerror or error).split())
            allowed = "an address that is free, and files that can be read"
            raise self.config.error(key, settings, f"{allowed} ({reason})") from error

    def reconfigure(self, config: RelayConfig) -> None:
        """Begin another acquisition with this configuration; from any thread.

        Log, fan-out and health stay as they are.

        Raises
        ------
        As :meth:`.board.BoardSession.reconfigure`.
        """
        self.session.reconfigure(config)
        self.config = config

    async def stop(self) -> None:
        """End the acquisition cleanly, write everything down, give everything back."""
        self._stopping.set()
        await self._stack.aclose()

    def _failure(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    # ------------------------------------------------------------------------ supervision

    def _supervise(self) -> None:
        try:
            while not self._stopping.is_set():
                trouble = self.session.next_trouble(0.2)
                self._look()
                if self.session.failure is not None:
                    raise self.session.failure
                if trouble is None:
                    self.session.check_silence()
                elif trouble is Trouble.QUARANTINED:
                    self.session.stop_board()
                elif self.session.phase is not Phase.QUARANTINED:
                    self._mend()
        except BaseException as error:
            self._fail(error)

    def _look(self) -> None:
        """At what comes and goes between two scrapes."""
        beat = self.session.heartbeat
        if beat is not None:
            self._recent.take(beat)
        for name, number in self._queues().items():
            self._peaks[name].note(number)

    def _queues(self) -> dict[str, int]:
        """What waits: pieces of the line, batches for the log, bytes of raw tags."""
        return {
            "link": self._link.waiting,
            "log": self._writer.waiting,
            "tags": self._spool.waiting_bytes,
        }

    def _mend(self) -> None:
        """Bring the board up again, for as long as that takes."""
        while not self._stopping.is_set() and self.session.phase is not Phase.QUARANTINED:
            try:
                self.session.bring_up()
                return
            except (AccessError, ConfigError) as error:
                self.session.reason = str(error)
                _log.warning("board not usable", why=str(error))
            except OSError as error:
                # The port went away again; the link says when it is back.
                self.session.reason = str(error)
                if not self._link.connected:
                    return
            self._stopping.wait(_RETRY_S)

    # ------------------------------------------------------------------------ status

    def status(self) -> dict[str, Any]:
        """What /health says; plain types."""
        session, log = self.session, self.log
        account, beat, identity = session.account, session.heartbeat, session.identity
        counts: DecoderCounts = session.decoder.counts
        self._measure()
        return {
            "relay_id": self.config.relay_id,
            "state": session.phase.value,
            "reason": session.reason,
            "port": str(self.config.port),
            "connected": self._link.connected,
            "board": {
                "name": identity.geometry.board,
                "gateware": identity.version_text,
                "git_revision": f"{identity.git_revision:08x}",
                "config_hash": f"{identity.config_hash:08x}",
                "detectors": identity.geometry.n_detectors,
            }
            if identity
            else None,
            "acquisition": account.acquisition if account else None,
            "start_utc_ns": session.start_utc_ns if account else None,
            "slot_period_ps": float(self.config.slot_period_ps),
            "heartbeat_age_s": time.monotonic() - session.heartbeat_at if beat else None,
            "cut_slot": beat.fields["cut_slot"] if beat else None,
            "temperature_c": beat.fields["temperature_mdegc"] / 1000 if beat else None,
            "live_fraction": beat.live_fraction if beat else None,
            "counters": dict(beat.counters) if beat else {},
            "received": {
                "psi_minus": account.psi_minus if account else 0,
                "psi_plus": account.psi_plus if account else 0,
                "tags": sum(account.tags) if account else 0,
            },
            "link_lost": dict(session.link_lost),
            "link": {
                "bytes_read": self._link.counts.bytes_read,
                "times_lost": self._link.counts.times_lost,
                "frames": counts.frames,
                "junk_bytes": counts.junk_bytes,
                "bad_frames": counts.bad_frames,
                "missing_frames": counts.missing,
            },
            "rates": dict(self._rates),
            "recent": self._recent.status(),
            "queues": {
                name: {"waiting": number, "peak": max(number, self._peaks[name].value)}
                for name, number in self._queues().items()
            },
            "gaps": session.gaps,
            "tags_not_spooled": self._spool.dropped,
            "log": {
                "oldest": log.oldest_sequence,
                "durable": log.durable_sequence,
                "torn_bytes": log.recovery.torn_bytes,
                "corrupt_bytes": log.recovery.corrupt_bytes,
            },
            "consumers": [
                {"name": c.name, "sequence": c.sequence} for c in list(self.fan_out.consumers)
            ],
            "nats": None if self.nats is None else self.nats.status(),
            **{c.name: dict(c.status()) for c in self._companions},
        }

    def _metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        yield from relay_metrics(status)
        for companion in self._companions:
            yield from companion.metrics(status[companion.name])
        yield from self._trace.metrics()

    def histogram(self) -> dict[str, Any]:
        """What /histogram says: arrival times in the slot, all finished periods added up.

        ``counts`` is a list per channel, detectors first, then sync; empty before the first.
        """
        counts = self.session.histogram
        return {
            "bin_ps": self.config.histogram.bin_ps,
            "channels": [*(d.name for d in self.config.detectors), self.config.sync.name],
            "counts": [] if counts is None else counts.tolist(),
        }

    def _measure(self) -> None:
        now = time.monotonic()
        durable, read = self.log.durable_sequence, self._link.counts.bytes_read
        then, durable_then, read_then = self._rate_at
        if now - then >= _RATE_S:
            if then:
                self._rates = {
                    "announcements_per_s": (durable - durable_then) / (now - then),
                    "bytes_per_s": (read - read_then) / (now - then),
                }
            self._rate_at = (now, durable, read)

    def alive(self) -> bool:
        """Whether pipeline and supervisor do their rounds: what the watchdog is told."""
        return (
            time.monotonic() - self.session.alive_at < 2.0
            and self._supervisor is not None
            and self._supervisor.is_alive()
        )

    def status_line(self) -> str:
        """What systemd shows."""
        status = self.status()
        return (
            f"{status['state']}, acquisition {status['acquisition']}, "
            f"{status['log']['durable']} records, {len(status['consumers'])} consumers"
        )


def _each(takers: Sequence[Callable[[bytes], None]]) -> Callable[[bytes], None] | None:
    """One that hands on to all; None if there is none, so that the spool stays idle."""
    if not takers:
        return None

    def take(payload: bytes) -> None:
        for taker in takers:
            taker(payload)

    return take


async def run_relay(
    config: RelayConfig,
    on_started: Callable[[RelayDaemon], None] = lambda _daemon: None,
    companions: Sequence[Companion] = (),
    trace: RelayTrace | None = None,
) -> None:
    """Run a relay until SIGTERM or SIGINT; the `bellrelay relay` of the command line.

    Raises
    ------
    As :meth:`RelayDaemon.start`, and whatever ended it: OSError of a full disk, for example.
    """
    await run_service(RelayDaemon(config, companions=companions, trace=trace), on_started)
