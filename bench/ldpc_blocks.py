"""LDPC: leakage, wrong frames, messages and speed, beside the package `ldpc` in the same run.

    python bench/ldpc_blocks.py [--frames N] [--sizes N,..] [--rates E,..] [--wrong-estimates]

Two engines exchange real messages in this process. Time is CPU time of both sides together, from
sifted bits to corrected bits, syndromes and orders included, every block with a seed of its own;
the codes are built before, once (seconds in the column `code`). f is all that was disclosed, by
frames that failed too, over n h(e) at the error rates that there were. `more` counts frames that
asked for more than the first message, `failed` those that the engine gave up, `wrong` those that
differ before verification though the engine took them for corrected.

The peer is `ldpc.BpDecoder` (product-sum, all checks at once, 100 iterations at most): it decodes
the same frames from the same syndromes with the same code, and has no protocol about it. Its frames
that differ count as wrong; its time is that of the decoding alone.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass

import numpy as np
from ldpc import BpDecoder
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from bellrelay.distill.reconcile import ldpc_rate
from bellrelay.distill.reconcile.engine import Role
from bellrelay.distill.reconcile.ldpc import Ldpc
from bellrelay.distill.reconcile.ldpc_code import QcCode, construct
from bellrelay.distill.reconcile.ldpc_frames import layout_of
from bellrelay.distill.reconcile.ldpc_syndrome import parities

Bits = NDArray[np.uint8]

SIZES = (1_000_000, 100_000, 20_480)
RATES = (0.02, 0.03, 0.05, 0.08)
PEER_SIZE = 20_480


@dataclass
class Row:
    who: str
    n: int
    error_rate: float
    estimate: float
    frames: int
    f: float
    more: int
    failed: int
    wrong: int
    messages: float
    code_s: float
    mbit_s: float
    ratio: float = math.nan  # of the speed, to the peer's at the same error rate


def entropy(q: float) -> float:
    return -q * math.log2(q) - (1 - q) * math.log2(1 - q) if 0 < q < 1 else 0.0


def random_pair(rng: np.random.Generator, n: int, rate: float) -> tuple[Bits, Bits, float]:
    """Alice's bits, Bob's, and n h(e)."""
    a = rng.integers(0, 2, n, dtype=np.uint8)
    errors = (rng.random(n) < rate).astype(np.uint8)
    return a, a ^ errors, n * entropy(float(errors.mean()))


def first_code(n: int, rate: float, cut: bool) -> QcCode:
    """A code with as many rows as a block's first message; cut: before they are cut."""
    layout = layout_of(n)
    rows = ldpc_rate.first_rows(rate, int(layout.lengths[0]), layout.columns, layout.lift)
    return construct(layout.columns, ldpc_rate.base_rows(rows) if cut else rows, layout.lift)


def ours(n: int, rate: float, frames: int, estimate: float) -> Row:
    rng = np.random.default_rng(1)
    seconds = disclosed = needed = 0.0
    more = failed = wrong = total = 0
    start = time.process_time()
    first_code(n, estimate, cut=True)
    code_seconds = time.process_time() - start
    for _ in range(frames):
        a, b, least = random_pair(rng, n, rate)
        seed = rng.bytes(32)
        start = time.process_time()
        alice, bob = Ldpc(Role.ALICE, a, seed, estimate), Ldpc(Role.BOB, b, seed, estimate)
        bob.begin()
        message, receiver, other = alice.begin(), bob, alice
        count = 0
        while message is not None:
            count += 1
            message = receiver.receive(message)
            receiver, other = other, receiver
        corrected = bob.bits
        seconds += time.process_time() - start
        assert alice.disclosed_bits == bob.disclosed_bits
        assert bob.frame_lengths.size == 1
        total += count
        disclosed += bob.disclosed_bits
        needed += least
        more += count > 2
        failed += bool(bob.failed[0])
        wrong += not bob.failed[0] and not np.array_equal(corrected, a)
    return Row(
        "bellrelay",
        n,
        rate,
        estimate,
        frames,
        disclosed / needed,
        more,
        failed,
        wrong,
        total / frames,
        code_seconds,
        frames * n / seconds / 1e6,
    )


def matrix_of(code: QcCode) -> csr_matrix:
    row = np.repeat(np.arange(code.rows), np.diff(code.row_start))
    z = np.arange(code.lift)
    checks = (row[:, None] * code.lift + z).ravel()
    bits = (code.column[:, None] * code.lift + (code.shift[:, None] + z) % code.lift).ravel()
    return csr_matrix((np.ones(bits.size, np.uint8), (checks, bits)))


def peer(n: int, rate: float, frames: int) -> Row:
    rng = np.random.default_rng(1)
    code = first_code(n, rate, cut=False)
    decoder = BpDecoder(matrix_of(code), error_rate=rate, max_iter=100, bp_method="product_sum")
    n = code.columns * code.lift
    seconds = needed = 0.0
    wrong = 0
    for _ in range(frames):
        errors = (rng.random(n) < rate).astype(np.uint8)
        syndrome = parities(code, errors, code.row_start[:-1], code.row_start[1:]).ravel()
        needed += n * entropy(float(errors.mean()))
        start = time.process_time()
        found = decoder.decode(syndrome)
        seconds += time.process_time() - start
        wrong += not np.array_equal(found, errors)
    f = frames * code.rows * code.lift / needed
    speed = frames * n / seconds / 1e6
    return Row("ldpc.BpDecoder", n, rate, rate, frames, f, 0, 0, wrong, 1, math.nan, speed, 1.0)


def print_rows(rows: list[Row]) -> None:
    print(
        f"{'':15}{'n':>9}{'e':>7}{'taken for':>11}{'frames':>7}{'f':>8}{'more':>6}{'failed':>8}"
        f"{'wrong':>7}{'messages':>10}{'code s':>8}{'Mbit/s':>9}{'ratio':>8}"
    )
    for r in rows:
        print(
            f"{r.who:15}{r.n:9d}{r.error_rate:7.1%}{r.estimate:11.2%}{r.frames:7d}{r.f:8.4f}"
            f"{r.more:6d}{r.failed:8d}{r.wrong:7d}{r.messages:10.2f}{r.code_s:8.2f}"
            f"{r.mbit_s:9.3f}{r.ratio:8.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10, help="of the largest size")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--wrong-estimates", action="store_true", help="30 %% off either way, too")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sizes = [int(float(s)) for s in arguments.sizes.split(",")]
    rates = [float(r) for r in arguments.rates.split(",")]
    ours(20_000, 0.05, 1, 0.03)  # compile
    rows = []
    for rate in rates:
        beside = peer(PEER_SIZE, rate, 10)
        rows.append(beside)
        for n in sizes:
            # The same number of bits of every size, but no more than 300 frames.
            frames = max(1, min(300, arguments.frames * max(sizes) // n))
            factors = (1.0, 0.7, 1.3) if arguments.wrong_estimates else (1.0,)
            for factor in factors:
                row = ours(n, rate, frames, factor * rate)
                row.ratio = row.mbit_s / beside.mbit_s
                rows.append(row)
    if arguments.json:
        print(json.dumps([asdict(r) for r in rows]))
    else:
        print_rows(rows)


if __name__ == "__main__":
    main()
