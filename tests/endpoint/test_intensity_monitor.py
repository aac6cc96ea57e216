"""Intensities: bounds that hold, deviations refused with their cause, feeds that fail closed."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bellrelay.distill.ladder import SETTINGS, Ladder
from bellrelay.endpoint import intensity_feed
from bellrelay.endpoint.checked_source import CheckedSource
from bellrelay.endpoint.config import IntensityMonitorSettings
from bellrelay.endpoint.intensity_feed import ReadingsFile, format_reading, parse_reading
from bellrelay.endpoint.intensity_monitor import IntensityFault, IntensityMonitor
from bellrelay.endpoint.intensity_watch import IntensityWatch
from bellrelay.endpoint.source_log import Reading
from bellrelay_sim.source_plugin import simulation_plugin

LADDER = Ladder(0.4, 0.3, 0.05, 0.0, 0.45, 0.1, 0.3, vacuum_limit=1e-3)
S = 1_000_000_000
START = 1_000_000 * S


def settings(**options):
    return IntensityMonitorSettings(**{"input": "source", "calibration": 0.001, **options})


def readings(seconds, factors=(1, 1, 1), vacuum=1e-5, noise=3e-4, variance=0.0, seed=1, start=0):
    """One reading per setting and second, true intensities ``factors`` times the declared ones."""
    random = np.random.default_rng(seed)
    found = []
    for second in range(start, start + seconds):
        truth = [*(LADDER.intensities[:3] * factors), vacuum]
        for setting, mean in enumerate(truth * random.normal(1, noise, 4)):
            found.append(Reading(START + second * S, setting, float(mean), variance))
    return found


def watched(found, now=None, **options):
    """A monitor that was given all at once, and looked at then."""
    monitor = IntensityMonitor(settings(**options), LADDER, 0.01)
    monitor.update(found, max(r.time_ns for r in found) if now is None else now)
    return monitor


def fault_of(monitor, now=START + 99 * S):
    with pytest.raises(IntensityFault) as fault:
        monitor.deviation(now, now)
    return str(fault.value)


def test_a_steady_sender_is_stable_within_one_percent_and_the_bound_covers_the_truth():
    monitor = watched(readings(100, factors=(1.003, 0.998, 1.001)))
    by_name = {s.setting: s for s in monitor.states}
    assert all(s.stable and s.fault is None and s.readings == 100 for s in monitor.states)
    for name, factor in (("s", 1.003), ("mu", 0.998), ("nu", 1.001)):
        state = by_name[name]
        assert state.mean == pytest.approx(state.declared * factor, rel=2e-4)
        assert state.relative_variance == pytest.approx(3e-4**2, rel=0.5)
        assert abs(factor - 1) + 0.001 < state.deviation < abs(factor - 1) + 0.004
    now = START + 99 * S
    deviation = monitor.deviation(now, now)
    assert deviation == by_name["s"].deviation
    # What it yields is a deviation that a ladder takes.
    assert replace(LADDER, deviation=deviation).deviation < 0.01
    assert monitor.failure_probability == pytest.approx(4e-10)


@pytest.mark.parametrize(
    ("factors", "name"), [((1, 1, 1.05), "nu"), ((1, 0.98, 1), "mu"), ((1.02, 1, 1), "s")]
)
def test_rule_8_a_sender_that_is_not_as_declared_is_refused_by_setting(factors, name):
    """nu 5 % brighter than declared puts the yield's bound 10 % above the truth."""
    monitor = watched(readings(100, factors))
    assert fault_of(monitor).startswith(f"{name} may deviate by 0.0")
    assert "from the declared" in fault_of(monitor)
    assert not monitor.states[SETTINGS.index(name)].stable


def test_rules_8_and_24_a_vacuum_that_leaks_through_the_modulator_is_refused():
    assert watched(readings(100, vacuum=5e-4)).deviation(START + 99 * S, START + 99 * S) < 0.01
    assert "o may have 0.002" in fault_of(watched(readings(100, vacuum=2e-3)))


