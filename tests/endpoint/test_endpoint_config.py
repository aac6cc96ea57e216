"""Errors of an endpoint's configuration: file, key, value, what is allowed."""

import copy
from pathlib import Path

import pytest
import yaml

from bellrelay.endpoint.agreement import agreement_of
from bellrelay.endpoint.block import BlockId
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
    ("relay.connect", None, "allowed: either connect, unix_socket or nats"),
    ("relay.unix_socket", "x", "allowed: either connect, unix_socket or nats"),
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
    ("alice.deviation_limit", 0.005, "alice.deviation_limit: 0.005; allowed: not less than dev"),
    ("alice.deviation_limit", 0.2, "alice.deviation_limit: 0.2; allowed: 0 to 0.1"),
    ("bob.mu", 0.082, "bob.deviation_limit: 0.02; allowed: mu and nu may be equally bright"),
    ("alice.vacuum_limit", 0.0, "alice.vacuum_limit: 0.0; allowed: more than 0 where light is"),
    ("alice.vacuum_limit", 0.05, "nu and o may be equally bright"),
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


def test_a_limit_that_no_monitor_can_show_is_refused():
    """Its own calibration is worse than that."""
    limits = ("alice.deviation", 0.001), ("alice.deviation_limit", 0.002)
    with pytest.raises(ConfigError, match=r"alice.deviation_limit: 0.002; allowed: more than int"):
        check_endpoint_config(changed(*limits))
    # Where none looks, what is declared may be as narrow as one dares.
    unwatched = changed(*limits, ("intensity_monitor", {"input": "none"}))
    assert check_endpoint_config(unwatched).own_ladder.deviation == 0.001


def test_the_limit_of_the_deviation_is_twice_the_deviation_where_none_is_named():
    unnamed = changed(("bob.deviation", 0.03), ("bob.deviation_limit", None))
    assert check_endpoint_config(unnamed).bob.most_deviation == 0.06
    assert check_endpoint_config(changed(("bob.mu", 0.5))).bob.most_deviation == 0.02


def test_the_vacuum_limit_is_in_the_ladder_that_bounds_are_made_with():
    """Rule 8: a vacuum that is declared as none may hold what its monitor lets pass."""
    ladder = check_endpoint_config(changed(("alice.vacuum_limit", 2e-3))).own_ladder
    assert (ladder.low[3], ladder.high[3]) == (0.0, 2e-3)


def test_either_role_has_its_own_ladder_and_slots_may_be_written_as_powers():
    config = check_endpoint_config(changed(("block.slots", 1.0e12)))
    assert config.block.slots == 10**12
    assert config.own_ladder.s == 0.4
    assert check_endpoint_config(changed(("role", "bob"))).own_ladder.s == 0.5
    assert config.source.options == {"directory": "/var/lib/bellrelay/alice-1/source"}
    fixed = changed(("security.length_rule", "fixed"), ("security.fixed_length_bits", 1000))
    assert check_endpoint_config(fixed).security.fixed_length_bits == 1000


SECOND = {
    "id": "charlie-2",
    "unix_socket": "/run/charlie-2",
    "source": {"plugin": "files", "directory": "/var/lib/bellrelay/alice-1/source-2"},
}


@pytest.mark.parametrize(
    ("secondaries", "sender", "line"),
    [
        ([{**SECOND, "id": "charlie-1"}], {"plugin": "x"}, "secondaries.0.id: 'charlie-1'"),
        ([{**SECOND, "source": VALUES["source"]}], {"plugin": "x"}, "secondaries.0.source: "),
        (
            [{k: v for k, v in SECOND.items() if k != "source"}],
            {"plugin": "x"},
            "0.source: missing",
        ),
        ([SECOND], None, "a sender that can be directed to a relay"),
        ([SECOND, SECOND], {"plugin": "x"}, "secondaries.1.id: 'charlie-2'"),
    ],
)
def test_relays_that_cannot_be_told_apart_or_gone_to_are_refused(secondaries, sender, line):
    values = changed(("secondaries", secondaries), ("sender", sender))
    with pytest.raises(ConfigError) as error:
        check_endpoint_config(values)
    assert line in error.value.lines[0]


def test_relays_are_in_their_order_in_the_agreement(tmp_path):
    values = changed(("secondaries", [SECOND]), ("sender", {"plugin": "x"}))
    both = agreement_of(check_endpoint_config(values))
    assert both.relays == ("charlie-1", "charlie-2")
    assert both.relay_of(BlockId(1, 0, 1)) == "charlie-2"
    assert both.digest != agreement_of(check_endpoint_config(VALUES)).digest
    # So are its windows, and a timetable without any is refused.
    window = {"relay": "charlie-2", "a": "alice-1", "b": "bob-1"}
    times = {"from_s": 0.0, "begin_s": 1.0, "end_s": 2.0}
    path = tmp_path / "timetable.yaml"
    digests = set()
    for end_s in (2.0, 3.0):
        path.write_text(
            yaml.safe_dump({"frame_s": 60.0, "windows": [{**window, **times, "end_s": end_s}]})
        )
        timed = check_endpoint_config({**values, "timetable": {"file": str(path)}})
        digests.add(agreement_of(timed).digest)
    assert len(digests | {both.digest}) == 3
    other = {"file": str(path), "pair": ["alice-1", "carol"]}
    with pytest.raises(ConfigError, match="a window of alice-1 and carol"):
        agreement_of(check_endpoint_config({**values, "timetable": other}))
    with pytest.raises(ConfigError, match="a sender that can be halted"):
        check_endpoint_config(changed(("timetable", {"file": str(path)})))
