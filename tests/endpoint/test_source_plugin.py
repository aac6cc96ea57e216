"""Plugins of sources: found by name, held to the declared ladder, checked at each answer."""

from types import SimpleNamespace

import numpy as np
import pytest

from bellrelay.endpoint.checked_source import CheckedSource
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.source_log import (
    SETTINGS,
    SlotNotKept,
    SlotRemoved,
    SourceLogDamaged,
    SourceLogError,
)
from bellrelay.endpoint.source_plugin import load_source
from bellrelay.endpoint.source_writer import SourceWriter
from bellrelay.settings.model import ConfigError
from bellrelay_sim.choices import Party, SourceLog
from bellrelay_sim.source import four_intensity

LADDER = {"s": 0.4, "mu": 0.3, "nu": 0.05, "o": 0.0, "p_s": 0.45, "p_mu": 0.1, "p_nu": 0.3}
TLS = {"certificate": "c", "key": "k", "ca": "a"}


def config(role="alice", **source):
    return check_endpoint_config(
        {
            "endpoint_id": role,
            "peer_id": "other",
            "role": role,
            "relay": {"id": "charles", "unix_socket": "announcements"},
            "peer": {"connect": "localhost:1", "name": "other", "tls": TLS},
            "source": source,
            "alice": LADDER,
            "bob": LADDER,
            "block": {"slots": 1000},
            "store": {"directory": "store"},
            "key_pool": {"file": "pool"},
            "intensity_monitor": {"input": "source"},
        },
        "alice.yaml",
    )


@pytest.mark.parametrize("party", Party)
def test_the_simulation_says_what_the_link_chose(party):
    source = load_source(config(party.name.lower(), plugin="simulation", seed=5))(1)
    slots = np.array([10**12, 3, 3, 2**40], np.uint64)
    said = source.choices(slots)
    truth = SourceLog(four_intensity(), 5, party).choices_at(slots)
    np.testing.assert_array_equal(said.basis, truth.basis)
    np.testing.assert_array_equal(said.setting, truth.intensity)
    np.testing.assert_array_equal(said.bit, truth.bit)
    assert repr(said) == "Choices()"
    assert "Simulated" in repr(source)
    assert source.choices(slots[:0]).bit.shape == (0,)
    assert source.sent(5, 25) == 20


def test_rule_10_choices_are_never_used_again(tmp_path):
    """The twin sends the same light in every acquisition: records of a second one are refused."""
    open_source = load_source(config(plugin="simulation"))
    source = open_source(1)
    with pytest.raises(SourceLogError, match="the same light in each"):
        open_source(2)
    source.forget(100)
    assert source.kept[0] == 100
    with pytest.raises(SlotNotKept, match="before 100 are forgotten"):
        source.choices(np.array([100, 99], np.uint64))
    with pytest.raises(SlotNotKept):
        source.sent(99, 200)


def test_rules_6_and_14_pulses_sent_are_the_senders_own_count_less_what_it_dropped():
    source = load_source(config(plugin="simulation", removed=[[10, 20], [30, 40]]))(1)
    assert source.removed(0, 35).tolist() == [[10, 20], [30, 35]]
    assert source.sent(0, 100) == 80
    with pytest.raises(SlotRemoved):
        source.choices(np.array([5, 19], np.uint64))
    assert len(source.choices(np.array([9, 20, 29, 40], np.uint64)).bit) == 4


