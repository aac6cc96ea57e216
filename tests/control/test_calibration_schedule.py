"""When calibrations are due, and what the relay's companion does then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bellrelay.control.calibration_bench import TagTap
from bellrelay.control.calibration_orders import OrderBox, OrderUnanswered
from bellrelay.control.calibration_runner import CannotUndo
from bellrelay.control.calibration_schedule import Schedule, in_window, next_opening_s
from bellrelay.control.scheduled_calibration import Ran, ScheduledCalibration
from bellrelay.relay.board import Phase
from bellrelay.relay.config import CalibrationSettings, check_config
from bellrelay.settings.model import ConfigError

HOUR, DAY = 3600.0, 86400.0
MIDNIGHT = 20_000 * DAY  # some day in 2024
minutes = st.integers(0, 1439)
windows = st.tuples(minutes, minutes).filter(lambda w: w[0] != w[1])


@dataclass(frozen=True)
class Every:
    steps: tuple[str, ...]
    hours: float
    window: tuple[int, int] | None = None


@given(windows, st.floats(0, 3 * DAY))
def test_a_window_opens_where_it_says_and_never_before(
    window: tuple[int, int], after_s: float
) -> None:
    now = MIDNIGHT + after_s
    opens = next_opening_s(window, now)
    assert now <= opens < now + DAY
    assert in_window(window, opens + 1e-3)
    if opens > now:
        assert not in_window(window, now)
        assert not in_window(window, (now + opens) / 2)


def test_a_window_may_lie_over_midnight() -> None:
    window = (23 * 60, 60)
    hours = [h for h in range(24) if in_window(window, MIDNIGHT + h * HOUR)]
    assert hours == [0, 23]


def test_a_step_is_due_so_long_after_it_ended_well_and_then_overdue() -> None:
    last: dict[str, float] = {"dark": MIDNIGHT}
    schedule = Schedule([Every(("dark", "deskew"), 6.0)], last.get, MIDNIGHT + HOUR)
    now = MIDNIGHT + 2 * HOUR
    assert [due.step for due in schedule.ready(now)] == ["deskew"]  # it has never been run
    assert schedule.overdue(now - 1.0) == []
    assert schedule.overdue(now) == ["deskew"]
    last["deskew"] = now
    assert schedule.ready(now) == []
    now = MIDNIGHT + 6 * HOUR
    assert [due.step for due in schedule.ready(now)] == ["dark"]
    assert schedule.overdue(MIDNIGHT + 7 * HOUR) == ["dark"]


def test_what_waits_for_its_window_is_overdue_once_a_whole_one_has_passed() -> None:
    last = {"hom": MIDNIGHT + 3.5 * HOUR}
    schedule = Schedule([Every(("hom",), 24.0, (120, 240))], last.get, MIDNIGHT)
    due = MIDNIGHT + DAY + 3.5 * HOUR
    assert schedule.ready(due - 1.0) == []
    assert [d.step for d in schedule.ready(due)] == ["hom"]
    # Half an hour of this day's window is not much of a chance.
    assert schedule.ready(MIDNIGHT + DAY + 4 * HOUR) == []
    assert schedule.overdue(MIDNIGHT + DAY + 5 * HOUR) == []
    assert [d.step for d in schedule.ready(MIDNIGHT + 2 * DAY + 2 * HOUR)] == ["hom"]
    assert schedule.overdue(MIDNIGHT + 2 * DAY + 4 * HOUR) == ["hom"]


def test_a_step_of_several_rules_is_run_once() -> None:
    rules = [Every(("dark",), 1.0), Every(("dark", "hom"), 2.0)]
    schedule = Schedule(rules, {"dark": 0.0}.get, 0.0)
    assert [due.step for due in schedule.ready(3 * HOUR)] == ["dark", "hom"]


# ------------------------------------------------------------------------------ the companion


class Runner:
    """Steps that end well unless they are told otherwise."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.ran: list[tuple[str, str]] = []
        self.asked: list[tuple[dict[str, Any], bool, str]] = []
        self.session: Any = None
        self.last: dict[str, int] = {}
        self.bad: set[str] = set()
        self.broken: set[str] = set()

    def disturbs(self, step: str) -> bool:
        return step in ("hom", "gate-scan")

    def last_run_ns(self, step: str) -> int | None:
        return self.last.get(step)

    def last_figures(self, step: str) -> Mapping[str, Any]:
        fit = {"visibility": 0.47, "centre_ps": 3.0, "width_ps": 140.0}
        fit |= {f"sigma_{key}": 0.01 for key in fit}
        return {"fit": fit} if step in self.last else {}

    def run(
        self,
        step: str,
        why: str,
        cancelled: Callable[[], bool],
        changed: Mapping[str, Any] | None = None,
        *,
        keep: bool = True,
        author: str = "",
    ) -> Ran:
        assert not cancelled()
        self.ran.append((step, why))
        self.asked.append((dict(changed or {}), keep, author))
        if step in self.broken:
            raise RuntimeError("a fault of the program")
        if step in self.bad:
            return Ran(False, "no light", 1)
        self.last[step] = int(self._clock() * 1e9)
        return Ran(True, "fine", 1)

    def take_back(self, number: int, author: str) -> Ran:
        if number == 9:
            raise CannotUndo("it changed nothing")
        return Ran(True, f"{number} is undone", 2)