def test_an_unsteady_sender_is_refused_though_its_mean_is_right():
    monitor = watched(readings(200, noise=0.01))
    state = monitor.states[0]
    assert state.mean == pytest.approx(0.4, rel=0.003)
    assert state.relative_variance == pytest.approx(1e-4, rel=0.4)
    assert "may deviate" in fault_of(monitor, START + 199 * S)
    # So are single pulses that vary where the readings do not.
    assert "may deviate" in fault_of(watched(readings(100, variance=0.003**2)))


def test_the_bound_fails_no_more_often_than_it_says():
    """Of 2000 monitors with epsilon 5 %, hardly any bound misses the share that it must cover."""
    s = settings(epsilon=0.05, coverage=0.9, calibration=0.0, min_readings=5)
    monitor = IntensityMonitor(s, LADDER, 0.01)
    random = np.random.default_rng(7)
    missed = 0
    for _ in range(2000):
        values = random.normal(1.0, 0.01, 12)
        low, high = monitor._interval(12, values.mean(), values.var(ddof=1), 0.0)
        covered = stats.norm.cdf(high, 1.0, 0.01) - stats.norm.cdf(low, 1.0, 0.01)
        missed += covered < 0.9
    assert missed / 2000 <= 0.05
    # It is not the bound of another problem: a plain interval of z sample deviations misses often.
    plain = 0
    for _ in range(500):
        values = random.normal(1.0, 0.01, 12)
        half = stats.norm.isf(0.05) * values.std(ddof=1)
        low, high = values.mean() - half, values.mean() + half
        covered = stats.norm.cdf(high, 1.0, 0.01) - stats.norm.cdf(low, 1.0, 0.01)
        plain += covered < 0.9
    assert plain / 500 > 0.3


def test_quantiles_far_out_are_those_of_scipy_stats():
    monitor = IntensityMonitor(
        settings(epsilon=1e-10, calibration=0.0, coverage=0.9999), LADDER, 0.01
    )
    low, high = monitor._interval(50, 1.0, 1e-6, 0.0)
    off = stats.t.isf(1e-10 / 4, 49) * math.sqrt(1e-6 / 50)
    most = 1e-6 * 49 / stats.chi2.ppf(0.5e-10, 49)
    half = off + stats.norm.isf(0.5e-4) * math.sqrt(most)
    assert (1.0 - low, high - 1.0) == pytest.approx((half, half), rel=1e-6)


def test_without_recent_readings_nothing_is_guaranteed():
    found = readings(100)
    last = START + 99 * S
    for late, fault in ((10, None), (11, "no reading of s for more than 10 s")):
        monitor = watched(found, now=last + late * S)
        if fault is None:
            monitor.deviation(last + late * S, last + late * S)
        else:
            assert fault in fault_of(monitor, last + late * S)
    # One setting alone may be missing.
    without_nu = [r for r in found if r.setting != 2 or r.time_ns < START + 80 * S]
    assert "no reading of nu" in fault_of(watched(without_nu, now=last))
    assert "19 readings of s in 600 s, 20 are needed" in fault_of(
        watched(readings(19), now=last), last
    )
    assert "0 readings of s" in fault_of(watched(found, now=last + 601 * S), last + 601 * S)


@pytest.mark.parametrize(
    ("reading", "fault"),
    [
        (Reading(START, 7, 0.1), "setting 7, which does not exist"),
        (Reading(START, 0, math.nan), "no number"),
        (Reading(START, 0, 0.4, -1.0), "negative variance"),
        (Reading(START + 200 * S, 0, 0.4), "lies in the future"),
    ],
)
def test_a_reading_that_cannot_be_is_a_fault(reading, fault):
    assert fault in fault_of(watched([*readings(100), reading], now=START + 99 * S))


