"""What a KME's YAML may say, and what its verb does with it."""

import json
import subprocess
import sys

import pytest
import yaml
from two_sites import TwoSites

from bellrelay.cli.exits import ExitCode
from bellrelay.keys.kme_config import check_kme_config
from bellrelay.settings.model import ConfigError


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    return TwoSites(
        tmp_path_factory.mktemp("sites"),
        [("bank", "sae-alice", "sae-bob", 2), ("vpn", "vpn-alice", "vpn-bob", 1)],
    )


def changed(values, path, value):
    key, _, rest = path.partition(".")
    inner = changed(values.get(key) or {}, rest, value) if rest else value
    return {**values, key: inner}


def test_both_files_agree_in_pairs(sites):
    digests = {check_kme_config(sites.values(site)).key_pairs().digest for site in sites.ports}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("kme_id", "a b", "kme_id"),
        ("peer.kme_id", "kme-a", "pairs"),
        ("pairs", [], "pairs"),
        ("pairs", [{"name": "x", "saes": {"kme-a": "s"}}], "pairs"),
        ("pairs", [{"name": "x", "saes": {"kme-a": "s", "kme-b": "s"}}], "pairs"),
        ("pairs", [{"name": "x", "saes": {"kme-a": "s\n", "kme-b": "t"}}], "pairs.0.saes.kme-a"),
        ("groups", [["sae-alice", "nobody"]], "pairs"),
        ("unit_bits", 100, "unit_bits"),
        ("delivery.key_size", 8192, "delivery.key_size"),
        ("delivery.max_key_size", 100, "delivery.max_key_size"),
        ("delivery.max_key_size", 1048576, "delivery.max_key_per_request"),
        ("tls.minimum", "1.1", "tls.minimum"),
        ("store.url", "postgresql://x", "store"),
        ("kek", {}, "kek"),
        ("kek.pkcs11", {"module": "m", "token": "t", "key": "k", "pin_file": "p"}, "kek"),
        ("health.listen", "0.0.0.0:9", "health.listen"),
        ("health.listen", "kme.example:9", "health.listen"),
        ("limits.requests_per_s", 0, "limits.requests_per_s"),
        ("nonsense", 1, "nonsense"),
    ],
)
def test_what_cannot_be_used_is_named(sites, key, value, named):
    with pytest.raises(ConfigError) as caught:
        check_kme_config(changed(sites.values("kme-a"), key, value))
    assert any(f": {named}" in line for line in caught.value.lines), caught.value.lines


def test_a_password_in_a_url_is_not_shown(sites):
    values = {**sites.values("kme-a"), "store": {"url": "postgresql://u:SECRET@h/d"}}
    assert "SECRET" not in repr(check_kme_config(values))


def kme(*words):
    return subprocess.run(
        [sys.executable, "-m", "bellrelay", "kme", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_and_create_kek(sites, tmp_path):
    good = kme("--config", sites.config("kme-a"), "--check", "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["pairs"] == ["bank", "vpn"]

    values = changed(sites.values("kme-a"), "kek.file", str(tmp_path / "kek"))
    config = tmp_path / "kme.yaml"
    config.write_text(yaml.safe_dump(values))
    missing = kme("--config", config, "--check")
    assert missing.returncode == ExitCode.STORAGE
    assert kme("--config", config, "--create-kek").returncode == 0
    assert (tmp_path / "kek").stat().st_mode & 0o777 == 0o600
    assert kme("--config", config, "--check").returncode == 0
    again = kme("--config", config, "--create-kek")
    assert again.returncode == ExitCode.CONFIGURATION
    assert "kek.file" in again.stderr

    (tmp_path / "kek").chmod(0o644)
    unsafe = kme("--config", config, "--check")
    assert unsafe.returncode == ExitCode.STORAGE
    assert "Traceback" not in unsafe.stderr


def test_a_revocation_list_of_somebody_else_is_named(sites, tmp_path):
    (tmp_path / "crl.pem").write_text("nonsense")
    values = changed(sites.values("kme-a"), "tls.crl", str(tmp_path / "crl.pem"))
    config = tmp_path / "kme.yaml"
    config.write_text(yaml.safe_dump(values))
    done = kme("--config", config, "--check")
    assert done.returncode == ExitCode.CONFIGURATION
    assert "tls.crl" in done.stderr
