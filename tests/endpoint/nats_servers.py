"""NATS servers on this machine, configured as deploy/nats says, and who speaks to them."""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np

from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.endpoint.announcements import AnnouncementFollower
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.config import FanOut
from bellrelay.relay.fanout import FanOutServer
from bellrelay.relay.nats_client import NatsAnnouncements
from bellrelay.relay.nats_permissions import ADMINISTRATOR
from bellrelay.relay.nats_publisher import NatsPublisher
from bellrelay.relay.nats_settings import NatsRetention, NatsSettings
from bellrelay.relay.nats_stream import make_stream
from bellrelay.service.nats_connection import Broker, BrokerUnavailable, broker_context

DEPLOY = Path(__file__).parents[2] / "deploy" / "nats"
RELAY = "charlie-1"
USERS = ("charlie-1", "charlie-2", "alice-1", "bob-1", "nats-admin.charlie-1", "eve")
SLOTS = 10_000
DEADLINE_S = 90.0


def free_ports(number):
    """Ports that nobody listens on now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def certificates(folder):
    """Those of servers (`localhost`) and users, all of one authority.

    Beside them, `other`: an authority with an Alice of its own; and `forged`: that Alice, who takes
    the right servers for right.
    """
    folder.mkdir()
    make_certificates(folder, ["localhost", *(f"{user}.example.net" for user in USERS)])
    other, forged = folder / "other", folder / "forged"
    other.mkdir()
    make_certificates(other, ["alice-1.example.net"])
    shutil.copytree(other, forged)
    shutil.copy(folder / "ca.crt", forged)
    return folder


class NatsServer:
    """One process. text : its configuration, of files in `deploy/nats`."""

    def __init__(self, program, folder, text):
        self.folder = folder
        self._program = program
        self._process = None
        folder.mkdir()
        shutil.copy(DEPLOY / "accounts.conf", folder)
        (folder / "nats.conf").write_text(text)

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "--config", self.folder / "nats.conf"], stdout=log, stderr=log
            )

    def kill(self):
        """As a machine dies, but for its disk."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def died(self):
        return self._process is not None and self._process.poll() is not None

    def said(self):
        return (self.folder / "log").read_text()[-4000:]


