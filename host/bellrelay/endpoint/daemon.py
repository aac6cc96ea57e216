"""An endpoint's daemon: announcements in, keys out, in one process.

The event loop carries messages; what computes runs in threads that release the interpreter's lock,
what waits for a disk in others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client.core import Metric

from bellrelay.distill.reconcile.engine import ReconcileError, Role
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.nats_client import NatsAnnouncements
from bellrelay.service.background import Background
from bellrelay.service.certificate_end import require_valid
from bellrelay.service.configured import listen, usable
from bellrelay.service.health_server import HealthServer, Status
from bellrelay.service.nats_connection import broker_context
from bellrelay.service.peer_connection import peer_connection
from bellrelay.service.run_service import run_service
from bellrelay.service.tls import client_context
from bellrelay.settings.model import split_address
from bellrelay.settings.nats import broker_name

from .agreement import Agreement, agreement_of
from .announcement_rules import RELAY_BEGAN_NS, BlockBegun
from .announcements import AnnouncementFollower, Connect
from .block import BlockId, may_restart
from .block_figures import BlockFigures
from .block_parameters import BlockParameters
from .block_store import BlockStore
from .block_trace import BlockTrace
from .companion import EndpointCompanion, TakesOrders
from .config import EndpointConfig, RelaySettings
from .control_socket import ControlSocket, Order, socket_path
from .declared_sender import DeclaredSender
from .directions import Directions
from .key_pool import KeyPool, KeyPoolBusy, KeyPoolError, Reserve
from .ladder_schedule import LadderSchedule
from .metrics import endpoint_metrics
from .parameter_plan import ParameterPlan
from .parameter_talk import ParameterTalk
from .peer_channel import PeerChannel
from .peer_session import PeerSession
from .pipeline import Pipeline, PipelineSettings
from .pool_account import PoolAccount
from .relays import Relays
from .sender_plugin import Sender, SenderCannot, load_sender
from .source_admission import SourceAdmission
from .source_plugin import load_source
from .timetable import windows_of
from .undeclared_times import UndeclaredTimes
from .warm_up import warm_up

if TYPE_CHECKING:
    from .cluster.executor import ClusterExecutor

__all__ = ["EndpointDaemon", "check_endpoint", "run_endpoint"]

_POLL_S = 1.0
_WAITING = 4
_ROTATE_S = 3600.0
_log = structlog.get_logger(__name__)


def relay_connection(relay: RelaySettings, endpoint_id: str) -> Connect:
    """How to subscribe to this relay. OSError: a certificate or key that cannot be read."""
    if relay.unix_socket is not None:
        path = relay.unix_socket
        return lambda subscribe: AnnouncementClient.unix(path, subscribe)
    if relay.nats is not None:
        nats, context = relay.nats, broker_context(relay.nats)
        stream = nats.stream or broker_name(relay.id)
        consumer = nats.consumer or broker_name(endpoint_id)
        return lambda subscribe: NatsAnnouncements.subscribe(
            nats, context, stream, consumer, relay.id, subscribe, nats.max_pending
        )
    assert relay.connect is not None
    host, port = split_address(relay.connect)
    tls = relay.tls
    context = None if tls is None else client_context(*tls.files)
    name = relay.name or host
    return lambda subscribe: AnnouncementClient.tcp(host, port, subscribe, context, name)


def relay_tls_keys(config: EndpointConfig) -> list[tuple[str, RelaySettings]]:
    """Every relay, and where its certificates stand in the file."""
    others = [(f"secondaries.{n}", relay) for n, relay in enumerate(config.secondaries)]
    both = [("relay", config.relay), *others]
    return [(f"{at}.tls" if r.nats is None else f"{at}.nats.tls", r) for at, r in both]


def resume_position(store: BlockStore, relay: int = 0) -> BlockBegun | None:
    """Where to go on with a relay's log: at the oldest block whose list is still wanted."""
    rows = [row for row in store.open_blocks() if row.block.relay == relay and row.sequence]
    wanted = [row for row in rows if may_restart(row.state)]
    row = wanted[0] if wanted else store.latest(relay, placed=True)
    if row is None:
        return None
    return BlockBegun(row.block, row.sequence, int(row.record.get(RELAY_BEGAN_NS, 0)))


