"""A scenario by runbook: what is kept of it, what its page must bring about, who carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from test_gameday_run import WHOLE, System, scenario

from bellrelay.cli import gameday_operator
from bellrelay.cli.gameday_operator import NAMES, Operator
from bellrelay.cli.run_processes import RunFailed
from bellrelay.control import gameday_run
from bellrelay.control.gameday_run import Sight, run_scenario
from bellrelay.control.gameday_scenario import (
    DRILLS,
    SCENARIOS,
    by_runbook,
    load_scenario,
    scenarios_of,
)

ALL = [*scenarios_of(SCENARIOS), *scenarios_of(DRILLS)]
PAGE = "docs/runbooks/relay-down.md"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gameday_run.time, "sleep", lambda _seconds: None)


# --------------------------------------------------------------------------- the scenario


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_what_happens_stays_and_what_follows_is_the_page(path: Path) -> None:
    whole = load_scenario(path)
    followed = by_runbook(whole)
    *before, page, keys = followed.steps
    assert (page.kind, keys.kind) == ("follow", "keys")
    assert followed.runbook == whole.runbook
    assert tuple(before) == whole.steps[: len(before)]
    # Nothing that the system does by itself is asked for, and nothing is undone.
    assert not {step.kind for step in before} & {"order", "moved", "undo", "clear"}
    assert not any(step.inject and step.inject.move for step in before)
    detects = [step for step in whole.steps if step.detect]
    assert [step for step in before if step.detect] == detects
    if detects:
        assert before[-1].kind == "detect"
    # One fault at a time: all that is injected has happened before the page is read.
    later = [step for step in whole.steps[len(before) :] if step.inject]
    assert not later or whole.name == "maintenance"


def test_backlog_is_still_asked_for() -> None:
    followed = by_runbook(load_scenario(SCENARIOS / "cold-start.yaml"))
    assert [step.kind for step in followed.steps] == ["healthy", "inject", "wait", "follow", "keys"]
    assert followed.steps[-1].keys is not None
    assert followed.steps[-1].keys.backlog


# --------------------------------------------------------------------------- the run


@dataclass
class Followed(System):
    """Its fault stays until the page has been followed."""

    key_after_s: float = 1e9
    moves_after_s: float = 1e9
    works: bool = True
    fails: str = ""
    pages: list[Mapping[str, Any]] = field(default_factory=list)

    def _endpoint(self, role: str) -> dict[str, Any]:
        status = super()._endpoint(role)
        for notice in status["faults"]["notices"]:
            notice.update(relay="charles", runbook=PAGE)
        return status

    def follow(self, fault: Mapping[str, Any], sight: Sight) -> list[dict[str, Any]]:
        if self.fails:
            raise RunFailed(self.fails)
        self.pages.append(dict(fault))
        if self.works:
            self.since_s = None
        return [{"command": "bellrelay endpoint", "code": 0}]


def test_the_page_that_was_told_is_followed_until_the_fault_is_over() -> None:
    system = Followed()
    outcome = run_scenario(by_runbook(scenario(*WHOLE)), system)
    assert outcome.failures == []
    (fault,) = system.pages
    assert (fault["runbook"], fault["fault"], fault["relay"]) == (PAGE, "relay-down", "charles")
    # What people have done is not undone once more.
    assert system.undone == []
    step = next(step for step in outcome.steps if step["step"] == "follow")
    assert step["page"] == PAGE
    assert step["done"] == [{"command": "bellrelay endpoint", "code": 0}]
    assert [mark.kind for mark in outcome.marks] == ["injection", "fault", "order"]
    assert outcome.mitigation_s is not None


def test_a_page_that_does_not_help_fails_and_what_was_injected_is_undone() -> None:
    system = Followed()
    system.works = False
    outcome = run_scenario(by_runbook(scenario(*WHOLE)), system)
    assert outcome.failures[0].startswith("follow: not within 60 s")
    assert "relay-down of link" in outcome.failures[0]


def test_a_command_that_does_not_end_as_its_page_says_fails() -> None:
    system = Followed()
    system.fails = "relay-down.md: `x` ends with 8, not 0"
    outcome = run_scenario(by_runbook(scenario(*WHOLE)), system)
    assert outcome.failures == ["follow: relay-down.md: `x` ends with 8, not 0"]
    assert system.undone == ["kill active"]


def test_where_nobody_tells_anything_it_is_the_scenarios_own_page() -> None:
    system = Followed()
    system.told_after_s = 1e9
    steps = ({"healthy": {}}, {"inject": {"stop": ["bob"]}}, {"keys": {}})
    outcome = run_scenario(by_runbook(scenario(*steps)), system)
    assert outcome.failures == ["follow: nobody names a page"]
    assert system.pages == []
    system.since_s = None
    planned = by_runbook(scenario(*steps)).model_copy(update={"runbook": "docs/runbooks/x.md"})
    run_scenario(planned, system)
    assert [fault["runbook"] for fault in system.pages] == ["docs/runbooks/x.md"]


# --------------------------------------------------------------------------- the operator


@dataclass
class Files:
    folder: Path

    def yaml_of(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"


@dataclass
class Machine:
    """Processes that are words."""

    files: Files
    processes: dict[str, str] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def look(self) -> None:
        pass

    def repair(self) -> None:
        self.did.append("repair")

    def start(self, name: str) -> None:
        self.did.append(f"start {name}")
        self.processes[name] = name

    def stop(self, name: str) -> None:
        self.did.append(f"stop {name}")
        del self.processes[name]

    def gone(self) -> list[str]:
        return self.ended

    def status(self, name: str) -> dict[str, Any]:
        return {"state": "running"} if name in self.processes else {}

    def said(self, name: str, lines: int) -> str:
        return f"{name} said"


def rehearse(tmp_path: Path, steps: str, **fault: str) -> tuple[Machine, list[dict[str, Any]]]:
    machine = Machine(Files(tmp_path), {"charles": "", "bob": "", "kme-bob": ""})
    return machine, operate(machine, tmp_path, steps, **fault)


def operate(machine: Any, tmp_path: Path, steps: str, **fault: str) -> list[dict[str, Any]]:
    (tmp_path / "relay-down.md").write_text(f"# x\n\n## Steps\n\n{steps}\n")
    sight = Sight(1.0, 1_764_000_000_000_000_000, {}, {})
    told = {"runbook": PAGE, "relay": "charles", "subject": "link", **fault}
    return Operator(machine, tmp_path).follow(told, sight)


def console(*lines: str) -> str:
    return "```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```\n"


def test_units_are_the_processes_of_the_gameday(tmp_path: Path) -> None:
    machine, done = rehearse(
        tmp_path,
        console(
            "systemctl status bellrelay-endpoint@alice     # ends with 0 or 3",
            "systemctl start bellrelay-endpoint@alice",
            "systemctl start bellrelay-endpoint@alice",
            "systemctl restart bellrelay-relay@$RELAY",
            "systemctl stop bellrelay-endpoint@$PARTY bellrelay-kme@bob",
            "systemctl stop bellrelay-endpoint@$PARTY",
            "systemctl status bellrelay-relay@dora     # ends with 4",
            "journalctl -u bellrelay-relay@$RELAY -n 100",
        )
        + "\n1. **By hand.** Mend it.\n",
        subject="bob",
    )
    assert machine.did == [
        "start alice", "stop charles", "start charles", "stop bob", "stop kme-bob", "repair",
    ]  # fmt: skip
    assert [one.get("code") for one in done] == [3, 0, 0, 0, 0, 0, 4, 0, None]
    assert done[-1] == {"by_hand": "Mend it."}


def test_commands_of_ours_are_run_with_the_names_put_in(tmp_path: Path) -> None:
    line = "bellrelay relay --config $RELAY_YAML --check     # ends with 3"
    _, (done,) = rehearse(tmp_path, console(line))
    assert (done["command"], done["code"]) == (line, 3)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            console("bellrelay relay --config $RELAY_YAML --check"),
            "ends with 3, not 0: bell",
        ),
        (console("systemctl status bellrelay-kme@alice"), "ends with 3, not 0"),
        (console("systemctl mask bellrelay-kme@bob"), "ends with 1, not 0: Unknown command verb"),
        (console("journalctl"), "of which unit"),
        (console("journalctl -u sshd"), "No journal files"),
        (console("rm -r /"), "nothing here is called rm"),
        (console("systemctl stop bellrelay-relay@$OTHER"), "no name OTHER"),
        ("nothing", "no step with a command"),
    ],
)
def test_what_does_not_go_as_the_page_says_is_told(tmp_path: Path, steps: str, said: str) -> None:
    with pytest.raises(RunFailed) as failed:
        rehearse(tmp_path, steps)
    assert said in str(failed.value)


def test_a_page_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="no-such"):
        rehearse(tmp_path, console("journalctl -u bellrelay-kme@bob"), runbook="a/no-such.md")


def test_a_daemon_that_does_not_come_up_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Machine):
        def start(self, name: str) -> None:
            self.ended.append(name)

        def last_words(self, name: str) -> str:
            return "no pool"

    monkeypatch.setattr(gameday_operator.time, "sleep", lambda _seconds: None)
    steps = console("systemctl start bellrelay-endpoint@alice")
    with pytest.raises(RunFailed, match="alice ended: no pool"):
        operate(Broken(Files(tmp_path)), tmp_path, steps)


def test_every_name_is_bound(tmp_path: Path) -> None:
    operator = Operator(Machine(Files(tmp_path)), tmp_path)  # type: ignore[arg-type]
    sight = Sight(1.0, 1_764_000_000_000_000_000, {}, {})
    for subject, party in (("bob", "bob"), ("alice", "alice"), ("link", "alice")):
        names = operator._names({"relay": "diana", "subject": subject}, sight)
        assert set(names) == set(NAMES)
        assert (names["RELAY"], names["NEXT"], names["PARTY"]) == ("diana", "charles", party)
        assert names["PARTY_YAML"] == str(tmp_path / f"{party}.yaml")
        assert names["SINCE"] == "2025-11-24T15:59:00Z"
