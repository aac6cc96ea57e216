"""No key from light that nobody declared: attenuation that was asked for, and what a crash does."""

from __future__ import annotations

from pathlib import Path

import pytest

from bellrelay.endpoint.declared_sender import DeclaredSender
from bellrelay.endpoint.sender_plugin import NoSender, SenderCannot
from bellrelay.endpoint.undeclared_times import UndeclaredTimes

S = 1_000_000_000


class Clock:
    now_ns = 1000 * S

    def __call__(self) -> int:
        return self.now_ns


class Bench(NoSender):
    """What a sender was told; `fails`: nothing reaches it any more."""

    def __init__(self) -> None:
        self.attenuation_db = 0.0
        self.rate = 0.5
        self.halted = True
        self.fails = False
        self.seen_undeclared: list[str | None] = []
        self.undeclared: UndeclaredTimes | None = None

    def set_attenuation_db(self, attenuation_db: float) -> None:
        assert self.undeclared is not None
        self.seen_undeclared.append(self.undeclared.standing)
        if self.fails:
            raise OSError("no answer")
        self.attenuation_db = attenuation_db

    def set_rate(self, share: float) -> None:
        self.rate = share

    def resume(self) -> None:
        self.halted = False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bench(tmp_path: Path, clock: Clock) -> Bench:
    bench = Bench()
    bench.undeclared = UndeclaredTimes(tmp_path / "undeclared.json", clock)
    return bench


def test_what_is_sent_under_more_attenuation_is_not_as_declared(bench: Bench, clock: Clock) -> None:
    undeclared = bench.undeclared
    assert undeclared is not None
    sender = DeclaredSender(bench, undeclared)
    assert undeclared.within(0, 10_000 * S) is None
    sender.set_attenuation_db(3.0)
    # On disk before the sender hears of it.
    assert bench.seen_undeclared == ["3 dB beyond the calibrated attenuation"]
    clock.now_ns += 10 * S
    sender.set_attenuation_db(0.0)
    assert undeclared.standing is None
    assert undeclared.within(990 * S, 999 * S) is None
    assert undeclared.within(990 * S, 1000 * S) is not None
    assert undeclared.within(1005 * S, 1006 * S) is not None
    assert undeclared.within(1010 * S, 1020 * S) is not None
    assert undeclared.within(1011 * S, 1020 * S) is None


def test_what_could_not_be_taken_back_stays_undeclared(bench: Bench, clock: Clock) -> None:
    undeclared = bench.undeclared
    assert undeclared is not None
    sender = DeclaredSender(bench, undeclared)
    bench.fails = True
    with pytest.raises(OSError, match="no answer"):
        sender.set_attenuation_db(3.0)
    assert undeclared.standing is not None
    with pytest.raises(OSError, match="no answer"):
        sender.set_attenuation_db(0.0)
    assert undeclared.within(2000 * S, 3000 * S) is not None


def test_a_new_process_takes_back_what_the_old_one_asked_for(
    bench: Bench, clock: Clock, tmp_path: Path
) -> None:
    assert bench.undeclared is not None
    DeclaredSender(bench, bench.undeclared).set_attenuation_db(3.0)
    clock.now_ns += 5 * S
    bench.undeclared = UndeclaredTimes(tmp_path / "undeclared.json", clock)
    assert bench.undeclared.standing is not None
    DeclaredSender(bench, bench.undeclared).begin()
    assert (bench.attenuation_db, bench.rate, bench.halted) == (0.0, 1.0, False)
    assert bench.undeclared.standing is None
    assert bench.undeclared.within(1004 * S, 1004 * S) is not None


def test_without_a_sender_to_ask_it_stays_undeclared(bench: Bench) -> None:
    assert bench.undeclared is not None
    bench.undeclared.begin("by hand")
    with pytest.raises(SenderCannot):
        DeclaredSender(NoSender(), bench.undeclared).begin()
    assert bench.undeclared.standing == "by hand"


def test_fewer_slots_are_as_declared(bench: Bench) -> None:
    assert bench.undeclared is not None
    DeclaredSender(bench, bench.undeclared).set_rate(0.25)
    assert bench.undeclared.standing is None


def test_a_file_that_says_nothing_admits_nothing(tmp_path: Path) -> None:
    path = tmp_path / "undeclared.json"
    path.write_text("[[1, 2]")
    with pytest.raises(OSError, match="no list of times"):
        UndeclaredTimes(path)
