"""A KME's daemon: finished keys in, keys with names out, in step with the other KME."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from prometheus_client.core import Metric

from bellrelay.service.background import Background
from bellrelay.service.certificate_end import require_valid
from bellrelay.service.configured import listen, usable
from bellrelay.service.health_server import HealthServer, Status
from bellrelay.service.peer_connection import peer_connection
from bellrelay.service.run_service import run_service
from bellrelay.settings.model import split_address

from .audit_service import AuditService
from .bridge_service import BridgeService
from .housekeeping import Housekeeping
from .intake import BlockAgreement, FinishedKeys, Intake
from .key_delivery import KeyDelivery
from .key_requests import ReserveRequest
from .key_trace import KeyTrace
from .kme_answers import KmeAnswers
from .kme_config import KmeConfig
from .kme_link import KmeLink
from .kme_metrics import kme_metrics, request_metrics
from .kme_server import KmeServer
from .lifecycle import LifecyclePolicy
from .open_store import open_keyring, open_store
from .rate_limit import RateLimit
from .refusal_record import RefusalRecord
from .reserver import Reserver
from .sae_identity import RevocationList, sae_context
from .store_deliver import Handover
from .store_threads import StoreThreads

__all__ = ["KmeDaemon", "check_kme", "run_kme"]

_AGREE_S = 1.0
_log = structlog.get_logger(__name__)


class KmeDaemon:
    """One KME.

    Parameters
    ----------
    config
    source
        Where finished keys come from; None: no new ones.
    trace
        Told of blocks and keys.

    Attributes
    ----------
    store : KeyStore
    server : KmeServer
    failed : asyncio.Future[BaseException]
        Done once the daemon cannot go on; its result is why.
    """

    def __init__(
        self, config: KmeConfig, source: FinishedKeys | None, trace: KeyTrace | None = None
    ) -> None:
        self.config = config
        self._trace = trace or KeyTrace()
        self._source = source
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Open store and ports; delivering when it returns.

        Raises
        ------
        ConfigError, StoreError, SealerError, AuditError, OSError
            Nothing is left open.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        config, stack = self.config, self._stack
        background = Background()
        self.failed = background.failed
        self.audit = await asyncio.to_thread(AuditService, config.audit, config.kme_id)
        stack.push_async_callback(asyncio.to_thread, self.audit.stop)
        self.audit.start()
        self.store = await asyncio.to_thread(open_store, config, self.audit.log)
        stack.callback(self.store.close)
        threads = StoreThreads()
        stack.push_async_callback(asyncio.to_thread, threads.close)
        connection = usable(config, "peer.tls", lambda: peer_connection(config.peer))
        self._revoked = revoked = _revocation_list(config)
        context = usable(
            config,
            "tls",
            lambda: sae_context(*config.tls.files, config.tls.minimum_version, revoked),
        )
        self._context = context

        self.link = KmeLink(
            connection.connection,
            config.kme_id,
            config.peer.kme_id,
            {"pairs": self.store.pairs.digest, "unit_bits": config.unit_bits},
            KmeAnswers(self.store, threads).by_kind,
            self._greet,
        )
        self.reserver = Reserver(self.store, threads, self.link.ask, self._more)
        stack.push_async_callback(self.reserver.stop)
        self.bridges = await asyncio.to_thread(BridgeService, config, self.store, self.audit.log)
        stack.push_async_callback(asyncio.to_thread, self.bridges.close)
        self.delivery = KeyDelivery(
            self.store,
            threads,
            self.reserver,
            config.etsi_limits(),
            config.delivery.max_key_count,
        )
        stack.push_async_callback(self.delivery.stop)
        self.agreement = BlockAgreement(
            self.store, threads, self.link.ask, _AGREE_S, self._more, self._trace
        )
        policy = LifecyclePolicy(
            low_water=config.keys.low_water, kek_max_age_s=config.kek.max_age_s
        )
        self.housekeeping = Housekeeping(self.store, threads, policy)
        await self.housekeeping.count()
        await listen(config, "peer.listen", config.peer.listen, connection.start)
        stack.push_async_callback(connection.stop)
        self.peer_port = getattr(connection, "port", None)
        stack.push_async_callback(background.end)
        self._refusals = refusals = RefusalRecord(self.audit.log, config.kme_id)
        stack.push_async_callback(asyncio.to_thread, refusals.flush)
        work = [
            refusals.run(),
            self.link.run(),
            self.reserver.run(),
            self.agreement.run(),
            self.housekeeping.run(),
            self.bridges.run(self._reserve_for_bridge, lambda: self.link.connected),
            self._trace.run(self.store, threads),
        ]
        self.intake: Intake | None = None
        if self._source is not None:
            poll_s = 1.0 if config.intake is None else config.intake.poll_s
            self.intake = Intake(
                self.store, threads, self._source, poll_s, self.agreement.wake, self._trace
            )
            work.append(self.intake.run())
        if revoked is not None:
            work.append(self._read_revocations(revoked))
        background.begin(*work)
        limits = config.limits
        self.server = KmeServer(
            self.delivery,
            context,
            revoked=revoked,
            rate=RateLimit(limits.requests_per_s, limits.burst),
            open_per_sae=limits.open_requests,
            connections_per_sae=limits.connections,
            identity=config.identity.source,
            uri_prefix=config.identity.uri_prefix,
            on_refused=refusals.add,
            on_issued=self._trace.issued,
        )
        self.health = HealthServer(config.health, self.status, self._metrics)
        await listen(config, "health.listen", config.health.listen, self.health.start)
        stack.push_async_callback(self.health.stop)
        host, port = split_address(config.listen)
        await listen(config, "listen", config.listen, lambda: self.server.start(host, port))
        stack.push_async_callback(self.server.stop)

    async def stop(self) -> None:
        """Answer what was asked, and give everything back."""
        await self._stack.aclose()

    # ------------------------------------------------------------------------ what parts tell

    async def _greet(self) -> None:
        self.reserver.connected()
        self.agreement.wake()
        self._more()

    async def _reserve_for_bridge(self, request: ReserveRequest, handover: Handover) -> object:
        return await self.reserver.get(request, lambda: False, handover)

    def _more(self) -> None:
        self.delivery.more()

    async def _read_revocations(self, revoked: RevocationList) -> None:
        while True:
            await asyncio.sleep(self.config.tls.crl_poll_s)
            try:
                if await asyncio.to_thread(revoked.refresh):
                    revoked.load_into(self._context)
                    _log.info("revocation list read", file=str(revoked.path))
            except OSError as error:
                _log.error("revocation list not readable", why=str(error))

    # ------------------------------------------------------------------------ status

    def status(self) -> dict[str, Any]:
        """What /health says; plain types, no key."""
        house = self.housekeeping
        state = "running" if self.link.connected and not house.fault else "waiting"
        pairs: dict[str, dict[str, dict[str, int]]] = {}
        freshness: dict[str, dict[str, dict[str, int]]] = {}
        for (pair, side), counts in sorted(house.counts.items()):
            kme = self.store.pairs.kme_ids[side]
            pairs.setdefault(pair, {})[kme] = {
                "free": counts.free,
                "waiting": counts.waiting,
                "suspended": counts.suspended,
                "reserved": counts.reserved,
            }
            if counts.oldest_ns is not None and counts.newest_ns is not None:
                made = {"oldest_utc_ns": counts.oldest_ns, "newest_utc_ns": counts.newest_ns}
                freshness.setdefault(pair, {})[kme] = made
        return {
            "kme_id": self.config.kme_id,
            "state": state,
            "peer": {
                "kme_id": self.config.peer.kme_id,
                "connected": self.link.connected,
                "reason": self.link.reason,
                "connections": self.link.connections,
                "alarms": self.link.alarms,
            },
            "store": {"fault": house.fault},
            "intake": {
                "taken": 0 if self.intake is None else self.intake.taken,
                "fault": "" if self.intake is None else self.intake.fault,
            },
            "pairs": pairs,
            "freshness": freshness,
            "unit_bits": self.config.unit_bits,
            "delivered_bits": dict(self.delivery.bits_delivered),
            "low_water": sorted(house.lifecycle.low),
            "lifecycle": {
                "expired": house.lifecycle.units_expired + house.lifecycle.keys_expired,
                "resealed": house.lifecycle.resealed,
                "under_other_keks": house.lifecycle.under_other_keks,
                "kek_due": house.lifecycle.kek_due,
            },
            "connections": self.server.connections,
            "refused": self.server.refused,
            "not_authorized": self._refusals.total,
            "requests_waiting": self.reserver.waiting,
            "requests_waiting_peak": self.reserver.waiting_peak,
            "keys_returned": self.reserver.returned,
            "keys_to_return": self.reserver.to_return,
            "audit": self.audit.status(),
            "bridges": self.bridges.status(),
            "revocations_until": None if self._revoked is None else self._revoked.valid_until,
        }

    def _metrics(self, status: Status) -> Iterator[Metric]:
        yield from kme_metrics(status)
        yield from request_metrics(self.server.tally)
        yield from self._trace.metrics()

    def alive(self) -> bool:
        """Whether it does its rounds: its loop does, where this is asked."""
        return True

    def status_line(self) -> str:
        """What systemd shows."""
        status = self.status()
        short = f", short of keys: {', '.join(status['low_water'])}" if status["low_water"] else ""
        return f"{status['state']}, {status['connections']} connections{short}"


def _revocation_list(config: KmeConfig) -> RevocationList | None:
    tls = config.tls
    if tls.crl is None:
        return None
    crl = tls.crl
    revoked: RevocationList = usable(config, "tls.crl", lambda: RevocationList(crl, tls.ca))
    return revoked


def check_kme(config: KmeConfig) -> dict[str, Any]:
    """Look at everything that a configuration names on this machine, without a network.

    Raises
    ------
    ConfigError, SealerError, OSError
        It cannot be used.
    """
    usable(config, "peer.tls", lambda: peer_connection(config.peer))
    require_valid(config, "peer.tls", config.peer.tls.certificate)
    require_valid(config, "tls", config.tls.certificate)
    revoked = _revocation_list(config)
    usable(
        config, "tls", lambda: sae_context(*config.tls.files, config.tls.minimum_version, revoked)
    )
    pairs = config.key_pairs()
    return {
        "kme_id": config.kme_id,
        "peer_id": config.peer.kme_id,
        "pairs": [pair.name for pair in config.pairs],
        "agreement": pairs.digest,
        "kek_id": open_keyring(config).kek_id,
    }


async def run_kme(
    config: KmeConfig,
    source: FinishedKeys | None,
    on_started: Callable[[KmeDaemon], None] = lambda _daemon: None,
    trace: KeyTrace | None = None,
) -> None:
    """Run a KME until SIGTERM or SIGINT; the `bellrelay kme` of the command line.

    Raises
    ------
    As :meth:`KmeDaemon.start`, and whatever ended it.
    """
    await run_service(KmeDaemon(config, source, trace), on_started)
