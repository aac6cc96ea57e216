"""Clocks that differ by ppm are pulled in without a sync channel, into the right slot."""

from pathlib import Path

import numpy as np
import pytest
from tracked_relay import late_ps

from bellrelay.cli.run_system import relay_yaml
from bellrelay.control.drift_filter import DriftNoise
from bellrelay.control.light_phase import LightPhase
from bellrelay.control.light_pull_in import LightPullIn
from bellrelay.control.relay_tracker import RelayTracker
from bellrelay.control.slot_bounds import SlotBounds
from bellrelay.control.slot_servo import trim_rate
from bellrelay.control.tag_positions import TagPositions
from bellrelay.relay.config import check_config
from bellrelay.relay.histogram_periods import HistogramPeriods
from bellrelay.relay.register_values import register_values, slot_rate
from bellrelay.wire.frames import FrameType
from bellrelay.wire.payloads import Announcements, Heartbeat, Histogram
from bellrelay.wire.registers import State
from bellrelay_sim.board_session import BoardSession
from bellrelay_sim.choices import Party, SourceLog
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.link_config import link_and_geometry
from bellrelay_sim.twin_stimulus import Stimulus

PERIOD_PS = 10_000
SECOND_PS = 10**12


def light_phase(limit_ppm=40.0):
    return LightPhase(
        period_ps=PERIOD_PS,
        bin_ps=16,
        centres_ps=(2500.0, 7500.0),
        width_ps=120.0,
        limit_ps_per_s=limit_ppm * 1e6,
        noise=DriftNoise(3.0, 1.0),
    )


class BoardWithLight:
    """An event board with a link's light, and a tracker that steps with it in this process."""

    def __init__(self, link_values, tracking=None, light=True):
        self.link, self.geometry = link_and_geometry(link_values)
        values = relay_yaml(self.link, Path("/nonexistent"), 1)
        values["histogram"] = {"period_s": 0.1, "bin_ps": 16}
        values["heartbeat_ms"] = 50
        values["raw_tags"] = {"stream": True}
        values["tracking"] = {"settle_s": 0.3, **(tracking or {})}
        self.config = check_config(values)
        period, rate = slot_rate(self.config.slot_period_ps, self.geometry.clock_period_ps)
        clock_ps = self.geometry.clock_period_ps
        self.light = None
        if light:
            self.light = LightPullIn(
                light_phase(),
                TagPositions(period, self.config.phase_ps, rate, clock_ps),
                [d.deskew_ps for d in self.config.detectors],
                period,
            )
        self.tracker = RelayTracker(
            self.config.tracking,
            clock_period_ps=clock_ps,
            tick_ps=self.geometry.tick_ps,
            period_ps=period,
            bin_ps=16,
            detectors=self.geometry.n_detectors,
            centres_ps=self.config.pulse_centres_ps,
            light=self.light,
        )
        self.session = BoardSession(EventBoard(self.geometry))
        self.stimulus = Stimulus(self.link, 10**9)
        self.announced = []
        self.periods = HistogramPeriods(self.geometry.n_channels, self.geometry.hist_bins)
        self._decided_s = 0.0
        self._rng = np.random.default_rng(5)
        for name, words in register_values(self.config, self.geometry).items():
            self.session.client.write(name, *words)
        self.stimulus.give(self.session.board, 200 * self.geometry.tick_ps)
        self.session.client.start()

    def run(self, seconds, done=lambda: False):
        """Until this time of the board, or until it is done."""
        while self.tracker.now_s < seconds and not done():
            self._pass(self._rng.uniform(0.002, 0.01))
            pause = 0.2 if self.tracker.locked else 0.05
            if self.tracker.now_s < self._decided_s + pause:
                continue
            self._decided_s = self.tracker.now_s
            trim = self.tracker.decide()
            if trim is not None:
                # On its way a while, as in a daemon.
                self._pass(self._rng.uniform(0.0, 0.04))
                self.session.client.write("trim", trim)

    def _pass(self, seconds):
        board, geometry = self.session.board, self.geometry
        ticks = max(1, round(seconds * 1e12 / geometry.tick_ps))
        zero = board.cell_zero
        if zero is not None:
            ahead = board.clock - zero + (ticks + 200) * geometry.tick_clocks
            self.stimulus.give(board, ahead * geometry.clock_period_ps)
        self.session.pass_ticks(ticks)
        # Those that came while a command was answered are there, too.
        for frame in self.taken():
            if frame.type == FrameType.TAGS and self.light is not None:
                self.light.raw_tags(frame.payload)
            elif frame.type == FrameType.HEARTBEAT:
                beat = Heartbeat.parse(frame.payload, geometry)
                if beat.state is State.RUNNING:
                    self.tracker.heartbeat(beat)
            elif frame.type == FrameType.HISTOGRAM:
                before = self.periods.last
                self.periods.take(Histogram.parse(frame.payload))
                if self.periods.last is not before:
                    self.tracker.histogram(self.periods.last)
            elif frame.type == FrameType.ANNOUNCEMENTS:
                self.announced.append(Announcements.parse(frame.payload))

    def taken(self):
        frames = list(self.session._frames)
        self.session._frames.clear()
        self.session._bytes.clear()
        return frames

    def errors_in_z(self, from_s):
        """Of announced slots, by what both parties sent: half of them in a wrong slot."""
        slot = np.concatenate([a.slot for a in self.announced])
        slot = slot[slot > from_s * 1e8]
        alice, bob = (
            SourceLog(source, self.link.seed, party).choices_at(slot)
            for source, party in ((self.link.alice, Party.ALICE), (self.link.bob, Party.BOB))
        )
        z = (alice.basis == 0) & (bob.basis == 0)
        return float(np.mean(alice.bit[z] == bob.bit[z])), int(z.sum())


