"""Errors of an endpoint's configuration: file, key, value, what is allowed."""

import copy
from pathlib import Path

import pytest
import yaml

from bellrelay.endpoint.config import check_endpoint_config, load_endpoint_config
from bellrelay.settings.model import ConfigError

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "endpoint.example.yaml"
VALUES = yaml.safe_load(EXAMPLE.read_text())


def changed(*changes):
    values = copy.deepcopy(VALUES)
    for key, value in changes:
        *path, last = key.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return values


LINES = [
    ("endpoint_id", "two words", "endpoint_id: 'two words'; allowed: text that matches"),
    ("peer_id", "alice-1", "peer_id: 'alice-1'; allowed: another than endpoint_id"),
    ("role", "eve", "role: 'eve'; allowed: 'alice' or 'bob'"),
    ("relay.connect", None, "allowed: either connect or unix_socket"),
    ("relay.unix_socket", "x", "allowed: either connect or unix_socket"),
    ("relay.tls", None, "allowed: connect needs tls, or plain: true to a loopback"),
    ("relay.connect", "charlie", "relay.connect: 'charlie'; allowed: HOST:PORT"),
    ("peer.connect", "bob:1", "allowed: either listen or connect"),
    ("peer.tls", None, "peer.tls: missing"),
    ("source.plugin", None, "source.plugin: missing"),
    ("alice.mu", 0.04, "intensities must fall, 3.0 >= mu > nu > o >= 0"),
    ("alice.p_s", 0.7, "p_s + p_mu + p_nu must be below 1: o takes the rest"),
    ("bob.s", 0.0, "s must lie above 0"),
    ("bob.p_nu", 0.0, "p_nu must lie between 0 and 1"),
    ("bob.deviation", 0.2, "bob.deviation: 0.2; allowed: 0 to 0.1"),
    ("alice.deviation", 0.002, "alice.deviation: 0.002; allowed: more than intensity_monitor.cal"),
    ("block.slots", 10, "block.slots: 10; allowed: 1000 to"),
    ("block.slots", 1e10 + 0.5, "allowed: 1000 to 1000000000000000 slots, a whole number"),
    ("security.secrecy", 0.5, "security.secrecy: 0.5; allowed: 1e-30 to 0.01"),
    ("security.length_rule", "fixed", "security.fixed_length_bits: None; allowed: a number of"),
    ("security.fixed_length_bits", 5, "security.fixed_length_bits: 5; allowed: a number of bits"),
    ("security.outcomes", "both", "security.outcomes: 'both'; allowed: 'pooled' or 'separate'"),
    ("reconcile.method", "winnow", "reconcile.method: 'winnow'; allowed: 'auto', 'ldpc' or"),
    ("key_pool.refill_share", 2, "key_pool.refill_share: 2; allowed: 0 to 1"),
    ("random_health.alpha", 0.1, "random_health.alpha: 0.1; allowed: 8.27181e-25 to 9.53674e-07"),
    ("intensity_monitor.input", None, "intensity_monitor.input: missing"),
    ("intensity_monitor.file", None, "intensity_monitor.file: None; allowed: a file with input"),
    ("intensity_monitor.input", "source", "intensity_monitor.file: '/run/bellrelay/alice-1/int"),
    ("intensity_monitor.max_age_s", 700, "intensity_monitor.max_age_s: 700.0; allowed: at most"),
    ("health.listen", "nowhere", "health.listen: 'nowhere'; allowed: HOST:PORT"),
    ("blok", 1, "blok: no such key"),
]


@pytest.mark.parametrize(("key", "value", "line"), LINES)
def test_an_error_of_an_endpoint_names_file_key_value_and_what_is_allowed(
    tmp_path, key, value, line
):
    path = tmp_path / "alice.yaml"
    path.write_text(yaml.safe_dump(changed((key, value))))
    with pytest.raises(ConfigError) as error:
        load_endpoint_config(path)
    assert len(error.value.lines) == 1
    assert error.value.lines[0].startswith(f"{path}: ")
    assert line in error.value.lines[0]


def test_rule_8_no_monitor_must_be_said_and_a_plain_relay_is_of_this_machine():
    """Without a monitor the declared deviation is trusted: that is never a default."""
    values = changed(("intensity_monitor", {"input": "none"}))
    assert check_endpoint_config(values).intensity_monitor.file is None
    values = changed(("relay.tls", None), ("relay.plain", True))
    with pytest.raises(ConfigError, match="loopback address only"):
        check_endpoint_config(values)
    values["relay"]["connect"] = "127.0.0.1:7410"
    assert check_endpoint_config(values).relay.plain


def test_either_role_has_its_own_ladder_and_slots_may_be_written_as_powers():
    config = check_endpoint_config(changed(("block.slots", 1.0e12)))
    assert config.block.slots == 10**12
    assert config.own_ladder.s == 0.4
    assert check_endpoint_config(changed(("role", "bob"))).own_ladder.s == 0.5
    assert config.source.options == {"directory": "/var/lib/bellrelay/alice-1/source"}
    fixed = changed(("security.length_rule", "fixed"), ("security.fixed_length_bits", 1000))
    assert check_endpoint_config(fixed).security.fixed_length_bits == 1000
