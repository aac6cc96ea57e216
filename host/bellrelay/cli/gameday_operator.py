"""Somebody who knows nothing but the runbook: follows a page in a gameday, command by command.

Commands of ours are run as processes, as they are written. `systemctl` and `journalctl`, without
which no page can do, speak of the gameday's own processes: there is no systemd here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bellrelay.cli.gameday_files import RELAYS
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import RunFailed
from bellrelay.control.gameday_run import Sight
from bellrelay.control.runbook_steps import ByHand, Command, RunbookError, steps_of

if TYPE_CHECKING:
    from bellrelay.cli.gameday_system import GamedaySystem

__all__ = ["NAMES", "Operator"]

NAMES = {
    "ALICE_YAML": "YAML of Alice's endpoint",
    "BOB_YAML": "YAML of Bob's endpoint",
    "KME_ALICE_YAML": "YAML of the KME at Alice's site",
    "KME_BOB_YAML": "YAML of the KME at Bob's site",
    "RELAY": "relay_id of the relay by whose light the fault was found",
    "RELAY_YAML": "its YAML",
    "NEXT": "relay_id of another relay of this link",
    "PARTY": "`alice` or `bob`: whose arm, sender or endpoint the fault is of",
    "PARTY_YAML": "YAML of that endpoint",
    "SINCE": "UTC, since when something is in doubt: `2026-11-25T03:00:00Z`",
    "LINK_YAML": "the link as `bellrelay keyrate` takes it",
    "NETWORK_YAML": "the network as `bellrelay plan` takes it",
}
"""What pages name, and what it stands for; the README of the runbooks says the same."""

_LONGEST_S = 300.0
_UP_S = 90.0
_DOUBT_S = 60.0
_LINES = 40
_LOOK_S = 0.2
# As systemctl answers: not running, no such unit.
_INACTIVE, _NO_UNIT = 3, 4


class Operator:
    """Of one system.

    Parameters
    ----------
    system
        Whose processes they are.
    pages
        Folder of the runbooks.
    tell
        Called with every command as it is run.
    """

    def __init__(
        self, system: GamedaySystem, pages: Path, tell: Callable[[str], None] = lambda _text: None
    ) -> None:
        self._system = system
        self._pages = pages
        self._tell = tell

    def follow(self, fault: Mapping[str, Any], sight: Sight) -> list[dict[str, Any]]:
        """Carry out the steps of the page that a fault names, in their order.

        Parameters
        ----------
        fault
            As the system told it: runbook, relay, subject.

        Returns
        -------
        list
            Each step with its words, and how long it took.

        Raises
        ------
        RunFailed
            There is no such page, or a command does not end as its page says.
        """
        page = self._pages / Path(str(fault["runbook"])).name
        try:
            steps = steps_of(page.read_text(encoding="utf-8"))
        except (OSError, RunbookError) as error:
            raise RunFailed(f"{page}: {error}") from None
        names = self._names(fault, sight)
        done: list[dict[str, Any]] = []
        for step in steps:
            begun = time.monotonic()
            if isinstance(step, ByHand):
                self._tell(f"  by hand: {step.text}")
                self._system.repair()
                done.append({"by_hand": step.text})
                continue
            self._tell(f"  $ {step.line}")
            code, said = self._run(step, names)
            seconds = round(time.monotonic() - begun, 2)
            done.append({"command": step.line, "code": code, "seconds": seconds})
            if code not in step.codes:
                allowed = " or ".join(map(str, sorted(step.codes)))
                last = " / ".join(said.strip().splitlines()[-3:])
                raise RunFailed(
                    f"{page.name}: `{step.line}` ends with {code}, not {allowed}: {last}"
                )
        return done

    def _names(self, fault: Mapping[str, Any], sight: Sight) -> dict[str, str]:
        files = self._system.files
        relay = str(fault["relay"])
        party = str(fault.get("subject"))
        party = party if party in ROLES else ROLES[0]
        since = datetime.fromtimestamp(sight.utc_ns / 1e9, UTC) - timedelta(seconds=_DOUBT_S)
        return {
            "ALICE_YAML": str(files.yaml_of("alice")),
            "BOB_YAML": str(files.yaml_of("bob")),
            "KME_ALICE_YAML": str(files.yaml_of("kme-alice")),
            "KME_BOB_YAML": str(files.yaml_of("kme-bob")),
            "RELAY": relay,
            "RELAY_YAML": str(files.yaml_of(relay)),
            "NEXT": next(each for each in RELAYS if each != relay),
            "PARTY": party,
            "PARTY_YAML": str(files.yaml_of(party)),
            "SINCE": since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "LINK_YAML": str(files.folder / "keyrate.yaml"),
            "NETWORK_YAML": str(files.folder / "network.yaml"),
        }

    def _run(self, command: Command, names: Mapping[str, str]) -> tuple[int, str]:
        """Exit code, and what it said."""
        try:
            program, *words = command.bound(names)
        except RunbookError as error:
            raise RunFailed(str(error)) from None
        if program == "bellrelay":
            return self._command(words)
        if program == "systemctl":
            return self._systemctl(words)
        if program == "journalctl":
            return self._journalctl(words)
        raise RunFailed(f"{command.line}: nothing here is called {program}")

    def _command(self, words: Sequence[str]) -> tuple[int, str]:
        """One of ours, while the system is looked at as before: its time passes meanwhile."""
        command = [sys.executable, "-m", "bellrelay", *words]
        end = time.monotonic() + _LONGEST_S
        with tempfile.TemporaryFile("w+") as said:
            running = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=self._system.files.folder,
            )
            try:
                while running.poll() is None:
                    if time.monotonic() > end:
                        raise RunFailed(f"bellrelay {' '.join(words)} does not end")
                    self._system.look()
                    time.sleep(_LOOK_S)
            finally:
                running.kill()
                running.wait()
            said.seek(0)
            return running.returncode, said.read()

    # ----------------------------------------------------------------------- the machine's own

    def _process(self, unit: str) -> str | None:
        """The process of a unit: `bellrelay-kme@bob` is `kme-bob`."""
        kind, _, name = unit.removesuffix(".service").removeprefix("bellrelay-").partition("@")
        found = {"endpoint": ROLES, "relay": RELAYS, "kme": ROLES}.get(kind, ())
        if name not in found:
            return None
        return f"kme-{name}" if kind == "kme" else name

    def _systemctl(self, words: Sequence[str]) -> tuple[int, str]:
        system = self._system
        verb, *units = words
        for unit in units:
            name = self._process(unit)
            if name is None:
                return _NO_UNIT, f"Unit {unit} could not be found."
            runs = name in system.processes and name not in system.gone()
            if verb == "status":
                if not runs:
                    return _INACTIVE, f"{unit} is not running"
                continue
            if verb not in ("start", "stop", "restart"):
                return 1, f"Unknown command verb {verb}."
            if verb in ("stop", "restart") and name in system.processes:
                system.stop(name)
            if verb == "restart" or (verb == "start" and not runs):
                system.processes.pop(name, None)
                system.start(name)
                self._until_up(name)
        return 0, ""

    def _until_up(self, name: str) -> None:
        """As `systemctl start` waits for a unit of Type=notify."""
        end = time.monotonic() + _UP_S
        while not self._system.status(name):
            self._system.look()
            if name in self._system.gone():
                raise RunFailed(f"{name} ended: {self._system.last_words(name)}")
            if time.monotonic() > end:
                raise RunFailed(f"{name} does not come up: {self._system.last_words(name)}")
            time.sleep(0.1)

    def _journalctl(self, words: Sequence[str]) -> tuple[int, str]:
        if len(words) < 2 or words[0] != "-u":
            return 1, "of which unit?"
        name = self._process(words[1])
        if name is None:
            return 1, f"No journal files of {words[1]}."
        return 0, self._system.said(name, _LINES)
