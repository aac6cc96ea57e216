"""The slot clock's loop against a clock that is computed: what it decides, what it is told."""

import numpy as np
import pytest

from bellrelay.control.slot_servo import (
    PPM_PS_PER_S,
    SlotServo,
    SlotServoSettings,
    trim_of_rate,
    trim_rate,
)

CLOCK_PS = 5000
BEAT_S = 0.05


class Clock:
    """A slot clock that runs off, and is trimmed; `late_s`: from a decision to its effect."""

    def __init__(self, ppm, seed=1):
        self.phase_ps, self.ppm, self.trim, self.now_s = 0.0, ppm, 0, 0.0
        self.rng = np.random.default_rng(seed)

    def pass_time(self, seconds):
        rate = self.ppm * PPM_PS_PER_S + trim_rate(self.trim, CLOCK_PS)
        self.phase_ps += rate * seconds
        self.now_s += seconds

    def seen(self, sigma_ps=2.0):
        return self.phase_ps + sigma_ps * self.rng.standard_normal()


def run(servo, clock, beats, reached=lambda _beat: True):
    """Beats of a loop; where a write does not reach the board, the servo is told so."""
    late = []
    for beat in range(beats):
        clock.pass_time(BEAT_S)
        servo.pass_time(clock.now_s)
        servo.measured(clock.seen(), 2.0, clock.now_s)
        trim = servo.decide()
        if reached(beat):
            clock.trim = trim
        else:
            servo.undo(clock.trim)
        late.append(clock.phase_ps)
    return np.array(late)


def test_five_ppm_are_pulled_in_and_the_rate_is_known():
    servo, clock = SlotServo(SlotServoSettings(settle_s=0.5), CLOCK_PS), Clock(5.0)
    late = run(servo, clock, 300)
    assert np.abs(late[200:]).max() < 10.0
    assert servo.rate_ps_per_s == pytest.approx(5e6, abs=500.0)
    assert servo.lock.state == "locked"


@pytest.mark.parametrize(("settle_s", "beats", "most_ps"), [(0.1, 8, 200.0), (3.0, 20, 500.0)])
def test_a_phase_that_is_far_off_dies_out_no_slower_than_a_near_one(settle_s, beats, most_ps):
    servo, clock = SlotServo(SlotServoSettings(settle_s=settle_s), CLOCK_PS), Clock(0.0)
    run(servo, clock, 40)
    clock.phase_ps += 1000.0
    assert abs(run(servo, clock, beats)[-1]) < most_ps


def test_writes_that_do_not_reach_the_board_are_taken_back():
    """Two of three are lost; the loop still ends where it belongs, and refuses no measurement."""
    servo, clock = SlotServo(SlotServoSettings(settle_s=0.5), CLOCK_PS), Clock(5.0)
    late = run(servo, clock, 600, reached=lambda beat: beat % 3 == 0)
    assert np.abs(late[400:]).max() < 20.0
    assert servo.filter.refused == 0
    assert servo.rate_ps_per_s == pytest.approx(5e6, abs=2000.0)


def test_undo_is_exact():
    servo = SlotServo(SlotServoSettings(), CLOCK_PS)
    servo.pass_time(1.0)
    servo.measured(3000.0, 1.0, 1.0)
    before = (servo.filter.phase_ps, servo.filter.rate_ps_per_s, servo.rate_ps_per_s)
    assert servo.decide() != 0
    assert servo.filter.rate_ps_per_s != before[1]
    servo.undo(0)
    after = (servo.filter.phase_ps, servo.filter.rate_ps_per_s, servo.rate_ps_per_s)
    assert servo.trim == 0
    assert after == pytest.approx(before)
    # A measurement from before the decision is as it was: nothing has moved the phase since.
    servo.pass_time(2.0)
    assert servo._moved_since(0.5) == 0.0


def test_a_trim_counts_from_when_it_took_effect():
    servo = SlotServo(SlotServoSettings(), CLOCK_PS)
    servo.pass_time(1.0)
    servo.measured(1000.0, 1.0, 1.0)
    trim = servo.decide()
    rate = trim_rate(trim, CLOCK_PS)
    decided = servo.filter.phase_ps
    drift = servo.filter.rate_ps_per_s
    sigma = servo.filter.sigma_phase_ps
    servo.pass_time(1.1)
    servo.took_effect(1.04, 1.06)
    # Until 1.05 s the clock went on as before.
    assert servo.filter.phase_ps == pytest.approx(decided + 0.1 * drift - 0.05 * rate)
    assert servo.filter.sigma_phase_ps > sigma
    assert servo._moved_since(1.0) == pytest.approx(0.05 * rate)


def test_a_clock_beyond_the_limit_is_said_to_be():
    servo, clock = SlotServo(SlotServoSettings(limit_ppm=3.0), CLOCK_PS), Clock(5.0)
    run(servo, clock, 40)
    assert servo.limited
    assert abs(servo.trim) == trim_of_rate(3e6, CLOCK_PS)


def test_in_holdover_the_last_good_rate_stays():
    servo, clock = SlotServo(SlotServoSettings(settle_s=0.5), CLOCK_PS), Clock(5.0)
    run(servo, clock, 400)
    trim = servo.trim
    for _ in range(200):
        clock.pass_time(BEAT_S)
        servo.pass_time(clock.now_s)
        clock.trim = servo.decide()
    assert servo.lock.state in ("holdover", "lost")
    # 10 s without a look: off by what the rate was wrong by.
    assert abs(servo.trim - trim) < trim_of_rate(200.0, CLOCK_PS)
    assert abs(clock.phase_ps) < 1000.0
