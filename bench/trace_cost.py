"""What traces of blocks cost the daemons that write them: less than 2 % of what they do.

    python -m bench trace_cost

Two ways, since what others do on a machine scatters turns by more than traces cost. In turns A B B
A, with and without: a relay's daemon that takes announcements to its log as fast as it can, several
blocks a second; and two endpoints in this process that make key of blocks. And by the clocks of
threads, in the turns with traces: what of the endpoints' own time is spent in traces, and in the
threads that send spans; for the relay, what a frame of announcements takes in them. Spans go to a
collector that takes them, in a process of its own.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _daemons import (
    ANNOUNCED,
    BLOCK_SLOTS,
    BLOCKS,
    PER_FRAME,
    PipelineTurn,
    board_process,
    collector,
    daemon_process,
    memory,
    relay_turn,
    traced_relay_daemon,
)
from _pairs import Pairs, in_pairs

from bellrelay.endpoint.block import BlockId
from bellrelay.endpoint.block_store import BlockRow
from bellrelay.observe.block_spans import BlockName
from bellrelay.observe.block_tracer import BlockTracer, block_tracer
from bellrelay.observe.endpoint_traces import EndpointTraces
from bellrelay.observe.relay_traces import RelayTraces
from bellrelay.settings.traces import TraceSettings

RELAY_PAIRS, ENDPOINT_PAIRS = 24, 36
SPANS, FRAMES, REQUESTS = 4000, 40_000, 50
GOAL = 0.02


def tell(what: str, pairs: Pairs) -> None:
    print(f"{what}; with traces {pairs.text()}")


def verdict(share: float) -> str:
    return "" if share < GOAL else f": MORE THAN {GOAL:.0%}"


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
    share = of_frame(settings) * plain / PER_FRAME
    print(
        f"a frame of {PER_FRAME} announcements takes {share:.2%} of that in traces{verdict(share)}"
    )


def of_frame(settings: TraceSettings) -> float:
    """Seconds of processor time."""
    tracer = block_tracer(settings, "bellrelay-relay", "bench")
    trace = RelayTraces(tracer, "bench", BLOCK_SLOTS)
    slot = np.arange(PER_FRAME, dtype=np.uint64) * np.uint64(50)
    frames = [slot + np.uint64(50 * PER_FRAME * n) for n in range(FRAMES)]
    began = time.process_time()
    for each in frames:
        trace.announced(1, each)
    trace.durable()
    tracer.queue.force_flush()
    spent = (time.process_time() - began) / FRAMES
    tracer.close()
    return spent


class TimedTraces(EndpointTraces):
    """Knows what it takes: `spent`, seconds of the thread's processor time."""

    spent = 0.0

    def reached(self, block: BlockId, step: str, facts: Mapping[str, Any]) -> None:
        began = time.thread_time()
        super().reached(block, step, facts)
        self.spent += time.thread_time() - began

    def ended(self, row: BlockRow) -> None:
        began = time.thread_time()
        super().ended(row)
        self.spent += time.thread_time() - began


def thread_clock(name: str) -> float:
    """Seconds of processor time of all threads of this name."""
    clocks = [
        time.pthread_getcpuclockid(thread.ident)
        for thread in threading.enumerate()
        if thread.name == name and thread.ident is not None
    ]
    return sum(map(time.clock_gettime, clocks))


def measure_endpoints(settings: TraceSettings) -> None:
    tracers = [block_tracer(settings, "bellrelay-endpoint", name) for name in ("alice", "bob")]
    traces: list[TimedTraces] = []
    shares: list[float] = []

    def prepare(*parties: Any) -> None:
        traces.clear()
        for party, tracer in zip(parties[:2], tracers, strict=True):
            traces.append(TimedTraces(tracer, party.name, ["bench"]))
            party.start(trace=traces[-1])

    with tempfile.TemporaryDirectory(prefix="bellrelay-bench-", dir=memory()) as name:
        turn = PipelineTurn(Path(name))

        def traced() -> float:
            began = thread_clock("spans")
            cost = turn(prepare, tracers)
            spent = thread_clock("spans") - began + sum(trace.spent for trace in traces)
            shares.append(spent / (cost * BLOCKS))
            return cost

        pairs = in_pairs(turn, traced, ENDPOINT_PAIRS)
    plain = statistics.median(pairs.plain)
    tell(
        f"endpoints: {plain:.3f} s of processor time, of both, for a block of {ANNOUNCED} "
        "announcements",
        pairs,
    )
    low, share, high = statistics.quantiles(shares, n=4)
    print(
        f"of the time with traces {share:.2%} goes into them, half of the turns within {low:.2%} "
        f"and {high:.2%}{verdict(share)}"
    )
    sent = sum(tracer.queue.sent for tracer in tracers) / (ENDPOINT_PAIRS * BLOCKS)
    one, request = of_span(tracers[0]), of_request(tracers[0])
    for tracer in tracers:
        tracer.close()
    print(
        f"a block has {sent:.0f} spans, of {1e6 * one:.0f} us where many are sent together; a "
        f"request, one a second and daemon, takes {1e3 * request:.1f} ms beside that"
    )


def of_span(tracer: BlockTracer) -> float:
    """Seconds of processor time."""
    record = {"announced": 1, "pulses": 2, "role": "alice"}
    began = time.process_time()
    for n in range(SPANS):
        tracer.span(BlockName("bench", 2, n), "commit", n, n + 1, record)
    tracer.queue.force_flush()
    return (time.process_time() - began) / SPANS


def of_request(tracer: BlockTracer) -> float:
    """Seconds of the sending thread's processor time, for one span by itself."""
    began = thread_clock("spans")
    for n in range(REQUESTS):
        tracer.span(BlockName("bench", 3, n), "commit", n, n + 1, {})
        tracer.queue.force_flush()
    return (thread_clock("spans") - began) / REQUESTS


def main() -> None:
    """All of it."""
    with collector() as settings:
        measure_relay(settings)
        measure_endpoints(settings)


if __name__ == "__main__":
    main()
