"""The server by itself: what leaves it is the standard's, whatever comes in; who may come in."""

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import uuid
import warnings
from dataclasses import dataclass, field

import pytest
from kme_certificates import DAY, HOUR, Authority

from bellrelay.keys.etsi014_errors import KEYS_NOT_FOUND, BadRequest, NotAuthorized, NotAvailable
from bellrelay.keys.etsi014_replies import StatusOfPair
from bellrelay.keys.etsi014_requests import Limits
from bellrelay.keys.kme_server import OPENAPI_PATH, KmeServer
from bellrelay.keys.rate_limit import RateLimit
from bellrelay.keys.sae_identity import RevocationList, sae_context
from bellrelay.service.tls import client_context

LIMITS = Limits(256, 64, 4096, 128, 2, 60.0)
STATUS_ITEMS = {
    "source_KME_ID": str,
    "target_KME_ID": str,
    "master_SAE_ID": str,
    "slave_SAE_ID": str,
    "key_size": int,
    "stored_key_count": int,
    "max_key_count": int,
    "max_key_per_request": int,
    "max_key_size": int,
    "min_key_size": int,
    "max_SAE_ID_count": int,
}


@dataclass
class StubKey:
    key_id: str
    key: bytearray = field(repr=False)


class StubService:
    """Gives keys that it makes up, once."""

    limits = LIMITS

    def __init__(self):
        self.made = {}
        self.given = []
        self.fail = None

    def knows(self, sae_id):
        return sae_id in ("sae-alice", "urn:sae:/ä b")

    async def status(self, caller, slave):
        return StatusOfPair("kme-a", "kme-b", caller, slave, 7, 100)

    async def get_keys(self, caller, slave, request, gone):
        if self.fail is not None:
            raise self.fail
        if slave != "sae-bob":
            raise NotAuthorized("not with this SAE")
        if request.number == 128:
            raise NotAvailable("not enough keys", [{"available": 7}], retry_after_s=3)
        keys = [
            StubKey(str(uuid.uuid4()), bytearray(b"\x5a" * (request.size // 8)))
            for _ in range(request.number)
        ]
        self.given += keys
        self.made |= {k.key_id: bytes(k.key) for k in keys}
        return keys

    async def get_keys_by_id(self, caller, master, request):
        if any(key_id not in self.made for key_id in request.key_ids):
            raise BadRequest(KEYS_NOT_FOUND)
        return [StubKey(i, bytearray(self.made.pop(i))) for i in request.key_ids]


@pytest.fixture
def authority(tmp_path):
    authority = Authority(tmp_path / "ca")
    authority.issue("kme-a", dns=["localhost"])
    authority.issue("sae-alice")
    return authority


class Running:
    def __init__(self, authority, **options):
        self.authority = authority
        self.service = StubService()
        folder = authority.folder
        self.revoked = RevocationList(authority.crl, authority.ca)
        context = sae_context(
            folder / "kme-a.crt",
            folder / "kme-a.key",
            authority.ca,
            ssl.TLSVersion.TLSv1_2,
            self.revoked,
        )
        options.setdefault("rate", RateLimit(1000.0, 1000.0))
        self.server = KmeServer(self.service, context, revoked=self.revoked, **options)

    async def __aenter__(self):
        await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_):
        await self.server.stop()

    def client(self, name="sae-alice", folder=None):
        folder = folder or self.authority.folder
        return client_context(
            folder / f"{name}.crt",
            folder / f"{name}.key",
            self.authority.ca,
            ssl.TLSVersion.TLSv1_2,
        )

    async def connect(self, context=None):
        return await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=context or self.client(), server_hostname="localhost"
        )

    async def send(self, raw, context=None):
        """Status, headers, body of what is answered to these bytes."""
        reader, writer = await self.connect(context)
        try:
            writer.write(raw)
            return await answer(reader)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(self, method, target, body=None, headers=()):
        lines = [f"{method} {target} HTTP/1.1", "Host: kme", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return await self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))


async def answer(reader):
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:] if x)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(lines[0].split(" ")[1]), headers, body


def run(coroutine):
    return asyncio.run(coroutine)


def is_error(found, status):
    code, headers, body = found
    assert code == status, body
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    error = json.loads(body)
    assert isinstance(error.pop("message"), str)
    details = error.pop("details", [])
    assert all(isinstance(each, dict) for each in details)
    assert not error
    return True


KEYS = "/api/v1/keys/sae-bob"


