"""Blocks a second of an endpoint's cluster with one worker and with two, beside this process alone.

    python bench/cluster.py [--bits 2000000] [--workers 2] [--blocks 16] [--turns 8]

What is measured is what Bob's endpoint has a cluster do for it, by the functions that it calls:
bounds of a block from its counts, LDPC correction of its sifted bits, amplification of what is
left. What Alice says about a block was said before, as she has an endpoint and cores of her own.
Each call is sealed, over TLS, to worker processes of one thread; as many blocks are in work at once
with one worker as with two.

One and two workers take turns, so that what else the machine does falls on both. In a turn the
clock starts when the first blocks are through and stops while later ones are still in work, so that
no worker is without work meanwhile. Workers have compiled and built codes before. Every key is
compared with the one that was made here.

Printed: blocks per second in one thread here, with one worker, with two, and their ratios, of the
medians; CPU time per block of this process (which seals, carries and opens, and computes tags of
verification as the endpoint does), of the scheduler and of the workers; and what a call takes that
does nothing. Two cores have at most two seconds of CPU in a second: two workers cannot be twice one
where this process and the scheduler use a share of them, or others do. How many cores others used
is printed of every turn, and the ratio of the turns in which that was next to none.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/endpoint"))
from running_cluster import RunningCluster, until_workers
from synthetic_blocks import LADDER, synthetic_run

from bellrelay.distill.amplify import draw_seed_packed, toeplitz_hash_packed
from bellrelay.distill.estimate import estimate
from bellrelay.distill.reconcile.engine import Role
from bellrelay.distill.reconcile.ldpc import Ldpc
from bellrelay.distill.security import Security
from bellrelay.distill.tally import tally
from bellrelay.distill.verify import new_verification_key, verification_tag
from bellrelay.endpoint.correction import first_step, next_step

ERROR_RATE = 0.02
KEY_SHARE = 0.3
QUIET_CORES = 0.1
"""A turn in which others used less is one on a machine of our own."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sifted:
    """Bob's half of a block, what Alice says about it, and the key that comes of it."""

    bits: np.ndarray
    seed: bytes
    said_by_alice: list[bytes]
    verification: bytes
    length: int
    amplify_seed: bytes
    key: bytes = b""


@dataclass
class Turn:
    """Blocks per second, CPU seconds per block by who used them, and cores that others used."""

    rate: float
    cpu_s: dict[str, float]
    others: float


def counts():
    """A block's, for the bounds; how long those take does not hang on how large counts are."""
    run = synthetic_run(1_000_000)
    slot, outcome = run.blocks[0].slot, run.blocks[0].outcome
    alice, bob = run.alice.choices(slot), run.bob.choices(slot)
    return tally(outcome, alice.setting, alice.bit, bob.setting, bob.bit, run.block_slots)


def sifted(number: int, bits: int) -> Sifted:
    rng = np.random.default_rng(number)
    alice_bits = rng.integers(0, 2, bits, np.uint8)
    bob_bits = alice_bits ^ (rng.random(bits) < ERROR_RATE).astype(np.uint8)
    seed = bytes(rng.integers(0, 256, 32, np.uint8))
    alice = first_step(Ldpc, Role.ALICE, alice_bits, seed, ERROR_RATE)
    bob = first_step(Ldpc, Role.BOB, bob_bits, seed, ERROR_RATE, alice.answer)
    said = [alice.answer]
    while bob.corrected is None:
        alice = next_step(alice.engine, bob.answer)
        bob = next_step(bob.engine, alice.answer)
        said.append(alice.answer)
    size = bob.corrected.kept.size
    length = int(KEY_SHARE * size)
    hash_seed = draw_seed_packed(size, length)
    key = toeplitz_hash_packed(np.packbits(bob.corrected.kept), size, hash_seed, length)
    check = new_verification_key()
    return Sifted(bob_bits, seed, said, check, length, hash_seed, bytes(key))


def distill(executor: Executor, tallies, block: Sifted) -> None:
    """From sifted bits to key; waits for every step as the pipeline does."""

    def call(function: Callable, *arguments: object):
        return executor.submit(partial(function, *arguments)).result()

    call(estimate, tallies, LADDER, LADDER, Security(credit_empty=False))
    opening, *more = block.said_by_alice
    step = call(first_step, Ldpc, Role.BOB, block.bits, block.seed, ERROR_RATE, opening)
    for message in more:
        step = call(next_step, step.engine, message)
    kept = step.corrected.kept
    verification_tag(kept, block.verification)
    key = call(toeplitz_hash_packed, np.packbits(kept), kept.size, block.amplify_seed, block.length)
    if bytes(key) != block.key:
        raise RuntimeError("another key than here")