def test_files_are_a_plugin_too(tmp_path):
    folder = tmp_path / "source"
    log = SourceWriter(folder, 3, 99, 0.0, (0.4, 0.3, 0.05, 0.0), (0.45, 0.1, 0.3, 0.15))
    log.append(0, np.arange(4, dtype=np.uint8), np.array([0, 1, 0, 1], np.uint8))
    log.sync()
    log.close()
    source = load_source(config(plugin="files", directory=str(folder)))(3)
    assert (source.acquisition, source.start_ns, source.kept) == (3, 99, (0, 4))
    assert source.choices(np.array([3, 0], np.uint64)).setting.tolist() == [3, 0]
    assert source.readings() == []
    with pytest.raises(SourceLogError, match="no records of acquisition 4"):
        load_source(config(plugin="files", directory=str(folder)))(4)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ({"plugin": "nothing"}, "source.plugin: 'nothing'; allowed: files, simulation"),
        ({"plugin": "files"}, "directory must be a path"),
        ({"plugin": "files", "directory": "x", "file": 1}, "file is no option of files"),
        ({"plugin": "simulation", "link": {"seeed": 1}}, "seeed: unknown"),
        ({"plugin": "simulation", "sed": 1}, "sed is no option of simulation"),
        ({"plugin": "simulation", "seed": -1}, "seed must be a whole number"),
        ({"plugin": "simulation", "removed": [[3, 2]]}, "removed must be ranges"),
        ({"plugin": "simulation", "removed": "all"}, "removed must be"),
        ({"plugin": "simulation", "declared": {"s": -1}}, "declared: s: intensity"),
        ({"plugin": "simulation", "reading_noise": 2.0}, "reading_noise must lie"),
        (
            {"plugin": "simulation", "link": {"alice": {"three_intensity": {}}}},
            "alice must send the four intensities",
        ),
    ],
)
def test_wrong_options_are_said_with_the_file(source, line):
    with pytest.raises(ConfigError) as error:
        load_source(config(**source))
    assert error.value.lines[0].startswith("alice.yaml: source")
    assert line in error.value.lines[0]


def test_rule_8_a_sender_that_declares_other_intensities_than_the_configuration_is_refused():
    for link in ({"s": 0.41}, {"p_nu": 0.31}):
        with pytest.raises(SourceLogError, match="the source declares"):
            load_source(config(plugin="simulation", link={"alice": link}))(1)
    # What it declares is what the configuration says; what it sends, only its monitor sees.
    source = load_source(
        config(plugin="simulation", link={"alice": {"nu": 0.06}}, declared={"nu": 0.05})
    )(1)
    np.testing.assert_array_equal(source.intensities, [0.4, 0.3, 0.05, 0.0])
    nu = [r.mean for r in source.readings() if SETTINGS[r.setting] == "nu"]
    assert len(nu) == 900
    assert np.mean(nu) == pytest.approx(0.06, rel=0.001)
    assert len(source.readings()) <= 4


class PretendedLog:
    """A plugin's log that answers what it is told to."""

    acquisition = 1
    start_ns = 0
    slot_period_ps = 0.0
    intensities = np.array([0.4, 0.3, 0.05, 0.0])
    probabilities = np.array([0.45, 0.1, 0.3, 0.15])
    kept = (0, 100)

    def __init__(self, setting=0, basis=0, bit=1, ranges=(), pulses=10, dtype=np.uint8):
        self.answer = SimpleNamespace(
            setting=np.full(3, setting, dtype), basis=np.full(3, basis, dtype), bit=np.full(3, bit)
        )
        self.answer.bit = self.answer.bit.astype(dtype)
        self.ranges, self.pulses = ranges, pulses

    def choices(self, slots):
        return self.answer

    def removed(self, first, end):
        return np.array(self.ranges, np.int64).reshape(-1, 2)

    def sent(self, first, end):
        return self.pulses


SLOTS = np.arange(3, dtype=np.uint64)


def checked(log):
    return CheckedSource(log, 1, PretendedLog.intensities, PretendedLog.probabilities)


@pytest.mark.parametrize(
    "answer",
    [{"setting": 4}, {"basis": 2}, {"bit": 2}, {"basis": 1}, {"setting": 1}, {"dtype": np.int64}],
)
def test_an_answer_that_no_sender_can_give_is_damage(answer):
    good = checked(PretendedLog()).choices(SLOTS)
    assert good.bit.tolist() == [1, 1, 1]
    with pytest.raises(SourceLogDamaged):
        checked(PretendedLog(**answer)).choices(SLOTS)
    with pytest.raises(SourceLogDamaged, match=r"not uint8 \(2,\)"):
        checked(PretendedLog()).choices(SLOTS[:2])


def test_counts_that_do_not_add_up_are_damage():
    assert checked(PretendedLog()).sent(0, 10) == 10
    assert checked(PretendedLog(ranges=[(2, 5)], pulses=7)).sent(0, 10) == 7
    for wrong in (
        {"pulses": 11},
        {"ranges": [(2, 5)]},
        {"ranges": [(5, 2)]},
        {"ranges": [(5, 20)]},
    ):
        with pytest.raises(SourceLogDamaged):
            checked(PretendedLog(**wrong)).sent(0, 10)