def configuration(name, tls, folder, port, **more):
    """A file of deploy/nats, with addresses and files of this machine."""
    text = (DEPLOY / name).read_text()
    changes = {
        "0.0.0.0:4222": f"127.0.0.1:{port}",
        'http: "127.0.0.1:8222"': "",
        "/var/lib/nats": str(folder / "store"),
        "/etc/nats/nats-1.crt": str(tls / "localhost.crt"),
        "/etc/nats/nats-1.key": str(tls / "localhost.key"),
        "/etc/nats/nodes-ca.crt": str(tls / "ca.crt"),
        **more,
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def one_server(program, folder, tls):
    """A server as nats-server.conf has it, started; and its port."""
    [port] = free_ports(1)
    where = folder / "one"
    server = NatsServer(program, where, configuration("nats-server.conf", tls, where, port))
    server.start()
    return server, port


def three_servers(program, folder, tls):
    """Servers as nats-cluster.conf has them, started; and their ports."""
    ports, routes = free_ports(3), free_ports(3)
    servers = []
    for number in range(3):
        where = folder / f"node-{number + 1}"
        others = [routes[n] for n in range(3) if n != number]
        text = configuration(
            "nats-cluster.conf",
            tls,
            where,
            ports[number],
            **{
                "server_name: nats-1": f"server_name: nats-{number + 1}",
                "0.0.0.0:6222": f"127.0.0.1:{routes[number]}",
                "/etc/nats/route-1.crt": str(tls / "localhost.crt"),
                "/etc/nats/route-1.key": str(tls / "localhost.key"),
                "/etc/nats/routes-ca.crt": str(tls / "ca.crt"),
                "tls://nats-2.example.net:6222": f"tls://localhost:{others[0]}",
                "tls://nats-3.example.net:6222": f"tls://localhost:{others[1]}",
            },
        )
        servers.append(NatsServer(program, where, text))
        servers[-1].start()
    return servers, ports


class Network:
    """Ports of one broker, and certificates."""

    def __init__(self, ports, tls):
        self.ports, self.tls = ports, tls

    def settings(self, user, tls=None, **changes):
        """A relay's `nats:`, and an endpoint's too, with this user's certificate."""
        values = {
            "servers": [f"localhost:{port}" for port in self.ports],
            "tls": tls_files(tls or self.tls, f"{user}.example.net"),
            "batch_kib": 4,
            "linger_ms": 1.0,
            **changes,
        }
        return NatsSettings.model_validate(values)

    @contextlib.asynccontextmanager
    async def connection(self, user, name=None, tls=None):
        """Of a user, by :class:`Broker`."""
        settings = self.settings(user, tls)
        broker = await Broker.connect(settings, broker_context(settings), name or user)
        try:
            yield broker
        finally:
            await broker.close()

    async def fresh_stream(self, replicas=1):
        """The relay's stream, empty."""
        from nats.js.errors import NotFoundError

        retention = NatsRetention(mb=64, hours=1.0, replicas=replicas)
        until = time.monotonic() + DEADLINE_S
        while True:
            try:
                async with self.connection("nats-admin.charlie-1", ADMINISTRATOR) as broker:
                    with broker.faults("test"), contextlib.suppress(NotFoundError):
                        await broker.client.jsm().delete_stream(RELAY)
                admin = self.settings("nats-admin.charlie-1")
                return await make_stream(admin, RELAY, retention)
            except BrokerUnavailable:
                # Servers that have just started, or have no leader yet.
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def stream_info(self):
        async with self.connection("nats-admin.charlie-1", ADMINISTRATOR) as broker:
            with broker.faults("test"):
                return await broker.client.jsm(timeout=2).stream_info(RELAY)

    async def consumer_info(self, consumer):
        async with self.connection("nats-admin.charlie-1", ADMINISTRATOR) as broker:
            with broker.faults("test"):
                return await broker.client.jsm(timeout=2).consumer_info(RELAY, consumer)

    def subscriber(self, user="alice-1", **changes):
        """What an endpoint subscribes by."""
        settings = self.settings(user)
        context = broker_context(settings)
        return lambda wish: NatsAnnouncements.subscribe(
            settings, context, RELAY, user, RELAY, wish, **changes
        )

    @contextlib.asynccontextmanager
    async def publishing(self, log, **changes):
        """A publisher of this log. It is told of what is appended by :func:`announce`."""
        publisher = NatsPublisher(self.settings(RELAY, **changes), RELAY, log)
        await publisher.start()
        try:
            yield publisher
        finally:
            await publisher.stop()


class Sink:
    """Keeps what it is given; waits in :meth:`collected` while ``held``."""

    def __init__(self):
        self.blocks, self.breaches = [], []
        self.held = asyncio.Event()
        self.held.set()

    async def begun(self, begun):
        pass

    async def collected(self, block):
        await self.held.wait()
        self.blocks.append(block)

    async def breached(self, breach):
        self.breaches.append(breach)

    @property
    def lists(self):
        """What is distilled of the blocks, and where the relay's log goes on after each."""
        return [
            (str(b.block), b.slot.tolist(), b.outcome.tolist(), b.next_sequence)
            for b in self.blocks
        ]


@contextlib.asynccontextmanager
async def following(connect, begin=None):
    """A follower and its sink."""
    sink = Sink()
    follower = AnnouncementFollower(connect, RELAY, SLOTS, begin)
    task = asyncio.ensure_future(follower.run(sink))
    try:
        yield follower, sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def built_in_lists(folder, log, blocks):
    """What the relay's own stream makes of the log: as :attr:`Sink.lists`."""
    path = folder / "fan"
    server = FanOutServer(FanOut(unix_socket=path), RELAY, log)
    await server.start()
    try:
        async with following(lambda wish: AnnouncementClient.unix(path, wish)) as (_, sink):
            await until(lambda: len(sink.blocks) >= blocks)
            return sink.lists
    finally:
        await server.stop()


class Relay:
    """A log that announces; blocks have a hundred announcements or so."""

    def __init__(self, folder):
        self.log = AnnouncementLog(folder / "log")
        self._random = np.random.default_rng(1)
        self._slot = 0
        self.log.append_event(1, {"kind": "start"})
        self.log.sync()

    def announce(self, blocks, *publishers, each=5):
        """Announcements of so many more blocks, in pieces, and a heartbeat after each block."""
        for _ in range(blocks):
            begin = self._slot
            for _ in range(each):
                steps = self._random.integers(1, 2 * SLOTS // (100 * 1), 100 // each)
                slots = (begin + np.cumsum(steps)).astype(np.uint64)
                slots = slots[slots < self._slot + SLOTS]
                if slots.size:
                    outcome = self._random.integers(1, 3, slots.size).astype(np.uint8)
                    self.log.append_announcements(1, slots, outcome)
                    begin = int(slots[-1])
            self._slot += SLOTS
            self.log.append_event(1, {"kind": "heartbeat", "cut_slot": self._slot})
        self.log.sync()
        for publisher in publishers:
            publisher.grown()

    def close(self):
        self.log.close()


async def until(condition, seconds=DEADLINE_S):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
