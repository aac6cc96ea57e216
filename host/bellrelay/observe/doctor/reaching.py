"""What a daemon connects to: whether it is there, and both sides believe each other's certificate.

A peer hangs up on who is connected as soon as another one comes. So while our daemon runs, it is
asked what it says of its peer, and nobody else calls there in its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from bellrelay.service.health_asker import HealthAsker
from bellrelay.service.nats_connection import Broker as NatsBroker
from bellrelay.service.nats_connection import BrokerUnavailable, broker_context
from bellrelay.settings.model import split_address

from .finding import Finding, failed, passed, unknown
from .needs import Broker, Connection, TlsFiles, WatchedDaemon
from .private_files import AS_THE_DAEMON
from .running import Running

__all__ = ["Unreachable", "check_reaching"]

_CHECK = "reaching"
_CONNECT_S = 3.0
_LISTEN_S = 1.0
"""With TLS 1.3 the other side refuses our certificate only after our handshake is over."""


class Unreachable(ConnectionError):
    """Nobody answers there, or not as they should."""


async def check_reaching(
    connections: Iterable[Connection],
    brokers: Iterable[Broker],
    watched: Iterable[WatchedDaemon],
    running: Running | None,
    *,
    calls: bool,
) -> list[Finding]:
    """All at once; none takes longer than some seconds.

    calls : whether a peer may be called in the daemon's name: it does not run.
    """
    return list(
        await asyncio.gather(
            *(_connection(each, running, calls) for each in connections),
            *(_broker(each) for each in brokers),
            *(_watched(each) for each in watched),
        )
    )


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return f"no answer within {_CONNECT_S:.0f} s"
    number = error.errno or 0
    # asyncio's own words repeat the address; names that nobody knows have numbers below 0.
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def _away(key: str, text: str, remedy: str) -> Finding:
    return failed(_CHECK, f"{key}: {text}", remedy, Unreachable(text))


async def _connection(connection: Connection, running: Running | None, calls: bool) -> Finding:
    at = f"{connection.whom} at {connection.address}"
    if connection.alone and not calls:
        return _by_own_word(connection.key, at, running)
    if isinstance(connection.address, Path):
        return await _socket(connection.key, at, connection.address)
    host, port = split_address(connection.address)
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        why = _why(error)
        remedy = f"is it started, and may port {port} pass? nc -vz {host} {port}"
        return _away(connection.key, f"{at}: {why}", remedy)
    writer.close()
    if connection.tls is None:
        return passed(_CHECK, f"{connection.key}: {at} takes connections")
    return await _tls(connection, connection.tls, at)


def _by_own_word(key: str, at: str, running: Running | None) -> Finding:
    peer = (running.health or {}).get("peer") if running is not None else None
    if peer is None:
        said = f"{key}: {at}: not called, as that would hang up on a daemon that runs"
        return unknown(_CHECK, said, "health.listen in its file, which says how it is")
    if peer["connected"]:
        return passed(_CHECK, f"{key}: {at} is connected, says the daemon")
    why = peer.get("reason") or "not yet"
    return _away(key, f"{at} is not connected, says the daemon: {why}", "look at the other side")


async def _socket(key: str, at: str, path: Path) -> Finding:
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:
            # A socket of datagrams, and somebody holds it.
            return passed(_CHECK, f"{key}: {at} is there")
        remedy = f"is its daemon started, and this user in its group? ls -l {path}"
        return _away(key, f"{at}: {_why(error)}", remedy)
    writer.close()
    return passed(_CHECK, f"{key}: {at} takes connections")


async def _tls(connection: Connection, files: TlsFiles, at: str) -> Finding:
    key = connection.key
    host, port = split_address(str(connection.address))
    try:
        context, shown = _context(connection, files)
    except OSError as error:
        why = " ".join(str(error.strerror or error).split())
        return unknown(_CHECK, f"{key}: {at} takes connections; no TLS without its files: {why}")
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=connection.name or host
            )
    except ssl.SSLCertVerificationError as error:
        show = f"openssl s_client -connect {host}:{port} -showcerts"
        return _away(key, f"{at} shows a certificate that is refused: {error.verify_message}", show)
    except ssl.SSLError as error:
        return _away(key, f"{at} refuses TLS: {error.reason or error}", "is it that port?")
    except OSError as error:
        return _away(key, f"{at} ends TLS: {_why(error)}", "is it that port?")
    try:
        refused = await _refused(reader) if shown else None
    finally:
        writer.transport.abort()
    if refused is not None:
        remedy = (
            f"its log says why; its file must name who signed {files.certificate}, "
            "and the name in it"
        )
        return _away(key, f"{at} does not take our certificate: {refused}", remedy)
    if not shown:
        said = f"{key}: {at} is who it should be; whether it takes our certificate was not tried"
        return unknown(_CHECK, said, AS_THE_DAEMON)
    return passed(_CHECK, f"{key}: {at}: both sides take each other's certificate")


def _context(connection: Connection, files: TlsFiles) -> tuple[ssl.SSLContext, bool]:
    """TLS as it will be, and whether our own certificate is shown where there is one.

    OSError: files that cannot be used.
    """
    context = ssl.create_default_context(cafile=files.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = connection.name is not None
    if files.certificate is None or files.key is None:
        return context, True
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (FileNotFoundError, PermissionError):
        # Handed to the daemon's unit alone.
        return context, False
    return context, True


async def _refused(reader: asyncio.StreamReader) -> str | None:
    """What the other side says to our certificate; None: nothing, and it waits for our word."""
    try:
        async with asyncio.timeout(_LISTEN_S):
            said = await reader.read(1)
    except TimeoutError:
        return None
    except ssl.SSLError as error:
        return (error.reason or str(error)).lower().replace("_", " ")
    except OSError:
        return "it hangs up"
    return None if said else "it hangs up"


async def _broker(broker: Broker) -> Finding:
    servers = ", ".join(broker.settings.servers)
    try:
        async with asyncio.timeout(_CONNECT_S * len(broker.settings.servers)):
            there = await NatsBroker.connect(
                broker.settings, broker_context(broker.settings), broker.name
            )
    except (BrokerUnavailable, TimeoutError) as error:
        return _away(broker.key, str(error) or f"{servers}: no answer", "docs/how-to/nats.md")
    except ModuleNotFoundError:
        return unknown(_CHECK, f"{broker.key}: {servers}: not asked without its package")
    except OSError as error:
        return unknown(_CHECK, f"{broker.key}: {servers}: not asked: {error.strerror or error}")
    with contextlib.suppress(Exception):
        await there.close()
    return passed(_CHECK, f"{broker.key}: a broker of {servers} lets {broker.name} in")


async def _watched(daemon: WatchedDaemon) -> Finding:
    async with HealthAsker(_CONNECT_S) as asker:
        said = await asker.ask(daemon.url)
    if said is None:
        why = asker.why[daemon.url]
        return _away(
            daemon.key, f"{daemon.whom} at {daemon.url}: {why}", f"curl -s {daemon.url}/health"
        )
    return passed(_CHECK, f"{daemon.key}: {daemon.whom} at {daemon.url} is {said['state']}")
