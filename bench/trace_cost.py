"""What traces of blocks cost the daemons that write them: less than 2 % of what they do.

    python -m bench trace_cost

In turns A B B A, with and without: a relay's daemon that takes announcements to its log as fast as
it can, several blocks a second; and two endpoints in this process that make key of blocks. Spans go
to a collector that takes them, in a process of its own. Beside it stands what a span takes, which
is a smaller figure than turns can tell.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _daemons import (
    ANNOUNCED,
    BLOCK_SLOTS,
    BLOCKS,
    PipelineTurn,
    board_process,
    collector,
    daemon_process,
    memory,
    relay_turn,
    traced_relay_daemon,
)
from _pairs import Pairs, in_pairs

from bellrelay.observe.block_spans import BlockName
from bellrelay.observe.block_tracer import BlockTracer, block_tracer
from bellrelay.observe.endpoint_traces import EndpointTraces
from bellrelay.settings.traces import TraceSettings

RELAY_PAIRS, ENDPOINT_PAIRS = 24, 24
SPANS = 4000
GOAL = 0.02


def tell(what: str, pairs: Pairs) -> None:
    verdict = "" if 1.0 - pairs.ratio < GOAL else f": MORE THAN {GOAL:.0%}"
    print(f"{what}; with traces {pairs.text()}{verdict}")


def measure_relay(settings: TraceSettings) -> None:
    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name:
        folder = Path(name)
        daemon = daemon_process(traced_relay_daemon, folder, settings, BLOCK_SLOTS)
        with board_process(folder, busy=True), daemon as (_, figures):
            time.sleep(1.0)
            pairs = in_pairs(
                lambda: relay_turn(figures), lambda: relay_turn(figures, on=True), RELAY_PAIRS
            )
    plain = 1.0 / statistics.median(pairs.plain)
    tell(f"relay: {plain:.4g} announcements into the log per second of processor time", pairs)


def measure_endpoints(settings: TraceSettings) -> None:
    tracers = [block_tracer(settings, "bellrelay-endpoint", name) for name in ("alice", "bob")]

    def prepare(*parties: Any) -> None:
        for party, tracer in zip(parties[:2], tracers, strict=True):
            party.start(trace=EndpointTraces(tracer, party.name, ["bench"]))

    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name:
        turn = PipelineTurn(Path(name))
        pairs = in_pairs(turn, lambda: turn(prepare, tracers), ENDPOINT_PAIRS)
    plain = statistics.median(pairs.plain)
    tell(
        f"endpoints: {plain:.3f} s of processor time, of both, for a block of {ANNOUNCED} "
        "announcements",
        pairs,
    )
    sent = sum(tracer.queue.sent for tracer in tracers) / (ENDPOINT_PAIRS * BLOCKS)
    one = of_span(tracers[0])
    for tracer in tracers:
        tracer.close()
    print(
        f"a span takes {1e6 * one:.0f} us of processor time to make and send, the {sent:.0f} of a "
        f"block {sent * one / plain:.2%} of it"
    )


def of_span(tracer: BlockTracer) -> float:
    """Seconds of processor time."""
    record = {"announced": 1, "pulses": 2, "role": "alice"}
    began = time.process_time()
    for n in range(SPANS):
        tracer.span(BlockName("bench", 2, n), "commit", n, n + 1, record)
    tracer.queue.force_flush()
    return (time.process_time() - began) / SPANS


def main() -> None:
    """All of it."""
    with collector() as settings:
        measure_relay(settings)
        measure_endpoints(settings)


if __name__ == "__main__":
    main()
