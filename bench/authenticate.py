"""One-time tags on one core, and the key pool that feeds them, each beside something plain.

    python bench/authenticate.py [--rounds R] [--directory DIR] [--json]

Tags: `seal` over a transcript of one message, with a fresh key at every call, beside HMAC-SHA-256,
which is not information-theoretically secure, and beside bare Poly1305 of the same bytes. The pool:
keys drawn and durable per second, beside a plain file of this disk that gets 32 bytes and an
`fdatasync` twice for each: what a durable ledger and a durable wipe cost at least. Medians of
interleaved rounds. Wanted: at least a third of bare Poly1305 from 64 KiB on.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.poly1305 import Poly1305

from bellrelay.distill.authenticate import OneTimeKey, Transcript, seal
from bellrelay.distill.reconcile.engine import Role
from bellrelay.endpoint.key_pool import KeyPool, Reserve

SIZES = (64, 1 << 10, 1 << 16, 1 << 20, 1 << 24)


def with_seal(key: bytes, message: bytes) -> bytes:
    transcript = Transcript(b"alice|bob|block 1", 1)
    transcript.add(Role.ALICE, message)
    return seal(OneTimeKey(key), transcript, Role.ALICE)


TAGS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "seal": with_seal,
    "poly1305": Poly1305.generate_tag,
    "hmac-sha256": lambda key, message: hmac.digest(key, message, hashlib.sha256),
}


def tags(rounds: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for size in SIZES:
        message = os.urandom(size)
        calls = max((1 << 25) // (size + 4096), 1)
        times: dict[str, list[float]] = {name: [] for name in TAGS}
        for _ in range(rounds):
            for name, tag in TAGS.items():
                keys = [os.urandom(32) for _ in range(calls)]
                start = time.process_time()
                for key in keys:
                    tag(key, message)
                times[name].append((time.process_time() - start) / calls)
        seconds = {name: float(np.median(times[name])) for name in TAGS}
        rows += [
            {
                "bytes": size,
                "method": name,
                "microseconds": seconds[name] * 1e6,
                "gbit_per_s": 8e-9 * size / seconds[name],
                "ratio_to_poly1305": seconds["poly1305"] / seconds[name],
            }
            for name in TAGS
        ]
    return rows


def pool(rounds: int, directory: Path) -> dict[str, float]:
    draws = 20
    times: dict[str, list[float]] = {"pool": [], "plain": []}
    with tempfile.TemporaryDirectory(dir=directory) as name:
        KeyPool.create(Path(name) / "pool", os.urandom(64 * draws * rounds))
        keys = KeyPool(Path(name) / "pool", Role.ALICE, reserve=Reserve(bytes=0))
        plain = os.open(Path(name) / "plain", os.O_WRONLY | os.O_CREAT, 0o600)
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(draws):
                keys.draw()
            times["pool"].append((time.perf_counter() - start) / draws)
            start = time.perf_counter()
            for _ in range(2 * draws):
                os.write(plain, bytes(32))
                os.fdatasync(plain)
            times["plain"].append((time.perf_counter() - start) / draws)
        os.close(plain)
        keys.close()
    seconds = {name: float(np.median(values)) for name, values in times.items()}
    return {
        "keys_per_s": 1 / seconds["pool"],
        "plain_per_s": 1 / seconds["plain"],
        "ratio_to_plain": seconds["plain"] / seconds["pool"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path("."), help="where the pool lies")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows, keys = tags(args.rounds), pool(args.rounds, args.directory)
    if args.json:
        json.dump({"tags": rows, "pool": keys}, sys.stdout, indent=2)
        print()
        return
    print(f"{'bytes':>10}  {'method':<12}{'us':>10}{'Gbit/s':>9}{'of Poly1305':>13}")
    for row in rows:
        print(
            f"{row['bytes']:>10}  {row['method']:<12}{row['microseconds']:>10.1f}"
            f"{row['gbit_per_s']:>9.2f}{row['ratio_to_poly1305']:>13.2f}"
        )
    print(
        f"pool: {keys['keys_per_s']:.0f} keys/s, durable and wiped;"
        f" {keys['ratio_to_plain']:.2f} of two plain durable writes each"
    )


if __name__ == "__main__":
    main()
