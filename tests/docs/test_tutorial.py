"""The tutorial is typed as it stands, and what it shows is what comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tutorial/first-key.md"
# Short arms: many events in few slots, so that a key comes in seconds.
SHORT = """
arm_a: {eta: 0.3}
arm_b: {eta: 0.3}
alice: {s: 0.3, mu: 0.25, nu: 0.05, p_s: 0.5, p_mu: 0.055, p_nu: 0.405}
bob: {s: 0.3, mu: 0.25, nu: 0.05, p_s: 0.5, p_mu: 0.055, p_nu: 0.405}
mode_overlap: 1.0
misalignment_x: 0.0
"""
# What the short form leaves out, and what it says that the long one would not.
NOT_COMPARED = ("gateware and event board agree", "(low)", "ALARM: pair apps")
MARK = "-- end of what came of "


@dataclass
class Typed:
    """A line that is typed, and what the page shows of its answer."""

    command: str
    shown: list[str] = field(default_factory=list)


def typed(page: Path) -> list[Typed]:
    """Commands of the page's `console` blocks, in order; `...` stands for lines left out."""
    lines = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                lines.append(Typed(line[2:]))
            elif line != "...":
                lines[-1].shown.append(line)
    return lines


def form(line: str) -> str:
    """A line without what differs from run to run: names of keys, keys, numbers, columns."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", line)
    line = re.sub(r'"[A-Za-z0-9+/]{43}="', "KEY", line)
    line = re.sub(r"\d[\d,.]*(e[-+]\d+)?", "1", line)
    return " ".join(line.split())


def bash(script: str, folder: Path) -> str:
    """Type a script in a shell that has our commands, and give all that it says."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            return shell.communicate(timeout=1800)[0]
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)


def type_all(folder: Path, run: str) -> list[tuple[Typed, str]]:
    """Every line of the page, with its answer. run : stands for the page's `make run`."""
    first, *rest = typed(PAGE)
    assert first.command == 'make run RUN_ARGS="--keep first-key"'
    answers = [(first, bash(run, folder))]
    script = []
    for number, line in enumerate(rest):
        command = line.command
        for role, port in (("alice", "8443"), ("bob", "8444")):
            # Another test may have the ports that a reader's machine has free.
            listen = yaml.safe_load((folder / f"first-key/{role}.yaml").read_text())["listen"]
            command = command.replace(f"localhost:{port}", f"localhost:{listen.split(':')[1]}")
        if "activate" in command:
            command = ":"  # the shell has our commands already
        script += [command, f"echo '{MARK}{number}'"]
    said = bash("\n".join(script), folder)
    for number, line in enumerate(rest):
        answer, _, said = said.partition(f"{MARK}{number}\n")
        answers.append((line, answer))
    return answers


def check(answers: list[tuple[Typed, str]], left_out: tuple[str, ...] = ()) -> None:
    for line, answer in answers:
        came = [form(each) for each in answer.splitlines()]
        for shown in line.shown:
            if not any(words in shown for words in left_out):
                assert form(shown) in came, f"{line.command}\n{answer}"


def test_every_line_of_the_tutorial_in_its_short_form(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(SHORT)
    run = "bellrelay run --keep first-key --slots 2e8 --no-compare --config short.yaml"
    answers = type_all(tmp_path, run)
    check(answers, NOT_COMPARED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short.yaml"]
    said = {line.command: answer for line, answer in answers}
    (fetched,) = (answer for command, answer in said.items() if "tee alice.json" in command)
    assert fetched == next(answer for command, answer in said.items() if "tee bob.json" in command)


@pytest.mark.soak
def test_every_line_of_the_tutorial_as_it_stands(tmp_path: Path) -> None:
    # `make run` but for the installation.
    check(type_all(tmp_path, "bellrelay run --keep first-key"))
    assert list(tmp_path.iterdir()) == []


def test_the_check_can_fail() -> None:
    line = Typed("bellrelay run", ["keys equal on both sides | yes"])
    check([(line, "keys  equal on both sides |  yes\n")])
    with pytest.raises(AssertionError):
        check([(line, "keys equal on both sides | NO\n")])


def test_what_the_pages_own_text_promises() -> None:
    lines = [line.command for line in typed(PAGE)]
    assert len(lines) > 10
    assert "tests/docs/test_tutorial.py" in PAGE.read_text()
    assert Path(__file__).relative_to(ROOT).as_posix() in PAGE.read_text()
