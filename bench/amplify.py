"""Privacy amplification on one core, beside other Toeplitz hashes in the same run.

    python bench/amplify.py [--sizes 1e5 1e6 1e7] [--rounds R] [--all] [--json]

uint8 arrays in and out, another seed at every call, the key half as long as the block. Peers:
`scipy.fft` in float64, padded to a length that transforms fast; `randextract`; `gmpy2`, which is
exact too, by one product of integers with 24 bits for each bit. They take seconds at 1e7, and come
there with --all only. Ratios are speed over speed of scipy, from medians of interleaved rounds;
compilation is not counted. All results are compared. Memory is the peak of a fresh process, less
what it held before the call (Linux). Wanted: 60, 25 and 8 Mbit/s at 1e5, 1e6 and 1e7, and less than
100 MB at 1e7.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bellrelay.distill.amplify import toeplitz_hash

Bits = NDArray[np.uint8]
WANTED = {100_000: 60.0, 1_000_000: 25.0, 10_000_000: 8.0}
SLOW = 2_000_000


def with_scipy(bits: Bits, seed: Bits, length: int) -> Bits:
    from scipy import fft

    size = fft.next_fast_len(len(seed), real=True)
    circulant = np.zeros(size)
    circulant[:length] = seed[:length]
    circulant[size - (len(seed) - length) :] = seed[length:]
    sums = fft.irfft(fft.rfft(circulant) * fft.rfft(bits, size), size)[:length]
    return (np.rint(sums).astype(np.int64) & 1).astype(np.uint8)


def with_randextract(bits: Bits, seed: Bits, length: int) -> Bits:
    import galois
    from randextract import ToeplitzHashing

    # Its matrix has the seed's bits in the same places: first column, then first row backwards.
    hashing = ToeplitzHashing(input_length=len(bits), output_length=length)
    found = hashing.extract(galois.GF2(bits), galois.GF2(seed))
    return np.asarray(found).astype(np.uint8)


def with_gmpy2(bits: Bits, seed: Bits, length: int) -> Bits:
    import gmpy2

    def spaced(array: Bits) -> gmpy2.mpz:
        wide = np.zeros((len(array), 3), np.uint8)
        wide[:, 0] = array
        return gmpy2.mpz(int.from_bytes(wide.tobytes(), "little"))

    diagonals = np.concatenate([seed[length:], seed[:length]])
    product = int(spaced(bits) * spaced(diagonals))
    sums = np.frombuffer(product.to_bytes(3 * (len(bits) + len(seed)), "little"), np.uint8)
    first = len(bits) - 1
    return sums[::3][first : first + length] & 1


METHODS: dict[str, Callable[[Bits, Bits, int], Bits]] = {
    "bellrelay": toeplitz_hash,
    "scipy float64": with_scipy,
    "randextract": with_randextract,
    "gmpy2": with_gmpy2,
}


def inputs(n: int, number: int) -> tuple[Bits, Bits, int]:
    rng = np.random.default_rng(number)
    length = n // 2
    return (
        rng.integers(0, 2, n, dtype=np.uint8),
        rng.integers(0, 2, n + length - 1, dtype=np.uint8),
        length,
    )


def extra_megabytes(name: str, n: int) -> float:
    """In a process of its own: peak memory of one call, less what was there before it."""
    command = [sys.executable, __file__, "--memory-of", name, "--sizes", str(n)]
    return float(subprocess.check_output(command, text=True))


def print_memory(name: str, n: int) -> None:
    """The larger of what the kernel saw and what NumPy asked for: heaps keep what was freed."""
    METHODS[name](*inputs(1000, 0))
    given = inputs(n, 1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    tracemalloc.start()
    METHODS[name](*given)
    print(max(resident("VmHWM") - before, tracemalloc.get_traced_memory()[1]) / 1e6)


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def there() -> list[str]:
    found = []
    for name, method in METHODS.items():
        try:
            method(*inputs(1000, 0))
        except ModuleNotFoundError as error:
            print(f"without {name}: {error}", file=sys.stderr)
        else:
            found.append(name)
    return found


def measure(n: int, rounds: int, names: list[str]) -> list[dict[str, object]]:
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        given = inputs(n, number)
        keys = {}
        for name in names:
            start = time.process_time()
            keys[name] = METHODS[name](*given)
            times[name].append(time.process_time() - start)
        for name in names:
            if not np.array_equal(keys[name], keys["bellrelay"]):
                raise SystemExit(f"{name} gives another key at n = {n}")
    speed = {name: n / float(np.median(times[name])) / 1e6 for name in names}
    return [
        {
            "n": n,
            "method": name,
            "mbit_per_s": speed[name],
            "ratio_to_scipy": speed[name] / speed["scipy float64"],
            "extra_mb": extra_megabytes(name, n),
            "wanted_mbit_per_s": WANTED.get(n) if name == "bellrelay" else None,
        }
        for name in names
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e5, 1e6, 1e7])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="slow peers at every size")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes]
    if args.memory_of:
        print_memory(args.memory_of, sizes[0])
        return
    names = there()
    rows = []
    for n in sizes:
        fast = ["bellrelay", "scipy float64"]
        rows += measure(n, args.rounds, names if args.all or n < SLOW else fast)
    if args.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return
    print(f"{'n':>10}  {'method':<14}{'Mbit/s':>9}{'of scipy':>10}{'extra MB':>10}{'wanted':>9}")
    for row in rows:
        wanted = "" if row["wanted_mbit_per_s"] is None else f"{row['wanted_mbit_per_s']:.0f}"
        print(
            f"{row['n']:>10}  {row['method']:<14}{row['mbit_per_s']:>9.1f}"
            f"{row['ratio_to_scipy']:>10.1f}{row['extra_mb']:>10.1f}{wanted:>9}"
        )


if __name__ == "__main__":
    main()
