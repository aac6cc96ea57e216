"""The processes of a run: the twin and the daemon, watched until all outcomes are checked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import yaml

from bellrelay.cli.run_check import SourceCheck
from bellrelay.cli.run_delivery import SMALLEST_KEY, deliver_a_key
from bellrelay.cli.run_endpoints import ROLES, prepare_endpoints, run_keys, unfinished
from bellrelay.cli.run_link import DEFAULT_LINK
from bellrelay.cli.run_processes import (
    RunFailed,
    bellrelay_command,
    free_port,
    last_words,
    process,
    stop,
    watch,
)
from bellrelay.cli.run_report import ArrivalHistogram, RunReport
from bellrelay.relay.announcement_client import AnnouncementClient
from bellrelay.relay.announcement_log import LogReader
from bellrelay.relay.config import check_config
from bellrelay.relay.register_values import register_values
from bellrelay.wire.counters import counters
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.messages import Announced, Event, From, Subscribe
from bellrelay.wire.outcomes import Outcome

if TYPE_CHECKING:
    from bellrelay_sim.link import SimulatedLink

__all__ = ["TwinEvents", "link_registers", "relay_yaml", "run_system"]

_START_S = 60.0
_DISTILL_S = 600.0


class Progress(Protocol):
    """What a run tells while it runs."""

    def say(self, text: str) -> None:
        """One line."""
        ...

    def update(self, slots: int, psi_minus: int, psi_plus: int, error_rate_z: float) -> None:
        """Where it stands."""
        ...


def relay_yaml(link: SimulatedLink, folder: Path, health_port: int) -> dict[str, Any]:
    """The daemon's configuration for this link: windows, deskew and dead time as simulated."""
    period = link.slot_period_ps
    bin_ps = 64  # several fine codes wide: finer bins would show the codes, not the light
    while bin_ps * 1024 < period:
        bin_ps *= 2
    windows = dict(zip(("early", "late"), map(list, link.windows()), strict=False))
    return {
        "relay_id": "charles",
        "port": str(folder / "port"),
        "encoding": link.encoding.value,
        "slot_period_ps": period,
        "windows": windows,
        "detectors": [
            {
                "name": d.name,
                "port": d.port,
                "deskew_ps": d.cable_delay_ps,
                "dead_time_ps": d.dead_time_ps,
            }
            for d in link.detectors
        ],
        "sync": {"deskew_ps": link.sync.delay_ps if link.sync else 0},
        "histogram": {"period_s": 0.02, "bin_ps": bin_ps},
        # Simulated time may be slow: a gateware under Verilator is no dead board.
        "silence_s": 120.0,
        "log": {"directory": str(folder / "log")},
        "fan_out": {"unix_socket": str(folder / "announcements")},
        "health": {"listen": f"127.0.0.1:{health_port}"},
    }


def link_registers(link: SimulatedLink, geometry: BoardGeometry) -> dict[str, tuple[int, ...]]:
    """What the daemon would write to a board for this link."""
    values = check_config(relay_yaml(link, Path("/nonexistent"), 1))
    return {name: tuple(v) for name, v in register_values(values, geometry).items()}


