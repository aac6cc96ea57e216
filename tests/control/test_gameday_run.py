"""Scenarios of a gameday on a system that is made of words: every check of a step can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bellrelay.control import gameday_run
from bellrelay.control.gameday_reference import reference_page
from bellrelay.control.gameday_report import GamedayReport, write_report
from bellrelay.control.gameday_run import Ledger, Outcome, Sight, run_scenario
from bellrelay.control.gameday_scenario import (
    SCENARIOS,
    Inject,
    Scenario,
    load_scenario,
    scenarios_of,
)
from bellrelay.control.gameday_timeline import Blocks, Timeline, by_the_clock
from bellrelay.settings.load import check
from bellrelay.settings.model import ConfigError

ROLES = ("alice", "bob")


@dataclass
class System:
    """Passes half a second per look. What is injected shows its symptoms so many seconds later."""

    patience: float = 6.0
    slower: float = 1.0
    settled_s: float = 12.0
    told_after_s: float = 1.0
    done_after_s: float = 2.0
    moves_after_s: float = 3.0
    key_after_s: float = 5.0
    loses: str = ""
    dies: str = ""
    fault: str = "relay-down"
    now_s: float = 7.0
    watched_s: float = 20.0
    locks_at_s: float = 0.0
    moved_ns: int | None = None
    since_s: float | None = None
    undone: list[str] = field(default_factory=list)
    active_before: str = "charles"

    def look(self) -> Sight:
        self.now_s += 0.5
        return Sight(
            self.now_s,
            int(self.now_s * self.slower * 1e9),
            {role: self._endpoint(role) for role in ROLES},
            {relay: self._relay(relay) for relay in ("charles", "diana")},
            (self.dies,) if self.dies and self.since_s is not None else (),
        )

    def _after(self, seconds: float) -> bool:
        return self.since_s is not None and self.now_s - self.since_s >= seconds

    @property
    def _active(self) -> str:
        return "diana" if self._after(self.moves_after_s) else "charles"

    def _blocks(self) -> int:
        """One in three seconds, but for the time without key."""
        begun = self.now_s if self.since_s is None else self.since_s
        since = max(self.now_s - begun - self.key_after_s, 0.0)
        return int(begun / 3.0) + (0 if self.since_s is None else int(since / 3.0) + int(since > 0))

    def _relay(self, relay: str) -> dict[str, Any]:
        lit = relay == self._active
        return {
            "counters": {"announced_psi_minus": int(1000 * self.now_s) if lit else 0},
            "tracking": {"locked": lit and self.now_s >= self.locks_at_s},
        }

    def _endpoint(self, role: str) -> dict[str, Any]:
        since = self.since_s or 0.0
        notices = []
        orders = []
        if self._after(self.told_after_s):
            notices = [{"utc": since, "turn": "raised", "fault": self.fault, "subject": "link"}]
        if self._after(self.done_after_s) and role == "alice":
            orders = [{"utc": since, "action": "fail-over", "outcome": "done", "what": "moved"}]
        there = self._after(self.told_after_s) and not self._after(self.key_after_s)
        active = [{"relay": "charles", "fault": self.fault, "subject": "link"}] if there else []
        each = {"charles": {"quarantine": {"cause": "x"} if there else None}}
        return {
            "state": "running",
            "pipeline": {"blocks": {"stored": self._blocks()}},
            "relays": {"active": self._active, "each": each, "since_utc_ns": self.moved_ns},
            "faults": {
                "active": active,
                "notices": notices,
                "orders": orders,
                "relays": {
                    self._active: {
                        "baseline": {"state": "known"},
                        "link_time_s": self.now_s + self.watched_s,
                    }
                },
            },
        }

    def inject(self, what: Inject, sight: Sight) -> Callable[[], None]:
        self.since_s = sight.link_s
        return lambda: self.undone.append(what.what)

    def ledger(self) -> Ledger:
        alice = {f"1/{n}": 256 for n in range(self._blocks())}
        bob = dict(alice)
        if self.loses and self.since_s is not None:
            del (alice if self.loses == "alice" else bob)["1/0"]
        return Ledger(alice, bob)

    def made(self, since_utc_ns: int) -> int:
        since_s = since_utc_ns / 1e9 / self.slower
        if self.since_s is not None and since_s >= self.since_s:
            return int(self._after(self.key_after_s))
        return int((self.now_s - since_s) / 3.0)

    def backlog(self) -> list[str]:
        return []


def scenario(*steps: dict[str, Any]) -> Scenario:
    return check(Scenario, {"name": "one", "title": "It happens", "steps": list(steps)})


WHOLE = (
    {"healthy": {}},
    {"inject": {"kill": "active"}},
    {"detect": {"faults": ["relay-down"]}},
    {"order": {"actions": ["fail-over"]}},
    {"moved": {}},
    {"keys": {"within_s": 20.0}},
    {"clear": {}},
    {"undo": {}},
)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gameday_run.time, "sleep", lambda _seconds: None)


def test_a_scenario_passes_with_the_times_that_it_took() -> None:
    system = System()
    outcome = run_scenario(scenario(*WHOLE), system)
    assert outcome.failures == []
    assert outcome.passed
    assert (outcome.detection_s, outcome.mitigation_s, outcome.recovery_s) == (1.0, 3.0, 5.0)
    assert system.undone == ["kill active"]
    kinds = [mark.kind for mark in outcome.marks]
    assert kinds == ["injection", "fault", "order", "undone"]
    assert [step["step"] for step in outcome.steps][-1] == "nothing lost"
    assert outcome.finished_after > 0
    later = outcome.later(100.0)
    assert later.begun_s == outcome.begun_s + 100.0
    assert later.marks[0].link_s == outcome.marks[0].link_s + 100.0


@pytest.mark.parametrize(
    ("changed", "failure"),
    [
        ({"told_after_s": 6.0}, "detect: not within 5 s"),
        ({"fault": "fibre-cut"}, "detect: not within 5 s: fibre-cut of link"),
        ({"done_after_s": 30.0}, "order: not within 10 s"),
        ({"moves_after_s": 12.0}, "moved: not within 10 s: active is charles"),
        ({"key_after_s": 50.0}, "keys: not within 20 s"),
        ({"loses": "alice"}, "nothing lost: lost: ['1/0']"),
        ({"loses": "bob"}, "nothing lost: lost: ['1/0']"),
        ({"dies": "bob"}, "ended by themselves: bob"),
    ],
)
def test_what_does_not_come_true_is_told_and_undone(changed: dict[str, Any], failure: str) -> None:
    system = System(**changed)
    outcome = run_scenario(scenario(*WHOLE), system)
    assert not outcome.passed
    assert failure in outcome.failures[0]
    assert system.undone == ["kill active"]
    assert outcome.steps[-1]["ok"] is False


def test_a_fault_is_told_when_its_endpoint_says_so_however_late_it_is_seen() -> None:
    class SeenLate(System):
        def _endpoint(self, role: str) -> dict[str, Any]:
            told = super()._endpoint(role)
            for notice in told["faults"]["notices"]:
                # The clock is that of 1970 here.
                at = datetime.fromtimestamp((self.since_s or 0.0) + 2.0, UTC)
                notice["utc"] = at.isoformat(timespec="milliseconds")
            return told

    steps = WHOLE[1:3]
    seen = run_scenario(scenario(*steps), SeenLate(told_after_s=5.5))
    assert seen.failures == []
    assert seen.detection_s == pytest.approx(2.0, abs=0.01)
    late = run_scenario(scenario(*steps), System(told_after_s=5.5))
    assert late.failures[0].startswith("detect: only after 5.5 s")


def test_a_scenario_whose_fault_is_not_injected_fails() -> None:
    system = System()
    outcome = run_scenario(scenario(*WHOLE), system, inject=False)
    assert outcome.failures[0].startswith("detect: not within 5 s: nothing is told")
    assert system.undone == []


def test_a_link_is_healthy_once_its_watch_looks_at_the_light() -> None:
    healthy = scenario({"healthy": {"within_s": 20.0}})
    quick = run_scenario(healthy, System()).steps[0]["after_s"]
    young = run_scenario(healthy, System(watched_s=-7.0)).steps[0]["after_s"]
    moved = run_scenario(healthy, System(moved_ns=8_000_000_000)).steps[0]["after_s"]
    locked = run_scenario(healthy, System(locks_at_s=15.0)).steps[0]["after_s"]
    assert quick <= 3.5
    assert locked == pytest.approx(7.5, abs=0.6)
    assert young == pytest.approx(12.0, abs=0.6)
    assert moved == pytest.approx(13.0, abs=0.6)


def test_quiet_fails_on_a_fault_and_a_quarantine_is_seen_on_both_sides() -> None:
    quiet = scenario({"inject": {"lie": "active"}}, {"quiet": {"seconds": 3.0}})
    assert "told: relay-down of link" in run_scenario(quiet, System()).failures[0]
    seen = scenario({"inject": {"lie": "active"}}, {"quarantined": {}})
    assert run_scenario(seen, System()).passed
    assert not run_scenario(seen, System(told_after_s=9.0)).passed


def test_what_is_not_done_is_no_mitigation_unless_people_have_to_do_it() -> None:
    class Undone(System):
        def _endpoint(self, role: str) -> dict[str, Any]:
            status = super()._endpoint(role)
            for order in status["faults"]["orders"]:
                order["outcome"] = "failed"
            return status

    steps = ({"inject": {"kill": "active"}}, {"order": {"actions": ["fail-over"]}})
    assert "last orders" in run_scenario(scenario(*steps), Undone()).failures[0]
    told = {"order": {"actions": ["fail-over"], "done": False}}
    assert run_scenario(scenario(steps[0], told), Undone()).passed


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ([{"detect": {"faults": ["relay-down"]}}], "steps.0: 'detect'; allowed: after an inj"),
        ([{"healthy": {}, "undo": {}}], "exactly one of healthy"),
        ([{"inject": {}}], "exactly one of change"),
        ([{"inject": {"kill": "x"}}, {"detect": {"faults": ["rain"]}}], "docs/reference/faults"),
        ([{"order": {"actions": ["pray"]}}], "fail-over"),
        ([{"wait": {"seconds": 0}}], "0.1 to 3600 s of link time"),
        ([], "steps"),
    ],
)
def test_what_is_wrong_in_a_scenario_is_named(steps: list[dict[str, Any]], line: str) -> None:
    with pytest.raises(ConfigError, match=r".+") as refused:
        scenario(*steps)
    assert line in str(refused.value)


def test_the_scenarios_that_come_along_are_those_of_the_issue() -> None:
    found = [load_scenario(path) for path in scenarios_of(SCENARIOS)]
    assert {s.name for s in found} == {
        "drift", "saturation", "cut", "relay-kill", "decoy-error", "auth-expiry", "cold-start",
        "maintenance", "compromise",
    }  # fmt: skip
    repository = Path(__file__).parents[2]
    for path, one in zip(scenarios_of(SCENARIOS), found, strict=True):
        assert path.stem == one.name
        assert (repository / one.runbook).is_file()
        assert any(step.inject for step in one.steps)
        assert any(step.keys for step in one.steps)
        detects = [step.detect for step in one.steps if step.detect]
        assert all(detect.within_s <= 5.0 for detect in detects)
        assert all(step.moved.within_s <= 10.0 for step in one.steps if step.moved)
        # Those that nothing is wrong in are orderly: nobody need be told.
        assert detects or one.name in ("maintenance", "cold-start")


def test_the_reference_page_is_of_these_models() -> None:
    page = Path(__file__).parents[2] / "docs/reference/gameday-file.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.control.gameday_reference > docs/reference/gameday-file.md"
    )


def test_a_report_says_what_passed_with_a_picture(tmp_path: Path) -> None:
    good = run_scenario(scenario(*WHOLE), System())
    bad = run_scenario(scenario(*WHOLE), System(told_after_s=6.0))
    samples = [
        {
            "link_s": 0.5 * n,
            "utc_ns": n,
            "active": "charles" if n < 20 else "diana",
            "announced": {"charles": 100 * n, "diana": 50 * n},
            "answers": [],
            "faults": {"alice": ["relay-down of link"] if 10 < n < 15 else [], "bob": []},
        }
        for n in range(60)
    ]
    timeline = Timeline(("charles", "diana"), samples, Blocks([3.0, 6.0], [700, 800], [0.01, 0.02]))
    delivered = {"keys": 5, "bits": 1280, "equal": True, "once": True}
    report = GamedayReport("event", [good, bad], 10.0, 30.0, timeline, delivered)
    assert not report.passed
    write_report(report, tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("# Gameday: FAILED")
    assert "| one | passed | 1.0 s | 3.0 s | 5.0 s |" in text
    assert "not within 5 s" in text
    assert "5 keys from both KMEs at the end, 1280 bits: all the same" in text
    assert (tmp_path / "out" / "timeline.png").stat().st_size > 20_000
    values = report.as_json()
    assert values["simulation"] is True
    assert [s["passed"] for s in values["scenarios"]] == [True, False]
    assert GamedayReport("event", [good], 1.0, 1.0, timeline).passed
    assert not GamedayReport("event", [good], 1.0, 1.0, timeline, failures=["no key"]).passed
    empty = Outcome("none", "Nothing", 0.0)
    write_report(GamedayReport("event", [empty], 1.0, 1.0, Timeline((), ())), tmp_path / "empty")


def test_where_light_is_slow_a_report_says_times_by_the_clock_too(tmp_path: Path) -> None:
    slow = run_scenario(scenario(*WHOLE), System(slower=100.0))
    assert slow.passed
    samples = [
        {
            "link_s": 7.0 + 0.01 * n,
            "utc_ns": n * 10**9,
            "active": "charles",
            "announced": {"charles": 100 * n},
            "answers": [],
            "faults": {"alice": [], "bob": []},
        }
        for n in range(30)
    ]
    timeline = Timeline(("charles",), samples, Blocks([7.1], [700], [0.01]))
    assert timeline.slow
    report = GamedayReport("gateware", [slow], 30.0, 0.3, timeline)
    assert "| one | passed | 1.0 s (100.0 s) | 3.0 s (300.0 s) |" in report.as_markdown()
    by_clock, (outcome,) = by_the_clock(timeline, [slow])
    assert [s["link_s"] for s in by_clock.samples] == pytest.approx(range(30))
    assert by_clock.blocks.link_s == pytest.approx([10.0])
    # It went on after the last look that is kept here.
    assert outcome.ended_s == pytest.approx(29.0)
    assert slow.ended_s > 7.3
    write_report(report, tmp_path)
    assert (tmp_path / "timeline.png").stat().st_size > 20_000