class EndpointDaemon:
    """One endpoint.

    Parameters
    ----------
    config
        Checked.
    companions
        What runs beside it, once everything is open.
    trace
        Told how far blocks have come.

    Attributes
    ----------
    store : BlockStore
    pipeline : Pipeline
    sender : DeclaredSender
        What companions ask it for.
    relays : Relays
        Which of them light is directed to, and how that changes.
    parameters : ParameterTalk
        By which blocks are sent, and how that changes.
    versions : bellrelay.control.versions.Versions or None
        Of these parameters, where a companion keeps them: what goes back is written there.
    failed : asyncio.Future[BaseException]
        Done once the daemon cannot go on; its result is why.
    """

    def __init__(
        self,
        config: EndpointConfig,
        companions: Sequence[EndpointCompanion] = (),
        trace: BlockTrace | None = None,
    ) -> None:
        self.config = config
        self._trace = trace or BlockTrace()
        self.versions: Any = None
        self._companions = tuple(companions)
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Open stores and ports; collecting and distilling when it returns.

        Raises
        ------
        ConfigError, StoreError, KeyPoolError, OSError
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
        role = Role(config.role)
        agreement = agreement_of(config)
        self.store = store = BlockStore(
            config.store.directory, config.endpoint_id, agreement.relays
        )
        stack.callback(store.close)
        self.figures = BlockFigures(store)
        reserve = Reserve(config.key_pool.reserve_bits // 8)
        pool = KeyPool(config.key_pool.file, role, reserve=reserve)
        stack.callback(pool.close)
        self.account = PoolAccount(pool, store)
        executor = ThreadPoolExecutor(config.workers, thread_name_prefix="compute")
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)
        self._cluster = self._begin_cluster(executor)
        undeclared = UndeclaredTimes(config.store.directory / "undeclared.json")
        self.admission = SourceAdmission(
            config, self._begun_ns, undeclared, lambda block: self._parameters(block).ladder(role)
        )
        sender = load_sender(config)
        self.sender = DeclaredSender(sender, undeclared)
        try:
            await asyncio.to_thread(self.sender.begin)
        except (SenderCannot, OSError) as error:
            _log.error("sender not as declared: no key", why=str(error))
        self._plan_parameters(config, role, agreement, sender)
        sources = [load_source(config, source, key) for key, source in config.sources]
        self.relays = self._relays(role)
        self.pipeline = Pipeline(
            role,
            agreement,
            store,
            pool,
            lambda block: sources[block.relay](block.acquisition),
            executor,
            PipelineSettings(
                max_in_flight=config.block.max_in_flight,
                max_waiting=config.block.max_in_flight + _WAITING,
                patience_s=config.block.patience_s,
                settle_s=config.block.settle_s,
                error_rate=config.reconcile.error_rate,
                afford=self.account.afford,
                ended=self.account.ended,
                admit=self.admission,
                stored=self.account.stored,
                shared=self.account.shared,
                parameters=self.parameters,
                relays=self.relays,
                lit=self.relays.lit,
                cluster=self._cluster,
                trace=self._trace,
            ),
        )
        self.relays.attach(self.pipeline.say_of_relays)
        stack.callback(self.pipeline.close)
        connection = usable(config, "peer.tls", lambda: peer_connection(config.peer))
        await listen(config, "peer.listen", config.peer.listen, connection.start)
        stack.push_async_callback(connection.stop)
        self.peer_port = getattr(connection, "port", None)
        number = 0 if role is Role.ALICE else 1
        session = PeerSession(number, agreement.digest)
        self.channel = PeerChannel(session, connection.connection, self.pipeline)
        self.pipeline.attach(self.channel)
        self.health = HealthServer(config.health, self.status, self._metrics)
        await listen(config, "health.listen", config.health.listen, self.health.start)
        stack.push_async_callback(self.health.stop)
        orders: dict[str, Order] = {"move": self._ordered_move}
        for companion in self._companions:
            if isinstance(companion, TakesOrders):
                orders |= companion.orders()
        control = ControlSocket(socket_path(config.store.directory), orders)
        try:
            await control.start()
            stack.push_async_callback(control.stop)
        except OSError as error:
            # A path may be too long for a socket. Keys are made without orders.
            _log.error("no orders are taken", why=str(error))
        stack.push_async_callback(background.end)
        work = [self.pipeline.run(), self.channel.run(), self.relays.run(self.pipeline)]
        work += [self._poll_monitor(), self._rotate_keys(), self._tell_sender()]
        work += [companion.run(self) for companion in self._companions]
        if config.warm_up:
            work.append(self._warm_up(executor, agreement))
        background.begin(*work)

    async def _warm_up(self, executor: Executor, agreement: Agreement) -> None:
        """Once, while announcements of the first block come in."""
        loop = asyncio.get_running_loop()
        error_rate = self.config.reconcile.error_rate
        try:
            took = await loop.run_in_executor(executor, warm_up, agreement, error_rate)
        except (ReconcileError, ValueError) as error:
            # Blocks say for themselves what is wrong; this was none.
            _log.warning("not warm: the first block takes longer", why=str(error))
        else:
            _log.info("warm", seconds=round(took, 3))

    def _begin_cluster(self, home: Executor) -> ClusterExecutor | None:
        settings = self.config.cluster
        if settings is None:
            return None
        # Dask comes with an extra.
        from .cluster.begin import begin_cluster

        cluster = begin_cluster(self.config, settings, home)
        self._stack.callback(cluster.shutdown, wait=False)
        return cluster

    async def stop(self) -> None:
        """End everything, and give everything back; blocks in work go on at the next start."""
        await self._stack.aclose()

    # ------------------------------------------------------------------------ relays

    def _relays(self, role: Role) -> Relays:
        config = self.config
        directory = config.store.directory
        directions = Directions(directory / "directions.json", [r.id for r in config.relays])
        followers = [
            AnnouncementFollower(
                usable(config, key, partial(relay_connection, relay, config.endpoint_id)),
                relay.id,
                config.block.slots,
                resume_position(self.store, number),
                number,
            )
            for number, (key, relay) in enumerate(relay_tls_keys(config))
        ]
        settings = config.relay_choice
        windows = windows_of(config)
        return Relays(role, followers, directions, self.sender, self.store, settings, windows)

    async def _ordered_move(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """`bellrelay endpoint --move-to`."""
        return await self.relays.move(str(wanted.get("relay")), str(wanted.get("why", "")))

    # ------------------------------------------------------------------------ for the pipeline

    def _begun_ns(self, block: BlockId) -> int:
        row = self.store.find(block)
        return 0 if row is None else row.begun_ns

    async def _poll_monitor(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await asyncio.to_thread(self.admission.poll)
            except OSError as error:
                _log.warning("power monitor not readable", why=str(error))

    def _plan_parameters(
        self, config: EndpointConfig, role: Role, agreement: Agreement, sender: Sender
    ) -> None:
        path = config.store.directory / "parameters.json"
        plan = ParameterPlan(path, agreement.parameters, agreement.digest)
        if plan.given_up:
            _log.warning("configuration changed: parameters are those of the file", plan=str(path))
        self.ladders = LadderSchedule(plan, role, config.block.slots, sender, self._coming)

        def objection(parameters: BlockParameters) -> str | None:
            if config.changes is None:
                return f"{config.endpoint_id} takes no other parameters: it has no changes key"
            return self.ladders.objection(parameters)

        lead = 1 if config.changes is None else config.changes.lead_blocks
        self.parameters = ParameterTalk(role, plan, self._coming, lead, objection)
        # Before any reading is taken: those of a ladder that nobody expects are nobody's.
        self._expect_ladders()

    def _expect_ladders(self) -> None:
        role = Role(self.config.role)
        for parameters in self.parameters.plan.recent():
            limit = parameters.alice_limit if role is Role.ALICE else parameters.bob_limit
            self.admission.expect(parameters.ladder(role), limit)

    def _coming(self) -> dict[str, BlockId]:
        """By relay, the block after the one that is being announced."""
        coming = {}
        for number, relay in enumerate(self.config.relays):
            row = self.store.latest(number)
            at = (0, 0) if row is None else (row.block.acquisition, row.block.index + 1)
            coming[relay.id] = BlockId(*at, number)
        return coming

    def _parameters(self, block: BlockId) -> BlockParameters:
        return self.parameters.plan.parameters(self.config.relays[block.relay].id, block)

    async def _tell_sender(self) -> None:
        """By which ladder it sends blocks to come; and the monitor, what it will see."""
        more = asyncio.Event()
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(more.set)

        self.parameters.changed = changed
        while True:
            more.clear()
            self._expect_ladders()
            await asyncio.to_thread(self.ladders.tell)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await more.wait()

    async def _rotate_keys(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.account.rotate, self.config.key_pool.max_age_s)
            except (KeyPoolError, OSError) as error:
                _log.error("key pool not rotated", why=str(error))
            await asyncio.sleep(_ROTATE_S)

    # ------------------------------------------------------------------------ status

    def status(self) -> dict[str, Any]:
        """What /health says; plain types, nothing secret."""
        relays = self.relays.status()
        active = relays["each"][relays["active"]]
        quarantines = [
            {"relay_id": relay_id, **each["quarantine"]}
            for relay_id, each in relays["each"].items()
            if each["quarantine"] is not None
        ]
        state = "running" if active["connected"] and self.channel.connected else "waiting"
        if active["quarantine"] is not None:
            state = "relay quarantined"
        stored = self.store.key_totals()
        return {
            "endpoint_id": self.config.endpoint_id,
            "role": self.config.role,
            "state": state,
            "quarantined": bool(quarantines),
            "quarantine": quarantines[0] if quarantines else None,
            "relay": {
                "relay_id": relays["active"],
                **{
                    key: active[key]
                    for key in ("connected", "reason", "reconnects", "sequence", "block")
                },
            },
            "relays": relays,
            "peer": {
                "peer_id": self.config.peer_id,
                "connected": self.channel.connected,
                "reason": self.channel.reason,
                "reconnects": self.channel.reconnects,
            },
            "pipeline": self.pipeline.status(),
            "cluster": None if self._cluster is None else self._cluster.status(),
            "keys": stored,
            "key_pool": self.account.status(),
            "random_health": {
                "alarm": self.admission.health.alarm,
                "tested": self.admission.health.tested,
            },
            "intensity_measured": self.admission.intensities.measured,
            "last_block": self.figures.status(),
            "key_rate": self.figures.key_rate(),
            "block_histograms": self.figures.histograms(),
            "authentication_failures": self.channel.alarms,
            "intensities": self.admission.intensities.monitor.totals(),
            "other_intensities": self.admission.intensities.other_totals(),
            "sender": self.sender.status(),
            "parameters": self.ladders.status(),
            "alarms": self.pipeline.alarms + self.channel.alarms,
            **{c.name: dict(c.status()) for c in self._companions},
        }

    def _metrics(self, status: Status) -> Iterator[Metric]:
        yield from endpoint_metrics(status)
        for companion in self._companions:
            yield from companion.metrics(status[companion.name])
        yield from self._trace.metrics()

    @property
    def companions(self) -> tuple[EndpointCompanion, ...]:
        """What runs beside it, for one that asks another."""
        return self._companions

    def alive(self) -> bool:
        """Whether it does its rounds: its loop does, where this is asked."""
        return True

    def status_line(self) -> str:
        """What systemd shows."""
        status = self.status()
        return (
            f"{status['state']}, {status['keys']['number']} keys, "
            f"{len(status['pipeline']['in_work'])} blocks in work"
        )


def check_endpoint(config: EndpointConfig) -> dict[str, Any]:
    """Look at everything that a configuration names on this machine, without a network.

    Returns
    -------
    dict
        `pool_bits` is None while an endpoint uses the pool.

    Raises
    ------
    ConfigError, KeyPoolError, OSError
        It cannot be used.
    """
    usable(config, "peer.tls", lambda: peer_connection(config.peer))
    require_valid(config, "peer.tls", config.peer.tls.certificate)
    for name, relay in relay_tls_keys(config):
        usable(config, name, partial(relay_connection, relay, config.endpoint_id))
        tls = relay.tls if relay.nats is None else relay.nats.tls
        if tls is not None:
            require_valid(config, name, tls.certificate)
    for key, source in config.sources:
        load_source(config, source, key)
    load_sender(config)
    if config.cluster is not None:
        from .cluster.begin import check_cluster

        check_cluster(config, config.cluster)
    try:
        pool = KeyPool(config.key_pool.file, Role(config.role))
    except KeyPoolBusy:
        # The endpoint runs: it says itself what is left, and goes on.
        bits = None
    else:
        bits = 8 * pool.status().send_left
        pool.close()
    return {
        "endpoint_id": config.endpoint_id,
        "peer_id": config.peer_id,
        "role": config.role,
        "agreement": agreement_of(config).digest.hex(),
        "pool_bits": bits,
    }


async def run_endpoint(
    config: EndpointConfig,
    on_started: Callable[[EndpointDaemon], None] = lambda _daemon: None,
    companions: Sequence[EndpointCompanion] = (),
    trace: BlockTrace | None = None,
) -> None:
    """Run an endpoint until SIGTERM or SIGINT; the `bellrelay endpoint` of the command line.

    Raises
    ------
    As :meth:`EndpointDaemon.start`, and whatever ended it.
    """
    await run_service(EndpointDaemon(config, companions, trace), on_started)
