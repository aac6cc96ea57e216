"""Every fault and alert has its page, which can be followed.

That its calls of `bellrelay` are such as there are is shown in tests/docs, that they do what the
page says in tests/cli/test_gameday_by_runbook.py.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.gameday_operator import NAMES
from bellrelay.control.calibration_steps import calibration_steps
from bellrelay.control.daemon_hands import STEPS
from bellrelay.control.fault_actions import Action
from bellrelay.control.fault_signatures import FAULTS, UNEXPLAINED, Fault
from bellrelay.control.gameday_scenario import DRILLS, SCENARIOS, load_scenario, scenarios_of
from bellrelay.control.runbook_steps import commands_of, steps_of
from bellrelay.endpoint.config import WatchSettings
from bellrelay.observe.slo_file import load_slo_file

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*FAULTS, UNEXPLAINED)
SLOS = load_slo_file(ROOT / "deploy/slo.yaml")
ALERTED = {each.runbook for each in (*SLOS.slos, *SLOS.gauges)}
ALERT_PAGES = sorted(ALERTED - {"README"} - {fault.name for fault in PAGES})
"""Pages of alerts that are on no fault of a link."""
PLANNED = ("cold-start", "maintenance")
"""Pages of what people begin by themselves."""
OTHERWISE = "## If that was not it"
"""A page may have it."""
SECTIONS = [
    "## What it means",
    "## See it",
    "## Done by itself",
    "## Steps",
    OTHERWISE,
    "## Over when",
    "## Escalate",
]
ALL_PAGES = sorted({*(fault.name for fault in PAGES), *ALERT_PAGES, *PLANNED})
README = (ROOT / "docs/runbooks/README.md").read_text()
REHEARSED_BY_TESTS = {"bridge-stands": "tests/keys/test_bridge_runbook.py"}
"""Pages of what a gameday has not."""
REHEARSED_BY_NONE = {"bright-arm"}
PROGRAMS = ("bellrelay", "systemctl", "journalctl", "curl")
UNITS = {path.name.partition("@")[0] for path in (ROOT / "deploy/systemd").glob("*.service")}


def page(fault: Fault) -> str:
    return (ROOT / fault.runbook).read_text()


def commands(text: str) -> list[str]:
    """As they are written; of pages that are not runbooks, lines of the fenced shell blocks."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    if not blocks:
        return [command.line for command in commands_of(text)]
    joined = "".join(blocks).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def sections(text: str) -> list[str]:
    """Headings of a page; those that it may do without are there."""
    found = re.findall(r"^## .*$", text, flags=re.MULTILINE)
    if OTHERWISE not in found:
        found.insert(SECTIONS.index(OTHERWISE), OTHERWISE)
    return found


@pytest.mark.parametrize("fault", PAGES, ids=lambda fault: fault.name)
def test_a_fault_has_its_page(fault: Fault) -> None:
    text = page(fault)
    assert text.startswith(f"# {fault.name}\n")
    assert sections(text) == SECTIONS
    parts = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    assert all(len(part.split()) >= 5 for part in parts)
    by_itself = " ".join(parts[2].split())
    for step in fault.steps:
        told = "person" if step.action is Action.CALL else f"*{step.action}*"
        assert told in by_itself, f"{step.action} is done, and not told"
        if step.wait_s not in (float("inf"), 3600.0) and step is not fault.steps[-1]:
            assert f"{step.wait_s:g} s" in by_itself
    assert len(commands(text)) >= 2
    assert "@" not in re.sub(r"bellrelay-[a-z]+@[a-z$A-Z0-9-]+", "", text)


@pytest.mark.parametrize("fault", PAGES, ids=lambda fault: fault.name)
def test_every_command_is_one_that_there_is(fault: Fault) -> None:
    commands_exist(page(fault))


@pytest.mark.parametrize("name", [*ALERT_PAGES, *PLANNED])
def test_an_alert_has_its_page(name: str) -> None:
    text = (ROOT / "docs/runbooks" / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert sections(text) == SECTIONS
    assert len(commands(text)) >= 2
    commands_exist(text)


def commands_exist(text: str) -> None:
    for line in commands(text):
        words = shlex.split(line, comments=True)
        assert words[0] in PROGRAMS, line
        for unit in re.findall(r"(bellrelay-[a-z]+)@", line):
            assert unit in UNITS, line


@pytest.mark.parametrize("name", ALL_PAGES)
def test_a_page_can_be_followed(name: str) -> None:
    """By somebody who has the names of the README, and who knows what a command may end with."""
    text = (ROOT / "docs/runbooks" / f"{name}.md").read_text()
    steps_of(text)
    used = {n for command in commands_of(text) for n in command.names}
    assert used <= set(NAMES)
    for command in commands_of(text):
        assert command.codes <= set(map(int, ExitCode)), command.line
        for quoted in re.findall(r"'[^']*'", command.line):
            assert "$" not in quoted, command.line


def test_names_are_those_that_are_explained() -> None:
    rows = re.findall(r"^\| `\$(\w+)` \| (.*) \|$", README, flags=re.MULTILINE)
    assert dict(rows) == NAMES


def test_readme_says_who_rehearses_which_page() -> None:
    """Generated of the scenarios here, so that no page claims what nobody does."""
    rehearsed: dict[str, list[str]] = {name: [] for name in ALL_PAGES}
    for path in (*scenarios_of(SCENARIOS), *scenarios_of(DRILLS)):
        scenario = load_scenario(path)
        real = any(step.inject for step in scenario.steps)
        assert real != scenario.title.startswith("Nothing is wrong"), scenario.name
        cell = f"`{scenario.name}`" if real else f"(`{scenario.name}`)"
        rehearsed[Path(scenario.runbook).stem].append(cell)
    rows = re.findall(r"^\| \[([a-z-]+)\]\(\1\.md\) \|.*\| (.*) \|$", README, flags=re.MULTILINE)
    said = dict(rows)
    for name, test in REHEARSED_BY_TESTS.items():
        assert f"{name}.md" in (ROOT / test).read_text()
        rehearsed[name].append(f"`{test}`")
    assert {name for name, by in rehearsed.items() if not by} == REHEARSED_BY_NONE
    assert said == {name: ", ".join(sorted(by)) or "by none" for name, by in rehearsed.items()}


def test_what_leads_elsewhere_leads_there() -> None:
    folder = ROOT / "docs/runbooks"
    index = (folder / "README.md").read_text()
    for path in folder.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            assert (folder / target).exists(), (path.name, target)
        assert path.name == "README.md" or f"({path.name})" in index
    assert {path.stem for path in folder.glob("*.md")} == {
        "README",
        *(fault.name for fault in PAGES),
        *ALERT_PAGES,
        *PLANNED,
    }


def test_the_how_to_shows_a_section_that_can_be_used() -> None:
    text = (ROOT / "docs/how-to/faults.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    watch = WatchSettings.model_validate(yaml.safe_load(block)["watch"])
    assert len(watch.relays) == 2
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs/how-to" / target).exists(), target


def test_calibrations_are_named_as_they_are() -> None:
    names = {step.name for step in calibration_steps()}
    assert {step for steps in STEPS.values() for step in steps} <= names
    told = [
        word
        for path in (ROOT / "docs/runbooks").glob("*.md")
        for line in commands(path.read_text())
        if line.startswith("bellrelay calibrate")
        for word in line.split(" --")[0].split()[2:]
    ]
    assert len(told) > 10
    assert set(told) <= names
