"""Who has no certificate of the peer's name, of the authority both trust, is not spoken with."""

import asyncio
import contextlib
import socket

import pytest

from bellrelay.cli.run_certificates import make_certificates
from bellrelay.service.peer_connection import PeerDialler, PeerListener
from bellrelay.settings.peer import PeerSettings

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two authorities; of the first one `mallory` has a certificate too, as of the second."""
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ours", "others"):
        (folder / authority).mkdir()
        make_certificates(folder / authority, ("alice", "bob", "mallory"))
    return folder


def tls(folder, who, authority="ours", trusted="ours"):
    """Settings of `who` with a certificate of an authority."""
    return {
        "certificate": folder / authority / f"{who}.crt",
        "key": folder / authority / f"{who}.key",
        "ca": folder / trusted / "ca.crt",
    }


async def _greeted(listener_tls, dialler_tls, name_of_dialler="bob", name_of_listener="alice"):
    """Whether a byte gets from the dialler to who listens."""
    listener = PeerListener(
        PeerSettings(listen="127.0.0.1:0", name=name_of_dialler, tls=listener_tls)
    )
    await listener.start()
    dialler = PeerDialler(
        PeerSettings(connect=f"127.0.0.1:{listener.port}", name=name_of_listener, tls=dialler_tls)
    )
    accepted = asyncio.ensure_future(listener.connection())
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await dialler.connection()
            writer.write(b"!")
            # It is told that it was refused by the end of the connection, or not at all.
            read = asyncio.ensure_future(_read(accepted))
            gone = asyncio.ensure_future(writer.wait_closed())
            done, _ = await asyncio.wait({read, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await gone
            read.cancel()
            return (read in done and read.result() == b"!"), listener.refused
    except OSError:
        return False, listener.refused
    finally:
        accepted.cancel()
        await listener.stop()


async def _read(accepted):
    reader, _ = await accepted
    return await reader.read(1)


def test_the_two_that_are_meant_meet(folder):
    assert asyncio.run(_greeted(tls(folder, "alice"), tls(folder, "bob"))) == (True, 0)


def test_a_certificate_of_the_right_authority_and_another_name_is_refused(folder):
    met, refused = asyncio.run(_greeted(tls(folder, "alice"), tls(folder, "mallory")))
    assert (met, refused) == (False, 1)


def test_a_certificate_of_another_authority_is_refused(folder):
    mallory = tls(folder, "bob", authority="others")
    assert not asyncio.run(_greeted(tls(folder, "alice"), mallory))[0]


@pytest.mark.parametrize(("who", "authority"), [("mallory", "ours"), ("alice", "others")])
def test_who_dials_speaks_to_nobody_else_either(folder, who, authority):
    impostor = tls(folder, who, authority)
    assert not asyncio.run(_greeted(impostor, tls(folder, "bob")))[0]


def test_without_tls_nobody_is_heard(folder):
    async def main():
        listener = PeerListener(
            PeerSettings(listen="127.0.0.1:0", name="bob", tls=tls(folder, "alice"))
        )
        await listener.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"bellrelay" * 100)
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(OSError):
                while await reader.read(1 << 10):
                    pass
        accepted = asyncio.ensure_future(listener.connection())
        await asyncio.sleep(0)
        waiting = not accepted.done()
        accepted.cancel()
        writer.close()
        await listener.stop()
        return waiting

    assert asyncio.run(main())


def test_an_address_that_is_taken_is_said(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"127.0.0.1:{server.getsockname()[1]}"
        listener = PeerListener(PeerSettings(listen=listen, name="bob", tls=tls(folder, "alice")))
        with pytest.raises(OSError, match="in use"):
            asyncio.run(listener.start())
