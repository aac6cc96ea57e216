"""The relay's tracker is told things in any order that the line may bring them in."""

import numpy as np
import pytest

from bellrelay.control.relay_tracker import RelayTracker
from bellrelay.relay.histogram_periods import HistogramPeriod
from bellrelay.relay.tracking_settings import TrackingSettings
from bellrelay.wire.payloads import Heartbeat
from bellrelay.wire.registers import State

CLOCK_PS, TICK_PS, SLOT_PS, BIN_PS = 5000, 5_120_000, 10_000, 16
CENTRES = (2500, 7500)


@pytest.fixture
def tracker():
    return RelayTracker(
        TrackingSettings(),
        clock_period_ps=CLOCK_PS,
        tick_ps=TICK_PS,
        period_ps=SLOT_PS,
        bin_ps=BIN_PS,
        detectors=4,
        centres_ps=CENTRES,
    )


def beat(at_s):
    cut_ps = round(at_s * 1e12)
    fields = {"cut_ps": cut_ps, "cut_slot": cut_ps // SLOT_PS, "trim": 0}
    return Heartbeat(State.RUNNING, False, fields, {})


def period(begin_s, end_s):
    at = np.random.default_rng(1).normal(0.0, 120.0, (2, 5000)) + np.reshape(CENTRES, (2, 1))
    counts = np.histogram(at.ravel(), np.arange(626) * BIN_PS)[0].astype(np.int64)
    begin, end = (round(t * 1e12) // TICK_PS for t in (begin_s, end_s))
    return HistogramPeriod(begin, end, np.array([counts] * 4))


def test_a_histogram_that_is_here_before_the_heartbeat_counts_with_it(tracker):
    tracker.heartbeat(beat(0.46))
    tracker.histogram(period(0.0, 0.5))
    assert tracker.measured == 0
    tracker.heartbeat(beat(0.49))
    assert tracker.measured == 0
    tracker.heartbeat(beat(0.51))
    assert tracker.measured == 1
    tracker.heartbeat(beat(0.56))
    assert tracker.measured == 1


def test_a_histogram_of_the_acquisition_before_never_counts(tracker):
    tracker.heartbeat(beat(0.1))
    tracker.histogram(period(700.0, 700.5))
    for at_s in (0.2, 700.4, 700.6):
        tracker.heartbeat(beat(at_s))
    assert tracker.measured == 0