def cpu_s(pid: int) -> float:
    """That a process has used so far, as the kernel says."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def machine_cpu_s() -> float:
    """That all processes of the machine have used so far, and other machines on the same cores."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _idle, _iowait, *rest = map(int, fields)
    return (user + nice + system + sum(rest)) / TICKS_PER_S


def take_turn(work: Callable[[int], None], at_once: int, blocks: int, cluster=None) -> Turn:
    """So many blocks, counted between two moments at which `at_once` of them are in work."""
    ends: list[float] = []
    used: list[dict[str, float]] = []
    numbers = iter(range(blocks + 2 * at_once))
    lock = threading.Lock()

    def look() -> dict[str, float]:
        by = {"here": time.process_time(), "scheduler": 0.0, "workers": 0.0}
        by["machine"] = machine_cpu_s()
        for name, process in ({} if cluster is None else cluster.processes).items():
            by["scheduler" if name == "scheduler" else "workers"] += cpu_s(process.pid)
        return by

    def run() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(number)
            with lock:
                ends.append(time.perf_counter())
                if len(ends) in (at_once, at_once + blocks):
                    used.append(look())

    with ThreadPoolExecutor(at_once) as pool:
        for each in [pool.submit(run) for _ in range(at_once)]:
            each.result()
    took = ends[at_once + blocks - 1] - ends[at_once - 1]
    cpu = {who: used[1][who] - used[0][who] for who in used[0]}
    others = cpu.pop("machine") - sum(cpu.values())
    return Turn(blocks / took, {who: each / blocks for who, each in cpu.items()}, others / took)


def idle_call_s(executor: Executor, calls: int = 100) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        executor.submit(os.getpid).result()
    return (time.perf_counter() - begin) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", type=int, default=2_000_000, help="sifted bits of a block")
    parser.add_argument("--workers", type=int, default=2, help="compared with one")
    parser.add_argument("--blocks", type=int, default=16, help="of a turn")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=8, help="blocks in work")
    options = parser.parse_args()
    most, at_once = options.workers, options.at_once
    tallies = counts()
    blocks = [sifted(number, options.bits) for number in range(4)]

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as here:
        executors: dict[int, Executor] = {0: here}
        clusters = {}

        def work(workers: int, number: int) -> None:
            distill(executors[workers], tallies, blocks[number % len(blocks)])

        try:
            for workers in (1, most):
                path = Path(folder) / str(workers)
                path.mkdir()
                cluster = clusters[workers] = RunningCluster(path).__enter__()
                cluster.start("scheduler")
                for n in range(workers):
                    cluster.start(f"worker{n}")
                executors[workers] = cluster.executor(patience_s=3600)
                until_workers(executors[workers], workers)
                take_turn(partial(work, workers), at_once, 4 * workers)
            turns: dict[int, list[Turn]] = {workers: [] for workers in executors}
            for _ in range(options.turns):
                turns[0].append(take_turn(partial(work, 0), 1, options.blocks // 4))
                for workers, cluster in clusters.items():
                    turn = take_turn(partial(work, workers), at_once, options.blocks, cluster)
                    turns[workers].append(turn)
            call_ms = 1e3 * idle_call_s(executors[1])
            done = {workers: executors[workers].status()["done"] for workers in clusters}
        finally:
            for cluster in clusters.values():
                cluster.__exit__()

    rate = {w: statistics.median(t.rate for t in all_) for w, all_ in turns.items()}
    print(f"{options.bits} sifted bits per block, {at_once} blocks in work, {options.turns} turns")
    print(f"here, one thread: {rate[0]:.2f} blocks/s")
    for workers in clusters:
        by = {
            who: 1e3 * statistics.median(t.cpu_s[who] for t in turns[workers])
            for who in ("here", "scheduler", "workers")
        }
        print(
            f"{workers} worker(s): {rate[workers]:.2f} blocks/s; CPU per block: "
            + ", ".join(f"{who} {ms:.0f} ms" for who, ms in by.items())
        )
    print(f"{most} workers : 1 worker = {rate[most] / rate[1]:.2f}   (1.8 wanted on two cores)")
    pairs = list(zip(turns[1], turns[most], strict=True))
    quiet = [m.rate / o.rate for o, m in pairs if max(o.others, m.others) < QUIET_CORES]
    if quiet:
        print(f"    {statistics.median(quiet):.2f} in {len(quiet)} turns that others left alone")
    for one, more in pairs:
        print(
            f"    {more.rate / one.rate:.2f} in a turn in which others used "
            f"{one.others:.2f} cores beside 1 worker, {more.others:.2f} beside {most}"
        )
    print(f"1 worker : here = {rate[1] / rate[0]:.2f}")
    print(f"a call that does nothing takes {call_ms:.1f} ms")
    print(f"calls: {done}")


if __name__ == "__main__":
    main()
