"""Announcements to stored key: two endpoint processes, 20 ms of round trip between them, over TLS.

    python bench/pipeline.py [--blocks 36] [--announced 1.5e6] [--rtt-ms 20]

Announcements and choices are made from a link's probabilities beforehand. What is timed begins with
a relay's fan-out that serves them, and ends with the last key confirmed on both disks: following,
rules of the relay, commitment, sifting, estimation, correction, verification, amplification, tags
of one-time key, states on disk. The two endpoints have the machine's cores to themselves; a process
of its own delays every byte between them by half the round trip.

Printed: sifted key per second of wall time, per second that each endpoint computed and that both
computed together, how much of the machine others took meanwhile, and the ratio of the busier
endpoint's time to correction and amplification alone, in one process without a network. By default
blocks are corrected as an endpoint does by default; with ldpc the first blocks wait for codes that
are built, one for every number of rows.
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from bellrelay.cli.measured_pair import agreement, alone, distilled

TARGET = 2e6


def measure(arguments: argparse.Namespace, reconcile: str) -> None:
    blocks = arguments.blocks
    try:
        ran = distilled(
            int(arguments.announced), blocks, arguments.rtt_ms / 1e3, arguments.in_flight, reconcile
        )
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    plan, records, sifted, wall = ran.plan, ran.records, ran.sifted, ran.wall_s
    key = sum(r["length"] for r in records)
    busier = max(ran.cpu_s.values())
    bits = sifted // blocks
    # What is compiled or built once belongs to nobody's block.
    alone(agreement(plan, reconcile), bits)
    bare = alone(agreement(plan, reconcile), bits) / 2
    leak, least = (sum(r["leak_ec"] for r in records), sum(shannon(r) for r in records))
    print(
        f"{agreement(plan, reconcile).method(bits).name}: {blocks} blocks of {bits:,} sifted bits, "
        f"{arguments.rtt_ms:g} ms round trip; f = {leak / least:.3f}, "
        f"{key / sifted:.3f} bits of key per sifted bit"
    )
    for label, seconds in (
        ("wall time, both endpoints side by side", wall),
        ("processor time of Alice", ran.cpu_s["alice"]),
        ("processor time of Bob", ran.cpu_s["bob"]),
        ("processor time of both together", sum(ran.cpu_s.values())),
    ):
        print(f"  {label:42} {seconds:7.2f} s  {sifted / seconds / 1e6:7.2f} Mbit/s of sifted key")
    print(
        f"  others took {ran.others_s / wall:.2f} of the machine's {os.cpu_count()} cores; of wall "
        f"time {sifted / wall / TARGET:.2f} of the 2 Mbit/s that are asked for"
    )
    print(
        f"  per core (the busier endpoint): {sifted / busier / 1e6:.2f} Mbit/s, "
        f"{sifted / busier / TARGET:.2f} of the 2 Mbit/s that are asked for; "
        f"{bare * blocks / busier:.2f} of its time is what correction and amplification take alone"
    )


def shannon(record) -> float:
    e = record["error_rate_z"]
    return record["sifted_bits"] * float(-e * np.log2(e) - (1 - e) * np.log2(1 - e))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=36)
    parser.add_argument("--announced", type=float, default=1.5e6)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--rtt-ms", type=float, default=20.0)
    parser.add_argument("--reconcile", default="auto", help="auto, cascade, ldpc; several with ,")
    arguments = parser.parse_args()
    for reconcile in arguments.reconcile.split(","):
        measure(arguments, reconcile)


if __name__ == "__main__":
    main()
