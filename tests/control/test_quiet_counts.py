"""Dark counts between pulses: live times exact, intervals exact, rates those of the simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson
from simulated_bench import relay_config

from bellrelay.control.calibration_bench import TagRecording
from bellrelay.control.quiet_counts import poisson_interval, quiet_counts
from bellrelay.control.step_dark import DarkOptions, DarkStep, between_pulses
from bellrelay_sim.clicks import ClickStream
from bellrelay_sim.link_config import link_and_geometry

PERIOD = 100


@given(
    gaps=st.lists(st.integers(1, 700), min_size=1, max_size=40),
    rest=st.integers(0, 700),
    quiet=st.integers(1, 250),
    lit=st.sampled_from([(), ((10, 30),), ((0, 15), (40, 55), (90, 100))]),
    hole=st.sampled_from([float("inf"), 500.0]),
)
def test_counts_and_live_time_are_those_of_every_picosecond(gaps, rest, quiet, lit, hole) -> None:
    """One by one: which picoseconds are quiet, dark, and no hole."""
    t = np.cumsum(gaps)
    end = int(t[-1]) + rest
    is_lit = np.zeros(PERIOD, bool)
    for a, b in lit:
        is_lit[a:b] = True
    edges = [0, *map(int, t), end]
    live, counts = 0, 0
    for begin, stop in itertools.pairwise(edges):
        if quiet <= stop - begin <= hole:
            live += sum(not is_lit[x % PERIOD] for x in range(begin + quiet, stop))
            counts += stop != end and not is_lit[stop % PERIOD]
    # The last click may be at the end, with nothing after it.
    counts += end == t[-1] and quiet <= gaps[-1] <= hole and not is_lit[end % PERIOD]
    given_ = {"quiet_ps": quiet, "period_ps": PERIOD, "lit_ps": lit, "hole_ps": hole}
    if live == 0:
        with pytest.raises(ValueError, match="never quiet"):
            quiet_counts(t, t % PERIOD, (0, end), **given_)
        return
    found = quiet_counts(t, t % PERIOD, (0, end), **given_)
    assert found.counts == counts
    assert found.seconds == pytest.approx(live * 1e-12, rel=1e-9)


@given(counts=st.integers(0, 400), confidence=st.sampled_from([0.68, 0.95, 0.99]))
def test_the_interval_is_where_so_many_counts_are_neither_too_few_nor_too_many(
    counts: int, confidence: float
) -> None:
    low, high = poisson_interval(counts, confidence)
    side = (1 - confidence) / 2
    assert poisson.cdf(counts, high) == pytest.approx(side, rel=1e-6)
    assert (
        (low == 0.0)
        if counts == 0
        else poisson.sf(counts - 1, low) == pytest.approx(side, rel=1e-6)
    )


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(4).poisson(7.0, 3000)
    limits = {n: poisson_interval(n, 0.9) for n in set(drawn.tolist())}
    covered = np.mean([limits[n][0] <= 7.0 <= limits[n][1] for n in drawn.tolist()])
    assert 0.89 <= covered <= 0.97


def test_the_interval_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="confidence"):
        poisson_interval(3, 1.0)
    with pytest.raises(ValueError, match="negative"):
        poisson_interval(-1)


# ------------------------------------------------------------------------------------- the step

DARK_HZ = (2000.0, 8000.0)


class Recorded:
    """A bench of one recording."""

    def __init__(self, eta: float, lost: int = 0, holes: bool = False) -> None:
        detectors = [
            {"name": f"D{at}", "port": "cd"[at], "dark_rate_hz": DARK_HZ[at], "cable_delay_ps": 0,
             "afterpulse_probability": 0.05}
            for at in (0, 1)
        ]  # fmt: skip
        link, self.geometry = link_and_geometry(
            {"detectors": detectors, "arm_a": {"eta": eta}, "arm_b": {"eta": eta}, "seed": 8}
        )
        slots = 12_000_000
        clicks = ClickStream(link, slots).advance(slots)
        t, channel = clicks.t, clicks.channel
        if holes:
            kept = t % 10**10 < 6 * 10**9
            t, channel = t[kept], channel[kept]
        times = {at: t[channel == at] for at in (0, 1)}
        self.recording = TagRecording(times, 0, slots * 10_000, lost)
        self.config = relay_config(
            detectors=[{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}]
        )

    def tags(self, _seconds: float) -> TagRecording:
        return self.recording

    def check_cancelled(self) -> None:
        pass


@pytest.mark.parametrize(
    ("eta", "lost", "holes"), [(0.02, 0, False), (0.02, 9, True), (0.0, 0, False)]
)
def test_dark_counts_of_a_simulated_link(eta: float, lost: int, holes: bool) -> None:
    bench = Recorded(eta, lost, holes)
    # Clicks of no light are too rare for any hole to be told.
    options = DarkOptions.model_validate({"light": eta > 0.0, "confidence": 0.999})
    result = DarkStep().run(bench, options)  # type: ignore[arg-type]
    for one, truth in zip(result.figures["detectors"], DARK_HZ, strict=True):
        # Without light, afterpulses of dark counts come in time to count as dark: 5 %.
        assert one["low_hz"] / 1.06 <= truth <= one["high_hz"], one
        assert one["counts"] > 50
    # The limit of 1 kHz is below both.
    assert not result.ok


def test_holes_that_nobody_told_of_would_have_been_time_without_counts() -> None:
    """The check of the check: without `lost`, the same recording gives less than the truth."""
    result = DarkStep().run(Recorded(0.02, 0, True), DarkOptions(confidence=0.999))  # type: ignore[arg-type]
    assert result.figures["detectors"][1]["high_hz"] < DARK_HZ[1]


def test_light_that_is_not_there_is_told_apart_from_none_between() -> None:
    config = relay_config()
    even = np.random.default_rng(1).integers(0, 10_000, 100_000)
    with pytest.raises(ValueError, match=r"no pulses|leave nothing"):
        between_pulses(even, config)
    with pytest.raises(ValueError, match="light: off"):
        between_pulses(even[:50], config)


@settings(max_examples=25)
@given(shift=st.integers(0, 9_999))
def test_pulses_are_left_out_wherever_they_lie(shift: int) -> None:
    rng = np.random.default_rng(2)
    clicks = rng.normal(0.0, 100.0, 20_000) + rng.choice([2_500, 7_500], 20_000)
    position = np.round(clicks + shift).astype(np.int64) % 10_000
    lit = between_pulses(position, relay_config())
    dark = np.ones(len(position), bool)
    for begin, end in lit:
        assert 0.0 <= begin < end <= 10_000
        dark &= ~((begin <= position) & (position < end))
    assert not dark.any()
    assert sum(end - begin for begin, end in lit) < 3_000
    assert list(lit) == sorted(lit)
