"""The bridge to a key manager over HTTPS, against a real server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from https_kms import HttpsKms
from kme_certificates import Authority

from bellrelay.keys.bridge_https import HttpsKeys
from bellrelay.keys.bridge_settings import BridgeSettings, HttpsTarget
from bellrelay.keys.bridge_targets import BridgeKey, TargetRefused, TargetUnavailable
from bellrelay.service.private_file import UnsafeMode

BLOCK = {"block_id": "b", "relay": "charles", "begun_ns": 1, "made_ns": 2, "epsilon": 1e-10}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "theirs"):
        authority = Authority(folder / name)
        authority.issue("kms", dns=["localhost", "127.0.0.1"])
        authority.issue("kme-a")
    return folder


@pytest.fixture
def kms(certificates: Path) -> Iterator[HttpsKms]:
    kms = HttpsKms(certificates / "ours")
    yield kms
    kms.close()


def values(kms: HttpsKms, certificates: Path, **words: Any) -> dict[str, Any]:
    ours = certificates / "ours"
    return {
        "url": kms.url.replace("127.0.0.1", "localhost"),
        "tenant": "acme",
        "tls": {
            "ca": ours / "ca.crt",
            "certificate": ours / "kme-a.crt",
            "key": ours / "kme-a.key",
        },
        **words,
    }


def open_keys(kms: HttpsKms, certificates: Path, **words: Any) -> HttpsKeys:
    return HttpsKeys(HttpsTarget.model_validate(values(kms, certificates, **words)), 5.0)


@pytest.fixture
def keys(kms: HttpsKms, certificates: Path) -> Iterator[HttpsKeys]:
    keys = open_keys(kms, certificates)
    yield keys
    keys.close()


def a_key(bits: int = 256) -> BridgeKey:
    return BridgeKey(str(uuid.uuid4()), bits, "alice", [BLOCK], bytearray(os.urandom(bits // 8)))


def test_a_key_becomes_an_entry_of_the_tenant(kms: HttpsKms, keys: HttpsKeys) -> None:
    key = a_key()
    keys.put(key)
    assert kms.keys() == {key.key_id: bytes(key.key)}
    entry = kms.entries["acme", key.key_id]
    assert entry["algorithm"] == "AES"
    assert entry["size_bits"] == 256
    assert entry["provenance"] == [BLOCK]
    assert kms.puts[0][2]["Idempotency-Key"] == key.key_id


def test_one_connection_for_many(kms: HttpsKms, keys: HttpsKeys) -> None:
    several = [a_key() for _ in range(20)]
    for key in several:
        keys.put(key)
    assert len(kms.keys()) == 20
    assert len({headers.get("Host") for _, _, headers in kms.puts}) == 1


def test_an_answer_that_is_lost_changes_nothing(kms: HttpsKms, keys: HttpsKeys) -> None:
    keys.put(a_key())
    key = a_key()
    kms.moods.append("lose")
    keys.put(key)
    assert kms.keys()[key.key_id] == bytes(key.key)
    assert [key_id for _, key_id, _ in kms.puts[1:]] == [key.key_id] * 2


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    kms: HttpsKms, keys: HttpsKeys
) -> None:
    keys.put(a_key())
    kms.moods.append("hang up")
    key = a_key()
    keys.put(key)
    assert ("acme", key.key_id) in kms.entries
    kms.moods.extend(["hang up", "hang up"])
    with pytest.raises(TargetUnavailable):
        keys.put(a_key())


@pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 500, 502, 503])
def test_statuses_that_may_pass(kms: HttpsKms, keys: HttpsKeys, status: int) -> None:
    kms.moods.append(status)
    kms.retry_after = "7"
    with pytest.raises(TargetUnavailable, match=f"HTTP {status}: not now") as caught:
        keys.put(a_key())
    assert caught.value.wait_s == 7.0


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_statuses_that_are_about_this_key(kms: HttpsKms, keys: HttpsKeys, status: int) -> None:
    kms.moods.append(status)
    with pytest.raises(TargetRefused, match=f"HTTP {status}"):
        keys.put(a_key())
    keys.put(a_key())


def test_a_manager_that_is_away(kms: HttpsKms, certificates: Path) -> None:
    gone = HttpsKms(certificates / "ours")
    keys = open_keys(gone, certificates)
    gone.close()
    with pytest.raises(TargetUnavailable, match="refused"):
        keys.put(a_key())


def test_another_authoritys_server_gets_nothing(certificates: Path) -> None:
    theirs = HttpsKms(certificates / "theirs")
    keys = open_keys(theirs, certificates)
    with pytest.raises(TargetUnavailable, match="certificate"):
        keys.put(a_key())
    assert theirs.puts == []
    theirs.close()


def test_a_certificate_of_another_name_gets_nothing(kms: HttpsKms, certificates: Path) -> None:
    keys = open_keys(kms, certificates, url=kms.url.replace("127.0.0.1", "127.0.0.2"))
    with pytest.raises(TargetUnavailable):
        keys.put(a_key())
    assert kms.puts == []


def test_a_token_is_read_each_time(kms: HttpsKms, certificates: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    token.chmod(0o600)
    keys = open_keys(kms, certificates, token_file=token)
    kms.token = "Bearer second"
    with pytest.raises(TargetUnavailable, match="HTTP 401"):
        keys.put(a_key())
    token.write_text("second\n")
    keys.put(a_key())
    keys.close()
    token.chmod(0o644)
    with pytest.raises(UnsafeMode):
        open_keys(kms, certificates, token_file=token)


def test_an_entry_is_recalled(kms: HttpsKms, keys: HttpsKeys) -> None:
    key = a_key()
    remote = keys.put(key)
    for _ in range(2):
        keys.recall(key.key_id, remote, "relay charles\r\nX-Injected: 1")
    assert kms.keys() == {}


def test_the_path_is_the_operators(kms: HttpsKms, certificates: Path) -> None:
    keys = open_keys(
        kms,
        certificates,
        url=f"https://localhost:{kms.port}",
        path="/v1/tenants/{tenant}/keys/{key_id}",
    )
    keys.put(a_key())
    assert len(kms.keys()) == 1
    keys.close()


@pytest.mark.parametrize(
    "words",
    [
        {"url": "http://kms.example"},
        {"url": "https://user:secret@kms.example"},
        {"url": "https://kms.example/?a=b"},
        {"tenant": "a/b"},
        {"path": "/keys"},
        {"path": "/keys/{key_id}/{key}"},
        {"path": "/keys/{key_id.__class__}"},
        {"tls": {"ca": "ca.crt"}},
    ],
)
def test_targets_that_are_none(kms: HttpsKms, certificates: Path, words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        HttpsTarget.model_validate(values(kms, certificates, **words))


@pytest.mark.parametrize("words", [{}, {"key_size": 250}, {"name": "Bad Name"}])
def test_bridges_that_are_none(kms: HttpsKms, certificates: Path, words: dict[str, Any]) -> None:
    target = {"https": values(kms, certificates)} if words else {}
    with pytest.raises(ValueError, match="validation error"):
        BridgeSettings.model_validate({"name": "b", "sae": "alice", **target, **words})
