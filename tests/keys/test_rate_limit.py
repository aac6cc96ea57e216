"""Requests a second, for each by itself."""

from bellrelay.keys.rate_limit import RateLimit


def test_a_burst_and_then_so_many_a_second():
    now = [100.0]
    rate = RateLimit(2.0, 3.0, lambda: now[0])
    assert [rate.take("a") for _ in range(4)] == [None, None, None, 1]
    now[0] += 0.5
    assert rate.take("a") is None
    assert rate.take("a") == 1
    now[0] += 100
    assert [rate.take("a") for _ in range(4)] == [None, None, None, 1]


def test_one_that_asks_too_often_takes_nothing_from_another():
    rate = RateLimit(1.0, 1.0, lambda: 0.0)
    assert [rate.take("a") for _ in range(9)] == [None] + [1] * 8
    assert rate.take("b") is None
