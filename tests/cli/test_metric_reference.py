"""The page of metrics says what daemons export: asked of real ones, and of the sources."""

import asyncio
import re
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "keys"))

from pretend_board import PretendBoard
from running_kmes import RunningKmes
from two_sites import SITES, TwoSites

from bellrelay.cli.metric_reference import MEASURES, SOURCES, exported, reference_page
from bellrelay.cli.run_certificates import make_certificates, tls_files
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.daemon import EndpointDaemon
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.relay.config import check_config
from bellrelay.relay.daemon import RelayDaemon

ROOT = Path(__file__).resolve().parents[2]
LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}


def scraped(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {f.name: f for f in text_string_to_metric_families(text)}


def on_page(families):
    """Raises unless each of them stands on the page, with its kind and labels."""
    known = {m.name.removesuffix("_total"): m for m in exported()}
    for name, family in families.items():
        assert name in known, name
        assert known[name].kind == family.type, name
        labels = {k for s in family.samples for k in s.labels} - {"le"}
        assert labels <= set(known[name].labels), name


def run(daemon, until=lambda families: True):
    """What it says once that is enough."""

    async def main():
        await daemon.start()
        try:
            async with asyncio.timeout(60):
                while True:
                    families = await asyncio.to_thread(scraped, daemon.health.port)
                    if until(families):
                        return families
                    await asyncio.sleep(0.05)
        finally:
            await daemon.stop()

    return asyncio.run(main())


def test_the_page_is_of_this_code():
    page = ROOT / "docs" / "reference" / "metrics.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.cli.metric_reference > docs/reference/metrics.md"
    )


def test_whoever_makes_metrics_stands_on_the_page():
    makers = {
        ".".join(path.relative_to(ROOT / "host").with_suffix("").parts)
        for path in (ROOT / "host").rglob("*.py")
        if "MetricFamily(" in path.read_text()
    }
    assert makers == {source.module for source in SOURCES}


def test_every_measure_has_metrics_that_there_are():
    numbers = [m.number for m in MEASURES if m.number]
    assert numbers == [f"M{n}" for n in range(1, 11)]
    rules = yaml.safe_load((ROOT / "deploy" / "slo.yaml").read_text())["recordings"]
    there = {m.name for m in exported()} | {rule["name"] for rule in rules}
    assert {name for m in MEASURES for name in m.names} <= there
    assert {rule["name"] for rule in rules} <= {name for m in MEASURES for name in m.names}


def test_names_and_words_are_as_prometheus_wants_them():
    for metric in exported():
        assert re.fullmatch(r"bellrelay_[a-z0-9_]+", metric.name)
        assert metric.about
        assert "|" not in metric.about + "".join(metric.labels)


def test_what_a_relay_exports(tmp_path):
    board = PretendBoard(tmp_path / "port")
    values = {
        "relay_id": "charlie",
        "port": str(tmp_path / "port"),
        "slot_period_ps": 10_000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
        "log": {"directory": str(tmp_path / "log")},
        "health": {"listen": "127.0.0.1:0"},
    }
    try:
        families = run(
            RelayDaemon(check_config(values)), lambda f: bool(f["bellrelay_board"].samples)
        )
    finally:
        board.close()
    on_page(families)
    assert families["bellrelay_relay_up"].samples[0].value == 1.0
    queues = families["bellrelay_relay_queue_peak"].samples
    assert {s.labels["queue"] for s in queues} == {"link", "log", "tags"}


def test_what_an_endpoint_exports(tmp_path):
    make_certificates(tmp_path, ("alice", "bob"))
    KeyPool.create(tmp_path / "pool", bytes(range(256)) * 16)
    values = {
        "endpoint_id": "alice",
        "peer_id": "bob",
        "role": "alice",
        "relay": {"id": "charles", "unix_socket": str(tmp_path / "announcements")},
        "peer": {"listen": "127.0.0.1:0", "name": "bob", "tls": tls_files(tmp_path, "alice")},
        "source": {"plugin": "simulation"},
        "alice": LADDER,
        "bob": LADDER,
        "block": {"slots": 20000},
        "store": {"directory": str(tmp_path / "store")},
        "key_pool": {"file": str(tmp_path / "pool")},
        "intensity_monitor": {"input": "none"},
        "health": {"listen": "127.0.0.1:0"},
    }
    families = run(EndpointDaemon(check_endpoint_config(values)))
    on_page(families)
    assert "bellrelay_endpoint_block_error_ratio" in families


def test_what_kmes_export(tmp_path):
    sites = TwoSites(tmp_path, [("office", "sae-alice", "sae-bob", 1)])
    sites.add_blocks(1, 8)
    with RunningKmes(sites) as kmes:
        _, given = kmes.enc_keys("sae-alice", "kme-a", "sae-bob")
        assert given["keys"]
        end = time.monotonic() + 60
        for site in SITES:
            while True:
                families = scraped(sites.health[site])
                on_page(families)
                # Counted every now and then.
                newest = families["bellrelay_kme_newest_key_timestamp_seconds"].samples
                if newest:
                    break
                assert time.monotonic() < end
                time.sleep(0.1)
            assert {s.value for s in newest} == {1_700_000_000.0}


def test_a_metric_that_the_page_has_not_is_found():
    (family,) = text_string_to_metric_families("# TYPE bellrelay_other gauge\nbellrelay_other 1\n")
    with pytest.raises(AssertionError, match="bellrelay_other"):
        on_page({family.name: family})
