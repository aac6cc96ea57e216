"""Blocks an hour of an endpoint's cluster with one worker and with two, beside this process alone.

    python bench/cluster.py [--blocks 24] [--bits 2000000] [--workers 2]

A block is what an endpoint has a cluster do for it: LDPC correction of its sifted bits in the
steps that the peer's messages make of it, and amplification of what is left. Both sides' engines
are here, as their messages must come from somewhere; each step is a call of its own, sealed, over
TLS, to worker processes of one thread. Blocks are in work at once as in an endpoint. One and two
workers take turns, so that what else the machine does falls on both; what is compared is wall time
per block. The first blocks, for which workers compile and build codes, are not counted.

Printed: blocks per second here in one thread, with one worker, with more; the ratios; and the part
of a call that is not the work: sealing, pickling, TLS, the scheduler.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/endpoint"))
from running_cluster import RunningCluster, until_workers

from bellrelay.distill.amplify import toeplitz_hash
from bellrelay.distill.reconcile.engine import Role
from bellrelay.distill.reconcile.ldpc import Ldpc
from bellrelay.endpoint.exchange_reconcile import _begun, _stepped

ERROR_RATE = 0.02
KEY_SHARE = 0.3


@dataclass(frozen=True)
class Sifted:
    """A block as sifting leaves it."""

    alice: np.ndarray
    bob: np.ndarray
    seed: bytes
    amplify_seed: np.ndarray


def sifted(number: int, bits: int) -> Sifted:
    rng = np.random.default_rng(number)
    alice = rng.integers(0, 2, bits, np.uint8)
    bob = alice ^ (rng.random(bits) < ERROR_RATE).astype(np.uint8)
    seed = bytes(rng.integers(0, 256, 32, np.uint8))
    return Sifted(alice, bob, seed, rng.integers(0, 2, 2 * bits, np.uint8))


def distill(executor: Executor, block: Sifted) -> None:
    """From sifted bits to key; waits for every step as the pipeline does."""

    def call(function: Callable, *arguments: object):
        return executor.submit(partial(function, *arguments)).result()

    alice = call(Ldpc, Role.ALICE, block.alice, block.seed, ERROR_RATE)
    bob = call(Ldpc, Role.BOB, block.bob, block.seed, ERROR_RATE)
    (alice, first), (bob, second) = call(_begun, alice), call(_begun, bob)
    message, to_bob = (first, True) if first is not None else (second, False)
    while message is not None:
        if to_bob:
            bob, message = call(_stepped, bob, message)
        else:
            alice, message = call(_stepped, alice, message)
        to_bob = not to_bob
    kept = bob.bits[bob.kept]
    length = int(KEY_SHARE * kept.size)
    call(toeplitz_hash, kept, block.amplify_seed[: kept.size + length - 1], length)


def seconds(executor: Executor, blocks: Sequence[Sifted], at_once: int) -> float:
    begin = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        work: list[Future] = [pool.submit(distill, executor, block) for block in blocks]
        for each in work:
            each.result()
    return time.perf_counter() - begin


def idle_call_s(executor: Executor, calls: int = 100) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        executor.submit(os.getpid).result()
    return (time.perf_counter() - begin) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--bits", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    turns, each = options.turns, options.blocks // options.turns
    blocks = [sifted(number, options.bits) for number in range(each)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as here:
        clusters = {}
        for workers in (1, options.workers):
            path = Path(folder) / str(workers)
            path.mkdir()
            clusters[workers] = RunningCluster(path).__enter__()
        try:
            executors = {}
            for workers, cluster in clusters.items():
                cluster.start("scheduler")
                for n in range(workers):
                    cluster.start(f"worker{n}")
                executors[workers] = cluster.executor(patience_s=3600)
            for workers, executor in executors.items():
                until_workers(executor, workers)
                seconds(executor, blocks[:1] * 2 * workers, 2 * workers)
            seconds(here, blocks[:1], 1)
            took: dict[int, list[float]] = {0: [], **{w: [] for w in clusters}}
            for _ in range(turns):
                took[0].append(seconds(here, blocks, 1))
                for workers, executor in executors.items():
                    took[workers].append(seconds(executor, blocks, 2 * workers))
            call_ms = 1e3 * idle_call_s(executors[1])
        finally:
            for cluster in clusters.values():
                cluster.__exit__()
    rate = {workers: each / statistics.median(t) for workers, t in took.items()}
    most = options.workers
    print(f"{options.bits} sifted bits per block, {turns} turns of {each} blocks")
    print(f"here, one thread: {rate[0]:.2f} blocks/s")
    for workers in clusters:
        print(f"{workers} worker(s): {rate[workers]:.2f} blocks/s")
    print(f"{most} workers : 1 worker = {rate[most] / rate[1]:.2f}   (1.8 wanted on two cores)")
    print(f"1 worker : here = {rate[1] / rate[0]:.2f}")
    print(f"a call that does nothing takes {call_ms:.1f} ms")


if __name__ == "__main__":
    main()
