"""Rates of single seconds, which a scrape now and then would miss."""

import pytest

from bellrelay.relay.recent_rates import RecentRates
from bellrelay.wire.payloads import Heartbeat
from bellrelay.wire.registers import State

SECOND = 10**12


def beat(at_ps, **counters):
    return Heartbeat(State.RUNNING, False, {"cut_ps": at_ps}, counters)


def test_a_burst_of_one_second_stands_in_the_peak_and_hardly_in_the_mean():
    rates = RecentRates()
    clicks = 0
    for second in range(61):
        rates.take(beat(second * SECOND, clicks_0=clicks, announced_psi_minus=second))
        clicks += 50_000 if second == 30 else 100
    said = rates.status()
    assert said["clicks_0"]["peak"] == 50_000
    assert said["clicks_0"]["mean"] == pytest.approx((59 * 100 + 50_000) / 60)
    assert said["announced"] == {"peak": 1.0, "mean": 1.0}


def test_heartbeats_come_more_often_than_once_a_second():
    rates = RecentRates()
    for n in range(45):
        rates.take(beat(n * SECOND // 20, clicks_1=n))
    assert rates.status()["clicks_1"]["peak"] == pytest.approx(20.0)


def test_the_burst_is_forgotten_after_a_minute():
    rates = RecentRates()
    clicks = 0
    for second in range(130):
        rates.take(beat(second * SECOND, clicks_0=clicks))
        clicks += 50_000 if second == 30 else 100
    assert rates.status()["clicks_0"] == {"peak": 100.0, "mean": 100.0}


def test_losses_of_all_causes_and_channels_are_one_rate():
    rates = RecentRates()
    rates.take(beat(0, tags_lost_0=0, tags_shed_1=5, lost_psi_minus=1, shed_psi_plus=0))
    rates.take(beat(SECOND, tags_lost_0=1, tags_shed_1=8, lost_psi_minus=3, shed_psi_plus=1))
    assert rates.status()["lost"]["peak"] == 7.0


@pytest.mark.parametrize("at", [3 * SECOND, 200 * SECOND])
def test_another_acquisition_counts_from_nothing(at):
    rates = RecentRates()
    for second in range(100, 103):
        rates.take(beat(second * SECOND, clicks_0=1000 * second))
    rates.take(beat(at, clicks_0=7))
    assert rates.status() == {}
    rates.take(beat(at + SECOND, clicks_0=10))
    assert rates.status()["clicks_0"]["peak"] == 3.0


def test_nothing_is_said_before_a_second_has_passed():
    rates = RecentRates()
    assert rates.status() == {}
    rates.take(beat(5, clicks_0=1))
    assert rates.status() == {}
