"""Queues of the simulation against the waiting times that queueing theory knows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellrelay.control.capacity.event_loop import EventLoop
from bellrelay.control.capacity.stations import Cores, Process, Queue, Rounds
from bellrelay.control.capacity.watched import Busy, Spread

SERVICE_S = 1.0


def exponential(rng: random.Random) -> float:
    return rng.expovariate(1.0 / SERVICE_S)


def fixed(_rng: random.Random) -> float:
    return SERVICE_S


def feed(
    loop: EventLoop, per_s: float, seconds: float, one: Callable[[random.Random], None]
) -> None:
    """Poisson arrivals."""
    rng = random.Random(11)

    def arrive() -> None:
        one(rng)
        loop.after(rng.expovariate(per_s), arrive)

    loop.after(rng.expovariate(per_s), arrive)
    loop.run(seconds)


def erlang_c(servers: int, offered: float) -> float:
    """Probability that who comes must wait (A. K. Erlang, 1917)."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1.0 - offered / servers)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("rho", [0.3, 0.7])
@pytest.mark.parametrize(
    ("service", "factor"), [(exponential, 1.0), (fixed, 0.5)], ids=["M/M/1", "M/D/1"]
)
def test_one_server_waits_as_pollaczek_and_khinchine_say(
    rho: float, service: Callable[[random.Random], float], factor: float
) -> None:
    """Mean wait: rho / (1 - rho) times S (1 + cv^2) / 2."""
    loop = EventLoop()
    queue = Queue(loop, 1)
    feed(loop, rho / SERVICE_S, 150_000.0, lambda rng: queue.hold(service(rng)))
    assert queue.busy.share == pytest.approx(rho, rel=0.02)
    assert queue.waited.mean == pytest.approx(factor * rho / (1.0 - rho) * SERVICE_S, rel=0.06)


def test_several_servers_wait_as_erlang_says() -> None:
    loop, offered = EventLoop(), 3.0
    queue = Queue(loop, 4)
    feed(loop, offered / SERVICE_S, 60_000.0, lambda rng: queue.hold(exponential(rng)))
    expected = erlang_c(4, offered) * SERVICE_S / (4 - offered)
    assert queue.busy.share == pytest.approx(offered / 4, rel=0.02)
    assert queue.waited.mean == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("service", [exponential, fixed])
def test_a_shared_core_is_insensitive(service: Callable[[random.Random], float]) -> None:
    """M/G/1 with sharing: mean time in the system is S / (1 - rho), whatever the spread of work."""
    loop, rho = EventLoop(), 0.6
    cores, took = Cores(loop, 1), Spread()

    def one(rng: random.Random) -> None:
        begun = loop.now
        cores.run(service(rng), lambda: took.add(loop.now - begun))

    feed(loop, rho / SERVICE_S, 100_000.0, one)
    assert cores.busy.share == pytest.approx(rho, rel=0.02)
    assert took.mean == pytest.approx(SERVICE_S / (1.0 - rho), rel=0.06)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.01, 3.0)), min_size=1, max_size=30),
    st.integers(1, 4),
)
def test_cores_do_all_work_and_none_sooner_than_it_takes(
    jobs: list[tuple[float, float]], cores: int
) -> None:
    loop = EventLoop()
    shared, ends = Cores(loop, cores), []
    for at, work in jobs:
        loop.at(
            at,
            lambda at=at, work=work: shared.run(work, lambda: ends.append((at, work, loop.now))),  # type: ignore[misc]
        )
    loop.run(1000.0)
    assert len(ends) == len(jobs)
    assert all(end - at >= work * (1 - 1e-9) - 1e-9 for at, work, end in ends)
    total = sum(work for _, work in jobs)
    assert shared.busy.share * 1000.0 * cores == pytest.approx(total, rel=1e-6)


def test_threads_of_a_process_are_fewer_than_cores() -> None:
    """Two threads on four cores: two at a time, each at full speed."""
    loop = EventLoop()
    process, ends = Process(loop, Cores(loop, 4), 2), []
    for _ in range(4):
        process.run(1.0, lambda: ends.append(loop.now))
    loop.run(10.0)
    assert ends == pytest.approx([1.0, 1.0, 2.0, 2.0])
    assert process.queue.longest == 2


def test_who_comes_while_a_round_runs_shares_the_next() -> None:
    loop = EventLoop()
    rounds, ends = Rounds(loop, 1.0), []
    for at in (0.0, 0.5, 0.9, 1.5):
        loop.at(at, lambda: rounds.commit(lambda: ends.append(loop.now)))
    loop.run(10.0)
    assert ends == [1.0, 2.0, 2.0, 3.0]
    assert rounds.busy.share == pytest.approx(0.3)


def test_events_of_one_time_come_as_they_were_asked_for() -> None:
    loop, seen = EventLoop(), []
    for name in "abc":
        loop.at(1.0, lambda name=name: seen.append(name))  # type: ignore[misc]
    loop.run(2.0)
    assert seen == list("abc")
    assert loop.now == 2.0
    with pytest.raises(ValueError, match="past"):
        loop.at(1.0, lambda: None)


def test_what_was_before_is_forgotten() -> None:
    loop = EventLoop()
    busy = Busy(loop, 2.0)
    busy.now(2.0)
    loop.run(1.0)
    assert busy.share == 1.0
    busy.restart()
    busy.now(1.0)
    loop.run(3.0)
    assert busy.share == pytest.approx(0.5)


def test_a_sample_of_many_has_their_percentiles() -> None:
    spread, rng = Spread(), random.Random(3)
    for _ in range(50_000):
        spread.add(rng.random())
    assert spread.number == 50_000
    assert spread.mean == pytest.approx(0.5, abs=0.01)
    assert spread.percentile(99.0) == pytest.approx(0.99, abs=0.01)
    assert math.isnan(Spread().mean)
