"""Runbooks as they are written resolve what they are for, on a link that does nothing by itself."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bellrelay.cli.exits import ExitCode
from bellrelay.control.fault_signatures import FAULTS
from bellrelay.control.gameday_scenario import (
    DRILLS,
    SCENARIOS,
    Scenario,
    load_scenario,
    scenarios_of,
)
from bellrelay.control.runbook_steps import ByHand, Command, steps_of

PAGES = Path(__file__).resolve().parents[2] / "docs/runbooks"
GAMEDAYS, OF_DRILLS = (
    {s.name: s for s in map(load_scenario, scenarios_of(folder))} for folder in (SCENARIOS, DRILLS)
)
ALL = GAMEDAYS | OF_DRILLS
QUIET = sorted(name for name, s in ALL.items() if not any(step.inject for step in s.steps))
"""On a link that is well: nothing but the commands is rehearsed."""
QUICK = ("relay-kill", "cut")
_TOGETHER = 4
"""Scenarios that one system is run through: most of a short one's time is the system's start."""


def groups() -> list[tuple[str, ...]]:
    """What is resolved by runbook in one system each; at most one whose traces take minutes."""
    found: list[tuple[str, ...]] = []
    links = sorted({s.link for s in ALL.values()})
    for these, link in itertools.product((GAMEDAYS, OF_DRILLS), links):
        names = sorted(set(these) - set(QUICK) - set(QUIET))
        mine = [these[n] for n in names if these[n].link == link]
        lasting = [s.name for s in mine if s.last]
        others = [s.name for s in mine if not s.last]
        n = max(len(lasting), -(-len(others) // _TOGETHER))
        found += [(*others[k::n], *lasting[n - 1 - k :: n]) for k in range(n)]
    return found


def followed(*names: str, pages: Path = PAGES, code: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "bellrelay", "gameday", *names, "--short", "--json"]
    command += ["--by-runbook", str(pages)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode in (ExitCode.OK, ExitCode.CHECK_FAILED), ran.stderr[-2000:]
    result = dict(json.loads(ran.stdout))
    assert ran.returncode == code, "\n".join(told(result))
    return result


def told(result: dict[str, Any]) -> list[str]:
    """Why it did not pass."""
    return [
        *result["failures"],
        *(f"{one['name']}: {why}" for one in result["scenarios"] for why in one["failures"]),
    ]


def check(one: dict[str, Any]) -> None:
    """The page was the one that was told, and it was followed to the letter."""
    scenario = ALL[one["name"]]
    assert one["failures"] == []
    step = next(step for step in one["steps"] if step["step"] == "follow")
    assert step["page"] in pages_of(scenario)
    done = [d.get("command", d.get("by_hand")) for d in step["done"]]
    written = [
        each.line if isinstance(each, Command) else each.text
        for each in steps_of((PAGES / Path(step["page"]).name).read_text())
    ]
    assert done == written
    assert one["recovery_s"] is not None
    assert one["finished_blocks"]["after"] >= one["finished_blocks"]["before"]


def pages_of(scenario: Scenario) -> set[str]:
    """Of the faults that it may be told as; where none is told, its own."""
    told = [step.detect.faults for step in scenario.steps if step.detect]
    if not told:
        return {scenario.runbook}
    return {fault.runbook for fault in FAULTS if fault.name in told[-1]}


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_scenario_names_the_page_that_it_is_told_with(name: str) -> None:
    assert ALL[name].runbook in pages_of(ALL[name])


@pytest.mark.soak
def test_runbooks_resolve_a_dead_relay_and_a_cut_fibre() -> None:
    result = followed(*QUICK)
    assert {one["name"] for one in result["scenarios"]} == set(QUICK)
    for one in result["scenarios"]:
        check(one)
    assert result["delivered"]["equal"]
    assert result["delivered"]["once"]
    assert result["passed"]


@pytest.mark.soak
@pytest.mark.parametrize("names", groups(), ids=" ".join)
def test_the_runbook_resolves(names: tuple[str, ...]) -> None:
    result = followed(*names)
    for one in result["scenarios"]:
        check(one)
    assert result["passed"], result["failures"]


@pytest.mark.soak
def test_what_no_simulated_link_can_have_is_walked_through() -> None:
    result = followed(*QUIET)
    assert [one["name"] for one in result["scenarios"]] != []
    for one in result["scenarios"]:
        check(one)
    assert result["passed"], result["failures"]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "page", "line"),
    [
        ("relay-kill", "relay-down", "systemctl start bellrelay-relay@$RELAY"),
        ("auth-expiry", "path-to-peer", "systemctl restart bellrelay-endpoint@bob"),
    ],
)
def test_a_page_without_what_helps_does_not_resolve(
    name: str, page: str, line: str, tmp_path: Path
) -> None:
    pages = tmp_path / "runbooks"
    shutil.copytree(PAGES, pages)
    path = pages / f"{page}.md"
    text = path.read_text()
    assert f"$ {line}\n" in text
    path.write_text(text.replace(f"$ {line}\n", ""))
    assert any(isinstance(step, Command | ByHand) for step in steps_of(path.read_text()))
    result = followed(name, pages=pages, code=ExitCode.CHECK_FAILED)
    assert "follow: " in result["scenarios"][0]["failures"][0]
