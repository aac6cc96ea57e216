"""A block whose source cannot be trusted ends before anything about it has left."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from bellrelay.endpoint.block import BlockAborted, BlockId, Cause
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.intensity_feed import format_reading
from bellrelay.endpoint.source_admission import SourceAdmission
from bellrelay.endpoint.source_log import Reading
from bellrelay.endpoint.source_plugin import load_source
from bellrelay.endpoint.source_writer import SourceWriter
from bellrelay.endpoint.undeclared_times import UndeclaredTimes

S = 1_000_000_000
LADDER = "{s: 0.4, mu: 0.3, nu: 0.05, o: 0.0, p_s: 0.45, p_mu: 0.1, p_nu: 0.3}"
CONFIG = f"""
endpoint_id: a
peer_id: b
role: alice
relay: {{id: c, unix_socket: announcements}}
peer: {{connect: "b:1", name: b, tls: {{certificate: c, key: k, ca: a}}}}
source: {{plugin: simulation}}
alice: {LADDER}
bob: {LADDER}
block: {{slots: 20000}}
store: {{directory: store}}
key_pool: {{file: pool}}
random_health: {{slots_per_block: 5000}}
intensity_monitor: {{input: source}}
"""
BLOCK = BlockId(1, 3)


def config(**changes):
    return check_endpoint_config({**yaml.safe_load(CONFIG), **changes})


def refused(admission, source, block=BLOCK):
    with pytest.raises(BlockAborted) as aborted:
        admission(block, source)
    return aborted.value


def test_a_sound_source_is_admitted_and_tested():
    values = config()
    begun = time.time_ns() - 100 * S
    admission = SourceAdmission(values, lambda block: begun)
    source = load_source(values)(1)
    admission(BLOCK, source)
    admission(BLOCK, source)
    admission(BlockId(1, 4), source)
    assert admission.health.tested == 10_000
    admission.poll()
    assert all(state.stable for state in admission.intensities.monitor.states)


def test_rule_8_a_block_sent_with_other_intensities_ends_with_that_cause():
    values = config(
        source={"plugin": "simulation", "link": {"alice": {"nu": 0.0525}}, "declared": {"nu": 0.05}}
    )
    admission = SourceAdmission(values, lambda block: time.time_ns())
    aborted = refused(admission, load_source(values)(1))
    assert aborted.cause is Cause.INTENSITY
    assert "nu may deviate by 0.05" in aborted.detail
    # A block that began before anything was measured is not guaranteed either.
    values = config()
    admission = SourceAdmission(values, lambda block: time.time_ns() - 5000 * S)
    assert "intensities were not measured" in refused(admission, load_source(values)(1)).detail


def test_rule_10_a_block_of_faulty_choices_ends_with_that_cause_and_so_does_every_later_one():
    values = config()
    admission = SourceAdmission(values, lambda block: time.time_ns())
    source = load_source(values)(1)
    stuck = SimpleNamespace(
        acquisition=1,
        start_ns=0,
        slot_period_ps=0.0,
        kept=source.kept,
        removed=source.removed,
        readings=source.readings,
        choices=lambda slots: SimpleNamespace(
            setting=source.choices(slots).setting, bit=np.ones(len(slots), np.uint8)
        ),
    )
    admission.intensities.attach(source)
    aborted = refused(admission, stuck)
    assert aborted.cause is Cause.RANDOM_HEALTH
    assert "repetition count test of the bits" in aborted.detail
    assert refused(admission, source, BlockId(1, 4)).cause is Cause.RANDOM_HEALTH


def write_source(folder, slots, start_ns):
    random = np.random.default_rng(1)
    log = SourceWriter(
        folder, 1, start_ns, 1e9, (0.4, 0.3, 0.05, 0.0), (0.45, 0.1, 0.3, 0.15), chunk_slots=1 << 12
    )
    setting = random.choice(4, slots, p=[0.45, 0.1, 0.3, 0.15]).astype(np.uint8)
    log.append(0, setting, random.integers(0, 2, slots, dtype=np.uint8))
    log.sync()
    log.close()


def test_a_block_is_held_to_what_was_measured_when_it_was_sent(tmp_path):
    """Slots of 1 ms: block 3 was sent 60 to 80 s after the start; nu drifted from 100 s on."""
    start = time.time_ns() - 300 * S
    write_source(tmp_path / "source", 130_000, start)
    feed = tmp_path / "intensities"
    lines = []
    for second in range(-60, 300):
        factor = 1.03 if second >= 100 else 1.0
        for setting, mean in enumerate((0.4, 0.3, 0.05 * factor, 0.0)):
            lines.append(format_reading(Reading(start + second * S, setting, mean)))
    feed.write_text("".join(lines))
    values = config(
        source={"plugin": "files", "directory": str(tmp_path / "source")},
        intensity_monitor={"input": "file", "file": str(feed)},
    )
    admission = SourceAdmission(values, lambda block: 0)
    source = load_source(values)(1)
    admission(BLOCK, source)
    aborted = refused(admission, source, BlockId(1, 5))
    assert aborted.cause is Cause.INTENSITY
    assert "nu may deviate" in aborted.detail
    # The last block is recorded in part; of the one after it nothing is.
    assert source.kept[1] == 130_000
    assert refused(admission, source, BlockId(1, 7)).cause is Cause.SOURCE_RECORD
    source.forget(70_000)
    assert refused(SourceAdmission(values, lambda block: 0), source).cause is Cause.SOURCE_RECORD
    feed.unlink()
    feed.mkdir()
    assert "readings cannot be read" in refused(admission, source, BlockId(1, 4)).detail


def test_rule_8_a_block_sent_under_more_attenuation_makes_no_key(tmp_path):
    """Slots of 1 ms: block 3 was sent 60 to 80 s after the start; the sender attenuated then."""
    start = time.time_ns() - 300 * S
    write_source(tmp_path / "source", 130_000, start)
    values = config(
        source={"plugin": "files", "directory": str(tmp_path / "source")},
        intensity_monitor={"input": "none"},
    )
    now = [start + 75 * S]
    undeclared = UndeclaredTimes(tmp_path / "undeclared.json", lambda: now[0])
    undeclared.begin("3 dB beyond the calibrated attenuation")
    now[0] = start + 79 * S
    undeclared.end()
    admission = SourceAdmission(values, lambda block: 0, undeclared)
    source = load_source(values)(1)
    admission(BlockId(1, 2), source)
    aborted = refused(admission, source)
    assert aborted.cause is Cause.INTENSITY
    assert "not as declared: 3 dB" in aborted.detail
    admission(BlockId(1, 4), source)
    # Where the source does not know when it sent, what began within a minute after is refused, too.
    clueless = SourceAdmission(
        config(intensity_monitor={"input": "none"}), lambda block: start + 100 * S, undeclared
    )
    assert refused(clueless, load_source(config())(1)).cause is Cause.INTENSITY
