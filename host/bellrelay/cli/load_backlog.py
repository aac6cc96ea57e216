"""Endpoints that were away catch up from the relay's durable log, as real processes do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bellrelay.cli.measured_pair import Distilled, distilled
from bellrelay.cli.text_table import print_table
from bellrelay.control.capacity.rates_file import Rates

__all__ = ["Away", "backlog", "print_backlog"]

_RECORD_BYTES = 10
"""Slot, setting and bit of an announcement."""


@dataclass(frozen=True)
class Away:
    """For how long endpoints were away, time of a block, announcements in each."""

    hours: float
    block_s: float
    announced: int


def backlog(
    away: Away, most_blocks: int, rtt_s: float, in_flight: int, rates: Rates
) -> dict[str, Any]:
    """The object that `network backlog --json` prints.

    A relay's log of so many hours is written; both endpoints then follow it from its beginning and
    distil all blocks. Of more than ``most_blocks`` the first are run, and all are as many times as
    long: memory is that of the run.

    Parameters
    ----------
    rtt_s
        Between the endpoints.
    in_flight
        Blocks in work at once.

    Raises
    ------
    RunFailed
        A block has no key, or the keys differ.
    """
    announced, block_s = away.announced, away.block_s
    blocks = max(1, round(3600.0 * away.hours / block_s))
    run = min(blocks, most_blocks)
    few = distilled(announced, run // 4, rtt_s, in_flight) if run >= 4 else None
    seen = distilled(announced, run, rtt_s, in_flight)
    drain_s = seen.wall_s * blocks / run
    work = sum(seen.cpu_s.values()) / 2.0 / run
    return {
        "hours": blocks * block_s / 3600.0,
        "blocks": blocks,
        "announced_per_block": announced,
        "blocks_run": run,
        "in_flight": in_flight,
        "rtt_s": rtt_s,
        "drain_s": drain_s,
        "blocks_per_s": run / seen.wall_s,
        "announcements_per_s": run * announced / seen.wall_s,
        "times_as_fast": blocks * block_s / drain_s,
        "log_mb": seen.log_bytes * blocks / run / 2**20,
        "block_cpu_s": {"seen": work, "model": rates.blocks.seconds(announced)},
        "memory_mb": {
            "all": _memory_mb(seen, announced),
            "a_quarter": None if few is None else _memory_mb(few, announced),
        },
        "others_s": seen.others_s,
        "key_bits": sum(int(r["length"]) for r in seen.records) * blocks / run,
    }


def _memory_mb(run: Distilled, announced: int) -> float:
    """Of the larger endpoint, without the records of what was sent, which it holds here."""
    records = run.plan.blocks * announced * _RECORD_BYTES / 2**20
    return max(run.memory_mb.values()) - records


def print_backlog(told: dict[str, Any]) -> None:
    """For a person."""
    work, memory = told["block_cpu_s"], told["memory_mb"]
    rows = [
        ["away, hours", f"{told['hours']:.3g}"],
        ["blocks, announcements in each", f"{told['blocks']}, {told['announced_per_block']:,}"],
        ["blocks that were run", str(told["blocks_run"])],
        ["the relay's log, MB", f"{told['log_mb']:.1f}"],
        ["until all is key, s", f"{told['drain_s']:.1f}"],
        ["blocks /s", f"{told['blocks_per_s']:.2f}"],
        ["announcements /s", f"{told['announcements_per_s']:,.0f}"],
        ["times as fast as they came", f"{told['times_as_fast']:.0f}"],
        ["a block, CPU s of a side (model)", f"{work['seen']:.3f} ({work['model']:.3f})"],
        ["memory of an endpoint, MB", f"{memory['all']:.0f}"],
        ["the same, of a quarter of the blocks",
         "-" if memory["a_quarter"] is None else f"{memory['a_quarter']:.0f}"],
        ["other things computed, s", f"{told['others_s']:.1f}"],
    ]  # fmt: skip
    print_table("a backlog, caught up from the relay's log", ["", "seen"], rows, text=())
