"""What a network of real processes does in a stretch of time: announcements, blocks, keys, work."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bellrelay.cli.daemon_health import health_of
from bellrelay.cli.measured_pair import busy_seconds, cpu_seconds
from bellrelay.cli.network_processes_start import PairOfProcesses, ProcessNetwork
from bellrelay.cli.run_delivery import application_context
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import RunFailed
from bellrelay.cli.sae_connection import SaeConnection
from bellrelay.endpoint.block import BlockState
from bellrelay.endpoint.block_store import BlockRow, BlockStore

__all__ = ["KEY_BITS", "Asked", "Stretch", "blocks_of", "measure_stretch", "until_key"]

KEY_BITS = 256
_LOOK_S = 0.5
_FIRST_KEY_S = 180.0


@dataclass
class Asked:
    """Of a pair's applications. seconds : from a request to the same key on both sides."""

    keys: int = 0
    without_key: int = 0
    unequal: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """At a moment.

    cpu_s, memory : by process. simulated : by relay, light and when that was told. logged, behind :
    announcements, by relay. unended : blocks whose
    light has passed, by pair.
    """

    at_s: float
    at_ns: int
    machine_s: float
    cpu_s: Mapping[str, float]
    memory: Mapping[str, int]
    simulated: Mapping[str, tuple[float, float]]
    logged: Mapping[str, int]
    behind: Mapping[str, int]
    unended: Mapping[str, int]


@dataclass(frozen=True)
class Stretch:
    """A stretch of time, seen from its two ends.

    blocks : by pair, Alice's that ended in it. asked : by pair. available : least memory that the
    machine had left, bytes.
    """

    before: Look
    after: Look
    blocks: Mapping[str, Sequence[BlockRow]]
    asked: Mapping[str, Asked]
    available: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.after.at_s - self.before.at_s

    def cores(self, name: str) -> float:
        """That a process has computed on, on the average."""
        return (self.after.cpu_s[name] - self.before.cpu_s[name]) / self.seconds

    @property
    def machine_cores(self) -> float:
        """The same of everything on this machine."""
        return (self.after.machine_s - self.before.machine_s) / self.seconds

    def pace(self, relay: str) -> float:
        """Light of a relay, of the time that passed."""
        (first, then_s), (last, now_s) = self.before.simulated[relay], self.after.simulated[relay]
        return (last - first) / (now_s - then_s) if now_s > then_s else 0.0

    def announced(self, relay: str) -> float:
        """Announcements of a relay per second."""
        return (self.after.logged[relay] - self.before.logged[relay]) / self.seconds

    def behind_s(self, relay: str) -> float:
        """How far the slowest endpoint was behind its relay at the end."""
        rate = self.announced(relay)
        return self.after.behind[relay] / rate if rate > 0.0 else 0.0


def look(network: ProcessNetwork) -> Look:
    """Now. RunFailed: a process ended."""
    network.watch()
    relays = {r.name: health_of(r.health) for r in network.relays}
    logged, behind = {}, {}
    for name, status in relays.items():
        if not status:
            raise RunFailed(f"{name} does not say how it is")
        logged[name] = int(status["log"]["durable"])
        theirs = [int(c["sequence"]) for c in status["consumers"]]
        behind[name] = logged[name] - min(theirs, default=logged[name])
    unended = {p.name: blocks_behind(p, blocks_of(p, "alice")) for p in network.pairs}
    pids = network.pids()
    return Look(
        time.monotonic(),
        time.time_ns(),
        busy_seconds(),
        {name: cpu_seconds(pid) for name, (_, pid) in pids.items()},
        {name: resident_bytes(pid) for name, (_, pid) in pids.items()},
        {r.name: (r.simulated_s, r.events.told_s) for r in network.relays},
        logged,
        behind,
        unended,
    )


def measure_stretch(network: ProcessNetwork, seconds: float, keys_per_s: float) -> Stretch:
    """Watch for so long, while a pair's applications ask for so many keys per second.

    Raises
    ------
    RunFailed
        A process ended, or a KME does not answer.
    """
    return asyncio.run(_measured(network, seconds, keys_per_s))