def test_a_block_is_guaranteed_only_if_every_moment_of_it_is():
    monitor = IntensityMonitor(settings(), LADDER, 0.01)
    found = readings(400)
    look = {}
    for second in range(0, 400, 4):
        if 200 <= second < 220:
            continue
        batch = [r for r in found if START + (second - 4) * S < r.time_ns <= START + second * S]
        if second == 300:
            batch.append(Reading(START + 300 * S, 0, math.nan))
        look[second] = monitor.update(batch, START + second * S)

    def deviation(first, end):
        return monitor.deviation(START + first * S, START + end * S)

    assert 0 < deviation(100, 190) < 0.01
    with pytest.raises(IntensityFault, match="readings of s in"):
        deviation(4, 190)
    # Readings of a whole while are missing.
    with pytest.raises(IntensityFault, match="no reading of s for more than 10 s"):
        deviation(150, 250)
    with pytest.raises(IntensityFault, match="no number"):
        deviation(240, 390)
    assert 0 < deviation(308, 396) < 0.01
    with pytest.raises(IntensityFault, match="not measured for more than"):
        deviation(308, 420)
    with pytest.raises(IntensityFault, match="from the beginning"):
        monitor.deviation(START + 450 * S, START + 451 * S)
    with pytest.raises(IntensityFault, match="from the beginning"):
        IntensityMonitor(settings(), LADDER, 0.01).deviation(START, START)
    # The worst moment counts, not the last.
    assert deviation(100, 190) >= max(s.deviation for s in look[188][:3])


def test_readings_may_be_handed_in_together_as_after_a_restart():
    """It is their own times that count: the endpoint may have been busy, or down."""
    monitor = IntensityMonitor(settings(), LADDER, 0.01)
    monitor.update(readings(300), START + 299 * S)
    assert monitor.deviation(START + 60 * S, START + 290 * S) < 0.01
    with pytest.raises(IntensityFault, match="readings of s in"):
        monitor.deviation(START + 10 * S, START + 290 * S)
    late = readings(60, start=300)
    monitor.update([], START + 340 * S)
    monitor.update(late, START + 360 * S)
    # Those of the time until 340 came too late.
    with pytest.raises(IntensityFault, match="no reading of s for more"):
        monitor.deviation(START + 290 * S, START + 360 * S)
    assert monitor.deviation(START + 344 * S, START + 360 * S) < 0.01


def test_lines_of_the_feed():
    assert parse_reading("17 nu 0.0501\n") == Reading(17, 2, 0.0501, 0.0)
    assert parse_reading("17\to 1e-5 2.5e-5") == Reading(17, 3, 1e-5, 2.5e-5)
    assert parse_reading("# 17 nu 0.0501") is parse_reading("  \n") is None
    for wrong in ("17 nu", "17 x 0.1", "17.5 nu 0.1", "17 nu 0.1 0 0", "17 nu much"):
        with pytest.raises(ValueError):
            parse_reading(wrong)
    reading = Reading(17, 2, 0.1 + 0.2, 1e-7)
    assert parse_reading(format_reading(reading)) == reading


def test_the_file_is_followed_through_torn_lines_rotation_and_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "intensities"
    feed = ReadingsFile(path)
    assert feed.read() == []
    first, second, third = (Reading(i, i, 0.1 * i, 0.0) for i in range(3))
    path.write_text(format_reading(first) + format_reading(second)[:9])
    assert feed.read() == [first]
    assert feed.read() == []
    with path.open("a") as file:
        file.write(format_reading(second)[9:] + "rubbish\n\xff\n" + format_reading(third))
    assert feed.read() == [second, third]
    assert feed.malformed == 2
    # Replaced by another file, then begun anew.
    fresh = tmp_path / "fresh"
    fresh.write_text(format_reading(third) + format_reading(first))
    fresh.rename(path)
    assert feed.read() == [third, first]
    path.write_text(format_reading(second))
    assert feed.read() == [second]
    # Of a long file that is there already, the end is read.
    monkeypatch.setattr(intensity_feed, "_FROM_END", 500)
    path.write_text("".join(format_reading(Reading(i, 0, 0.4)) for i in range(100, 200)))
    found = ReadingsFile(path).read()
    assert found[-1].time_ns == 199
    assert 30 < len(found) < 50
    # A line that never ends is no reading, and fills no memory.
    endless = ReadingsFile(path)
    endless.read()
    with path.open("a") as file:
        file.write("7" * 10_000)
    assert endless.read() == []
    with path.open("a") as file:
        file.write("7\n" + format_reading(first))
    assert endless.read() == [first]
    assert endless.complaint == "a line without an end"