def test_three_methods_answer_as_the_standard_has_it(authority):
    async def main():
        async with Running(authority) as kme:
            code, headers, body = await kme.ask("GET", KEYS + "/status")
            assert (code, headers["content-type"]) == (200, "application/json")
            status = json.loads(body)
            assert {k: type(v) for k, v in status.items()} == STATUS_ITEMS
            assert status["master_SAE_ID"] == "sae-alice"
            for ask in (
                ("GET", KEYS + "/enc_keys"),
                ("GET", KEYS + "/enc_keys?number=1&size=256"),
                ("POST", KEYS + "/enc_keys"),
                ("POST", KEYS + "/enc_keys", b""),
                ("POST", KEYS + "/enc_keys", b"{}", ["Content-Type: application/json"]),
                ("POST", KEYS + "/enc_keys", b"{}"),
            ):
                code, headers, body = await kme.ask(*ask)
                assert code == 200, body
                assert headers["cache-control"] == "no-store"
                (key,) = json.loads(body)["keys"]
                assert base64.b64decode(key["key"], validate=True) == b"\x5a" * 32
                assert str(uuid.UUID(key["key_ID"])) == key["key_ID"]
            by_get = await kme.ask("GET", f"{KEYS}/dec_keys?key_ID={key['key_ID']}")
            assert json.loads(by_get[2]) == {"keys": [key]}
            # What was sent is gone from memory.
            assert all(not any(k.key) for k in kme.service.given)

    run(main())


def test_an_sae_id_with_anything_in_it(authority):
    name = "urn:sae:/ä b"
    authority.issue("odd", common_names=[name])

    async def main():
        async with Running(authority) as kme:
            raw = b"GET /api/v1/keys/urn%3Asae%3A%2F%C3%A4%20b/status HTTP/1.1\r\nHost: x\r\n\r\n"
            _, _, body = await kme.send(raw, kme.client("odd"))
            status = json.loads(body)
            assert status["master_SAE_ID"] == status["slave_SAE_ID"] == name

    run(main())


def test_errors_of_the_service_leave_with_code_message_and_details(authority):
    async def main():
        async with Running(authority) as kme:
            assert is_error(await kme.ask("GET", "/api/v1/keys/sae-eve/enc_keys"), 401)
            short = await kme.ask("GET", KEYS + "/enc_keys?number=128")
            assert is_error(short, 503)
            assert json.loads(short[2])["details"] == [{"available": 7}]
            assert short[1]["retry-after"] == "3"
            unknown = await kme.ask("GET", f"{KEYS}/dec_keys?key_ID={uuid.uuid4()}")
            assert is_error(unknown, 400)
            assert json.loads(unknown[2])["message"] == KEYS_NOT_FOUND

    run(main())


def test_a_fault_of_ours_is_a_503_and_says_nothing_of_itself(authority, capsys):
    async def main():
        async with Running(authority) as kme:
            kme.service.fail = RuntimeError("SELECT sealed; parameters: SECRET")
            found = await kme.ask("GET", KEYS + "/enc_keys")
            assert is_error(found, 503)
            assert b"SECRET" not in found[2]

    run(main())
    out = capsys.readouterr()
    assert "SECRET" not in out.out + out.err
    assert "RuntimeError" in out.out + out.err


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"DELETE /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PATCH /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/openapi.json?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/keys/sae-bob/status?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/keys/sae-bob/enc_keys?size=257 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /api/v1/keys/sae-bob/enc_keys?size=8 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/keys/sae-bob/dec_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"POST /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 2\r\n\r\n{}",
        b"POST /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        b"POST /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n",
        b"POST /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + b"20000\r\n" + b" " * 0x20000 + b"\r\n"
        b"20001\r\n" + b" " * 0x20001 + b"\r\n0\r\n\r\n",
        b"POST /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api/v1/keys/sae-bob/status\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /api/v1/keys/sae-bob/status HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"GET http://[/api HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT kme:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"\r\n\r\nNONSENSE\r\n\r\n",
    ],
)
def test_what_the_api_does_not_have_is_a_400_in_the_standards_form(authority, raw):
    async def main():
        async with Running(authority) as kme:
            assert is_error(await kme.send(raw), 400)

    run(main())


