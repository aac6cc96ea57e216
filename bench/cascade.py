"""Cascade: leakage, wrong frames, messages and speed, beside other implementations in the same run.

    python bench/cascade.py [--frames N] [--block-frames N] [--cascade-cpp PROGRAM] [--json]

Frames have 1e5 bits. Two engines exchange real messages in this process; time is CPU time of both
sides together, from sifted bits to corrected bits, every block with a seed of its own. The frames
of a block share two of their three permutations; with --block-frames 1 each has all of its own, and
pays for them. f is what was disclosed by all frames, wrong and failed ones included, over n h(e) at
the error rates that there were. `wrong` counts frames that differ before verification, or failed.

Beside it: the textbook's four passes in numpy (which does not even pass messages); TNO's package
`tno.quantum.communication.qkd_key_rate`, if it is installed; and cascade-cpp, if the program of
bench/cascade_peer.cpp is given, timed for Bob and the Alice that it plays itself.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.reconcile.cascade import Cascade
from bellrelay.distill.reconcile.cascade_frames import FRAME_BITS
from bellrelay.distill.reconcile.engine import Role

RATES = (0.01, 0.02, 0.03, 0.05, 0.08)
Bits = NDArray[np.uint8]


@dataclass
class Row:
    who: str
    error_rate: float
    frames: int
    f: float
    wrong: int
    messages: float
    wire_bits_per_disclosed: float
    mbit_s: float
    ratio: float = 1.0  # of the speed, to numpy's


def entropy(q: float) -> float:
    return -q * math.log2(q) - (1 - q) * math.log2(1 - q) if 0 < q < 1 else 0.0


def random_pair(rng: np.random.Generator, n: int, rate: float) -> tuple[Bits, Bits, float]:
    """Alice's bits, Bob's, and n h(e)."""
    a = rng.integers(0, 2, n, dtype=np.uint8)
    errors = (rng.random(n) < rate).astype(np.uint8)
    return a, a ^ errors, n * entropy(float(errors.mean()))


def ours(rate: float, frames: int, block_frames: int, estimate: float | None = None) -> Row:
    rng = np.random.default_rng(1)
    seconds = disclosed = needed = wire = 0.0
    wrong = 0
    messages = []
    n = block_frames * FRAME_BITS
    for _ in range(max(1, frames // block_frames)):
        a, b, least = random_pair(rng, n, rate)
        seed = rng.bytes(32)
        start = time.process_time()
        alice = Cascade(Role.ALICE, a, seed, estimate or rate)
        bob = Cascade(Role.BOB, b, seed, estimate or rate)
        bob.begin()
        message, receiver, other = alice.begin(), bob, alice
        count = 0
        while message is not None:
            count += 1
            wire += 8 * len(message)
            message = receiver.receive(message)
            receiver, other = other, receiver
        corrected = bob.bits
        seconds += time.process_time() - start
        messages.append(count)
        assert alice.disclosed_bits == bob.disclosed_bits
        disclosed += bob.disclosed_bits
        needed += least
        frame_count = bob.frame_lengths.size
        for frame in range(frame_count):
            differs = not np.array_equal(corrected[frame::frame_count], a[frame::frame_count])
            wrong += bool(bob.failed[frame]) or differs
    done = len(messages) * block_frames
    bits = done * FRAME_BITS
    return Row(
        f"bellrelay, {block_frames} frames in a block",
        rate,
        done,
        disclosed / needed,
        wrong,
        float(np.mean(messages)),
        wire / 2 / disclosed,
        bits / seconds / 1e6,
    )


def numpy_cascade(a: Bits, b: Bits, rate: float, rng: np.random.Generator) -> tuple[Bits, int, int]:
    """Brassard and Salvail's four passes: Bob's corrected bits, parities asked, rounds."""
    n = a.size
    asked = rounds = 0
    b = b.copy()
    sizes = [min(n, math.ceil(0.73 / rate) << k) for k in range(4)]
    orders: list[NDArray[np.int64]] = []
    for size in sizes:
        orders.append(rng.permutation(n))
        asked += -(-n // size)
        rounds += 1
        while True:
            for order, blocks in zip(orders, sizes, strict=False):
                differ = (a ^ b)[order]
                sums = np.zeros(n + 1, np.int64)
                np.cumsum(differ, out=sums[1:])
                edges = np.append(np.arange(0, n, blocks), n)
                odd = np.flatnonzero(np.diff(sums[edges]) & 1)
                if odd.size:
                    break
            else:
                break
            low, high = edges[odd], edges[odd + 1]
            while (open_ := high - low > 1).any():
                middle = (low + high) // 2
                left = (sums[middle] - sums[low]) & 1 == 1
                asked += int(open_.sum())
                rounds += 1
                high = np.where(open_ & left, middle, high)
                low = np.where(open_ & ~left, middle, low)
            b[order[low]] ^= 1
    return b, asked, rounds


def in_numpy(rate: float, frames: int) -> Row:
    rng = np.random.default_rng(2)
    return measure(
        "numpy, four passes",
        rate,
        frames,
        lambda a, b: numpy_cascade(a, b, rate, rng),
    )


def measure(
    who: str, rate: float, frames: int, correct: Callable[[Bits, Bits], tuple[Bits, int, int]]
) -> Row:
    rng = np.random.default_rng(3)
    seconds = needed = 0.0
    disclosed = wrong = messages = 0
    for _ in range(frames):
        a, b, least = random_pair(rng, FRAME_BITS, rate)
        start = time.process_time()
        corrected, asked, rounds = correct(a, b)
        seconds += time.process_time() - start
        disclosed += asked
        needed += least
        messages += 2 * rounds
        wrong += not np.array_equal(corrected, a)
    speed = frames * FRAME_BITS / seconds / 1e6
    f = disclosed / needed
    return Row(who, rate, frames, f, wrong, messages / frames, math.nan, speed)


def tno(rate: float, frames: int) -> Row | None:
    try:
        from tno.quantum.communication.qkd_key_rate import classical
        from tno.quantum.communication.qkd_key_rate.classical import cascade
    except ImportError:
        return None

    def correct(a: Bits, b: Bits) -> tuple[Bits, int, int]:
        strategy = classical.ParityStrategy(
            error_rate=rate, sampling_fraction=0.34, number_of_passes=8
        )
        permutations = classical.Permutations.random_permutation(
            number_of_passes=8, message_size=a.size
        )
        alice = cascade.CascadeSender(message=classical.Message(a), permutations=permutations)
        bob = cascade.CascadeReceiver(
            message=classical.Message(b), permutations=permutations, parity_strategy=strategy
        )
        result = cascade.CascadeCorrector(alice=alice, bob=bob).correct_errors()
        return (
            np.array(list(result.output_bob), np.uint8),
            result.number_of_exposed_bits,
            int(result.number_of_communication_rounds),
        )

    return measure("TNO qkd_key_rate, eight passes", rate, frames, correct)


def cascade_cpp(program: str, algorithm: str, rate: float, frames: int) -> Row:
    text = subprocess.run(
        [program, algorithm, str(FRAME_BITS), str(rate), str(frames)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    r = json.loads(text)
    return Row(
        f"cascade-cpp, {algorithm}",
        rate,
        frames,
        r["f"],
        r["wrong"],
        r["messages"],
        math.nan,
        r["mbit_s"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100, help="frames of ours, per error rate")
    parser.add_argument("--block-frames", type=int, default=10, help="frames in a block of ours")
    parser.add_argument("--peer-frames", type=int, default=10, help="frames of each peer")
    parser.add_argument("--cascade-cpp", metavar="PROGRAM", help="of bench/cascade_peer.cpp")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    ours(0.02, 2, 1)  # compile
    ours(0.05, 2, 1, 0.005)
    rows = []
    for rate in RATES:
        baseline = in_numpy(rate, arguments.peer_frames)
        now = [ours(rate, arguments.frames, arguments.block_frames), baseline]
        if (peer := tno(rate, min(2, arguments.peer_frames))) is not None:
            now.append(peer)
        if arguments.cascade_cpp:
            now += [
                cascade_cpp(arguments.cascade_cpp, algorithm, rate, arguments.peer_frames)
                for algorithm in ("original", "yanetal", "option7")
            ]
        for row in now:
            row.ratio = row.mbit_s / baseline.mbit_s
        rows += now
        if not arguments.json:
            for row in now:
                print(
                    f"{row.error_rate:5.1%} {row.who:34} f {row.f:.4f}  wrong {row.wrong}/"
                    f"{row.frames}  messages {row.messages:5.0f}  {row.mbit_s:6.2f} Mbit/s  "
                    f"ratio {row.ratio:.2f}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