def test_the_watch_reads_the_file_and_says_what_is_wrong_in_it(tmp_path):
    path = tmp_path / "intensities"
    watch = IntensityWatch(settings(input="file", file=path), LADDER, 0.01)
    now = START + 99 * S
    watch.poll(now)
    with pytest.raises(IntensityFault, match="0 readings of s"):
        watch.deviation(now, now)
    path.write_text("".join(map(format_reading, readings(100))))
    assert len(watch.poll(now + 1)) == 4
    assert watch.deviation(now + 1, now + 1) < 0.01
    with path.open("a") as file:
        file.write("nothing\n")
    watch.poll(now + 30 * S)
    with pytest.raises(IntensityFault, match="1 lines are no readings, the last: 1 fields"):
        watch.deviation(now + 30 * S, now + 30 * S)
    path.chmod(0)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError):
        watch.poll(now + 31 * S)


def test_the_watch_over_a_simulated_source_sees_what_it_does_not_declare():
    for true_nu, fault in ((0.05, None), (0.0525, "nu may deviate by 0.05")):
        options = {"link": {"alice": {"nu": true_nu}}, "declared": {"nu": 0.05}}
        log = simulation_plugin(options, "alice")(1)
        source = CheckedSource(log, 1, LADDER.intensities, LADDER.probabilities)
        watch = IntensityWatch(settings(), LADDER, 0.01)
        watch.attach(source)
        watch.poll()
        now = time.time_ns()
        if fault is None:
            assert 0 < watch.deviation(now - 100 * S, now) <= 0.01
        else:
            with pytest.raises(IntensityFault, match=fault):
                watch.deviation(now, now)


def test_what_a_source_measured_before_it_was_attached_is_no_time_without_a_reading():
    """A daemon that was down: blocks of its backlog were measured, if not by it."""
    log = simulation_plugin({}, "alice")(1)
    source = CheckedSource(log, 1, LADDER.intensities, LADDER.probabilities)
    watch = IntensityWatch(settings(), LADDER, 0.01)
    begun = time.time_ns()
    watch.poll(begun + S)
    with pytest.raises(IntensityFault, match="from the beginning"):
        watch.deviation(begun - 100 * S, begun)
    watch.attach(source)
    now = time.time_ns()
    watch.poll(now)
    assert 0 < watch.deviation(now - 100 * S, now) <= 0.01


def test_a_sender_without_a_monitor_is_taken_at_its_word_and_that_is_said():
    declared = replace(LADDER, deviation=0.004)
    watch = IntensityWatch(settings(input="none"), declared, 0.01)
    assert watch.poll() == ()
    assert watch.deviation(0, 1) == 0.004
    assert not watch.measured


def test_bounds_take_what_was_measured_where_it_is_more_than_what_was_declared():
    now = START + 99 * S
    for declared in (0.0, 0.004, 0.008):
        ladder = replace(LADDER, deviation=declared)
        watch = IntensityWatch(settings(), ladder, 0.01)
        watch.monitor.update(readings(100, factors=(1.003, 0.998, 1.001)), now)
        assert 0.005 < watch.monitor.deviation(now, now) < 0.007
        assert watch.deviation(now, now) == max(declared, watch.monitor.deviation(now, now))
