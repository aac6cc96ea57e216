"""The running system of a gameday: its processes, what they say, and what is done to them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from bellrelay.cli.daemon_health import health_of
from bellrelay.cli.gameday_files import RELAYS, RESERVE_BITS, SETTLE_S, GamedayFiles
from bellrelay.cli.gameday_operator import Operator
from bellrelay.cli.gameday_pools import SECRET, bring_secret, drain_pools
from bellrelay.cli.run_certificates import expire_certificate
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import RunFailed, last_words, process
from bellrelay.control.baseline_file import BaselineFile
from bellrelay.control.gameday_run import Ledger, Sight
from bellrelay.control.gameday_scenario import Change, Inject, Propose
from bellrelay.endpoint.block import BlockId, BlockState
from bellrelay.endpoint.block_store import BlockRow, BlockStore
from bellrelay_sim.conditions_socket import tell_conditions
from bellrelay_sim.gateware_board import build_gateware_board
from bellrelay_sim.link_config import link_and_geometry

__all__ = ["GamedaySystem", "running_system"]

_START_S = 90.0
_STARTS = 5
"""Of a relay, as its unit does: on a busy machine a gateware board may be late with its answers."""
_STOP_S = 20.0
_ASK_S = 2.0


class _Twin:
    """What a twin tells: how much time of its link has passed."""

    def __init__(self) -> None:
        self.link_s = 0.0
        self.acquisition: int | None = None
        self.events: list[dict[str, Any]] = []

    def take(self, event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            self.link_s = float(event["simulated_seconds"])
        elif event["event"] in ("conditions", "running", "stopped", "reset", "conditions-refused"):
            self.events.append({**event, "wall_s": time.monotonic()})
        if event["event"] == "conditions":
            self.acquisition = event["acquisition"]


class GamedaySystem:
    """Processes by name: twins, lines, relays, endpoints, KMEs.

    Parameters
    ----------
    files
        Written.

    Attributes
    ----------
    files : GamedayFiles
    patience : float
        By how much the clock may be quicker than the link.
    settled_s : float
        The watch believes counts so long after light came to a relay.
    processes : dict
        Those that run, or ended by themselves.
    samples : list
        Of every look, what a timeline is drawn from.
    operator : Operator or None
        Who follows runbooks, where nothing is done by itself.
    """

    def __init__(self, files: GamedayFiles) -> None:
        self.files = files
        self.patience = files.shape.patience
        self.settled_s = SETTLE_S + 2.0
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.samples: list[dict[str, Any]] = []
        self.operator: Operator | None = None
        self._repairs: list[Callable[[], None]] = []
        self._stack = contextlib.ExitStack()
        self._askers = ThreadPoolExecutor(4, thread_name_prefix="asks")
        self._stack.callback(self._askers.shutdown)
        self._link_s = 0.0
        self._looked_s = time.monotonic()
        self._link_told = [0.0] * len(RELAYS)
        self._owed_s = 0.0
        self._backlog_from = (RELAYS[0], 0, 0)
        self._twins = {relay: _Twin() for relay in RELAYS}

    # ----------------------------------------------------------------------- processes

    def start(self, name: str) -> None:
        """Start a process, or start it again."""
        log = self._log(name)
        with log.open("a") as earlier:
            earlier.write(f"--- {name} starts\n")
        words = self.files.commands[name]
        started = self._stack.enter_context(process(words, log.with_suffix(".err")))
        self.processes[name] = started
        threading.Thread(
            target=self._listen, args=(name, started), name=f"{name} says", daemon=True
        ).start()

    def _log(self, name: str) -> Path:
        return self.files.folder / f"{name}.log"

    def _listen(self, name: str, started: subprocess.Popen[str]) -> None:
        twin = self._twins.get(name.removeprefix("twin-")) if name.startswith("twin-") else None
        assert started.stdout is not None
        with contextlib.suppress(ValueError):  # closed under us: the gameday is over
            for line in started.stdout:
                if twin is not None:
                    with contextlib.suppress(ValueError, KeyError):
                        twin.take(json.loads(line))

    def kill(self, name: str) -> None:
        """End it as a crash or a power cut does."""
        running = self.processes.pop(name)
        running.kill()
        running.wait()

    def stop(self, name: str) -> None:
        """Ask it to end, and wait."""
        running = self.processes.pop(name)
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"{name} does not end: {self.last_words(name)}") from None

    def signal(self, name: str, number: int) -> None:
        """Send it a signal."""
        self.processes[name].send_signal(number)

    def last_words(self, name: str) -> str:
        """The last line of its stderr."""
        return last_words(self._log(name).with_suffix(".err"))

    def said(self, name: str, lines: int) -> str:
        """The last lines of its stderr."""
        log = self._log(name).with_suffix(".err")
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    def gone(self) -> list[str]:
        """Processes that ended by themselves."""
        return [name for name, running in self.processes.items() if running.poll() is not None]

    def close(self) -> None:
        """End everything."""
        for running in self.processes.values():
            with contextlib.suppress(OSError):
                running.send_signal(signal.SIGTERM)
        end = time.monotonic() + _STOP_S
        for running in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(max(0.1, end - time.monotonic()))
        self._stack.close()

    # ----------------------------------------------------------------------- what is done to it

    def inject(self, what: Inject, sight: Sight) -> Callable[[], None]:
        """Do it; returns what undoes it.

        Raises
        ------
        RunFailed, OSError
            It cannot be done.
        """
        undo = self._inject(what, sight)

        def undone() -> None:
            self._repairs.clear()
            undo()

        return undone

    def _inject(self, what: Inject, sight: Sight) -> Callable[[], None]:
        if what.change is not None:
            return self._change(what.change, sight)
        if what.kill is not None:
            return self._kill(self._name(what.kill, sight))
        if what.stop is not None:
            return self._stop([self._name(name, sight) for name in what.stop], sight)
        if what.unplug is not None:
            return self._unplug(f"twin-{self._name(what.unplug, sight)}")
        if what.lie is not None:
            return self._lie(self._name(what.lie, sight))
        if what.expire is not None:
            return self._expire(what.expire.who)
        if what.drain is not None:
            return self._drain()
        if what.move is not None:
            return self._move(self._name(what.move, sight))
        assert what.propose is not None
        return self._propose(what.propose)

    def _name(self, name: str, sight: Sight) -> str:
        """A process: `active` and `other` are relays."""
        if name == "active":
            return sight.active
        if name == "other":
            return next(relay for relay in RELAYS if relay != sight.active)
        if name not in self.files.commands:
            raise RunFailed(f"no process {name}; there are {', '.join(self.files.commands)}")
        return name

    def repair(self) -> None:
        """What hands at a site do about all that was injected; the rest takes commands."""
        while self._repairs:
            self._repairs.pop()()

    def follow(self, fault: Mapping[str, Any], sight: Sight) -> list[dict[str, Any]]:
        """Have the operator follow the runbook that a fault names."""
        if self.operator is None:
            raise RunFailed("nobody follows runbooks here")
        return self.operator.follow(fault, sight)

    def _change(self, change: Change, sight: Sight) -> Callable[[], None]:
        relay = self._name(change.relay, sight)
        self.change(relay, change.to)
        self._repairs.append(lambda: self.change(relay, change.back))
        return lambda: self.change(relay, change.back)

    def _kill(self, name: str) -> Callable[[], None]:
        self.kill(name)
        return lambda: self._start_again([name])

    def _start_again(self, names: Sequence[str]) -> None:
        """Those that do not run."""
        for name in names:
            if name not in self.processes:
                self.start(name)

    def _unplug(self, twin: str) -> Callable[[], None]:
        self.kill(twin)

        def plug_in() -> None:
            self._start_again([twin])

        self._repairs.append(plug_in)
        return plug_in

    def _stop(self, names: Sequence[str], sight: Sight) -> Callable[[], None]:
        block = sight.endpoints["alice"]["relay"]["block"]
        acquisition, index = map(int, str(block).partition("@")[0].split("/"))
        self._backlog_from = (sight.active, acquisition, index)
        for name in names:
            self.stop(name)

        return lambda: self._start_again(names[::-1])

    def _lie(self, relay: str) -> Callable[[], None]:
        line = f"line-{relay}"
        self.signal(line, signal.SIGUSR1)
        self._repairs.append(lambda: self.signal(line, signal.SIGUSR2))

        def honest() -> None:
            """What people do once the relay is trusted again: look, release, start anew."""
            self.signal(line, signal.SIGUSR2)
            for role in ROLES:
                self.stop(role)
            try:
                for role in ROLES:
                    config = str(self.files.yaml_of(role))
                    self.run("endpoint", "--config", config, "--release-relay")
                    self._release_keys(str(self.files.yaml_of(f"kme-{role}")))
            finally:
                for role in ROLES:
                    self.start(role)

        return honest

    def _release_keys(self, config: str) -> None:
        """The verdict on everything that is suspended at a KME: it is good."""
        standing = json.loads(self.run("keys", "status", "--config", config, "--json"))
        for each in standing["suspensions"]:
            name = each["suspension_id"]
            self.run("keys", "release", name, "--config", config, "--reason", "gameday")

    def _expire(self, role: str) -> Callable[[], None]:
        valid = (self.files.folder / f"{role}.crt").read_bytes()
        expire_certificate(self.files.folder, role)
        self.stop(role)
        self.start(role)

        def renew() -> None:
            (self.files.folder / f"{role}.crt").write_bytes(valid)

        def take_in() -> None:
            renew()
            self.stop(role)
            self.start(role)

        self._repairs.append(renew)
        return take_in

    def _drain(self) -> Callable[[], None]:
        folder = self.files.folder
        for role in ROLES:
            self.stop(role)
        drain_pools(folder, RESERVE_BITS)
        for role in ROLES:
            self.start(role)

        def fill() -> None:
            for role in ROLES:
                self.stop(role)
            bring_secret(folder)
            for role in ROLES:
                words = ["--config", str(self.files.yaml_of(role))]
                self.run("endpoint", *words, "--create-pool", str(folder / SECRET))
                self.start(role)

        self._repairs.append(lambda: bring_secret(folder))
        return fill

    def _move(self, relay: str) -> Callable[[], None]:
        config = str(self.files.yaml_of("alice"))
        self.run("endpoint", "--config", config, "--move-to", relay, "--why", "gameday")
        return lambda: None

    def _propose(self, propose: Propose) -> Callable[[], None]:
        ladder = proposed_ladder(self.files.shape.ladder, propose.factors)
        path = self.files.folder / "proposed.yaml"
        path.write_text(yaml.safe_dump({"alice": ladder, "bob": ladder}))
        config = str(self.files.yaml_of("alice"))
        share = str(propose.share)
        words = ["--propose", str(path), "--share", share, "--why", "gameday"]
        self.run("endpoint", "--config", config, *words)
        return lambda: None

    def run(self, *words: str) -> str:
        """A command of ours, to its end; what it printed. RunFailed: it did not end well."""
        command = [sys.executable, "-m", "bellrelay", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise RunFailed(f"bellrelay {' '.join(words[:2])}: {said[-1] if said else 'failed'}")
        return done.stdout

    # ----------------------------------------------------------------------- what it says

    def look(self) -> Sight:
        """What is seen now; also kept, for the timeline."""
        names = [*ROLES, *RELAYS]
        said = dict(zip(names, self._askers.map(self.status, names), strict=True))
        self._link_s += self._passed()
        sight = Sight(
            self._link_s,
            time.time_ns(),
            {role: said[role] for role in ROLES},
            {relay: said[relay] for relay in RELAYS},
            tuple(self.gone()),
        )
        self.samples.append(_sample(sight))
        return sight

    def _passed(self) -> float:
        """Link time since the last look: as the twins' slots pass, and not faster than the clock.

        What is between two of a twin's words about it passes as the clock does.
        """
        now = time.monotonic()
        wall_s, self._looked_s = now - self._looked_s, now
        told = [twin.link_s for twin in self._twins.values()]
        grown = max((b - a for a, b in zip(self._link_told, told, strict=True)), default=0.0)
        self._link_told = told
        running = any(f"twin-{relay}" in self.processes for relay in RELAYS)
        if not running:
            return wall_s
        self._owed_s = min(self._owed_s + wall_s, 1.0)
        passed = min(max(grown, 0.0), self._owed_s) if grown > 0.0 else 0.0
        self._owed_s -= passed
        return passed

    def ledger(self) -> Ledger:
        """Of blocks with key, from the endpoints' stores."""
        return Ledger(*(self._stored(role) for role in ROLES))

    def blocks_with_key(self, role: str) -> list[BlockRow]:
        """From an endpoint's store, in order."""
        store = BlockStore(self.files.folder / f"{role}.blocks", role)
        try:
            return [row for row in store.blocks() if row.state is BlockState.STORED]
        finally:
            store.close()

    def waiting_keys(self, role: str) -> int:
        """Keys in an endpoint's store that its KME has not taken over."""
        store = BlockStore(self.files.folder / f"{role}.blocks", role)
        try:
            return len(store.keys())
        finally:
            store.close()

    def _stored(self, role: str) -> dict[str, int]:
        rows = self.blocks_with_key(role)
        return {str(row.block): int(row.record.get("length", 0)) for row in rows}

    def learn(self, within_s: float) -> None:
        """Wait until both watches know what is usual at the first relay; tell them of the second.

        Its link is simulated with the same figures.

        Raises
        ------
        RunFailed
            They do not learn it.
        """
        first, *others = RELAYS
        files = [BaselineFile(self.files.folder / f"{role}.baseline.yaml") for role in ROLES]
        end = time.monotonic() + within_s * self.patience
        while True:
            self.look()
            known = [file.load(first) for file in files]
            if all(one is not None and one.error_z is not None for one in known):
                break
            if time.monotonic() > end or self.gone():
                raise RunFailed(f"no baseline of {first}; ended by themselves: {self.gone()}")
            time.sleep(0.2)
        for file, baseline in zip(files, known, strict=True):
            assert baseline is not None
            for relay in others:
                file.save(relay, baseline, 0.0)

    def made(self, since_utc_ns: int) -> int:
        """Blocks that ended with key on both sides, and whose announcements began after this."""
        alice, bob = (
            {str(row.block) for row in self.blocks_with_key(role) if row.begun_ns > since_utc_ns}
            for role in ROLES
        )
        return len(alice & bob)

    def backlog(self) -> list[str]:
        """Blocks that the relay has announced since processes were stopped and are no key on both.

        The last two may be under way.
        """
        relay, acquisition, first = self._backlog_from
        status = self.status(relay)
        now = int((status.get("counters") or {}).get("slots", 0)) // self.files.shape.block_slots
        if status.get("acquisition") != acquisition:
            raise RunFailed(f"{relay} began another acquisition")
        number = RELAYS.index(relay)
        wanted = {
            str(BlockId(acquisition, index, number))
            for index in range(first + 1, max(first, now - 2))
        }
        have = [set(self._stored(role)) for role in ROLES]
        return sorted(wanted - (have[0] & have[1]))

    def status(self, name: str) -> dict[str, Any]:
        """What /health of a daemon says; empty if nobody answers."""
        return health_of(self.files.ports[name], _ASK_S)

    def link_s(self, relay: str) -> float:
        """Link time of a relay's twin, of the acquisition that runs."""
        return self._twins[relay].link_s

    def change(self, relay: str, change: Mapping[str, Any]) -> None:
        """Tell a twin what nature or a sender does. OSError: it is not there."""
        tell_conditions(self.files.conditions(relay), change)


