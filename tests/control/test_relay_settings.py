"""Changes of a relay's settings: validated, versioned, brought into force or taken back."""

import copy

import pytest
import yaml

from bellrelay.control.relay_settings import RelaySettings, overlaid, tunable_of
from bellrelay.control.versions import NoSuchStep, Versions, VersionState
from bellrelay.relay.config import check_config
from bellrelay.settings.model import ConfigError

VALUES = {
    "relay_id": "charlie",
    "port": "/dev/null",
    "slot_period_ps": "40000/3",
    "windows": {"early": [2000, 3000], "late": [7000, 8000]},
    "detectors": [{"name": "D0", "port": "c", "deskew_ps": 5}, {"name": "D1", "port": "d"}],
    "log": {"directory": "log"},
}


class Board:
    def __init__(self):
        self.got = []
        self.refuses = None

    def __call__(self, config):
        if self.refuses is not None:
            raise self.refuses
        self.got.append(config)


@pytest.fixture
def board():
    return Board()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "relay.yaml"
    values = {**VALUES, "calibration": {"directory": str(tmp_path / "calibration")}}
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def settings(path, board):
    return RelaySettings(path, board)


def test_a_change_is_in_force_and_the_next_start_has_it(path, settings, board):
    version = settings.change({"windows": {"early": [2100, 2900]}}, "narrower", "ann")
    assert version.state is VersionState.GOOD
    assert board.got[-1].windows.early == (2100, 2900)
    # What was not given stays as it was.
    assert board.got[-1].windows.late == (7000, 8000)
    assert RelaySettings(path).tunable() == settings.tunable()
    assert settings.history()[-1]["reason"] == "narrower"
    assert settings.history()[-1]["author"] == "ann"


def test_changes_add_up_and_are_undone_one_by_one(settings, board):
    start = settings.tunable()
    settings.change({"windows": {"early": [2100, 2900]}}, "first", "ann")
    settings.change({"detectors": [{"deskew_ps": 50}, {}]}, "second", "ann")
    settings.change({"detectors": [{}, {"dead_time_ps": 7000}]}, "third", "ann")
    now = settings.tunable()
    assert now["windows"]["early"] == [2100, 2900]
    assert [d["deskew_ps"] for d in now["detectors"]] == [50, 0]
    assert [d["dead_time_ps"] for d in now["detectors"]] == [0, 7000]
    settings.undo("no", "ann")
    assert [d["dead_time_ps"] for d in settings.tunable()["detectors"]] == [0, 0]
    settings.undo("no", "ann")
    settings.undo("no", "ann")
    assert settings.tunable() == start == tunable_of(board.got[-1])
    with pytest.raises(NoSuchStep):
        settings.undo("no", "ann")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"windows": {"early": [3000, 2000]}}, "windows.early: [3000, 2000]; allowed: [start"),
        ({"windows": {"late": [7000, 99999]}}, "windows.late: [7000, 99999]; allowed: within"),
        ({"windows": {"noon": [1, 2]}}, "windows.noon: no such key"),
        ({"windows": 7}, "windows: 7"),
        ({"port": "/dev/other"}, "port: '/dev/other'; allowed: windows, phase_ps, detectors"),
        ({"detectors": [{}]}, "detectors: [{}]; allowed: 2 entries"),
        ({"detectors": [{"name": "X"}, {}]}, "detectors.0.name: allowed: deskew_ps, dead_time_ps"),
        ({"detectors": [{"deskew_ps": "x"}, {}]}, "detectors.0.deskew_ps: 'x'; allowed"),
        ({"detectors": [3, {}]}, "detectors.0: 3; allowed: keys and values"),
        ({"phase_ps": -1}, "phase_ps: -1; allowed: 0 to 16777215 ps"),
    ],
)
def test_a_wrong_change_names_key_value_and_what_is_allowed(settings, board, values, line):
    before = settings.tunable()
    with pytest.raises(ConfigError) as caught:
        settings.change(values, "try", "ann")
    assert any(line in found for found in caught.value.lines), caught.value.lines
    assert settings.tunable() == before
    assert not board.got
    assert len(settings.history()) == 1


def test_what_the_board_does_not_take_is_rolled_back(settings, board):
    board.refuses = OSError("the line is gone")
    with pytest.raises(OSError, match="the line is gone"):
        settings.change({"phase_ps": 100}, "try", "ann")
    assert settings.tunable()["phase_ps"] == 0
    assert settings.history()[-1]["state"] == "rolled-back"
    board.refuses = None
    settings.change({"phase_ps": 100}, "again", "ann")
    assert settings.tunable()["phase_ps"] == 100


def test_a_trial_holds_until_it_is_decided(path, settings):
    version = settings.change({"phase_ps": 100}, "try", "ann", trial=True)
    assert version.state is VersionState.CANARY
    assert RelaySettings(path).tunable()["phase_ps"] == 100
    settings.promote(version.number, "ten minutes", "watch")
    assert settings.history()[-1]["state"] == "good"


def test_what_comes_on_top_of_a_trial_goes_with_it(settings):
    settings.change({"phase_ps": 50}, "known", "ann")
    settings.change({"phase_ps": 100}, "try", "ann", trial=True)
    # One that is refused leaves the trial as it was.
    with pytest.raises(ConfigError):
        settings.change({"phase_ps": -1}, "wrong", "ann", trial=True)
    assert settings.history()[-1]["state"] == "canary"
    settings.change({"windows": {"early": [2100, 2900]}}, "and this", "ann", trial=True)
    assert [v["state"] for v in settings.history()[1:]] == ["good", "good", "canary"]
    assert settings.take_back(3, "worse", "trial").number == 1
    assert settings.tunable()["phase_ps"] == 50
    assert settings.tunable()["windows"]["early"] == [2000, 3000]


def test_what_was_changed_in_the_directory_is_caught_up_with_once(settings, board):
    settings.change({"phase_ps": 50}, "known", "ann")
    settings.versions.roll_back("by another process")
    assert settings.tunable()["phase_ps"] == 50
    settings.catch_up()
    assert settings.tunable()["phase_ps"] == 0
    brought = len(board.got)
    settings.catch_up()
    assert len(board.got) == brought


def test_what_a_killed_process_left_is_settled(path, settings, tmp_path):
    Versions(tmp_path / "calibration").propose({"phase_ps": 5}, "killed now", "ann")
    fresh = RelaySettings(path)
    assert fresh.tunable()["phase_ps"] == 0
    fresh.settle("start")
    fresh.change({"phase_ps": 7}, "goes", "ann")


def test_without_a_directory_nothing_is_changed(tmp_path):
    path = tmp_path / "relay.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    settings = RelaySettings(path)
    assert settings.history() == []
    with pytest.raises(ConfigError, match="calibration: missing"):
        settings.change({"phase_ps": 1}, "try", "ann")


def test_an_overlay_that_fits_no_more_names_file_and_version(path, settings):
    settings.change({"windows": {"late": [7000, 9000]}}, "wider", "ann")
    values = yaml.safe_load(path.read_text())
    values["slot_period_ps"] = 8500
    values["windows"]["late"] = [7000, 8000]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"relay\.yaml with version 1 of .*late"):
        RelaySettings(path)


def test_an_overlay_of_nothing_changes_nothing():
    values = copy.deepcopy(VALUES)
    assert overlaid(values, {}) == check_config(values)
    assert values == VALUES
