"""A sender held in place by what a relay publishes of tracking slots; and what a liar can do."""

from dataclasses import replace

import numpy as np
import pytest
from tracking_events import (
    CENTRES_PS,
    EVENT_SLOTS,
    PERIOD_PS,
    SCHEDULE,
    SLOTS_PER_S,
    WIDTH_PS,
    EventLink,
    PartySource,
    tracking_source,
)

from bellrelay.control.decoy_check import check_clicks
from bellrelay.control.source_tracking import SenderPosition, SourceTracking
from bellrelay.endpoint.config import TrackingSettings
from bellrelay.endpoint.tracking_source import TrackingSource
from bellrelay.wire.messages import Event
from bellrelay.wire.tracking import TrackingClicks
from bellrelay_sim.choices import Party

SETTINGS = TrackingSettings(
    slot_period_ps=PERIOD_PS,
    centres_ps=CENTRES_PS,
    width_ps=WIDTH_PS,
    window_s=2.0,
    settle_s=5.0,
    drift_ps_per_s=30.0,
)
MEAN = float(PartySource.probabilities @ PartySource(Party.ALICE).intensities)


def made(party=Party.BOB, position=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return SourceTracking(settings, tracking_source(party), position or SenderPosition())


def follow(link, tracking, seconds, who=1, look=lambda _second: None):
    """One second after the other; how late both were at the end of each: (seconds, 2)."""
    late = []
    for second in range(seconds):
        for _ in range(4):
            tracking.take(link.event())
            told = tracking.decide(0.25)
            if told is not None:
                link.sender_ps[who] = told
        late.append(link.late_ps())
        look(second)
    return np.array(late)


def test_one_sender_follows_the_other_through_opposite_drifts():
    """40 ps/s between them: fifteen times what a fibre does."""
    link = EventLink(fibre_ps=[0.0, 700.0], drift_ps_per_s=(20.0, -20.0))
    tracking = made()
    late = follow(link, tracking, 90)
    apart = late[45:, 1] - late[45:, 0]
    status = tracking.status()
    print(f"apart {np.sqrt(np.mean(apart**2)):.1f} ps RMS, told {status['commanded_ps']:.0f} ps")
    assert np.sqrt(np.mean(apart**2)) < 25.0
    assert status["state"] == "locked"
    assert status["rate_ps_per_s"]["value"] == pytest.approx(-40.0, abs=3.0)
    assert status["measured"] == pytest.approx(45, abs=2)
    # Without it the same drift ends the link within seconds.
    assert abs(link.sender_ps[1]) > 2000


def test_with_a_reference_each_sender_is_held_in_the_middle_of_the_slot():
    link = EventLink(fibre_ps=[-300.0, 200.0], drift_ps_per_s=(5.0, 0.0))
    tracking = made(Party.ALICE, aim="middle")
    late = follow(link, tracking, 60, who=0)
    assert np.sqrt(np.mean(late[30:, 0] ** 2)) < 25.0
    assert late[-1, 1] == 200.0


def test_light_is_measured_with_its_error_also_when_there_is_none():
    link = EventLink(eta=[0.1, 0.02])
    tracking = made(Party.ALICE, transmittance=0.1)
    pulls = []

    def look(_second):
        light = tracking.light
        if light is not None:
            pulls.append((light.transmittance - link.eta[0]) / light.sigma_transmittance)

    follow(link, tracking, 40, who=0, look=look)
    told = tracking.status()["light"]
    assert told["value"] == pytest.approx(0.1 * MEAN, rel=0.1)
    assert told["share"] == pytest.approx(1.0, rel=0.1)
    assert abs(np.mean(pulls)) < 1.0
    assert 0.6 < np.std(pulls) < 1.5
    # The fibre is cut: the other's light goes on, ours is nothing within its error.
    link.eta[0] = 0.0
    follow(link, tracking, 6, who=0)
    told = tracking.status()["light"]
    assert abs(told["value"]) < 4 * told["sigma"] < 0.1 * 0.1 * MEAN
    assert tracking.status()["delay_ps"] is None


def test_without_light_the_rate_is_held_and_then_the_sender_stops():
    link = EventLink(drift_ps_per_s=(0.0, 20.0))
    tracking = made(holdover_ps=60.0)
    follow(link, tracking, 60)
    assert tracking.status()["state"] == "locked"
    eta, link.eta = link.eta, [0.1, 0.0]
    late = follow(link, tracking, 20)
    assert tracking.status()["state"] == "holdover"
    assert np.abs(late[:, 1] - late[:, 0]).max() < 60.0
    follow(link, tracking, 100)
    assert tracking.status()["state"] == "lost"
    stopped = link.sender_ps[1]
    follow(link, tracking, 5)
    assert link.sender_ps[1] == stopped
    link.eta = eta
    link.drift_ps_per_s = (0.0, 0.0)
    late = follow(link, tracking, 60)
    assert tracking.status()["state"] == "locked"
    assert abs(late[-1, 1] - late[-1, 0]) < 40.0


def test_heartbeats_tell_the_time_where_no_clicks_are_published():
    link = EventLink(drift_ps_per_s=(0.0, 20.0))
    tracking = made()
    follow(link, tracking, 60)
    for _ in range(15):
        tracking.take(link.heartbeat(1.0))
        told = tracking.decide(1.0)
        link.sender_ps[1] = link.sender_ps[1] if told is None else told
    late = link.late_ps()
    assert tracking.status()["state"] == "holdover"
    assert abs(late[1] - late[0]) < 60.0


def test_the_end_of_the_range_is_told_and_kept_to():
    link = EventLink(fibre_ps=[0.0, 400.0])
    tracking = made(range_ps=250.0)
    follow(link, tracking, 30)
    assert link.sender_ps[1] == -250.0
    assert tracking.status()["limited"]
    assert tracking.status()["state"] == "acquiring"


def test_a_relay_that_tells_of_more_time_than_passed_moves_the_sender_no_faster():
    """It also lies about every click: within range and slew is all that it gets."""
    link = EventLink(fibre_ps=[0.0, 1000.0])
    tracking = made(slew_ps_per_s=10.0)
    before = tracking.servo.delay_ps
    for _ in range(200):
        tracking.take(link.event())
        tracking.decide(0.001)
    assert 0.0 < abs(tracking.servo.delay_ps - before) <= 200 * 0.001 * 10.0 + 1.0


def test_a_sender_that_did_not_move_is_where_it_was():
    link = EventLink(fibre_ps=[0.0, 300.0])
    tracking = made()
    refused = 0
    for second in range(40):
        for _ in range(4):
            tracking.take(link.event())
            before = tracking.servo.delay_ps
            told = tracking.decide(0.25)
            if told is None:
                continue
            if second < 15:
                refused += 1
                tracking.stayed(before)
            else:
                link.sender_ps[1] = told
        if second < 15:
            assert tracking.servo.delay_ps == 0.0
    assert refused > 10
    assert abs(link.late_ps()[1]) < 40.0


def test_what_was_done_by_the_process_before_is_not_done_again():
    link = EventLink(drift_ps_per_s=(0.0, 30.0))
    events = [link.event() for _ in range(80)]
    first = made()
    for event in events[:60]:
        first.take(event)
        first.decide(0.25)
    second = made(position=replace(first.position))
    for event in events[:60]:
        second.take(event)
    assert second.counts.stale == 60
    assert second.measured == 0
    assert second.servo.delay_ps == first.servo.delay_ps
    for event in events[60:]:
        second.take(event)
    assert second.counts.taken == 20


def test_in_another_acquisition_slots_begin_anew_and_the_sender_stays():
    link = EventLink(fibre_ps=[0.0, 300.0])
    tracking = made()
    follow(link, tracking, 30)
    told = tracking.servo.delay_ps
    assert told == pytest.approx(-300.0, abs=40.0)
    link.acquisition, link.slot = 2, 0
    tracking.take(link.event())
    assert tracking.servo.delay_ps == told
    assert tracking.now_s == pytest.approx(0.25)
    late = follow(link, tracking, 20)
    assert np.abs(late[:, 1]).max() < 60.0
    tracking.take(replace(link.event(), acquisition=1))
    assert tracking.counts.stale == 1


BAD = [
    {},
    {"first_slot": 20_000_000},
    {"slot": "%%%"},
    {"slot": None},
    {"end_slot": 1 << 70},
    {"position_ps": "AAAA"},
    {"detector": 7},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_is_malformed_is_counted_and_forgotten(bad):
    link = EventLink()
    tracking = made()
    values = {**link.event().values, **bad} if bad else {"kind": "tracking"}
    tracking.take(Event(0, 1, values))
    assert tracking.counts.malformed == 1
    tracking.take(Event(0, 1, {"kind": "heartbeat", "cut_slot": "late"}))
    tracking.take(Event(0, 1, {"kind": "heartbeat", "cut_slot": -1}))
    assert tracking.now_s == 0.0
    tracking.take(link.event())
    assert tracking.counts.taken == 1


def test_rule_25_clicks_that_a_relay_places_in_slots_that_make_key_change_nothing():
    """All of them in the strongest slots would be a measurement, if they were looked up."""
    honest, liar = made(), made()
    link = EventLink()
    log = PartySource(Party.BOB)
    liar.source = TrackingSource(SCHEDULE, lambda _a: log, lambda _a: True)
    random = np.random.default_rng(1)
    for _ in range(40):
        clicks = link.clicks()
        honest.take(Event(0, 1, clicks.values()))
        slots = random.integers(clicks.first_slot, clicks.end_slot, 3000).astype(np.uint64)
        slots = slots[~SCHEDULE.inside(slots)]
        more = TrackingClicks(
            clicks.first_slot,
            clicks.end_slot,
            np.concatenate((clicks.slot, slots)),
            np.concatenate((clicks.position_ps, np.full(slots.size, 5000, np.int32))),
            np.zeros(clicks.slot.size + slots.size, np.uint8),
        )
        # PartySource refuses to be asked for a slot that is none.
        liar.take(Event(0, 1, more.values()))
    assert liar.counts.clicks_outside > 100_000
    a, b = honest.status(), liar.status()
    assert (a.pop("counts"), b.pop("counts")) != (None, None)
    assert a == b
    assert log.asked == SCHEDULE.count(0, link.slot)


def test_events_that_overlap_count_once():
    link = EventLink()
    tracking = made()
    event = link.event()
    for _ in range(3):
        tracking.take(event)
    assert tracking.counts.taken == 1
    assert tracking.counts.stale == 2
    assert EVENT_SLOTS * 4 == SLOTS_PER_S


def calibration(link, what):
    """What a relay announces of a step that moves pulses on purpose."""
    return Event(0, link.acquisition, {"kind": "calibration", "what": what, "steps": ["hom"]})


def test_pulses_that_the_relay_moves_on_purpose_move_no_sender():
    link = EventLink(fibre_ps=[0.0, 50.0])
    tracking = made()
    follow(link, tracking, 40)
    before = tracking.status()["commanded_ps"]
    measured = tracking.measured
    tracking.take(calibration(link, "begun"))
    assert tracking.status()["calibrating"]
    link.fibre_ps[1] += 400.0
    follow(link, tracking, 20)
    assert tracking.measured == measured
    assert tracking.status()["commanded_ps"] == pytest.approx(before, abs=60.0)
    link.fibre_ps[1] -= 400.0
    tracking.take(calibration(link, "ended"))
    assert not tracking.status()["calibrating"]
    late = follow(link, tracking, 20)
    assert tracking.measured > measured
    assert abs(late[-1, 1] - late[-1, 0]) < 60.0


def test_clicks_by_setting_stand_to_one_another_as_the_intensities():
    link = EventLink(eta=[0.1, 0.05])
    tracking = made(Party.ALICE)
    follow(link, tracking, 60, who=0)
    counts = tracking.status()["by_setting"]
    check = check_clicks(counts["slots"], counts["clicks"], counts["sent"], 0.01)
    for ratio in check.ratios:
        assert abs(ratio.measured - ratio.declared) < 4.0 * ratio.sigma
        assert ratio.sigma < 0.2


@pytest.mark.parametrize("blur_ps", [500.0, 5000.0])
def test_light_that_lies_in_no_pulses_moves_nothing(blur_ps):
    """A blur, as while the relay's clock is pulled in, goes with the settings as pulses do."""
    link = EventLink()
    tracking = made()
    random = np.random.default_rng(3)
    for _ in range(40):
        clicks = link.clicks()
        places = clicks.position_ps + random.normal(0.0, blur_ps, clicks.slot.size)
        places = (places % PERIOD_PS).astype(np.int32)
        tracking.take(Event(0, 1, replace(clicks, position_ps=places).values()))
        tracking.decide(0.25)
    assert tracking.light.value > 10 * tracking.light.sigma
    assert tracking.counts.blurred > 0 or blur_ps == 5000.0
    assert tracking.servo.delay_ps == 0.0
    assert tracking.status()["delay_ps"] is None


def test_while_the_relays_clock_is_not_locked_clicks_say_nothing():
    link = EventLink(fibre_ps=[0.0, 300.0])
    tracking = made()
    clock = {"kind": "slot-clock", "before": "locked"}
    tracking.take(Event(0, 1, {**clock, "state": "acquiring"}))
    follow(link, tracking, 10)
    assert tracking.counts.unlocked == 40
    assert link.sender_ps[1] == 0.0
    tracking.take(Event(0, 1, {**clock, "state": "locked"}))
    late = follow(link, tracking, 30)
    assert abs(late[-1, 1]) < 40.0


def test_a_new_beginning_does_not_make_the_relays_clock_locked_and_a_new_acquisition_may():
    link = EventLink(fibre_ps=[0.0, 300.0])
    tracking = made()
    clock = {"kind": "slot-clock", "before": "waiting", "state": "acquiring"}
    tracking.take(Event(0, 1, clock))
    tracking.restart()
    follow(link, tracking, 3)
    assert tracking.counts.unlocked == 12
    assert tracking.measured == 0
    tracking.take(Event(1, 2, {"kind": "heartbeat", "cut_slot": 0}))
    tracking.take(Event(2, 2, link.clicks().values()))
    assert tracking.counts.unlocked == 12


def test_a_heartbeat_tells_those_who_come_late_whether_the_relays_clock_is_locked():
    link = EventLink(fibre_ps=[0.0, 300.0])
    tracking = made()
    for state, taken in (("acquiring", 0), ("locked", 4), ("holdover", 4), ("locked", 8)):
        beat = {"kind": "heartbeat", "cut_slot": 0, "slot_clock": state}
        tracking.take(Event(0, 1, beat))
        follow(link, tracking, 1)
        assert tracking.counts.taken == taken
    # A relay of which nothing is said is taken at its word.
    tracking.take(Event(0, 1, {"kind": "heartbeat", "cut_slot": 0}))
    follow(link, tracking, 1)
    assert tracking.counts.taken == 12