class Relay:
    """A companion, its session and its clock; `pass_s` lets time pass, a round a minute."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.now = MIDNIGHT
        self.runner = Runner(lambda: self.now)
        self.events: list[Mapping[str, Any]] = []
        self.per_s = 0.0
        self.account = SimpleNamespace(psi_minus=0, psi_plus=0)
        self.session = SimpleNamespace(
            phase=Phase.RUNNING, account=self.account, publish=self.events.append
        )
        checked = CalibrationSettings(directory=directory, **settings)
        self.held: list[bool] = []
        self.companion = ScheduledCalibration(
            checked, self.runner, TagTap(), self.held.append, lambda: self.now
        )
        self.companion._session = self.session  # type: ignore[assignment]

    def pass_s(self, seconds: float, step_s: float = 60.0) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step_s
            self.account.psi_plus += int(self.per_s * step_s)
            self.companion.round()

    @property
    def told(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(event["what"], tuple(event["steps"])) for event in self.events]


def test_at_the_start_the_steps_run_in_their_order_and_once(tmp_path: Path) -> None:
    relay = Relay(tmp_path, at_start=("tdc", "hom"))
    relay.pass_s(300)
    assert relay.runner.ran == [("tdc", "at start"), ("hom", "at start")]
    assert relay.told == [("begun", ("hom",)), ("ended", ("hom",))]
    # Loops hold what they have while pulses are moved on purpose.
    assert relay.held == [True, False]


def test_a_board_that_does_not_acquire_is_waited_for(tmp_path: Path) -> None:
    relay = Relay(tmp_path, at_start=("tdc",))
    relay.session.phase = Phase.LOST
    relay.pass_s(300)
    assert relay.runner.ran == []
    relay.session.phase = Phase.RUNNING
    relay.pass_s(60)
    assert relay.runner.ran == [("tdc", "at start")]


def test_what_disturbs_is_announced_first_and_the_rest_is_not(tmp_path: Path) -> None:
    relay = Relay(
        tmp_path, every=({"steps": ("dark", "hom", "gate-scan"), "hours": 10.0},), announce_s=600.0
    )
    relay.pass_s(60)
    assert relay.runner.ran == [("dark", "due")]
    assert relay.told == [("announced", ("hom", "gate-scan"))]
    begin = relay.events[0]["begin_utc_ns"]
    assert begin == (MIDNIGHT + 660) * 1e9
    announced = relay.companion.status()["announced"]
    assert announced == {"begin_utc_ns": begin, "steps": ["hom", "gate-scan"]}
    relay.pass_s(540)
    assert len(relay.runner.ran) == 1
    relay.pass_s(60)
    assert relay.runner.ran[1:] == [("hom", "due, announced"), ("gate-scan", "due, announced")]
    assert relay.told[1:] == [
        ("begun", ("hom",)), ("ended", ("hom",)), ("begun", ("gate-scan",)),
        ("ended", ("gate-scan",)),
    ]  # fmt: skip
    status = relay.companion.status()
    assert status["announced"] is None
    assert status["interference"]["visibility"] == {"value": 0.47, "sigma": 0.01}
    told = {m.name: m.samples[0].value for m in relay.companion.metrics(status) if m.samples}
    assert told["bellrelay_relay_scan_visibility"] == 0.47
    relay.pass_s(9 * HOUR)
    assert len(relay.runner.ran) == 3
    relay.pass_s(1.5 * HOUR)
    assert len(relay.runner.ran) == 6


def test_a_busy_link_makes_it_wait_but_not_for_ever(tmp_path: Path) -> None:
    relay = Relay(
        tmp_path,
        every=({"steps": ("hom",), "hours": 1000.0},),
        defer_above_per_s=100.0,
        defer_hours=5.0,
        announce_s=60.0,
    )
    relay.per_s = 500.0
    relay.pass_s(2 * HOUR)
    assert relay.runner.ran == []
    assert relay.companion.status()["deferred"] == "hom: 500 announcements/s, 100 are allowed"
    assert relay.companion.status()["overdue"] == ["hom"]
    relay.pass_s(2.9 * HOUR)
    assert relay.runner.ran == []
    relay.pass_s(0.2 * HOUR)
    assert relay.runner.ran == [("hom", "due, announced")]
    assert relay.companion.status()["deferred"] == ""
    assert relay.companion.status()["overdue"] == []
    quiet = Relay(
        tmp_path / "quiet",
        every=({"steps": ("hom",), "hours": 1000.0},),
        defer_above_per_s=100.0,
        announce_s=0.0,
    )
    quiet.per_s = 50.0
    quiet.pass_s(300)
    assert quiet.runner.ran == [("hom", "due, announced")]


def test_a_step_that_fails_is_told_and_tried_again_an_hour_later(tmp_path: Path) -> None:
    relay = Relay(tmp_path, every=({"steps": ("dark", "deskew"), "hours": 24.0},))
    relay.runner.bad.add("dark")
    relay.runner.broken.add("deskew")
    relay.pass_s(0.9 * HOUR)
    assert [step for step, _ in relay.runner.ran] == ["dark", "deskew"]
    status = relay.companion.status()
    assert status["ended"]["dark"]["text"] == "no light"
    assert status["ended"]["deskew"]["text"] == "RuntimeError: a fault of the program"
    assert not status["ended"]["dark"]["ok"]
    relay.pass_s(0.3 * HOUR)
    assert [step for step, _ in relay.runner.ran] == ["dark", "deskew"] * 2
    assert relay.companion.status()["overdue"] == ["dark", "deskew"]
    samples = {m.name: m.samples for m in relay.companion.metrics(relay.companion.status())}
    assert samples["bellrelay_relay_calibration_overdue"][0].value == 1.0
    relay.runner.bad.clear()
    relay.runner.broken.clear()
    relay.pass_s(1.1 * HOUR)
    status = relay.companion.status()
    assert status["overdue"] == []
    found = {m.name: m.samples for m in relay.companion.metrics(status)}
    assert found["bellrelay_relay_calibration_overdue"][0].value == 0.0
    age = found["bellrelay_relay_calibration_last_success_timestamp_seconds"]
    assert {s.labels["step"] for s in age} == {"dark", "deskew"}


def test_its_thread_ends_with_the_daemon_though_a_step_runs(tmp_path: Path) -> None:
    entered = threading.Event()
    relay = Relay(tmp_path, at_start=("tdc",))

    def until_cancelled(
        step: str, why: str, cancelled: Callable[[], bool], *_: Any, **__: Any
    ) -> Ran:
        entered.set()
        while not cancelled():
            threading.Event().wait(0.005)
        return Ran(False, "stopped")

    relay.runner.run = until_cancelled  # type: ignore[method-assign]
    relay.companion.start(relay.session)  # type: ignore[arg-type]
    assert entered.wait(5.0)
    assert relay.companion.status()["running"] == "tdc"
    relay.companion.stop()
    assert relay.companion.status()["running"] is None


def test_what_somebody_asks_for_is_run_and_answered(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    box = OrderBox(tmp_path)
    assert not box.served()
    relay.companion.start(relay.session)  # type: ignore[arg-type]
    try:
        while not box.served():
            threading.Event().wait(0.01)
        order = {"steps": ["hom", "dark"], "changed": {"points": 9}, "keep": False, "author": "eve"}
        answer = box.ask(order)
        assert [r["ok"] for r in answer["ran"]] == [True, True]
        assert relay.runner.asked[-1] == ({"points": 9}, False, "eve")
        assert relay.told == [("begun", ("hom",)), ("ended", ("hom",))]
        relay.runner.bad.add("dark")
        assert len(box.ask({"steps": ["dark", "hom"]})["ran"]) == 1
        assert box.ask({"undo": 3})["ran"][0]["text"] == "3 is undone"
        assert box.ask({"undo": 9})["error"] == "it changed nothing"
        assert box.ask({"nonsense": 1})["error"] == "'steps'"
        assert not OrderBox(tmp_path).serve()
    finally:
        relay.companion.stop()
    with pytest.raises(OrderUnanswered, match="has ended"):
        box.ask({"steps": ["hom"]})


@pytest.mark.parametrize("window", ["2-4", "02:00-24:00", "02:60-03:00", "02:00-02:00", 2, "x"])
def test_a_window_that_is_none_is_refused(window: object) -> None:
    values = {
        "relay_id": "charlie",
        "port": "nowhere",
        "slot_period_ps": 10_000,
        "windows": {"early": [2000, 3000], "late": [7000, 8000]},
        "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
        "log": {"directory": "log"},
        "calibration": {
            "directory": "calibrations",
            "every": [{"steps": ["hom"], "hours": 24, "window": window}],
        },
    }
    with pytest.raises(ConfigError, match="times of day in UTC"):
        check_config(values)
    values["calibration"]["every"][0]["window"] = "23:30-01:00"  # type: ignore[index]
    checked = check_config(values).calibration
    assert checked is not None
    assert checked.every[0].window == (1410, 60)
