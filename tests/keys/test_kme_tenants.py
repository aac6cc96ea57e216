"""One tenant tries to see, count or exhaust another's keys."""

import base64
import collections
import json
import threading
import time
import urllib.request
import uuid

import pytest
from running_kmes import RunningKmes
from two_sites import TwoSites

from bellrelay.keys.kme_config import check_kme_config, load_kme_config
from bellrelay.settings.model import ConfigError

PARTNERS = {"sae-mallory": ("sae-trudy",), "sae-trudy": ("sae-mallory",)}


def sites_of(folder, **changes):
    return TwoSites(
        folder,
        [
            ("greedy", "sae-mallory", "sae-trudy", 1),
            ("modest", "sae-alice", "sae-bob", 1),
        ],
        changes=changes,
    )


@pytest.fixture(scope="module")
def kmes(tmp_path_factory):
    sites = sites_of(
        tmp_path_factory.mktemp("kmes"),
        limits={"requests_per_s": 20.0, "burst": 60, "open_requests": 8, "connections": 12},
    )
    sites.add_blocks(2, 400)
    with RunningKmes(sites) as kmes:
        yield kmes


def test_a_tenant_sees_no_key_of_another(kmes):
    _, container = kmes.enc_keys("sae-alice", "kme-a", "sae-bob")
    key_id = container["keys"][0]["key_ID"]
    unknown = str(uuid.uuid4())
    for sae, site in (("sae-mallory", "kme-a"), ("sae-trudy", "kme-b")):
        for master in ("sae-alice", "sae-bob", "sae-mallory", "sae-trudy", "nobody"):
            of_another = kmes.dec_keys(sae, site, master, key_id)
            of_nobody = kmes.dec_keys(sae, site, master, unknown)
            assert of_another == of_nobody
            assert of_another[0] == (400 if master in PARTNERS[sae] else 401)
    assert kmes.dec_keys("sae-bob", "kme-b", "sae-alice", key_id) == (200, container)


def test_a_tenant_can_neither_count_nor_take_keys_of_another(kmes):
    for sae, site in (("sae-mallory", "kme-a"), ("sae-trudy", "kme-b")):
        answers = {
            json.dumps(kmes.ask(sae, site, f"/api/v1/keys/{other}/{verb}"))
            for other in ("sae-alice", "sae-bob", "nobody")
            for verb in ("status", "enc_keys")
        }
        # One and the same, whether there is such an SAE or not.
        assert answers == {'[401, {"message": "not authorized to share keys with this SAE"}]'}


def test_who_asks_for_what_is_not_his_is_on_record(kmes):
    for _ in range(3):
        assert kmes.ask("sae-bob", "kme-b", "/api/v1/keys/sae-mallory/status")[0] == 401

    def found():
        lines = [
            json.loads(line)
            for file in sorted((kmes.sites.folder / "kme-b").glob("**/audit-*.jsonl"))
            for line in file.read_text().splitlines()
        ]
        return [e for e in map(str, lines) if "request-refused" in e and "sae:sae-bob" in e]

    end = time.monotonic() + 20
    while not found() and time.monotonic() < end:
        time.sleep(0.1)
    assert "not authorized to share keys" in found()[0]
    assert "127.0.0.1" in found()[0]


def test_what_one_takes_another_does_not_lack(kmes):
    time.sleep(2)
    before = kmes.status("sae-alice", "kme-a", "sae-bob")[1]["stored_key_count"]
    taken = 0
    while True:
        code, answer = kmes.enc_keys("sae-mallory", "kme-a", "sae-trudy", number=32, size=256)
        if code != 200:
            break
        taken += 32
        time.sleep(0.05)
    assert answer["message"] == "not enough keys"
    assert taken >= 160
    assert kmes.status("sae-alice", "kme-a", "sae-bob")[1]["stored_key_count"] == before
    assert kmes.enc_keys("sae-alice", "kme-a", "sae-bob", number=32)[0] == 200
    # Nor does its partner: each side has its own.
    assert kmes.enc_keys("sae-trudy", "kme-b", "sae-mallory", number=32)[0] == 200


def test_what_one_asks_another_does_not_wait_for(kmes):
    """Beyond its rate and its open requests the greedy one gets 503; the modest one is served."""
    codes = collections.Counter()
    stop = threading.Event()

    def greedy():
        while not stop.is_set():
            try:
                code, _ = kmes.enc_keys(
                    "sae-mallory",
                    "kme-a",
                    "sae-trudy",
                    extension_optional=[{"bellrelay_wait_s": 1.0}],
                )
            except OSError:
                code = "closed"
            codes[code] += 1

    threads = [threading.Thread(target=greedy) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1.0)
        for _ in range(10):
            assert kmes.enc_keys("sae-alice", "kme-a", "sae-bob")[0] == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # It was refused, and in both ways.
    assert codes[503] + codes["closed"] > 16
    assert codes["closed"] > 0


def test_nothing_of_a_key_is_in_logs_metrics_health_or_audit(tmp_path, capfd):
    sites = sites_of(tmp_path)
    blocks = sites.add_blocks(1, 40)
    with RunningKmes(sites) as kmes:
        _, container = kmes.enc_keys("sae-alice", "kme-a", "sae-bob", number=3)
        ids = [key["key_ID"] for key in container["keys"]]
        assert kmes.dec_keys("sae-bob", "kme-b", "sae-alice", *ids)[0] == 200
        kmes.dec_keys("sae-bob", "kme-b", "sae-alice", *ids)
        pages = ""
        for site in sites.health:
            for page in ("health", "metrics"):
                address = load_kme_config(sites.config(site)).health.listen
                with urllib.request.urlopen(f"http://{address}/{page}", timeout=10) as answer:
                    pages += answer.read().decode()
    assert "bellrelay_kme_requests_total" in pages
    assert 'bellrelay_kme_delivered_bits_total{pair="modest"} 768.0' in pages
    captured = capfd.readouterr()
    text = pages + captured.out + captured.err
    raw = text.encode()
    for site in sites.health:
        for path in (sites.folder / site).rglob("*"):
            if path.is_file() and path.name != "kek":
                raw += path.read_bytes()
    bits = blocks[0][1]
    for index in range(40):
        unit = bits[32 * index : 32 * index + 32]
        # Neither sealed store, nor its log of writes, nor the endpoint's own store has it any more.
        for form in (unit, unit.hex().encode(), base64.b64encode(unit)):
            assert form not in raw


def test_health_is_on_a_loopback_address_or_nowhere(tmp_path):
    sites = sites_of(tmp_path)
    values = {**sites.values("kme-a"), "health": {"listen": "0.0.0.0:9000"}}
    with pytest.raises(ConfigError, match=r"health\.listen"):
        check_kme_config(values)
