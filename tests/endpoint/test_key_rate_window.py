"""The key rate of an hour, and histograms of blocks, against what is known of them."""

from bellrelay.endpoint.block_histograms import BlockHistogram
from bellrelay.endpoint.key_rate_window import KeyRateWindow

S = 10**9


def window(keys, since=0):
    rates = KeyRateWindow()
    rates.begun(since)
    for at, bits in keys:
        rates.stored(at * S, bits)
    return rates


def test_a_steady_rate():
    rates = window([(t, 600) for t in range(30, 8000, 60)]).status(7990 * S)
    assert rates == {"now": 10.0, "median": 10.0, "p95": 10.0}


def test_half_an_hour_without_key():
    keys = [(t, 6000) for t in range(30, 8000, 60) if t < 5400]
    rates = window(keys).status(7200 * S)
    # From 5400 s on there is none, which ten minutes' means notice by and by.
    assert rates["now"] == 0.0
    assert 0.0 < rates["median"] <= 100.0
    assert rates["p95"] == 100.0
    assert window(keys).status(9800 * S) == {"now": 0.0, "median": 0.0, "p95": 0.0}


def test_nothing_is_said_of_less_than_ten_minutes():
    nothing = {"now": None, "median": None, "p95": None}
    assert KeyRateWindow().status(5) == nothing
    assert window([(10, 5)]).status(599 * S) == nothing
    assert window([(10, 6000)]).status(600 * S)["now"] == 10.0


def test_a_link_that_is_young_is_not_held_against_the_hour_before_it():
    rates = window([(t, 600) for t in range(3630, 5000, 60)], since=3600 * S).status(4800 * S)
    assert rates["median"] == 10.0


def test_a_value_is_counted_below_the_bound_that_it_meets():
    histogram = BlockHistogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.take(value)
    assert histogram.status() == {"bounds": [1.0, 2.0], "counts": [2, 2, 1], "sum": 14.0}
