"""`bellrelay gameday`: all scenarios in one running system, and one whose fault does not come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bellrelay.cli.exits import ExitCode
from bellrelay.control.gameday_scenario import SCENARIOS, load_scenario, scenarios_of

# Those that fit the time of a test run; the others take a minute or two each to recover.
QUICK = ("cut", "relay-kill", "compromise", "auth-expiry", "cold-start", "maintenance")
NAMES = {path.stem for path in scenarios_of(SCENARIOS)}


def gameday(*words: str, code: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "bellrelay", "gameday", *words, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == code, (ran.stdout[-4000:], ran.stderr[-2000:])
    return dict(json.loads(ran.stdout))


def check_whole(result: dict[str, Any], names: set[str]) -> None:
    assert result["passed"]
    assert result["simulation"]
    assert {s["name"] for s in result["scenarios"]} == names
    for one in result["scenarios"]:
        scenario = load_scenario(SCENARIOS / f"{one['name']}.yaml")
        if any(step.detect for step in scenario.steps):
            assert one["detection_s"] <= 5.0
        if any(step.moved for step in scenario.steps):
            assert one["mitigation_s"] <= 10.0
        assert one["finished_blocks"]["after"] >= one["finished_blocks"]["before"]
    delivered = result["delivered"]
    assert delivered["keys"] > 20
    assert delivered["equal"]
    assert delivered["once"]


@pytest.mark.soak
def test_scenarios_pass_one_after_another_on_the_event_board(tmp_path: Path) -> None:
    result = gameday(*QUICK, "--short", "--report", str(tmp_path))
    check_whole(result, set(QUICK))
    assert json.loads((tmp_path / "report.json").read_text()) == result
    assert (tmp_path / "report.md").read_text().startswith("# Gameday: passed")
    assert (tmp_path / "timeline.png").stat().st_size > 50_000


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(NAMES - set(QUICK)))
def test_every_other_scenario_passes_on_the_event_board(name: str) -> None:
    check_whole(gameday(name), {name})


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(NAMES - {"maintenance", "cold-start"}))
def test_a_fault_that_is_not_injected_is_not_found(name: str) -> None:
    (one,) = gameday(name, "--without-injection", code=ExitCode.CHECK_FAILED)["scenarios"]
    assert "nothing is told" in one["failures"][0]


@pytest.mark.soak
@pytest.mark.usefixtures("verilator_on_path")
@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_scenario_passes_on_the_gateware(name: str) -> None:
    assert gameday(name, "--board", "gateware")["passed"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rain"], "allowed: a file, all, auth-expiry"),
        (["cut", "--board", "paper"], "allowed: event, gateware"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], line: str) -> None:
    command = [sys.executable, "-m", "bellrelay", "gameday", *words]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"COLUMNS": "200"}
    )
    assert ran.returncode == ExitCode.USAGE
    assert line in " ".join(ran.stderr.split())