def test_head_has_no_body_and_none_of_the_other_codes(authority):
    async def main():
        async with Running(authority) as kme:
            reader, writer = await kme.connect()
            writer.write(b"HEAD /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"400"
            writer.close()

    run(main())


def test_an_upgrade_is_not_taken(authority):
    async def main():
        async with Running(authority) as kme:
            found = await kme.ask(
                "GET",
                KEYS + "/status",
                headers=["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"],
            )
            assert found[0] == 200

    run(main())


def test_a_client_that_waits_for_100_continue(authority):
    async def main():
        async with Running(authority) as kme:
            reader, writer = await kme.connect()
            writer.write(
                b"POST /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\n"
                b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"{}")
            assert (await answer(reader))[0] == 200
            writer.close()

    run(main())


def test_several_requests_on_one_connection(authority):
    async def main():
        async with Running(authority) as kme:
            reader, writer = await kme.connect()
            ask = b"POST /api/v1/keys/sae-bob/enc_keys HTTP/1.1\r\nHost: x\r\n"
            writer.write((ask + b"Content-Length: 2\r\n\r\n{}") * 3 + ask + b"\r\n")
            codes = [(await answer(reader))[0] for _ in range(4)]
            assert codes == [200] * 4
            writer.close()

    run(main())


# ----------------------------------------------------------------------------- certificates


async def refused(kme, context):
    """Whether a client gets no word out of the server."""
    try:
        reader, writer = await kme.connect(context)
        writer.write(b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            return await reader.read(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def without_certificate(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nobody_without_a_good_certificate_gets_a_word(authority, tmp_path, version):
    other = Authority(tmp_path / "other")
    other.issue("sae-alice")
    authority.issue("expired", common_names=["sae-alice"], begin=-2 * DAY, end=-HOUR)
    authority.issue("early", common_names=["sae-alice"], begin=HOUR, end=DAY)
    _, _, serial = authority.issue("revoked", common_names=["sae-alice"])
    authority.revoke(serial)

    async def main():
        async with Running(authority) as kme:
            contexts = {
                "none": without_certificate(authority),
                "wrong authority": kme.client(folder=other.folder),
                **{name: kme.client(name) for name in ("expired", "early", "revoked")},
                "good": kme.client(),
            }
            for context in contexts.values():
                context.maximum_version = version
            found = {name: await refused(kme, context) for name, context in contexts.items()}
            assert found == {name: name != "good" for name in contexts}
            asked = {what: n for what, n in kme.server.tally.requests.items() if n}
            assert asked == {("status", 200): 1}

    run(main())


def test_tls_below_1_2_is_refused(authority):
    async def main():
        async with Running(authority) as kme:
            context = kme.client()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = ssl.TLSVersion.TLSv1_1
            assert await refused(kme, context)

    run(main())


def test_plain_http_gets_no_answer(authority):
    async def main():
        async with Running(authority) as kme:
            reader, writer = await asyncio.open_connection("127.0.0.1", kme.server.port)
            writer.write(b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in await reader.read(100)
            writer.close()

    run(main())


def test_a_certificate_that_is_revoked_while_connected_is_refused_at_the_next_request(authority):
    serial = authority.issue("sae-alice")[2]

    async def main():
        async with Running(authority) as kme:
            reader, writer = await kme.connect()
            ask = b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\n\r\n"
            writer.write(ask)
            assert (await answer(reader))[0] == 200
            authority.revoke(serial)
            kme.revoked.refresh()
            kme.revoked.load_into(kme.server._context)
            writer.write(ask)
            found = await answer(reader)
            assert is_error(found, 401)
            assert found[1].get("connection") == "close"
            # A new connection does not even begin.
            assert await refused(kme, kme.client())

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed_past_a_revocation(authority, version):
    serial = authority.issue("sae-alice")[2]

    def ask(port, context, session):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\n\r\n")
            return tls.recv(12), tls.session, tls.session_reused

    async def main():
        async with Running(authority) as kme:
            context = kme.client()
            context.maximum_version = version
            port = kme.server.port
            said, session, _ = await asyncio.to_thread(ask, port, context, None)
            assert said == b"HTTP/1.1 200"
            _, _, reused = await asyncio.to_thread(ask, port, context, session)
            assert not reused
            authority.revoke(serial)
            kme.revoked.refresh()
            kme.revoked.load_into(kme.server._context)
            try:
                said, _, _ = await asyncio.to_thread(ask, port, context, session)
            except (ssl.SSLError, ConnectionError):
                said = b""
            assert said == b""

    run(main())


def test_a_certificate_that_expires_while_connected_is_refused(authority):
    async def main():
        async with Running(authority) as kme:
            reader, writer = await kme.connect()
            ask = b"GET /api/v1/keys/sae-bob/status HTTP/1.1\r\nHost: x\r\n\r\n"
            writer.write(ask)
            assert (await answer(reader))[0] == 200
            (connection,) = kme.server._connections.connections
            connection.certificate = type(connection.certificate)("sae-alice", 1, 1.0)
            writer.write(ask)
            assert is_error(await answer(reader), 401)

    run(main())


@pytest.mark.parametrize("names", [["sae-mallory"], [], ["sae-alice", "sae-bob"]])
def test_a_good_certificate_of_no_sae_of_ours_is_a_401(authority, names):
    authority.issue("odd", common_names=names)

    async def main():
        async with Running(authority) as kme:
            for target in (KEYS + "/status", OPENAPI_PATH, "/nowhere"):
                raw = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                assert is_error(await kme.send(raw, kme.client("odd")), 401)

    run(main())


# ----------------------------------------------------------------------------------- limits


def test_too_many_requests_are_a_503_that_says_when_to_come_back(authority):
    async def main():
        async with Running(authority, rate=RateLimit(0.5, 3.0)) as kme:
            found = [await kme.ask("GET", KEYS + "/status") for _ in range(4)]
            assert [code for code, _, _ in found] == [200, 200, 200, 503]
            assert is_error(found[3], 503)
            assert 1 <= int(found[3][1]["retry-after"]) <= 2

    run(main())


def test_one_sae_has_so_many_connections(authority):
    async def main():
        async with Running(authority, connections_per_sae=2) as kme:
            kept = [await kme.connect() for _ in range(2)]
            assert await refused(kme, kme.client())
            kept[0][1].close()
            await asyncio.sleep(0.1)
            assert not await refused(kme, kme.client())
            kept[1][1].close()

    run(main())


def test_the_openapi_document_is_served_to_saes(authority):
    async def main():
        async with Running(authority) as kme:
            code, headers, body = await kme.ask("GET", OPENAPI_PATH)
            assert (code, headers["content-type"]) == (200, "application/json")
            assert json.loads(body)["openapi"].startswith("3.1")

    run(main())
