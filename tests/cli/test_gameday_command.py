"""`bellrelay gameday`: all scenarios in one running system, and one whose fault does not come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.gameday_whole import wrong_with
from bellrelay.control.gameday_scenario import SCENARIOS, load_scenario, scenarios_of

NAMES = {path.stem for path in scenarios_of(SCENARIOS)}


def gameday(*words: str, code: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "bellrelay", "gameday", *words, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode in (ExitCode.OK, ExitCode.CHECK_FAILED), ran.stderr[-2000:]
    result = dict(json.loads(ran.stdout))
    wrong = [f"{s['name']}: {why}" for s in result["scenarios"] for why in s["failures"]]
    assert ran.returncode == code, [*result["failures"], *wrong]
    return result


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


@pytest.mark.timeout(1200)  # it takes 200 s; one that goes wrong waits for what does not come
def test_all_scenarios_pass_one_after_another_on_the_event_board(tmp_path: Path) -> None:
    result = gameday("all", "--short", "--report", str(tmp_path))
    check_whole(result, NAMES)
    assert json.loads((tmp_path / "report.json").read_text()) == result
    assert (tmp_path / "report.md").read_text().startswith("# Gameday: passed")
    assert (tmp_path / "timeline.png").stat().st_size > 50_000


@pytest.mark.soak
def test_faults_that_are_not_injected_are_not_found() -> None:
    names = sorted(NAMES - {"maintenance", "cold-start"})
    result = gameday(*names, "--short", "--without-injection", code=ExitCode.CHECK_FAILED)
    assert [s["name"] for s in result["scenarios"]] != []
    for one in result["scenarios"]:
        assert "nothing is told" in one["failures"][0]


@pytest.mark.soak
@pytest.mark.usefixtures("verilator_on_path")
def test_all_scenarios_pass_on_the_gateware() -> None:
    check_whole(gameday("all", "--short", "--board", "gateware"), NAMES)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, ""),
        ({"keys": 5}, "5 keys were delivered; finished blocks make 6 to 9"),
        ({"keys": 10}, "10 keys were delivered"),
        ({"equal": False}, "not delivered as they must be"),
        ({"once": False}, "not delivered as they must be"),
    ],
)
def test_all_finished_key_must_be_delivered_once_and_alike(
    wrong: dict[str, Any], said: str
) -> None:
    delivered = {"keys": 8, "bits": 2048, "equal": True, "once": True, **wrong}
    assert said in "".join(wrong_with(delivered, 6, 9))
    assert bool(wrong_with(delivered, 6, 9)) == bool(said)


def test_no_key_at_all_is_no_delivery() -> None:
    nothing = {"keys": 0, "bits": 0, "equal": True, "once": True}
    assert wrong_with(nothing, 0, 0) == ["0 keys were delivered; finished blocks make 0 to 0"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rain"], "allowed: a file, all, auth-expiry"),
        (["cut", "--board", "paper"], "allowed: event, gateware"),
        (["cut", "--keep", "."], ". is there and not empty"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], line: str) -> None:
    command = [sys.executable, "-m", "bellrelay", "gameday", *words]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"COLUMNS": "200"}
    )
    assert ran.returncode == ExitCode.USAGE
    assert line in " ".join(ran.stderr.split())
