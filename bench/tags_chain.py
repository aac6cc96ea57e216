"""Recorded tags on one thread, beside a plain copy of the same tags in the same run.

    python bench/tags_chain.py [--tags N] [--rounds R] [--json]

Workload: 4 detectors and a sync tag every 1000 slots, slots of 12.5 ns, two bins 2.5 ns apart with
60 ps jitter, a tenth background, dead time, another cable on every channel; 8 million tags per
second. The copy reads and writes 8 bytes per tag (`numpy.copyto`). Times are those that the thread
runs; ratios are speed over speed of the copy, from the medians of interleaved rounds. Compilation
is not counted. Wanted: the chain from words to outcomes at least 1/8, decoding alone at least 1/2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bellrelay.tags.chain import begin, feed_words, finish, plan_chain, result
from bellrelay.tags.recorded_settings import RecordedDetector, RecordedSettings
from bellrelay.tags.words import decode_words, encode_words

SLOT_PS = 12_500
SLOTS_PER_PULSE = 1000
RATE = 8e6
DELAYS_PS = (0, 1370, 4210, 2890)
SYNC = 0
CHUNK = 1 << 20

SETTINGS = RecordedSettings(
    detectors=tuple(
        RecordedDetector(f"D{d + 1}", d + 1, d // 2, delay, 50_000)
        for d, delay in enumerate(DELAYS_PS)
    ),
    slot_period_ps=SLOT_PS,
    early=(2500, 3500),
    late=(5000, 6000),
    sync_channel=SYNC,
    slots_per_pulse=SLOTS_PER_PULSE,
)


def workload(n: int, seed: int = 1) -> NDArray[np.uint64]:
    """Words of about n tags, in order of the raw times."""
    rng = np.random.default_rng(seed)
    span = int(n / RATE * 1e12)
    slots = span // SLOT_PS
    signal = rng.integers(0, slots, int(n * 0.89)) * SLOT_PS
    signal += rng.choice(np.array([3000, 5500]), signal.size)
    signal += rng.normal(0, 60, signal.size).astype(np.int64)
    background = rng.integers(0, span, int(n * 0.1))
    t = np.concatenate([signal, background])
    detector = rng.integers(0, 4, t.size)
    t += np.asarray(DELAYS_PS)[detector]
    sync = np.arange(0, slots, SLOTS_PER_PULSE, dtype=np.int64) * SLOT_PS
    t = np.maximum(np.concatenate([t, sync]), 0)
    channel = np.concatenate([detector + 1, np.full(sync.size, SYNC)]).astype(np.uint8)
    order = np.argsort(t, kind="stable")
    return encode_words(t[order], channel[order])


def chain(words: NDArray[np.uint64]) -> int:
    plan = plan_chain(SETTINGS)
    state = begin(plan)
    slots = 0
    for first in range(0, words.size, CHUNK):
        state, found = feed_words(plan, state, words[first : first + CHUNK])
        slots += found.slot.size
    state, found = finish(plan, state)
    assert result(SETTINGS, state).occupied > 0
    return slots + found.slot.size


def seconds(job: Callable[[], object]) -> float:
    start = time.thread_time()
    job()
    return time.thread_time() - start


def measure(n: int, rounds: int) -> dict[str, dict[str, float]]:
    words = workload(n)
    copied = np.zeros_like(words)
    out = np.zeros(words.size, dtype=np.int64), np.zeros(words.size, dtype=np.uint8)
    jobs: dict[str, tuple[Callable[[], object], float]] = {
        "copy": (lambda: np.copyto(copied, words), 1.0),
        "decode": (lambda: decode_words(words, out), 1 / 2),
        "chain": (lambda: chain(words), 1 / 8),
    }
    for job, _ in jobs.values():
        job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (job, _) in jobs.items():
            times[name].append(seconds(job))
    copy = float(np.median(times["copy"]))
    return {
        name: {
            "tags": words.size,
            "seconds": float(np.median(times[name])),
            "mtags_per_s": words.size / float(np.median(times[name])) / 1e6,
            "ratio_to_copy": copy / float(np.median(times[name])),
            "wanted_ratio": wanted,
        }
        for name, (_, wanted) in jobs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tags", type=float, default=2e7, help="number of tags")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(int(args.tags), args.rounds)
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    print(f"{'job':<8}{'s':>10}{'Mtags/s':>10}{'of copy':>10}{'wanted':>10}")
    for name, row in found.items():
        print(
            f"{name:<8}{row['seconds']:>10.4f}{row['mtags_per_s']:>10.1f}"
            f"{row['ratio_to_copy']:>10.3f}{row['wanted_ratio']:>10.3f}"
        )


if __name__ == "__main__":
    main()
