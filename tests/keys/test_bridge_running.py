"""Two running KMEs with bridges to key managers: every key gets to both, the same on both sides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lines import actions, records
from key_managers import Managers
from running_kmes import RunningKmes
from two_sites import SITES

from bellrelay.keys import bridge_function
from bellrelay.keys.audit_verify import verify_audit
from bellrelay.keys.bridge_function import CONFIG_VARIABLE, PushIncomplete, handle

BLOCKS, UNITS = 2, 12


@pytest.fixture
def managers(tmp_path: Path) -> Iterator[Managers]:
    managers = Managers(tmp_path)
    yield managers
    managers.close()


@pytest.fixture
def cold() -> Iterator[None]:
    bridge_function._forget()
    yield
    bridge_function._forget()


def test_all_key_of_a_pair_gets_to_both_managers(managers: Managers, tmp_path: Path) -> None:
    managers.kms["kme-a"].moods.extend([503, "lose", "hang up", "hang up", 422])
    made = managers.sites.add_blocks(BLOCKS, UNITS)
    with RunningKmes(managers.sites) as kmes:
        keys = managers.both(BLOCKS * UNITS)
        # The bits are those of the blocks: 256 bits are one unit.
        blocks = [bits for _, bits in made]
        assert sorted(keys.values()) == sorted(
            bits[32 * n : 32 * (n + 1)] for bits in blocks for n in range(UNITS)
        )
        more = managers.sites.add_blocks(1, UNITS)
        assert len(managers.both((BLOCKS + 1) * UNITS)) == (BLOCKS + 1) * UNITS
        status = kmes.daemons["kme-a"].bridges.status()
        assert set(status) == {"to-kms"}
    logs = [path.read_bytes() for site in SITES for path in (tmp_path / site / "audit").iterdir()]
    assert no_key_in(b"".join(logs), [*keys.values(), *(bits for _, bits in made + more)])
    for site in SITES:
        assert verify_audit(tmp_path / site / "audit").whole
        assert actions(tmp_path / site / "audit").count("key-pushed") == (BLOCKS + 1) * UNITS


def no_key_in(log: bytes, keys: list[bytes]) -> bool:
    """Neither key bytes, nor hex, nor base64, nor plain hashes of them in any of these forms."""
    import base64
    import hashlib

    forms = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b"}
    log = log.lower()
    for key in keys:
        texts = [key, *(hashlib.new(form, key).digest() for form in forms)]
        for text in texts:
            encoded = base64.b64encode(text).rstrip(b"=").lower()
            url_safe = base64.urlsafe_b64encode(text).rstrip(b"=").lower()
            # The beginnings as well: shortened hashes are hashes.
            spellings = (text.lower(), text.hex().encode(), encoded, url_safe)
            if any(each[:16] in log for each in spellings):
                return False
    return True


def test_the_search_for_keys_finds_them() -> None:
    import base64
    import hashlib

    key = bytes(range(100, 132))
    for planted in (
        key,
        key.hex().encode(),
        key.hex().upper().encode(),
        base64.b64encode(key),
        hashlib.sha256(key).hexdigest().encode(),
        hashlib.sha256(key).hexdigest()[:16].encode(),
        base64.b64encode(hashlib.sha1(key).digest()),
    ):
        assert not no_key_in(b"before " + planted + b" after", [key])
    assert no_key_in(b"nothing of it", [key])


def test_a_function_empties_the_backlog(
    managers: Managers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cold: None
) -> None:
    managers.change("kme-b", bridges=[managers.bridge("kme-b", push="function")])
    monkeypatch.setenv(CONFIG_VARIABLE, str(managers.sites.config("kme-b")))
    managers.sites.add_blocks(1, UNITS)
    with RunningKmes(managers.sites):
        end = time.monotonic() + 30
        pushed = 0
        while pushed < UNITS:
            assert time.monotonic() < end
            # The event is a record of the audit log, as a SIEM would hand it on.
            result = handle({"event.action": "block-added", "bellrelay.object": "block:x"})
            pushed += result["bridges"]["to-kms"]["pushed"]
        assert result["warm"] or pushed == UNITS
        managers.both(UNITS)
        assert handle({"wait_s": 0})["warm"] is True
        # A manager that is away: the platform is told, and told when it was for nothing.
        managers.kms["kme-b"].moods.extend([503] * 3)
        managers.sites.add_blocks(1, UNITS)
        with pytest.raises(PushIncomplete, match="to-kms: HTTP 503") as caught:
            handle({"even_if_early": True, "wait_s": 10})
        assert caught.value.result["bridges"]["to-kms"]["fault"].startswith("HTTP 503")
        managers.kms["kme-b"].moods.clear()
        while len(managers.kms["kme-b"].entries) < 2 * UNITS:
            assert time.monotonic() < end
            handle({"even_if_early": True, "bridge": "to-kms"})
        managers.both(2 * UNITS)
        with pytest.raises(KeyError):
            handle({"bridge": "another"})
    found = records(tmp_path / "kme-b" / "audit")
    assert {r["user.id"] for r in found if r["event.action"] == "key-pushed"} == {"bridge:to-kms"}
