"""Settings of a relay that announce less than those before are taken back by themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from bellrelay.control.canary import Verdict
from bellrelay.control.relay_settings import RelaySettings
from bellrelay.control.settings_trial import (
    Figures,
    SettingsTrial,
    TimeTrialLimits,
    judge_by_time,
)
from bellrelay.control.versions import VersionState
from bellrelay.relay.board import Phase

LIMITS = TimeTrialLimits(healthy_s=60.0, false_decision=1e-3)
LOOK_S = 10.0
RATE = 2e-4
LIVE = 10**7
CLICKS = 10**5


def values(tmp_path):
    return {
        "relay_id": "charlie",
        "port": "/dev/null",
        "slot_period_ps": 10_000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
        "log": {"directory": "log"},
        "calibration": {"directory": str(tmp_path / "calibration")},
    }


class Board:
    """A session that counts; how much it announces depends on the early window's begin."""

    phase = Phase.RUNNING

    def __init__(self, seed=1):
        self.random = np.random.default_rng(seed)
        self.account = SimpleNamespace(acquisition=1, geometry=SimpleNamespace(n_detectors=2))
        names = ("slots", "slots_not_live", "announced_psi_minus", "announced_psi_plus")
        self.counters = dict.fromkeys((*names, "clicks_0", "clicks_1"), 0)
        self.light = 1.0
        self.gain = {}
        self.early = 2000
        self.refuses = None
        self.brought = 0

    def __call__(self, config):
        if self.refuses:
            raise self.refuses
        self.brought += 1
        self.early = config.windows.early[0]
        # Another acquisition begins, and counts from nothing.
        self.account.acquisition += 1
        self.counters = dict.fromkeys(self.counters, 0)

    @property
    def heartbeat(self):
        return SimpleNamespace(counters=dict(self.counters))

    def run(self):
        rate = RATE * self.light**2 * self.gain.get(self.early, 1.0)
        announced = int(self.random.poisson(rate * LIVE))
        clicks = int(self.random.poisson(CLICKS * self.light))
        for name, n in (
            ("slots", LIVE),
            ("announced_psi_minus", announced // 2),
            ("announced_psi_plus", announced - announced // 2),
            ("clicks_0", clicks),
            ("clicks_1", clicks),
        ):
            self.counters[name] += n


class Relay:
    """A relay whose companion looks as time passes; it may be started anew."""

    def __init__(self, tmp_path, seed=1):
        self.path = tmp_path / "relay.yaml"
        self.path.write_text(yaml.safe_dump(values(tmp_path)))
        self.board, self.now, self.visibility = Board(seed), 0.0, None
        self.start()

    def start(self):
        self.settings = RelaySettings(self.path, self.board)
        self.trial = SettingsTrial(self.settings, LIMITS, lambda: self.visibility, look_s=1e9)
        self.trial._session = self.board

    def look(self, times=1):
        for _ in range(times):
            self.board.run()
            self.now += LOOK_S
            self.trial.look(self.now)

    def change(self, begin, **options):
        options = {"trial": True, **options}
        return self.settings.change(
            {"windows": {"early": [begin, 3000]}}, "moved", "ada", **options
        )

    @property
    def states(self):
        return [v.state for v in self.settings.versions.history()[1:]]


@pytest.fixture
def relay(tmp_path):
    return Relay(tmp_path)


def test_settings_that_announce_as_before_are_promoted_after_their_time(relay):
    relay.look(20)
    relay.change(2100)
    relay.look(5)
    assert relay.states == [VersionState.CANARY]
    relay.look(10)
    assert relay.states == [VersionState.GOOD]
    last = relay.settings.versions.get(1).decisions[-1]
    assert last.reason.startswith("as good as before: ")
    assert last.author == "trial"
    assert last.evidence["trial"]["seconds"] >= 60.0
    assert relay.board.early == 2100
    # No look touches the board.
    assert relay.board.brought == 1


@pytest.mark.parametrize(("gain", "most_looks"), [(0.0, 4), (0.5, 5), (0.8, 10)])
def test_settings_that_announce_less_are_taken_back(relay, gain, most_looks):
    relay.board.gain = {2100: gain}
    relay.look(20)
    relay.change(2100)
    relay.look(most_looks)
    assert relay.states == [VersionState.ROLLED_BACK]
    assert relay.board.early == 2000
    assert relay.settings.versions.current().number == 0
    assert "fewer announcements" in relay.settings.versions.get(1).decisions[-1].reason


def test_less_visibility_takes_them_back_when_their_time_is_over(relay):
    relay.visibility = (0.48, 0.002)
    relay.look(20)
    relay.change(2100)
    relay.visibility = (0.40, 0.002)
    relay.look(12)
    assert relay.states == [VersionState.ROLLED_BACK]
    reason = relay.settings.versions.get(1).decisions[-1].reason
    assert reason == "less visibility: 0.400 against 0.480"


def test_without_light_it_waits(relay):
    relay.look(20)
    relay.change(2100)
    relay.board.light = 0.1
    relay.look(50)
    assert relay.states == [VersionState.CANARY]
    assert relay.trial.status()["healthy_s"] == 0.0
    relay.board.light = 1.0
    relay.look(8)
    assert relay.states == [VersionState.GOOD]


def test_steps_that_follow_each_other_are_judged_together(relay):
    """A calibration of several steps: the later goes with the earlier if that was not proved."""
    relay.board.gain = {2200: 0.5}
    relay.look(20)
    relay.change(2100)
    relay.look(2)
    relay.change(2200)
    assert relay.states == [VersionState.GOOD, VersionState.CANARY]
    relay.look(8)
    assert relay.states == [VersionState.ROLLED_BACK, VersionState.ROLLED_BACK]
    assert relay.board.early == 2000


def test_what_a_person_sets_is_on_no_trial_and_is_gone_back_to(relay):
    relay.board.gain = {2200: 0.5}
    relay.look(20)
    relay.change(2100, trial=False)
    relay.look(20)
    relay.change(2200)
    relay.look(8)
    assert relay.states == [VersionState.GOOD, VersionState.ROLLED_BACK]
    assert relay.board.early == 2100


def test_a_relay_that_starts_anew_goes_on_with_the_trial_and_knows_what_was_before(relay):
    relay.board.gain = {2100: 0.5}
    relay.look(20)
    relay.change(2100)
    relay.look(1)
    relay.start()
    relay.look(8)
    assert relay.states == [VersionState.ROLLED_BACK]


def test_one_with_which_it_does_not_stay_up_goes(relay):
    relay.look(20)
    relay.change(2100)
    for _ in range(5):
        relay.look(2)
        relay.start()
    relay.look(1)
    assert relay.states == [VersionState.ROLLED_BACK]
    assert (
        "starts of the relay within its trial"
        in relay.settings.versions.get(1).decisions[-1].reason
    )


def test_what_passed_a_trial_is_what_the_next_is_held_against_after_a_start(relay):
    relay.look(20)
    relay.change(2100)
    relay.look(12)
    relay.start()
    relay.board.gain = {2200: 0.5}
    relay.change(2200)
    relay.look(8)
    assert relay.states == [VersionState.GOOD, VersionState.ROLLED_BACK]


def test_a_board_that_does_not_take_the_settings_back_gets_them_later(relay):
    relay.board.gain = {2100: 0.5}
    relay.look(20)
    relay.change(2100)
    relay.board.refuses = OSError("the board is lost")
    with pytest.raises(OSError, match="lost"):
        relay.look(8)
    assert relay.states == [VersionState.ROLLED_BACK]
    assert relay.board.early == 2100
    relay.board.refuses = None
    relay.look(1)
    assert relay.board.early == 2000


def test_good_settings_are_taken_back_as_rarely_as_is_said():
    """At the edge of the tolerance; looks every ten seconds for an hour."""
    random, n, p = np.random.default_rng(5), 300, 0.05
    limits = TimeTrialLimits(healthy_s=1e9, false_decision=p)
    before = Figures(600.0, 60 * LIVE, 0, CLICKS)
    taken = 0
    for _ in range(n):
        known = before + Figures(announced=int(random.poisson(RATE * before.live)))
        trial = Figures()
        for looks in range(1, 100):
            announced = int(random.poisson(RATE * (1 - limits.rate) * LIVE))
            trial += Figures(LOOK_S, LIVE, announced, CLICKS)
            if judge_by_time(trial, looks, known, limits).verdict is Verdict.ROLL_BACK:
                taken += 1
                break
    assert taken / n < p + 5 * (p / n) ** 0.5


def test_status_and_metrics(relay):
    relay.look(20)
    relay.change(2100)
    relay.look(3)
    status = relay.trial.status()
    assert status["version"] == 1
    assert status["healthy_s"] > 0
    names = {m.name: m.samples[0].value for m in relay.trial.metrics(status)}
    assert names["bellrelay_relay_settings_on_trial"] == 1