def run_system(
    link: SimulatedLink,
    geometry: BoardGeometry,
    link_file: Path | None,
    board: str,
    slots: int,
    seed: int | None,
    comparison: dict[str, Any] | None,
    progress: Progress,
    distill: bool = True,
    keep: Path | None = None,
) -> tuple[RunReport, ArrivalHistogram | None]:
    """Start all processes, wait for the last photon and the last block, account for everything.

    With ``distill``, the whole run is one block of Alice's and Bob's. ``keep``: where the KMEs that
    deliver its key stay.

    Raises
    ------
    RunFailed
        A process failed.
    """
    with tempfile.TemporaryDirectory(prefix="bellrelay-run-") as name:
        folder = Path(name)
        begin = time.monotonic()
        check = SourceCheck(link)
        if link_file is None:
            link_file = folder / "link.yaml"
            link_file.write_text(yaml.safe_dump(DEFAULT_LINK))
        twin_command = [sys.executable, "-m", "bellrelay_sim.twin", "--board", board]
        twin_command += ["--port-link", str(folder / "port"), "--slots", str(slots), "--halt"]
        twin_command += ["--config", str(link_file)]
        if seed is not None:
            twin_command += ["--seed", str(seed)]
        with process(twin_command, folder / "twin.log") as twin:
            events = TwinEvents(twin)
            events.wait_for("port", _START_S, folder / "twin.log")
            health_port = free_port()
            config = relay_yaml(link, folder, health_port)
            (folder / "relay.yaml").write_text(yaml.safe_dump(config))
            relay_command = bellrelay_command("relay", folder / "relay.yaml")
            with (
                process(relay_command, folder / "relay.log") as relay,
                contextlib.ExitStack() as endpoints,
            ):
                pair: dict[str, subprocess.Popen[str]] = {}
                if distill:
                    # Not beside the board's first answers: two more starts would delay them.
                    _until_served(relay, folder)
                    expected = check.tallies["Z"].expected
                    prepare_endpoints(folder, link, link_file, seed, slots, free_port(), expected)
                    for role in ROLES:
                        command = bellrelay_command("endpoint", folder / f"{role}.yaml")
                        running = process(command, folder / f"{role}.log")
                        pair[role] = endpoints.enter_context(running)
                follower = _Follower(folder / "announcements", check)
                while not events.done:
                    watch(twin, folder / "twin.log", "twin")
                    watch(relay, folder / "relay.log", "daemon")
                    _both_alive(pair, folder)
                    time.sleep(0.1)
                    announced = check.announced
                    progress.update(
                        events.slots,
                        announced[Outcome.PSI_MINUS],
                        announced[Outcome.PSI_PLUS],
                        check.tallies["Z"].error_rate,
                    )
                    follower.poll()
                progress.update(
                    slots,
                    check.announced[Outcome.PSI_MINUS],
                    check.announced[Outcome.PSI_PLUS],
                    check.tallies["Z"].error_rate,
                )
                histogram = _histogram(health_port)
                if pair:
                    _until_followed(pair, folder, health_port, int(follower.connected))
                stop(relay, folder / "relay.log", "daemon")
                if pair:
                    progress.say("all photons measured; Alice and Bob distil the key")
                    _until_blocks_end(pair, folder)
                wall = time.monotonic() - begin
                for role, endpoint in pair.items():
                    stop(endpoint, folder / f"{role}.log", role)
            follower.close()
            stop(twin, folder / "twin.log", "twin")
        final = _finish(folder / "log", follower.sequence, check)
        keys = run_keys(folder) if distill else None
        delivery = None
        if keys is not None and keys.equal and keys.bits >= SMALLEST_KEY:
            progress.say("two applications fetch a key from the KMEs")
            delivery = deliver_a_key(folder, keep)
    report = _report(link, geometry, board, check, final, wall, comparison, events.truth)
    if keys is not None:
        sound = keys.agreed and keys.equal is not False and (delivery is None or delivery.equal)
        passed = report.check_passed and sound
        report = replace(report, keys=keys, delivery=delivery, check_passed=passed)
    return report, histogram


def _report(
    link: SimulatedLink,
    geometry: BoardGeometry,
    board: str,
    check: SourceCheck,
    final: Event | None,
    wall: float,
    comparison: dict[str, Any] | None,
    truth: dict[str, Any],
) -> RunReport:
    if final is None or not final.values.get("final"):
        raise RunFailed("the acquisition did not end with its totals")
    values = final.values
    totals = {c.name: 0 for c in counters(geometry)} | dict(values["counters"])
    report = RunReport(
        board=board,
        detectors=tuple(d.name for d in link.detectors),
        counters=totals,
        received=sum(check.announced.values()),
        missing_frames=values["link_lost"]["frames"],
        errors={k: (t.errors, t.bits, t.expected) for k, t in check.tallies.items()},
        slot_period_ps=link.slot_period_ps,
        wall_seconds=wall,
        check_passed=all(t.plausible for t in check.tallies.values()),
        comparison=comparison,
        truth=truth,
    )
    if report.events_lost or report.missing_frames:
        report = replace(report, check_passed=False)
    return report


def _until_served(relay: subprocess.Popen[str], folder: Path) -> None:
    end = time.monotonic() + _START_S
    while not (folder / "announcements").exists():
        watch(relay, folder / "relay.log", "daemon")
        if time.monotonic() > end:
            raise RunFailed(f"no announcements: {last_words(folder / 'relay.log')}")
        time.sleep(0.05)


def _until_followed(
    pair: dict[str, subprocess.Popen[str]], folder: Path, health_port: int, others: int
) -> None:
    """Until both endpoints read the relay's log: a short run is over before they have started."""
    end = time.monotonic() + _START_S
    while len(_get(health_port, "health")["consumers"]) < len(pair) + others:
        _both_alive(pair, folder)
        if time.monotonic() > end:
            raise RunFailed("the endpoints do not follow the daemon")
        time.sleep(0.1)