@pytest.mark.parametrize(("ppm", "eta"), [(5.0, 0.05), (-17.3, 0.01), (5.0, 1e-4), (0.0, 0.01)])
def test_the_light_s_way_against_a_clock_is_read_off_bare_tags(ppm, eta):
    """Also where 5000 clicks a second are all there are."""
    link, _ = link_and_geometry(
        {"clock_offset_ppm": ppm, "arm_a": {"eta": eta}, "arm_b": {"eta": eta}}
    )
    late = np.array([d.cable_delay_ps for d in link.detectors])
    stream = ClickStream(link, 10**9)
    light = light_phase()
    found_s, errors = None, []
    for step in range(1, 7):
        clicks = stream.advance(5_000_000)
        light.take(clicks.t - late[clicks.channel])
        now_ps = step * SECOND_PS // 20
        light.work(now_ps)
        if light.filter is not None:
            found_s = found_s or step / 20
            # The senders' seconds are longer than the board's.
            truth = now_ps * (1.0 - 1.0 / (1.0 + ppm * 1e-6))
            errors.append((light.at(now_ps)[0] - truth) / light.at(now_ps)[1])
    assert found_s <= 0.2
    assert np.abs(errors).max() < 5.0
    assert light.at(now_ps)[1] < 20.0
    assert not light.given_up


def test_a_rate_beyond_the_limit_and_dark_counts_are_given_up():
    rng = np.random.default_rng(3)
    light = light_phase(limit_ppm=1.0)
    for step in range(1, 12):
        v = np.sort(rng.integers((step - 1) * SECOND_PS // 2, step * SECOND_PS // 2, 500))
        light.take(v)
        light.work(step * SECOND_PS // 2)
    assert light.filter is None
    assert "no rate stands out" in light.given_up
    nothing = light_phase()
    nothing.work(2 * SECOND_PS)
    assert not nothing.given_up
    nothing.work(4 * SECOND_PS)
    assert nothing.given_up == "no light"


@pytest.mark.parametrize("seed", range(5))
def test_a_slot_clock_lies_in_its_bounds_whenever_trims_take_effect(seed):
    rng = np.random.default_rng(seed)
    clock_ps, beat_ps = 5000, 50_001_920_000
    bounds = SlotBounds(PERIOD_PS, clock_ps)
    # As a loop slews: ever smaller, around what differs.
    trims = [round((2e6 * 0.85**k - 5e6) * 5000e-12 * 2**32) for k in range(70)]
    moved, trim, widths = 0.0, 0, []
    for k, wanted in enumerate(trims, 1):
        changes_ps = rng.uniform(0.0, beat_ps)
        for span_ps, of in ((changes_ps, trim), (beat_ps - changes_ps, wanted)):
            moved += span_ps * 1e-12 * trim_rate(of, clock_ps)
        trim = wanted
        cut_ps = k * beat_ps
        fields = {"cut_ps": cut_ps, "trim": trim}
        fields["cut_slot"] = int((cut_ps + moved) // PERIOD_PS)
        bounds.heartbeat(Heartbeat(State.RUNNING, False, fields, {}), cut_ps)
        assert bounds.low_ps - 1.0 <= moved <= bounds.high_ps + 1.0
        widths.append(bounds.high_ps - bounds.low_ps)
    assert bounds.contradictions == 0
    assert widths[0] > 9_000.0
    # Less than what the light is at most off by when its histograms are believed.
    assert widths[-1] < 4_000.0
    # A slot clock that jumped is found again, and it is counted.
    fields["cut_slot"] += 40
    bounds.heartbeat(Heartbeat(State.RUNNING, False, fields, {}), cut_ps)
    assert bounds.contradictions == 1
    assert bounds.low_ps <= moved + 40 * PERIOD_PS <= bounds.high_ps


@pytest.mark.parametrize(("ppm", "within_s"), [(5.0, 6.0), (-17.3, 7.0)])
def test_an_event_board_is_pulled_in_by_its_light_into_the_right_slot(ppm, within_s):
    eta = {"eta": 0.02}
    board = BoardWithLight({"clock_offset_ppm": ppm, "arm_a": eta, "arm_b": eta})
    board.run(within_s, lambda: board.tracker.locked)
    assert board.tracker.locked
    locked_s = board.tracker.now_s
    board.run(locked_s + 0.5)
    status = board.tracker.status()
    assert status["state"] == "locked"
    assert status["follow"] == "light"
    assert status["rate_ppm"] == pytest.approx(ppm / (1.0 + ppm * 1e-6), abs=1e-3)
    whole = board.periods.last.counts[: board.geometry.n_detectors].sum(axis=0)
    assert abs(late_ps(whole, board.link)) < 50.0
    share, n = board.errors_in_z(locked_s)
    assert n > 200
    assert share < 0.05


def test_without_raw_tags_histograms_are_a_blur_and_it_says_what_is_missing():
    eta = {"eta": 0.02}
    link = {"clock_offset_ppm": 5.0, "arm_a": eta, "arm_b": eta}
    board = BoardWithLight(link, light=False)
    board.run(1.3)
    assert not board.tracker.locked
    assert "raw_tags.stream" in board.tracker.status()["dark"]
    # The check can fail: what is announced now lies in wrong slots.
    share, n = board.errors_in_z(0.2)
    assert n > 50
    assert share > 0.3


def test_pulses_that_are_moved_on_purpose_pull_nothing_in():
    eta = {"eta": 0.02}
    board = BoardWithLight({"clock_offset_ppm": 5.0, "arm_a": eta, "arm_b": eta})
    board.tracker.leave_light()
    board.run(0.3)
    assert board.tracker.status()["follow"] == "light"
    assert board.tracker.servo.trim == 0
