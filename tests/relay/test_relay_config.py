"""Errors of a configuration: file, key, value, what is allowed. And what becomes of a good one."""

from fractions import Fraction

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.relay.config import ConfigError, check_config, load_config
from bellrelay.relay.register_values import register_values, slot_rate
from bellrelay.wire.access import checked_words
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import RegisterMap

GEOMETRY = BoardGeometry(n_detectors=2)


def put(values, key, value):
    *path, last = key.split(".")
    for part in path:
        values = values[int(part)] if part.isdigit() else values.setdefault(part, {})
    values[last] = value


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("relay_id", "two words", "relay_id: 'two words'; allowed: text that matches"),
        ("baud", 1, "baud: 1; allowed: 9600 to 12000000 baud"),
        ("baud", True, "baud: True; allowed: 9600 to 12000000 baud"),
        ("encoding", "phase", "encoding: 'phase'; allowed: 'time-bin' or 'polarisation'"),
        ("slot_period_ps", "1/0", "slot_period_ps: '1/0'; allowed: 1000 to 16777215 ps"),
        ("phase_ps", 10_000, "phase_ps: 10000; allowed: 0 to 9999 ps, less than the slot"),
        ("windows.early", [5, 3], "windows.early: [5, 3]; allowed: [start, end] in whole ps"),
        ("windows.early", [5, 5], "windows.early: [5, 5]; allowed: a window that is not empty"),
        ("windows.late", [2500, 3500], "windows.late: [2500, 3500]; allowed: start at or after"),
        ("windows.late", [7000, 10001], "windows.late: [7000, 10001]; allowed: within the slot"),
        ("detectors.1.port", "e", "detectors.1.port: 'e'; allowed: 'c' or 'd'"),
        ("detectors.1.port", "c", "detectors: ['c', 'c']; allowed: ports are (0, 0)"),
        ("detectors.0.dead_time_ps", -1, "detectors.0.dead_time_ps: -1; allowed: 0 to 2147483647"),
        ("detectors.0.dead_time", "yes", "detectors.0.dead_time: 'yes'; allowed: 'extending' or"),
        ("detectors.1.name", "D0", "detectors: ['D0', 'D0', 'sync']; allowed: names that differ"),
        ("heartbeat_ms", 500, "heartbeat_ms: 500; allowed: 1 to 100 ms"),
        ("log.segment_mb", 4000, "log.retention_mb: 4096; allowed: at least two segments"),
        ("fan_out.listen", "0.0.0.0:1", "allowed: plain listens on a loopback address only"),
        ("fan_out.plain", False, "allowed: listen needs tls, or plain: true on a loopback"),
        ("health.listen", "nowhere", "health.listen: 'nowhere'; allowed: HOST:PORT"),
        ("histogram.bin_ps", 17, "histogram.bin_ps: 17; allowed: 1, 2, 4"),
        ("windos", 1, "windos: no such key"),
    ],
)
def test_an_error_names_file_key_value_and_what_is_allowed(
    tmp_path, relay_values, key, value, line
):
    put(relay_values, key, value)
    path = tmp_path / "relay.yaml"
    path.write_text(yaml.safe_dump(relay_values))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert len(error.value.lines) == 1
    assert error.value.lines[0].startswith(f"{path}: ")
    assert line in error.value.lines[0]


def test_files_that_are_no_configuration(tmp_path):
    path = tmp_path / "relay.yaml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(path)
    path.write_text("a: [1")
    with pytest.raises(ConfigError, match="no YAML"):
        load_config(path)
    path.write_text("just words")
    with pytest.raises(ConfigError, match="keys and values"):
        load_config(path)
    path.write_text("relay_id: a")
    with pytest.raises(ConfigError, match="port: missing"):
        load_config(path)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("detectors.0.deskew_ps", 140_001, "detectors.0.deskew_ps: 140001; allowed: -140000 to"),
        ("sync.deskew_ps", -140_001, "sync.deskew_ps: -140001; allowed: -140000 to 140000 ps"),
        ("slot_period_ps", "10003/10", None),
        ("slot_period_ps", "20009/20", None),
        ("histogram.period_s", 0.0001, "histogram.period_s: 0.1; allowed: at least"),
        ("histogram.period_s", 60.0, "histogram.period_s: 60.0; allowed: at most"),
    ],
)
def test_what_this_board_cannot_do_is_said_by_key(relay_values, key, value, line):
    put(relay_values, key, value)
    if key == "slot_period_ps":
        put(relay_values, "windows", {"early": [100, 200], "late": [700, 800]})
        register_values(check_config(relay_values), GEOMETRY)
        return
    with pytest.raises(ConfigError) as error:
        register_values(check_config(relay_values), GEOMETRY)
    assert line.split(";")[0].rsplit(":", 1)[0] in str(error.value)
    assert line.split("; ")[1] in str(error.value)


def test_a_board_with_other_detectors(relay_values):
    with pytest.raises(ConfigError, match="detectors: '2 entries'; allowed: 4 on this board"):
        register_values(check_config(relay_values), BoardGeometry(n_detectors=4))


def test_every_value_fits_its_register(relay_values):
    relay_values["raw_tags"] = {"stream": True}
    values = register_values(check_config(relay_values), GEOMETRY)
    registers = RegisterMap(GEOMETRY)
    for name, words in values.items():
        checked_words(registers[name], words)
    assert values["deskew_ps"] == (-300, 1370, 0)
    assert values["dead_extend"] == (2,)
    assert values["align_cells"] == (3,)
    assert values["stream_mask"] == (7,)
    assert values["rate_lo"] == values["rate_hi"] == (0,)
    assert values["slot_period_ps"] == (10_000,)


@given(
    st.fractions(min_value=20_000, max_value=16_000_000, max_denominator=10**6),
    st.integers(1000, 20_000),
)
def test_a_fractional_period_drifts_by_less_than_a_tenth_of_a_picosecond_a_day(period, clock):
    whole, rate = slot_rate(period, clock)
    clocks = 86_400 * 10**12 // clock
    # Reference time after a day, in slots of `whole` units, against the truth.
    slots = (clocks * clock + Fraction(clocks * rate, 1 << 48)) / whole
    assert abs(slots * period - clocks * clock) < Fraction(2, 10) * Fraction(20_000, clock)
