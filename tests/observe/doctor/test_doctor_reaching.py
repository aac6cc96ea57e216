"""What `bellrelay doctor` says of who is connected to: there or not, believed or not."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest
from nats_servers import DEADLINE_S, Network, certificates, one_server

from bellrelay.observe.doctor import reaching
from bellrelay.observe.doctor.needs import Broker, Connection, TlsFiles, WatchedDaemon
from bellrelay.observe.doctor.reaching import Unreachable, check_reaching
from bellrelay.observe.doctor.running import Running
from bellrelay.service.tls import server_context
from bellrelay.settings.nats import BrokerServers


@pytest.fixture
def parties(authority, stranger):
    """Certificates of a relay, of Alice, and of somebody whom nobody trusts."""
    for name in ("relay", "alice"):
        authority.issue(name, dns=[name, "localhost"])
    stranger.issue("alice", dns=["alice"])
    stranger.issue("relay", dns=["relay"])
    return authority, stranger


def files(authority, name, ca=None):
    folder = authority.folder
    return TlsFiles(folder / f"{name}.crt", folder / f"{name}.key", ca or authority.ca)


@contextlib.asynccontextmanager
async def listening(tls=None, says=b""):
    """A server on this machine: HOST:PORT, and the connections that it has seen."""
    seen = []

    async def connected(reader, writer):
        seen.append(writer)
        writer.write(says)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    context = None if tls is None else server_context(tls.certificate, tls.key, tls.ca)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


async def asked(*connections, running=None, calls=True, brokers=(), watched=()):
    found = await check_reaching(connections, brokers, watched, running, calls=calls)
    return found[0]


def to(address, tls=None, name="relay", **more):
    return Connection("relay.connect", "charlie-1", address, tls, name, **more)


def nobody():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_both_take_each_other_s_certificate_or_one_does_not(parties, monkeypatch):
    authority, stranger = parties

    async def run():
        async with listening(files(authority, "relay")) as (address, _):
            good = await asked(to(address, files(authority, "alice")))
            assert (good.state, "both sides" in good.detail) == ("passed", True), good
            foreign = files(stranger, "alice", authority.ca)
            # A refusal comes when it comes; that none comes is known after a time.
            with monkeypatch.context() as patch:
                patch.setattr(reaching, "_LISTEN_S", 60.0)
                refused = await asked(to(address, foreign))
            assert "does not take our certificate" in refused.detail, refused
            assert isinstance(refused.error, Unreachable)
            wrong_name = await asked(to(address, files(authority, "alice"), name="diana"))
            assert "diana" in wrong_name.detail
            not_theirs = await asked(to(address, files(authority, "alice", stranger.ca)))
            assert "shows a certificate that is refused" in not_theirs.detail
            handed = TlsFiles(authority.ca, Path("/run/credentials/none/key"), authority.ca)
            untried = await asked(to(address, handed))
            assert (untried.state, "not tried" in untried.detail) == ("not known", True)
        async with listening() as (address, _):
            plain = await asked(to(address))
            assert plain.state == "passed"
            # It waits for us to say more, for as long as we wait for it.
            with monkeypatch.context() as patch:
                patch.setattr(reaching, "_CONNECT_S", 2.0)
                no_tls = await asked(to(address, files(authority, "alice")))
            assert (no_tls.state, "TLS" in no_tls.detail) == ("failed", True), no_tls

    asyncio.run(run())


def test_nobody_is_there(tmp_path):
    async def run():
        away = await asked(to(nobody()))
        assert (away.state, "Connection refused" in away.detail) == ("failed", True)
        assert isinstance(away.error, Unreachable)
        gone = await asked(to(tmp_path / "announcements"))
        assert "No such file" in gone.detail
        broker = Broker("nats.servers", BrokerServers(servers=(nobody(),), plain=True), "alice")
        found = await asked(brokers=[broker])
        assert (found.state, isinstance(found.error, Unreachable)) == ("failed", True)
        asks = WatchedDaemon("watch.peer", "bob", f"http://{nobody()}")
        found = await asked(watched=[asks])
        assert (found.state, "curl" in found.remedy) == ("failed", True)

    asyncio.run(run())


def test_sockets_of_this_machine(tmp_path):
    async def run():
        path = tmp_path / "announcements"
        async with await asyncio.start_unix_server(lambda _r, w: w.close(), path):
            assert (await asked(to(path))).state == "passed"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.bind(str(tmp_path / "log"))
            assert (await asked(to(tmp_path / "log"))).state == "passed"

    asyncio.run(run())


def test_a_peer_is_not_called_while_the_daemon_runs(parties):
    """The other side hangs up on our daemon as another connection of its name comes."""
    authority, _ = parties

    async def run():
        async with listening(files(authority, "relay")) as (address, seen):
            there = to(address, files(authority, "alice"), alone=True)
            found = await asked(there, running=None, calls=False)
            assert (found.state, "would hang up" in found.detail) == ("not known", True)
            health = {"peer": {"connected": True, "reason": ""}}
            found = await asked(there, running=Running(health), calls=False)
            assert (found.state, "says the daemon" in found.detail) == ("passed", True)
            health = {"peer": {"connected": False, "reason": "connection refused"}}
            found = await asked(there, running=Running(health), calls=False)
            assert (found.state, "connection refused" in found.detail) == ("failed", True)
            assert seen == []
            assert (await asked(there)).state == "passed"
            assert len(seen) == 1

    asyncio.run(run())


@pytest.mark.needs_server
def test_a_broker_lets_in_whom_it_knows(requires_program, tmp_path):
    program = requires_program("nats-server", "apt-get install nats-server")
    tls = certificates(tmp_path / "tls")
    server, port = one_server(program, tmp_path, tls)
    network = Network([port], tls)

    async def run():
        def as_(user, folder=None):
            return Broker("nats.servers", network.settings(user, folder), user)

        async with asyncio.timeout(DEADLINE_S):
            while (good := await asked(brokers=[as_("alice-1")])).state != "passed":
                # It may not be up yet.
                await asyncio.sleep(0.1)
        assert "lets alice-1 in" in good.detail
        forged = await asked(brokers=[as_("alice-1", tls / "forged")])
        assert (forged.state, isinstance(forged.error, Unreachable)) == ("failed", True)

    try:
        asyncio.run(run())
    finally:
        server.stop()
