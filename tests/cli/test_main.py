"""The command line as a whole: its list of verbs, the one verb it loads, how it ends."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest
import typer

from bellrelay.cli import main as main_module
from bellrelay.cli.errors import EXIT_CODES
from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import VERBS, Verb, called_verb, main


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bellrelay", *words], capture_output=True, text=True, check=False
    )


def exit_code(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


class BoardFault(RuntimeError):
    """An exception of a layer."""


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb `fail` that ends the way its argument says."""

    def fail(way: str) -> None:
        if way == "check":
            raise typer.Exit(ExitCode.CHECK_FAILED)
        raise {
            "layer": BoardFault("nothing answers"),
            "extra": ModuleNotFoundError("gone", name="amaranth"),
            "interrupt": KeyboardInterrupt(),
            "ours": ZeroDivisionError(),
        }[way]

    module = ModuleType("bellrelay.cli.fail")
    module.__dict__["register"] = lambda app: app.command("fail")(fail)
    monkeypatch.setitem(sys.modules, "bellrelay.cli.fail", module)
    monkeypatch.setattr(main_module, "VERBS", (*VERBS, Verb("fail", "Fail.")))
    monkeypatch.setitem(EXIT_CODES, f"{__name__}.BoardFault", ExitCode.FOREIGN_PORT)


def test_help_lists_every_verb() -> None:
    ran = run("--help")
    assert ran.returncode == ExitCode.OK
    for verb in VERBS:
        assert f" {verb.name} " in ran.stdout


def test_help_loads_no_verb_and_no_array_library() -> None:
    program = (
        "import sys; from bellrelay.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'numba', 'aiohttp', 'bellrelay.relay', 'bellrelay.tags',"
        "'bellrelay.cli.run'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_registers_itself(verb: Verb) -> None:
    module = importlib.import_module(verb.module)
    app = typer.Typer()
    module.register(app)
    names = {command.name for command in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    assert names == {verb.name}


def test_version() -> None:
    ran = run("--version")
    assert ran.returncode == ExitCode.OK
    assert ran.stdout.startswith("bellrelay ")


def test_an_unknown_verb_is_a_usage_error() -> None:
    ran = run("rleay")
    assert ran.returncode == ExitCode.USAGE
    assert "rleay" in ran.stderr


@pytest.mark.parametrize(
    ("words", "verb"),
    [([], None), (["--help"], None), (["run", "--help"], "run"), (["--x", "tags", "a"], "tags")],
)
def test_called_verb(words: list[str], verb: str | None) -> None:
    assert called_verb(words) == verb


def test_completion_loads_the_verb_that_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BELLRELAY_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "bellrelay tags --")
    assert called_verb([]) == "tags"


@pytest.mark.usefixtures("verb")
@pytest.mark.parametrize(
    ("way", "code", "line"),
    [
        ("layer", ExitCode.FOREIGN_PORT, "bellrelay: nothing answers\n"),
        ("extra", ExitCode.MISSING_EXTRA, None),
        ("check", ExitCode.CHECK_FAILED, ""),
        ("interrupt", ExitCode.INTERRUPTED, ""),
    ],
)
def test_a_verb_ends_with_its_code_and_one_line(
    capsys: pytest.CaptureFixture[str], way: str, code: ExitCode, line: str | None
) -> None:
    assert exit_code(["fail", way]) == code
    printed = capsys.readouterr().err
    if line is None:
        assert printed.count("\n") == 1
        assert "bellrelay[gateware]" in printed
    else:
        assert printed == line


@pytest.mark.usefixtures("verb")
def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        main(["fail", "ours"])


@pytest.mark.usefixtures("verb")
def test_traceback_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELLRELAY_TRACEBACK", "1")
    assert exit_code(["fail", "layer"]) == ExitCode.FOREIGN_PORT
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.endswith("bellrelay: nothing answers\n")