async def _measured(network: ProcessNetwork, seconds: float, keys_per_s: float) -> Stretch:
    asked = {pair.name: Asked() for pair in network.pairs}
    available = available_bytes()
    before = await asyncio.to_thread(look, network)
    end = time.monotonic() + seconds
    tasks = [
        asyncio.ensure_future(_applications(pair, keys_per_s, asked[pair.name], end))
        for pair in network.pairs
    ]
    try:
        while (left := end - time.monotonic()) > 0.0:
            await asyncio.sleep(min(left, _LOOK_S))
            network.watch()
            available = min(available, available_bytes())
        after = await asyncio.to_thread(look, network)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    blocks = {
        pair.name: [
            row
            for row in blocks_of(pair, "alice")
            if row.state.final and before.at_ns <= row.changed_ns < after.at_ns
        ]
        for pair in network.pairs
    }
    return Stretch(before, after, blocks, asked, available)


async def _applications(pair: PairOfProcesses, keys_per_s: float, asked: Asked, end: float) -> None:
    """Masters are at one KME and the other in turn; slaves fetch at once."""
    own = pair.folder / "kme"
    at = {
        role: SaeConnection(pair.kmes[role].port, f"kme-{role}", application_context(own, role))
        for role in ROLES
    }
    due, turn = time.monotonic(), 0
    try:
        while (due := due + 1.0 / keys_per_s) < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            master, slave = ROLES[turn % 2], ROLES[1 - turn % 2]
            turn += 1
            await _ask(at[master], at[slave], (f"app-{master}", f"app-{slave}"), asked)
    except (OSError, EOFError) as error:
        raise RunFailed(f"a KME of {pair.name} does not answer: {error}") from error
    finally:
        for connection in at.values():
            connection.close()


async def _ask(
    master: SaeConnection, slave: SaeConnection, names: tuple[str, str], asked: Asked
) -> None:
    begun = time.monotonic()
    path = f"/api/v1/keys/{names[1]}/enc_keys?size={KEY_BITS}"
    given = await master.ask("GET", path)
    if given.code != 200:
        asked.without_key += 1
        return
    (key,) = json.loads(given.body)["keys"]
    same = await slave.ask("GET", f"/api/v1/keys/{names[0]}/dec_keys?key_ID={key['key_ID']}")
    asked.keys += 1
    asked.seconds.append(time.monotonic() - begun)
    if same.code != 200 or json.loads(same.body)["keys"] != [key]:
        asked.unequal += 1


def until_key(network: ProcessNetwork, caught_up_s: float) -> None:
    """Wait until every pair has key, and then as long until it has caught up with its relay.

    Raises
    ------
    RunFailed
        A process ended, or a pair has no key after minutes.
    """
    begun = time.monotonic()
    while True:
        network.watch()
        rows = {pair.name: blocks_of(pair, "alice") for pair in network.pairs}
        keyless = [
            name
            for name, blocks in rows.items()
            if not any(r.state is BlockState.STORED for r in blocks)
        ]
        passed = time.monotonic() - begun
        if not keyless and (
            passed > caught_up_s or all(blocks_behind(p, rows[p.name]) <= 1 for p in network.pairs)
        ):
            return
        if keyless and passed > _FIRST_KEY_S:
            causes = sorted({row.cause for row in rows[keyless[0]] if row.cause})
            why = f"; blocks ended with {', '.join(causes)}" if causes else ""
            raise RunFailed(f"{keyless[0]} has no key after {_FIRST_KEY_S:.0f} s{why}")
        time.sleep(0.2)


def blocks_behind(pair: PairOfProcesses, rows: Sequence[BlockRow]) -> int:
    """Blocks whose light has passed, and that have not ended."""
    passed = int(pair.relay.simulated_s / pair.relay.block_s)
    return max(0, passed - sum(row.state.final for row in rows))


def blocks_of(pair: PairOfProcesses, role: str) -> list[BlockRow]:
    """All blocks of a side."""
    store = BlockStore(pair.folder / f"{role}.blocks", role)
    try:
        return store.blocks()
    finally:
        store.close()


def after_last_slot_s(row: BlockRow, pair: PairOfProcesses) -> float:
    """From a block's last slot to its end, as far as light keeps pace with the clock."""
    return (row.changed_ns - row.begun_ns) / 1e9 - pair.relay.block_s


def resident_bytes(pid: int) -> int:
    """Of a process; 0 where nobody counts."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def available_bytes() -> int:
    """Memory that this machine has left; a very large number where nobody counts."""
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text().splitlines()
    except OSError:
        return
