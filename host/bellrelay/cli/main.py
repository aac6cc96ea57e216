"""The command `bellrelay`: finds the verb, loads the one module that it lives in, and runs it.

A module of a verb defines `register(app: typer.Typer) -> None`, which adds its command or its
group of commands under the verb's name. What is heavy to import, it imports inside its functions.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import typer

from bellrelay.cli.errors import explain
from bellrelay.cli.exits import ExitCode


@dataclass(frozen=True)
class Verb:
    """A verb of the command line, and the line that stands for it in the list of all verbs."""

    name: str
    help: str

    @property
    def module(self) -> str:
        """Full name of the module that registers it."""
        return f"bellrelay.cli.{self.name}"


VERBS = (
    Verb("run", "Everything on this machine: a simulated board, the daemon, a check of the bits."),
    Verb("relay", "The daemon: read a board, log its announcements, serve them."),
    Verb("endpoint", "The daemon of Alice or Bob: announcements in, keys out."),
    Verb("cluster", "Machines that compute for one endpoint: key, scheduler, worker."),
    Verb("nats", "What a NATS broker needs for announcements: streams, permissions of its users."),
    Verb("kme", "The daemon beside an endpoint: its keys to applications, ETSI GS QKD 014."),
    Verb("keys", "A KME's keys for operators: list, status, audit, incidents, KEKs, bridges."),
    Verb("board", "Boards on the bench: list, build, flash, probe, selftest."),
    Verb("status", "Who is up, what is wrong, which objectives are kept; a view, reports."),
    Verb("doctor", "What is right and wrong with a daemon's file, before it is started or after."),
    Verb("calibrate", "Calibration steps of a relay, their records, and what takes them back."),
    Verb("keyrate", "Gains, decoy bounds and key rates of a link, or of a block's counts."),
    Verb("gameday", "Faults are rehearsed on a simulated link, and what is done about them."),
    Verb("plan", "Options for a network: key of every pair, cost and work."),
    Verb("network", "How much a network carries, what is full first, and what to add."),
    Verb("tags", "Recorded time tags: info, convert, histogram, coincidences, Bell outcomes."),
)

_EXIT_CODES_HELP = "Exit codes: " + "; ".join(f"{code.value}: {code.meaning}" for code in ExitCode)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"bellrelay {version('bellrelay')}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """The relay of MDI-QKD: clicks in, announced Bell-state measurements out."""


def _not_loaded() -> None:
    raise AssertionError("only the verb that is called is loaded, and only it can be called")


def build_app(called: str | None) -> typer.Typer:
    """The application with the module of `called` loaded, and every other verb by name alone."""
    app = typer.Typer(
        name="bellrelay",
        no_args_is_help=True,
        epilog=_EXIT_CODES_HELP,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for verb in VERBS:
        if verb.name == called:
            importlib.import_module(verb.module).register(app)
        else:
            app.command(verb.name, help=verb.help)(_not_loaded)
    return app


def called_verb(arguments: Sequence[str]) -> str | None:
    """The first argument that is no option: none of our own options takes a value."""
    if "_BELLRELAY_COMPLETE" in os.environ:
        # The shell asks for completions of the words in the environment, our own name first.
        arguments = os.environ.get("_TYPER_COMPLETE_ARGS", "").split()[1:]
    return next((word for word in arguments if not word.startswith("-")), None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit; `arguments` defaults to those of the process.

    With `BELLRELAY_TRACEBACK` in the environment, the traceback of an error comes before its line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app = build_app(called_verb(words))
        typer.main.get_command(app)(words, prog_name="bellrelay")
    except BaseException as error:
        explained = explain(error)
        if explained is None:
            raise
        if os.environ.get("BELLRELAY_TRACEBACK"):
            sys.excepthook(*sys.exc_info())
        line, code = explained
        print(f"bellrelay: {line}", file=sys.stderr)
        sys.exit(code)
