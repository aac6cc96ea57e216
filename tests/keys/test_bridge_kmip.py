"""The bridge to a KMIP server, against PyKMIP's own server."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator

import pytest
from kmip.core.enums import KMIPVersion, ObjectType, State
from kmip.pie.client import ProxyKmipClient
from kmip.pie.exceptions import KmipOperationFailure
from kmip_server import KmipServer

from bellrelay.keys.bridge_kmip import KmipKeys
from bellrelay.keys.bridge_settings import KmipTarget
from bellrelay.keys.bridge_targets import BridgeKey, TargetRefused, TargetUnavailable

BLOCK = {"block_id": "b", "relay": "charles", "begun_ns": 1, "made_ns": 2, "epsilon": 1e-10}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmipServer]:
    server = KmipServer(tmp_path_factory.mktemp("kmip"))
    server.client("alice")
    server.client("mallory")
    server.start()
    yield server
    server.kill()


def tls(server: KmipServer, name: str) -> dict[str, str]:
    return {
        "certificate": str(server.folder / f"{name}.crt"),
        "key": str(server.folder / f"{name}.key"),
        "ca": str(server.folder / "ca.crt"),
    }


def target(server: KmipServer, name: str = "alice", **words: object) -> KmipKeys:
    values = {
        "address": f"127.0.0.1:{server.port}",
        "tls": tls(server, name),
        "server_name": "kmip",
        **words,
    }
    return KmipKeys(KmipTarget.model_validate(values), 10.0)


@pytest.fixture
def keys(server: KmipServer) -> Iterator[KmipKeys]:
    keys = target(server)
    yield keys
    keys.close()


def a_key(bits: int = 256, key_id: str | None = None) -> BridgeKey:
    name = key_id or str(uuid.uuid4())
    return BridgeKey(name, bits, "alice", [BLOCK], bytearray(os.urandom(bits // 8)))


@pytest.fixture
def client(server: KmipServer) -> Iterator[ProxyKmipClient]:
    """Somebody who uses the keys, with a client of its own."""
    paths = tls(server, "alice")
    client = ProxyKmipClient(
        hostname="127.0.0.1",
        port=server.port,
        cert=paths["certificate"],
        key=paths["key"],
        ca=paths["ca"],
        ssl_version="PROTOCOL_TLSv1_2",
        kmip_version=KMIPVersion.KMIP_1_4,
    )
    with client:
        yield client


@pytest.mark.parametrize("bits", [128, 256, 512])
def test_a_key_is_there_under_its_name(keys: KmipKeys, client: ProxyKmipClient, bits: int) -> None:
    key = a_key(bits)
    uid = keys.put(key)
    there = client.get(uid)
    assert there.value == bytes(key.key)
    _, (name,) = client.get_attributes(uid, ["Name"])
    assert name.attribute_value.name_value.value == f"bellrelay-{key.key_id}"
    kind = ObjectType.SYMMETRIC_KEY if bits <= 256 else ObjectType.SECRET_DATA
    assert there.object_type is kind
    _, (state,) = client.get_attributes(uid, ["State"])
    assert state.attribute_value.value is State.ACTIVE


def test_a_key_is_put_once(keys: KmipKeys, client: ProxyKmipClient) -> None:
    key = a_key()
    assert keys.put(key) == keys.put(key)
    assert len(keys_named(client, key)) == 1


def keys_named(client: ProxyKmipClient, key: BridgeKey) -> list[str]:
    from kmip.core.attributes import Name
    from kmip.core.enums import AttributeType, NameType
    from kmip.core.factories.attributes import AttributeFactory

    name = Name.create(f"bellrelay-{key.key_id}", NameType.UNINTERPRETED_TEXT_STRING)
    wanted = AttributeFactory().create_attribute(AttributeType.NAME, name)
    return list(client.locate(attributes=[wanted]))


def test_a_lost_reply_to_the_registration_changes_nothing(
    keys: KmipKeys, client: ProxyKmipClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server registers; we never hear of it."""
    key = a_key()
    read = type(keys._client.proxy)._receive_message
    lost = []

    def lose(proxy: object) -> object:
        answer = read(proxy)
        lost.append(answer)
        if len(lost) == 2:  # locate, then register
            raise ConnectionResetError("lost")
        return answer

    keys.put(a_key())
    with monkeypatch.context() as patch:
        patch.setattr(type(keys._client.proxy), "_receive_message", lose)
        uid = keys.put(key)
    assert keys_named(client, key) == [uid]
    assert client.get(uid).value == bytes(key.key)


def test_another_object_of_the_name_is_no_success(keys: KmipKeys) -> None:
    key = a_key()
    keys.put(key)
    other = a_key(key_id=key.key_id)
    with pytest.raises(TargetRefused, match="another object has the name") as caught:
        keys.put(other)
    assert other.key.hex() not in str(caught.value)


def test_another_tenant_does_not_get_it(server: KmipServer, keys: KmipKeys) -> None:
    uid = keys.put(a_key())
    mallory = target(server, "mallory")
    mallory.put(a_key())
    with pytest.raises(KmipOperationFailure):
        mallory._client.get(uid)
    mallory.close()


def test_a_key_is_recalled(keys: KmipKeys, client: ProxyKmipClient) -> None:
    key = a_key()
    uid = keys.put(key)
    for _ in range(2):
        keys.recall(key.key_id, uid, "relay charles was tampered with")
    with pytest.raises(KmipOperationFailure):
        client.get(uid)


def test_a_server_of_another_name_gets_nothing(server: KmipServer) -> None:
    """PyKMIP's own client would not look."""
    keys = target(server, server_name="another")
    with pytest.raises(TargetUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        keys.put(a_key())


def test_a_server_that_dies_is_away_and_comes_back(server: KmipServer, keys: KmipKeys) -> None:
    keys.put(a_key())
    server.kill()
    key = a_key()
    for _ in range(2):
        with pytest.raises(TargetUnavailable):
            keys.put(key)
    server.start()
    assert keys.put(key) == keys.put(key)


def test_nothing_of_the_key_is_logged(keys: KmipKeys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = a_key()
    keys.put(key)
    assert key.key.hex() not in caplog.text
    assert repr(bytes(key.key)) not in caplog.text
    assert key.key.hex() not in repr(key)


def test_a_server_that_speaks_something_else_is_away(server: KmipServer) -> None:
    """The key stays where it is."""
    import socket
    import threading

    from bellrelay.service.tls import server_context

    context = server_context(
        server.folder / "kmip.crt", server.folder / "kmip.key", server.folder / "ca.crt"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def answer() -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, True) as tls:
            tls.recv(4096)
            tls.sendall(b"\x42\x00\x7b\x01\x00\x00\x00\x08HTTP/1.1")

    thread = threading.Thread(target=answer)
    thread.start()
    keys = target(server, address=f"127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(TargetUnavailable):
        keys.put(a_key())
    thread.join()
    listener.close()