def _sample(sight: Sight) -> dict[str, Any]:
    """What a timeline is drawn from."""
    return {
        "link_s": sight.link_s,
        "utc_ns": sight.utc_ns,
        "active": sight.active,
        "announced": {relay: sight.announced(relay) for relay in sight.relays},
        "answers": sorted(n for n, s in {**sight.endpoints, **sight.relays}.items() if s),
        "faults": {
            role: sorted(
                f"{f['fault']} of {f['subject']}" for f in sight.faults(role).get("active") or ()
            )
            for role in sight.endpoints
        },
    }


def proposed_ladder(ladder: Mapping[str, float], factors: Mapping[str, float]) -> dict[str, float]:
    """The ladder of a gameday with other intensities."""
    return {name: value * factors.get(name, 1.0) for name, value in ladder.items()}


@contextlib.contextmanager
def running_system(files: GamedayFiles, without: tuple[str, ...] = ()) -> Iterator[GamedaySystem]:
    """All processes, started in their order, apart from some; ended at the end.

    Raises
    ------
    RunFailed
        One does not come up.
    GatewareBoardError, VerilatorMissing
        There is no gateware board.
    """
    if files.shape.board == "gateware":
        # The first time it takes longer than a twin is waited for.
        build_gateware_board(link_and_geometry(files.shape.link_values)[1])
    system = GamedaySystem(files)
    try:
        for relay in RELAYS:
            system.start(f"twin-{relay}")
        for relay in RELAYS:
            _until(system, f"twin-{relay}", (files.folder / relay / "port").exists)
            system.start(f"line-{relay}")
            system.start(relay)
        for relay in RELAYS:
            _until(system, relay, lambda relay=relay: system.status(relay), starts=_STARTS)
        for name in files.commands:
            if name in files.ports and name not in RELAYS and name not in without:
                system.start(name)
        for name in files.commands:
            if name in files.ports and name not in RELAYS and name not in without:
                _until(system, name, lambda name=name: system.status(name))
        yield system
    finally:
        system.close()


def _until(system: GamedaySystem, name: str, met: Any, starts: int = 1) -> None:
    """Until it is there. starts : a process that ends is started again, so often in all."""
    end = time.monotonic() + _START_S
    while not met():
        if name in system.gone():
            starts -= 1
            if not starts:
                raise RunFailed(f"{name} ended: {system.last_words(name)}")
            system.start(name)
        if time.monotonic() > end:
            raise RunFailed(f"{name} does not come up: {system.last_words(name)}")
        time.sleep(0.1)
