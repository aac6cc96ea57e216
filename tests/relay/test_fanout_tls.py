"""Announcements by mutual TLS: who shows no certificate of the right signer gets nothing."""

import asyncio
import datetime
import ipaddress
import ssl

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import AnnouncementLog
from bellrelay.relay.config import FanOut, Tls
from bellrelay.relay.fanout import FanOutServer
from bellrelay.service.tls import client_context
from bellrelay.wire.messages import Announced, From, Subscribe


def name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def signed(subject, key, issuer, issuer_key, *, authority=False):
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Path by name: `ca.crt`; `relay`, `alice` signed by it, `eve` by herself: `.crt`, `.key`."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM

    def put(who, certificate, key):
        (folder / f"{who}.crt").write_bytes(certificate.public_bytes(pem))
        private = serialization.PrivateFormat.PKCS8
        plain = serialization.NoEncryption()
        (folder / f"{who}.key").write_bytes(key.private_bytes(pem, private, plain))

    put("ca", signed("ca", ca_key, "ca", ca_key, authority=True), ca_key)
    for who in ("relay", "alice"):
        key = ec.generate_private_key(ec.SECP256R1())
        put(who, signed(who, key, "ca", ca_key), key)
    key = ec.generate_private_key(ec.SECP256R1())
    put("eve", signed("eve", key, "eve", key, authority=True), key)
    return folder


def serve(tmp_path, certificates, body):
    async def main():
        log = AnnouncementLog(tmp_path / "log")
        slots = np.arange(50_000, dtype=np.uint64)
        log.append_announcements(1, slots, np.ones(len(slots), np.uint8))
        log.sync()
        tls = Tls(
            certificate=certificates / "relay.crt",
            key=certificates / "relay.key",
            clients_ca=certificates / "ca.crt",
        )
        server = FanOutServer(FanOut(listen="127.0.0.1:0", tls=tls), "charlie", log)
        await server.start()
        try:
            await body(server)
        finally:
            await server.stop()
            log.close()

    asyncio.run(main())


def test_a_certificate_of_the_right_signer_gets_everything(tmp_path, certificates):
    context = client_context(
        certificates / "alice.crt", certificates / "alice.key", certificates / "ca.crt"
    )

    async def body(server):
        wish = Subscribe(From.SLOT, 40_000, 1)
        client = await AnnouncementClient.tcp("127.0.0.1", server.port, wish, context)
        got = []
        async with client:
            async for record in client.records():
                assert isinstance(record, Announced)
                got += record.slot.tolist()
                if record.end == 50_000:
                    break
            assert [c.name for c in server.consumers] == ["alice"]
        assert got == list(range(40_000, 50_000))

    serve(tmp_path, certificates, body)


@pytest.mark.parametrize("who", ["eve", None])
def test_without_one_there_is_nothing(tmp_path, certificates, who):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates / "ca.crt")
    if who is not None:
        context.load_cert_chain(certificates / f"{who}.crt", certificates / f"{who}.key")

    async def body(server):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await AnnouncementClient.tcp(
                "127.0.0.1", server.port, Subscribe(From.SEQUENCE, 0), context
            )
        assert server.consumers == set()

    serve(tmp_path, certificates, body)


def test_a_relay_of_another_signer_is_not_believed(tmp_path, certificates):
    context = client_context(
        certificates / "alice.crt", certificates / "alice.key", certificates / "eve.crt"
    )

    async def body(server):
        with pytest.raises(ssl.SSLCertVerificationError):
            await AnnouncementClient.tcp("127.0.0.1", server.port, context=context)

    serve(tmp_path, certificates, body)