def _both_alive(pair: dict[str, subprocess.Popen[str]], folder: Path) -> None:
    for role, endpoint in pair.items():
        watch(endpoint, folder / f"{role}.log", role)


def _until_blocks_end(pair: dict[str, subprocess.Popen[str]], folder: Path) -> None:
    end = time.monotonic() + _DISTILL_S
    while left := unfinished(folder):
        _both_alive(pair, folder)
        if time.monotonic() > end:
            raise RunFailed(f"blocks do not end: {', '.join(left)}")
        time.sleep(0.2)


class TwinEvents:
    """The twin's lines, read in a thread.

    Attributes
    ----------
    slots : int
        That it has simulated.
    told_s : float
        When it said so, by the monotonic clock.
    done : bool
        Whether the last photon is on the board.
    truth : dict
        What it knows then.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.slots = 0
        self.told_s = time.monotonic()
        self.done = False
        self.truth: dict[str, Any] = {}
        self._process = process
        self._seen: set[str] = set()
        self._change = threading.Condition()
        threading.Thread(target=self._read, name="twin events", daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed under us: the run is over
            for line in self._process.stdout:
                event = json.loads(line)
                with self._change:
                    self._seen.add(event["event"])
                    if event.get("slots", 0) > self.slots:
                        self.slots, self.told_s = event["slots"], time.monotonic()
                    if event["event"] == "done":
                        self.done, self.truth = True, event["truth"]
                    self._change.notify_all()

    def wait_for(self, name: str, seconds: float, log: Path) -> None:
        """Until the event has come. RunFailed if it does not."""
        end = time.monotonic() + seconds
        with self._change:
            while name not in self._seen:
                watch(self._process, log, "twin")
                if time.monotonic() > end:
                    raise RunFailed(f"no {name} from the twin: {last_words(log)}")
                self._change.wait(0.1)


class _Follower:
    """The live end of the announcements, read a little at a time."""

    def __init__(self, path: Path, check: SourceCheck) -> None:
        self.sequence = 0
        self._path = path
        self._check = check
        self._loop = asyncio.new_event_loop()
        self._client: AnnouncementClient | None = None

    @property
    def connected(self) -> bool:
        """Whether the daemon serves us."""
        return self._client is not None

    def poll(self, seconds: float = 0.1) -> None:
        """Take what comes within this time."""
        self._loop.run_until_complete(self._poll(seconds))

    async def _poll(self, seconds: float) -> None:
        if self._client is None:
            try:
                start = Subscribe(From.SEQUENCE, self.sequence)
                self._client = await AnnouncementClient.unix(self._path, start)
            except OSError:
                return  # the daemon is not there yet
            self._records = self._client.records()
            self._next: asyncio.Task[Announced | Event] | None = None
        end = self._loop.time() + seconds
        while True:
            if self._next is None:
                self._next = self._loop.create_task(self._take())
            left = max(0.0, end - self._loop.time())
            done, _ = await asyncio.wait({self._next}, timeout=left)
            if not done:
                return
            task, self._next = self._next, None
            record = task.result()
            self.sequence = record.sequence
            if isinstance(record, Announced):
                self._check.add(record.slot, record.outcome)
                self.sequence += record.slot.size
            else:
                self.sequence += 1

    async def _take(self) -> Announced | Event:
        async for record in self._records:
            return record
        raise RunFailed("the daemon hung up")

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            if self._next is not None:
                self._next.cancel()
                with contextlib.suppress(asyncio.CancelledError, RunFailed, OSError):
                    self._loop.run_until_complete(self._next)
            self._loop.run_until_complete(self._client.close())
        self._loop.close()


def _finish(directory: Path, sequence: int, check: SourceCheck) -> Event | None:
    """Take what the log has beyond the live end; the stop event."""
    final = None
    reader = LogReader(directory, 0)
    try:
        for record in reader:
            if isinstance(record, Event):
                if record.values["kind"] == "stop":
                    final = record
            elif record.end > sequence:
                rest = record.from_sequence(sequence)
                check.add(rest.slot, rest.outcome)
    finally:
        reader.close()
    return final


def _get(port: int, what: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{what}", timeout=5) as answer:
        body: dict[str, Any] = json.load(answer)
    return body


def _histogram(port: int) -> ArrivalHistogram | None:
    try:
        body = _get(port, "histogram")
    except (urllib.error.URLError, OSError):
        return None
    if not body["counts"]:
        return None
    return ArrivalHistogram(np.array(body["counts"], np.int64), body["bin_ps"])
