"""Chunks of a histogram to periods: whole ones only, and what is incomplete is counted."""

import numpy as np

from bellrelay.relay.histogram_periods import HistogramPeriods
from bellrelay.wire.payloads import Histogram

CHANNELS, BINS, CHUNK = 3, 8, 4


def chunks(period, seed=None):
    """All chunks of a period, and what they add up to."""
    counts = np.random.default_rng(period if seed is None else seed).integers(
        0, 1000, (CHANNELS, BINS)
    )
    out = [
        Histogram(period, c, b, 10 * period, 10 * period + 10, counts[c, b : b + CHUNK])
        for c in range(CHANNELS)
        for b in range(0, BINS, CHUNK)
    ]
    return out, counts


def test_a_period_is_there_once_its_last_chunk_has_come():
    periods = HistogramPeriods(CHANNELS, BINS)
    for number in range(3):
        sent, counts = chunks(number)
        before = periods.last
        for chunk in sent[:-1]:
            periods.take(chunk)
        assert periods.last is before
        periods.take(sent[-1])
        assert periods.last is not before
        assert (periods.last.counts == counts).all()
        assert (periods.last.start_tick, periods.last.end_tick) == (10 * number, 10 * number + 10)
    assert periods.incomplete == 0


def test_a_period_that_was_handed_out_stays_as_it_is():
    periods = HistogramPeriods(CHANNELS, BINS)
    for chunk in chunks(0)[0]:
        periods.take(chunk)
    first = periods.last
    kept = first.counts.copy()
    for chunk in chunks(1)[0]:
        periods.take(chunk)
    assert periods.last is not first
    assert (first.counts == kept).all()


def test_a_lost_chunk_costs_its_period_and_no_other():
    for lost in range(CHANNELS * BINS // CHUNK):
        periods = HistogramPeriods(CHANNELS, BINS)
        for at, chunk in enumerate(chunks(0)[0]):
            if at != lost:
                periods.take(chunk)
        assert periods.last is None
        sent, counts = chunks(1)
        for chunk in sent:
            periods.take(chunk)
        assert periods.incomplete == 1
        assert (periods.last.counts == counts).all()
