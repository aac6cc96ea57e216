"""TLS between endpoints: certificates and names on both sides, the newest connection counts."""

import asyncio
import ssl

import pytest

from bellrelay.cli.run_certificates import make_certificates
from bellrelay.service.peer_connection import PeerDialler, PeerListener
from bellrelay.settings.peer import PeerSettings


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Two authorities: `good` signs alice, bob, eve; `bad` signs another bob."""
    folder = tmp_path_factory.mktemp("pki")
    for name, owners in (("good", ("alice", "bob", "eve")), ("bad", ("bob",))):
        (folder / name).mkdir()
        make_certificates(folder / name, owners)
    return folder


def settings(pki, owner, peer, *, signer="good", trusts="good", **way):
    tls = {
        "certificate": str(pki / signer / f"{owner}.crt"),
        "key": str(pki / signer / f"{owner}.key"),
        "ca": str(pki / trusts / "ca.crt"),
    }
    return PeerSettings.model_validate({"name": peer, "tls": tls, **way})


async def attempt(pki, dialler, expected="bob"):
    """Bob's end of a connection, or the error that the dialler saw."""
    listener = PeerListener(settings(pki, "alice", expected, listen="127.0.0.1:0"))
    await listener.start()
    dial = PeerDialler(
        settings(pki, dialler[0], dialler[1], connect=f"127.0.0.1:{listener.port}", **dialler[2])
    )
    try:
        reader, writer = await dial.connection()
        accepted = asyncio.ensure_future(listener.connection())
        writer.write(b"x")
        refused = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait(
            {accepted, refused}, timeout=10, return_when=asyncio.FIRST_COMPLETED
        )
        accepted_it = accepted in done
        if refused in done and refused.exception() is None:
            assert refused.result() == b""
        for task in (accepted, refused):
            task.cancel()
        await asyncio.gather(accepted, refused, return_exceptions=True)
        writer.transport.abort()
        return accepted_it, listener.refused
    finally:
        await listener.stop()


def test_each_is_who_the_other_expects(pki):
    assert asyncio.run(attempt(pki, ("bob", "alice", {}))) == (True, 0)


def test_somebody_else_of_the_same_authority_is_refused(pki):
    assert asyncio.run(attempt(pki, ("eve", "alice", {}))) == (False, 1)


def test_a_listener_with_another_name_is_refused(pki):
    with pytest.raises(ssl.SSLError):
        asyncio.run(attempt(pki, ("bob", "alicia", {})))


def test_a_listener_of_another_authority_is_refused(pki):
    with pytest.raises(ssl.SSLError):
        asyncio.run(attempt(pki, ("bob", "alice", {"trusts": "bad"})))


def test_a_certificate_of_another_authority_is_refused(pki):
    assert asyncio.run(attempt(pki, ("bob", "alice", {"signer": "bad"}))) == (False, 0)


def test_nothing_older_than_tls_1_3(pki):
    for side in (
        PeerListener(settings(pki, "alice", "bob", listen="127.0.0.1:0")),
        PeerDialler(settings(pki, "bob", "alice", connect="127.0.0.1:1")),
    ):
        assert side._context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert side._context.verify_mode is ssl.CERT_REQUIRED


def test_the_newest_connection_counts(pki):
    async def main():
        listener = PeerListener(settings(pki, "alice", "bob", listen="127.0.0.1:0"))
        await listener.start()
        address = f"127.0.0.1:{listener.port}"
        dial = PeerDialler(settings(pki, "bob", "alice", connect=address))
        try:
            first, first_writer = await dial.connection()
            await listener.connection()
            _, second_writer = await dial.connection()
            second_writer.write(b"y")
            reader, _ = await listener.connection()
            assert await reader.readexactly(1) == b"y"
            assert await first.read(1) == b""
            for writer in (first_writer, second_writer):
                writer.transport.abort()
        finally:
            await listener.stop()

    asyncio.run(main())
